"""The heads that ship, from prompted vocal bursts (EmoGator): what its 30 categories are put together to, and arousal.

`mien train cues` trains them with the same code as anybody's head; what is special to this data stands here.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from mien.models.sound.affect import TAXONOMY, Arousal
from mien.models.sound.whisper import POOLED
from mien.train.cues_data import Cues, folds

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
Strings = npt.NDArray[np.str_]

STATE_OF = {
    # aversive and asking for relief; Anger lies beside distress on the circumplex (Russell, 1980) and is to carers a
    # reason to look; Sadness is acted as sobbing
    "Pain": "distress", "Distress": "distress", "Fear": "distress", "Anger": "distress", "Sadness": "distress",
    # enjoyment of body or moment; Triumph is its shouted form, without which every shout would be anger
    "Amusement": "pleasure", "Elation": "pleasure", "Ecstasy": "pleasure", "Desire": "pleasure",
    "Triumph": "pleasure",
    # nothing that asks for anything
    "Contentment": "calm", "Serenity": "calm", "Neutral": "calm",
}  # fmt: skip
"""Left out rather than forced: social and self-judging ones (Contempt, Disgust, Embarrassment, Guilt, Shame, Pride,
Sympathy, Adoration, Romantic Love, Disappointment), those about knowing (Awe, Confusion, Interest, Realization), both
Surprises, and Relief, whose sigh ends a strain and may as well belong to it."""

TWELVE = (
    "Amusement", "Anger", "Contentment", "Desire", "Distress", "Ecstasy", "Fear", "Neutral", "Pain", "Relief",
    "Sadness", "Triumph",
)  # fmt: skip
NEGATIVE, POSITIVE = ("Pain", "Distress"), ("Ecstasy", "Desire")
TAXONOMIES: dict[str, dict[str, str]] = {
    "twelve": {name: name for name in TWELVE},
    "polarity": dict.fromkeys(NEGATIVE, "negative") | dict.fromkeys(POSITIVE, "positive"),
    TAXONOMY: STATE_OF,
}

AROUSAL_OF = {
    # the sine of the octant of Russell's circle (1980): excitement 45°, arousal 90°, distress 135°, depression 225°,
    # relaxation 315°; which octant a prompted word belongs to is our reading, so the values are coarse
    "Elation": 45, "Ecstasy": 45, "Triumph": 45, "Anger": 90, "Fear": 135, "Distress": 135, "Sadness": 225,
    "Contentment": 315, "Serenity": 315,
}  # fmt: skip
RIDGES = (1e2, 1e3, 1e4)


def taxonomies_of(labels: set[str]) -> dict[str, dict[str, str]]:
    """The taxonomies of these categories, or none where the data has others."""
    return TAXONOMIES if set(STATE_OF) | set(TWELVE) <= labels else {}


def arousal_target(category: Strings) -> F64:
    """Arousal of the prompted words in -1..1, NaN where a word has no place on the circle."""
    degrees = np.array([AROUSAL_OF.get(str(name), np.nan) for name in category], np.float64)
    return np.sin(np.deg2rad(degrees))


def fit_arousal(cues: Cues) -> Arousal:
    """Ridge regression of the prompted words' arousal on prosody alone; its strength by folds over people, and the
    standard deviation of what it misses on people it has not met."""
    from sklearn.linear_model import Ridge

    y = arousal_target(cues.label)
    known = np.isfinite(y)
    x = cues.vectors[:, POOLED:]
    mean, scale = x.mean(axis=0), np.maximum(x.std(axis=0), 1e-6)
    z, y, person = ((x[known] - mean) / scale).astype(np.float64), y[known], cues.person[known]
    errors: dict[float, F64] = {}
    for alpha in RIDGES:
        errors[alpha] = np.zeros(len(y))
        for rest, test in folds(person):
            errors[alpha][test] = y[test] - Ridge(alpha=alpha).fit(z[rest], y[rest]).predict(z[test])
    alpha = min(errors, key=lambda a: float(np.mean(errors[a] ** 2)))
    model: Any = Ridge(alpha=alpha).fit(z, y)

    def f32(value: npt.ArrayLike) -> F32:
        return np.atleast_1d(np.asarray(value, np.float32))

    return Arousal(f32(mean), f32(scale), f32(model.coef_), f32(model.intercept_), f32(errors[alpha].std()))
