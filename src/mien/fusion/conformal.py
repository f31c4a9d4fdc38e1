"""Sets of states that hold the true one with a stated probability for a new *person* (split conformal prediction).

Rows of one person are no independent witnesses, so the persons are what is counted: n of them certify at most
n / (n + 1). The guarantee is marginal over people, never one for a given person.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated

import numpy as np
import numpy.typing as npt
from annotated_types import Ge, Gt, Lt
from pydantic import Field

from mien.core import MienError, Strict

F64 = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Share = Annotated[float, Gt(0), Lt(1)]


class ConformalSets(Strict):
    """A calibrated rule for sets of states.

    level: coverage it is calibrated to. people: how many it was calibrated on. threshold: largest score that is still
    in the set. by_type: thresholds of their own for kinds of rows (Mondrian: Vovk et al. 2005), where there were people
    enough; a run knows a window's sources ("face", "face+voice"). ladder: (coverage, threshold), rising: what other
    coverages would need. miss_rate: α as people's confirmations have moved it (`replayed`), None: 1 − level; from then
    on the ladder stands for all kinds. rate: γ. confirmed: how many windows moved it. penalty, free: RAPS (Angelopoulos
    et al., ICLR 2021); a state beyond the `free` likeliest costs `penalty`.
    out_of_fold: scores come from models that had met other people of the same calibration; the proven floor is then
    1 − 2 (1 − level) (Barber et al., Ann. Stat. 2021).
    """

    level: Share
    people: Annotated[int, Ge(1)]
    threshold: Annotated[float, Ge(0)]
    by_type: dict[str, Annotated[float, Ge(0)]] = Field(default={})
    ladder: tuple[tuple[float, float], ...] = ()
    miss_rate: float | None = None
    rate: Share = 0.02
    confirmed: Annotated[int, Ge(0)] = 0
    penalty: Annotated[float, Ge(0)] = 0.0
    free: Annotated[int, Ge(1)] = 1
    out_of_fold: bool = False

    @property
    def floor(self) -> float:
        """The coverage that is proven."""
        return max(0.0, 1 - (2 if self.out_of_fold else 1) * (1 - self.level))


def scores(probs: F64, *, penalty: float = 0.0, free: int = 1, u: F64 | None = None) -> F64:
    """How far down one must go until a state is in: `[n k]` for every state of every row `[n k]`.

    APS (Romano, Sesia & Candès, NeurIPS 2020): the summed probability of the states at least as likely as it; with
    `penalty` RAPS. u `[n]` in 0..1 spreads the last step (exact coverage, but another draw gives another set); without
    it the whole step counts, which only enlarges sets.

    Raises:
        ValueError: probs are no rows of probabilities, or u does not fit.
    """
    p = np.asarray(probs, np.float64)
    if p.ndim != 2 or not np.isfinite(p).all() or np.any(p < 0) or np.any(np.abs(p.sum(axis=1) - 1) > 1e-6):
        raise ValueError("probs must be [n k], each row a distribution")
    if u is not None and np.shape(u) != (len(p),):
        raise ValueError(f"u must be [{len(p)}], but got {list(np.shape(u))}")
    order = np.argsort(-p, axis=1, kind="stable")
    falling = np.take_along_axis(p, order, axis=1)
    reached = falling.cumsum(axis=1)
    if u is not None:
        reached = reached - np.asarray(u)[:, None] * falling
    reached = reached + penalty * np.maximum(0, np.arange(1, p.shape[1] + 1) - free)
    out = np.empty_like(p)
    np.put_along_axis(out, order, reached, axis=1)
    return out


def most_certain(people: int) -> float:
    """The highest coverage that this many people can certify: n / (n + 1)."""
    return people / (people + 1)


def threshold(true_scores: F64, person: Sequence[object], level: float, weight: F64 | None = None) -> float:
    """The `level` quantile of scores in which every person counts once, and one more person scores +∞.

    Hierarchical conformal prediction (Lee, Barber & Willett 2023; after Dunn, Wasserman & Ramdas, JASA 2022): for a row
    of a new person P(score ≤ threshold) ≥ level, if people are exchangeable and so are the rows of each.

    Args:
        true_scores: `[n]` score of the true state. person: `[n]`. weight: `[n]` share of the row within its person.

    Raises:
        MienError: `fusion.too-few-people` when the people cannot certify the level.
        ValueError: lengths differ, or the level lies outside 0..1.
    """
    names, who = np.unique(np.asarray(person, dtype=object).astype(str), return_inverse=True)
    s, n = np.asarray(true_scores, np.float64), len(names)
    if s.shape != who.shape or not 0 < level < 1:
        raise ValueError(f"scores and people must match and level lie in 0..1, but got {s.shape}, {who.shape}, {level}")
    if level > most_certain(n) + 1e-12:
        raise MienError(
            "fusion.too-few-people",
            f"{n} people certify at most {100 * most_certain(n):.1f} %, not {100 * level:g} %",
            f"label {math.ceil(level / (1 - level) - 1e-9)} people or more, or ask for a lower level",
        )
    w = np.ones(len(s)) if weight is None else np.asarray(weight, np.float64)
    share = w / np.bincount(who, w)[who] / (n + 1)
    order = np.argsort(s, kind="stable")
    reached = share[order].cumsum()
    at = int(np.searchsorted(reached, level - 1e-12))
    return float(s[order][min(at, len(s) - 1)])


def sets(rule: ConformalSets, probs: F64, kind: str | Sequence[str] | None = None, u: F64 | None = None) -> Bools:
    """Which states are in: bool `[n k]`. The likeliest always is, so no set is empty. kind: of all rows, or of each."""
    kinds = [kind] * len(probs) if kind is None or isinstance(kind, str) else list(kind)
    limits = np.array([limit(rule, k) for k in kinds], np.float64).reshape(-1, 1)
    inside = scores(probs, penalty=rule.penalty, free=rule.free, u=u) <= limits
    inside[np.arange(len(inside)), np.asarray(probs).argmax(axis=1)] = True
    return inside


def limit(rule: ConformalSets, kind: str | None = None) -> float:
    """The largest score that is in: of the kind, or where confirmations have moved α, of the first coverage on the
    ladder that is at least 1 − α (beyond its end every state is in)."""
    if rule.miss_rate is None or not rule.ladder:
        return rule.by_type.get(kind, rule.threshold) if kind is not None else rule.threshold
    if rule.miss_rate >= 1:
        return 0.0
    return next((t for level, t in rule.ladder if level >= 1 - rule.miss_rate - 1e-12), math.inf)


def ladder(
    true_scores: F64, person: Sequence[object], weight: F64 | None = None, steps: int = 100
) -> tuple[tuple[float, float], ...]:
    """(coverage, threshold) for every coverage of 1/steps, 2/steps … that the people can certify (see `threshold`)."""
    most = most_certain(len({str(p) for p in person}))
    levels = [i / steps for i in range(1, steps) if i / steps <= most + 1e-12]
    return tuple((level, threshold(true_scores, person, level, weight)) for level in levels)


def adapted(alpha: float, missed: bool, target: float, gamma: float) -> float:
    """α' = α + γ (target − missed): adaptive conformal inference (Gibbs & Candès, NeurIPS 2021).

    After T steps from α the share of misses lies within (max(α, 1 − α) + γ) / (γ T) of `target`, whatever drifts. α may
    leave 0..1: at or below 0 every state is in, at or above 1 none but the likeliest.
    """
    return alpha + gamma * (target - missed)


def replayed(
    rule: ConformalSets, probs: F64, truth: Sequence[int], kinds: Sequence[str] | None = None
) -> ConformalSets:
    """The rule after people's confirmations, in the order they were given: each moves α once, from 1 − level.

    Always from the beginning, so that saying it twice gives the same; nothing moves without a ladder.

    Args:
        probs: `[n k]` what was said of each confirmed window. truth: `[n]` the state that a person named.
    """
    if not rule.ladder or not len(truth):
        return rule.model_copy(update={"miss_rate": None, "confirmed": 0})
    now, target = rule.model_copy(update={"miss_rate": None}), 1 - rule.level
    alpha = target
    for i, state in enumerate(truth):
        missed = not bool(sets(now, probs[i : i + 1], kinds[i] if kinds else None)[0, state])
        alpha = adapted(alpha, missed, target, rule.rate)
        now = now.model_copy(update={"miss_rate": round(alpha, 9)})
    return now.model_copy(update={"confirmed": len(truth)})
