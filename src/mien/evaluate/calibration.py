"""Two answers against people's labels: log-loss, Brier score, calibration error, reliability; errors of values.

As in `agreement`, everything is a function of sums over labelled pairs, so that the difference of two models has an
interval over people or sources on the very same pairs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mien.evaluate.agreement import F64, Estimate, estimate

BINS = 10
FLOOR = 1e-6  # probabilities are kept to six decimals
_SIDE = 2 + 3 * BINS  # log-loss, Brier, and by bin: rows, confidence, hits


@dataclass(frozen=True, slots=True)
class Bin:
    """Rows whose highest probability lies in one tenth: mean of it, and the share that was right. NaN when empty."""

    rows: int
    confidence: float
    accuracy: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """Both answers against labels, by name of the measure: a, b and b - a. `reliability`: bins of both (classes only).

    rows: labelled pairs that both could have got right. unknown: pairs whose label is no class of one of them.
    """

    rows: int
    unknown: int
    a: dict[str, Estimate]
    b: dict[str, Estimate]
    difference: dict[str, Estimate]
    reliability: tuple[tuple[Bin, ...], tuple[Bin, ...]] | None = None


def class_sums(a: Mapping[str, float], b: Mapping[str, float], truth: str) -> F64:
    """Sums `[1 + 2·32]` of one labelled pair of distributions."""
    return np.concatenate([[1.0], _scores(a, truth), _scores(b, truth)])


def _scores(dist: Mapping[str, float], truth: str) -> F64:
    """-log p (nats), Brier score Σ(p - 1[c])² (Brier, 1950), and the row in its bin of confidence."""
    out = np.zeros(_SIDE)
    total = sum(dist.values())
    probs = {name: p / total for name, p in dist.items()}
    out[0] = -np.log(max(probs[truth], FLOOR))
    out[1] = sum((p - (name == truth)) ** 2 for name, p in probs.items())
    lead = max(probs, key=lambda name: probs[name])
    bin_ = min(int(probs[lead] * BINS), BINS - 1)
    out[2 + 3 * bin_ : 5 + 3 * bin_] = 1.0, probs[lead], float(lead == truth)
    return out


def of_classes(sums: F64, unknown: int) -> Calibration:
    """From sums `[c 65]` of clusters."""
    measures = {"log_loss": _share_of(0), "brier": _share_of(1), "ece": _ece}
    a, b, difference = {}, {}, {}
    for name, of in measures.items():
        a[name] = estimate(sums, lambda s, of=of: of(s, 1))
        b[name] = estimate(sums, lambda s, of=of: of(s, 1 + _SIDE))
        difference[name] = estimate(sums, lambda s, of=of: of(s, 1 + _SIDE) - of(s, 1))
    whole = sums.sum(0)
    return Calibration(int(whole[0]), unknown, a, b, difference, (_bins(whole, 1), _bins(whole, 1 + _SIDE)))


def _share_of(column: int):
    return lambda s, first: s[:, first + column] / s[:, 0]


def _ece(sums: F64, first: int) -> F64:
    """Expected calibration error of the highest probability, ten equal bins (Guo et al., 2017)."""
    held = sums[:, first + 2 : first + _SIDE].reshape(-1, BINS, 3)
    return np.abs(held[:, :, 2] - held[:, :, 1]).sum(1) / sums[:, 0]


def _bins(whole: F64, first: int) -> tuple[Bin, ...]:
    held = whole[first + 2 : first + _SIDE].reshape(BINS, 3)
    return tuple(Bin(int(n), c / n if n else float("nan"), h / n if n else float("nan")) for n, c, h in held.tolist())


def error_sums(a: tuple[float, float | None], b: tuple[float, float | None], truth: float) -> F64:
    """Sums `[7]` of one labelled pair of (value, sd): n, then of each |error|, whether an sd is there, and whether the
    label lies within 1.96 of it."""
    out = [1.0]
    for value, sd in (a, b):
        off = abs(value - truth)
        out += [off, float(sd is not None), float(sd is not None and off <= 1.96 * sd)]
    return np.array(out)


def of_values(sums: F64) -> Calibration:
    """From sums `[c 7]`: mean absolute error, and the share of labels within 1.96 sd (0.95 where sd is honest)."""
    measures = {"mae": (0, None), "cover": (2, 1)}
    a, b, difference = {}, {}, {}
    for name, (top, under) in measures.items():

        def of(s: F64, first: int, top: int = top, under: int | None = under) -> F64:
            return s[:, first + top] / (s[:, 0] if under is None else s[:, first + under])

        a[name] = estimate(sums, lambda s, of=of: of(s, 1))
        b[name] = estimate(sums, lambda s, of=of: of(s, 4))
        difference[name] = estimate(sums, lambda s, of=of: of(s, 4) - of(s, 1))
    return Calibration(int(sums[:, 0].sum()), 0, a, b, difference)
