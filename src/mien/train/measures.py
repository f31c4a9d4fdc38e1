"""Figures of a classifier that other people's voices were kept from."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

F64 = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def log_loss(probs: F64, truth: Ints, weight: F64) -> float:
    """Weighted mean of -log p(truth) in nats."""
    return float(np.average(-np.log(np.maximum(probs[np.arange(len(truth)), truth], 1e-12)), weights=weight))


def recalls(probs: F64, truth: Ints) -> F64:
    """Share of each class that got the highest probability `[c]`; NaN for a class without rows."""
    guess = probs.argmax(axis=1)
    return np.array([np.mean(guess[truth == c] == c) if np.any(truth == c) else np.nan for c in range(probs.shape[1])])


def uar(probs: F64, truth: Ints) -> float:
    """Unweighted average recall."""
    return float(np.nanmean(recalls(probs, truth)))


def ece(probs: F64, truth: Ints, weight: F64, bins: int = 15) -> float:
    """Expected calibration error of the highest probability in equal-width bins (Guo et al., 2017), weighted rows."""
    top, hit = probs.max(axis=1), probs.argmax(axis=1) == truth
    index = np.minimum((top * bins).astype(np.int64), bins - 1)
    gap = np.bincount(index, weight * (hit - top), bins)
    return float(np.abs(gap).sum() / weight.sum())


def auc(score: F64, positive: npt.NDArray[np.bool_]) -> float:
    """Area under the ROC curve (Mann-Whitney, ties count half); NaN without both classes."""
    from scipy.stats import rankdata

    n = int(positive.sum())
    if n in (0, len(positive)):
        return float("nan")
    return float((rankdata(score)[positive].sum() - n * (n + 1) / 2) / (n * (len(positive) - n)))


def balanced_weight(truth: Ints, classes: int) -> F64:
    """Row weights under which every class has the same share; their mean is 1."""
    count = np.bincount(truth, minlength=classes)
    return (len(truth) / classes / np.maximum(count, 1))[truth]


def ccc(a: F64, b: F64) -> float:
    """Concordance correlation coefficient (Lin, 1989)."""
    return float(2 * np.cov(a, b, bias=True)[0, 1] / (a.var() + b.var() + (a.mean() - b.mean()) ** 2))


def people_interval(values: F64, seed: int = 0, rounds: int = 2000) -> tuple[float, float]:
    """95 % bootstrap interval of the mean over people."""
    draws = np.random.default_rng(seed).choice(values, (rounds, len(values))).mean(axis=1)
    low, high = np.quantile(draws, [0.025, 0.975])
    return float(low), float(high)
