"""An opinion on facial expression that one can check with a ruler: descriptors against prototypes of facial actions.

It learns nothing. What a face mostly looks like was measured, without labels; where each expression lies from there
comes from the Facial Action Coding System. It is a weak opinion: mean recall 0.37 of 7 classes on 220 pictures, sadness
and anger hardly seen, crying and laughing hardly told apart (`python -m bench opinions`). Its worth is to be another
kind of opinion, and one whose reasons can be measured.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
import numpy.typing as npt
from annotated_types import Gt, Le

from mien.core import Distribution, Strict
from mien.signals.descriptors import Descriptors

F64 = npt.NDArray[np.float64]

# Median and robust sd (1.4826 × median absolute deviation) of each descriptor over 103 news pictures of adults, without
# their labels (the half that benches fit on), in the units of `signals.descriptors`.
POPULATION = {
    "mouth_corner_raise": (-0.126, 0.044),
    "mouth_width": (0.849, 0.092),
    "lip_gap": (0.092, 0.096),
    "jaw_drop": (1.052, 0.067),
    "brow_raise_inner": (0.269, 0.042),
    "brow_raise_outer": (0.198, 0.028),
    "brow_gap": (0.461, 0.025),
    "eye_opening": (0.247, 0.053),
}
# Where each expression lies, in robust sd from that median; columns as above. Signs are those of the action units that
# Ekman, Friesen & Hager (FACS Investigator's Guide, 2002) list for the prototype; sizes (½, 1, 1½) are by hand and
# fitted to nothing. AU9 and AU10 (nose, upper lip) are not among the descriptors: disgust is weakly described.
PROTOTYPES = {
    "anger": (0, -0.5, 0, 0, -1, -0.5, -1, 0.5),  # AU 4 5 7 23
    "disgust": (-1, 0, 0, 0, -1, -0.5, -1, -1),  # AU 9 15 16, with 4 and 7 as they come along
    "fear": (0, 0.5, 0.5, 0.5, 0.5, 0.5, -0.5, 1.5),  # AU 1 2 4 5 20 26
    "happiness": (1.5, 1, 0.5, 0, 0, 0, 0, -0.5),  # AU 6 12
    "sadness": (-1, -0.5, -0.5, -0.5, 0.5, -0.5, -0.5, -1),  # AU 1 4 15
    "surprise": (0, -0.5, 1, 1, 1, 1, 0.5, 1),  # AU 1 2 5 26
    "neutral": (0, 0, -0.5, -0.5, 0, 0, 0, 0),  # mouth closed
}
LABELS = tuple(PROTOTYPES)
MOST_SD = 3.0


class PrototypeConfig(Strict):
    """temperature: divides the log-probabilities (the descriptors are correlated); 3.0 was fitted by log-loss on the
    103 pictures named above, with their labels: the one number here that was."""

    temperature: Annotated[float, Gt(0), Le(10)] = 3.0


def expression(descriptors: Descriptors, config: PrototypeConfig | None = None) -> Distribution:
    """What each face shows (not what a person feels), by its geometry: probabilities `[n 7]` over `LABELS`.

    p(class) ∝ N(z; prototype, I)^(1/T) with z the descriptors in robust sd from their median, cut at ±3, and equal
    priors. A face without descriptors (absent, unmeasured, turned too far) gives a row of NaN.
    """
    config = config or PrototypeConfig()
    middle, spread = np.array(list(POPULATION.values())).T
    seen: F64 = np.stack([descriptors.of(name) for name in POPULATION], axis=1).astype(np.float64)
    z = np.clip((seen - middle) / spread, -MOST_SD, MOST_SD)
    away = z[:, None] - np.array(list(PROTOTYPES.values()))
    logs = -0.5 * np.square(away).sum(axis=2) / config.temperature
    shares = np.exp(logs - logs.max(axis=1, keepdims=True))
    return Distribution((shares / shares.sum(axis=1, keepdims=True)).astype(np.float32), LABELS)
