"""Seven expression classes → valence and arousal, with the variance of the mixture. Derived, not measured."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]

COORDINATES: dict[str, tuple[float, float]] = {
    "anger": (-0.51, 0.59),
    "disgust": (-0.60, 0.35),
    "fear": (-0.64, 0.60),
    "happiness": (0.81, 0.51),
    "neutral": (0.0, 0.0),
    "sadness": (-0.63, -0.27),
    "surprise": (0.40, 0.67),
}
"""(valence, arousal) per class: pleasure and arousal of "angry", "disgusted", "fearful", "happy", "sad", "surprised" in
Russell & Mehrabian (1977), Evidence for a three-factor theory of emotions, J. Res. Pers. 11:273-294; neutral is the
origin of their scales."""

ALIASES = {
    "angry": "anger", "disgusted": "disgust", "fearful": "fear", "afraid": "fear", "happy": "happiness",
    "joy": "happiness", "sad": "sadness", "surprised": "surprise",
}  # fmt: skip
WITHIN_SD = (0.25, 0.35)
"""s_k, spread of (valence, arousal) inside one class: faces of one label differ. An assumption, not a fit."""


@dataclass(frozen=True, slots=True)
class Affect:
    """mean float64 `[n 2]` (valence, arousal in -1..1) and covariance float64 `[n 2 2]`; NaN rows: not measured."""

    mean: F64
    cov: F64
    derived: bool = True

    @property
    def sd(self) -> F64:
        """float64 `[n 2]`"""
        return np.sqrt(np.diagonal(self.cov, axis1=1, axis2=2))


def affect_of(probs: F32 | F64, labels: tuple[str, ...], within_sd: tuple[float, float] = WITHIN_SD) -> Affect:
    """v = Σ p_k v_k, and the covariance of the mixture Σ p_k (c_k − c)(c_k − c)ᵀ + diag(s²) (law of total variance).

    A class list without a known place in the plane cannot be mapped; "contempt" is such a class.

    Args:
        probs: `[n k]`, rows sum to 1 or are NaN. labels: k class names, any order; common adjectives are understood.
        within_sd: (valence, arousal) spread inside each class.

    Raises:
        ValueError: a label has no coordinates, or shapes or sums do not fit.
    """
    names = [ALIASES.get(label.lower(), label.lower()) for label in labels]
    unknown = [name for name in names if name not in COORDINATES]
    if unknown:
        raise ValueError(f"labels must have a place in the valence/arousal plane, but got {unknown}")
    p = np.asarray(probs, np.float64)
    if p.ndim != 2 or p.shape[1] != len(names):
        raise ValueError(f"probs must have shape [n {len(names)}], but got {list(p.shape)}")
    total = p.sum(axis=1)
    if np.any(np.abs(total - 1) > 1e-3) or np.any(p < 0):
        raise ValueError("rows of probs must be probabilities that sum to 1")
    p = p / total[:, None]
    places = np.array([COORDINATES[name] for name in names])
    mean = p @ places
    away = places[None] - mean[:, None]
    cov = np.einsum("nk,nki,nkj->nij", p, away, away) + p.sum(axis=1)[:, None, None] * np.diag(np.square(within_sd))
    return Affect(mean, cov)


def measured(valence: F32 | F64, arousal: F32 | F64, sd: F32 | F64) -> Affect:
    """Valence and arousal that networks measured themselves: the mean of those that did, face by face.

    The variance is the mean of theirs and the spread between them (law of total variance); a network that gives no
    spread counts with the one of a class (`WITHIN_SD`).

    Args:
        valence, arousal: `[m n]`, a row per network, NaN where it did not measure. sd: `[m n 2]`.
    """
    both = np.stack([np.asarray(valence, np.float64), np.asarray(arousal, np.float64)], axis=-1)
    there = np.asarray(np.isfinite(both).all(axis=-1, keepdims=True))
    n = np.maximum(there.sum(axis=0), 1)
    mean = np.where(there, both, 0).sum(axis=0) / n
    own = np.square(np.where(np.isfinite(sd), sd, WITHIN_SD))
    var = np.where(there, own + np.square(both - mean), 0).sum(axis=0) / n
    absent = ~np.asarray(there.any(axis=0))[:, 0]
    mean[absent], var[absent] = np.nan, np.nan
    cov = np.zeros((len(mean), 2, 2))
    cov[:, 0, 0], cov[:, 1, 1] = var[:, 0], var[:, 1]
    cov[absent] = np.nan
    return Affect(mean, cov, derived=False)
