"""Audits of a project and of engines: the auditable share with its breakdown, intervals over sources, the queue.

Engines are never mixed into one figure. The share counts every attempt: one that could not be parsed, or whose thinking
was cut off, is in the denominator. Traces of one source are no independent draws, so intervals are of sources.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mien.core import Assessment, Claim, Clip, Observation, Trace, Track
from mien.pipeline.answers import attempts
from mien.policy import forbidden_words
from mien.reason import CHECKS, Audit, Ledger, attempt_without_trace, audit
from mien.reason.vlm import blind, is_blind
from mien.store import Store

F64 = npt.NDArray[np.float64]
DRAWS = 1000


@dataclass(frozen=True, slots=True)
class Audited:
    """One trace with its source (a sha256): what intervals are drawn over."""

    source: str
    audit: Audit


@dataclass(frozen=True, slots=True)
class Figure:
    """A mean with its 95 % interval over sources; `n` attempts, `sources` of them independent."""

    value: float
    low: float
    high: float
    n: int
    sources: int


@dataclass(frozen=True, slots=True)
class EngineFigures:
    """What one engine's traces are worth. `passed`: hard check → share of attempts that pass it.

    `deletions`: comprehensiveness, sufficiency, placebo, and `gap`, comprehensiveness less placebo.
    """

    engine: str
    auditable: Figure
    passed: dict[str, Figure]
    statuses: dict[str, int]
    deletions: dict[str, Figure]


def audit_project(store: Store, trace_id: str = "") -> Iterator[Audited]:
    """Audit every trace of a project, or one, against the records it was made of; without a name also every answer of a
    model of language that gave no trace."""
    sources = {c.id: c for c in store.all(Clip)}
    for trace in store.all(Trace, "id = ?", (trace_id,)) if trace_id else store.all(Trace):
        clip = sources[trace.clip_id]
        claims = store.all(Claim, "trace_id = ?", (trace.id,))
        yield Audited(clip.source_sha, audit(ledger_of(store, clip, trace), trace, claims, forbidden=forbidden_words))
    for clip_id, attempt in attempts(store) if not trace_id else ():
        if not attempt.trace_id:
            status = "truncated" if attempt.status == "truncated" else "unparsed"
            yield Audited(sources[clip_id].source_sha, attempt_without_trace(clip_id, attempt.engine, status))


def ledger_of(store: Store, clip: Clip, trace: Trace) -> Ledger:
    """The ledger that a trace was written from."""
    where = ("clip_id = ?", (clip.id,))
    tracks, rows = store.all(Track, *where), store.all(Observation, *where)
    seen = Ledger(clip, tuple(tracks), tuple(rows), tuple(store.all(Assessment, *where)), trace.missing)
    return blind(seen) if is_blind(trace.engine) else seen


def figures(audits: Sequence[Audited]) -> list[EngineFigures]:
    """One row per engine, in order of its name."""
    by: dict[str, list[Audited]] = {}
    for one in audits:
        by.setdefault(one.audit.engine, []).append(one)
    return [_engine(name, by[name]) for name in sorted(by)]


def queue(audits: Sequence[Audited]) -> list[Audit]:
    """The traces that fail a hard check, those with most findings first: what a person should look at."""
    failed = [a.audit for a in audits if not a.audit.auditable]
    return sorted(failed, key=lambda a: (-len(a.findings), a.trace_id))


def clustered(values: Sequence[float], sources: Sequence[str], seed: int = 0) -> Figure:
    """Mean and 95 % interval by the cluster bootstrap over sources (Field & Welsh 2007).

    Where all values are alike a bootstrap has no width; the interval is then Wilson's (1927) with one trial per source,
    which is the cautious count. NaN values are left out; without any, all is NaN.
    """
    held = [(v, s) for v, s in zip(values, sources, strict=True) if not math.isnan(v)]
    if not held:
        return Figure(math.nan, math.nan, math.nan, 0, 0)
    groups: dict[str, list[float]] = {}
    for value, source in held:
        groups.setdefault(source, []).append(value)
    sums = np.array([math.fsum(g) for g in groups.values()])
    counts = np.array([len(g) for g in groups.values()], np.float64)
    mean, k = float(sums.sum() / counts.sum()), len(groups)
    if mean in (0.0, 1.0) and min(v for v, _ in held) == max(v for v, _ in held):
        low, high = wilson(mean, k)
    elif k == 1:
        low, high = math.nan, math.nan  # one source has no spread to draw from
    else:
        low, high = _quantiles(lambda pick: float(sums[pick].sum() / counts[pick].sum()), k, seed)
    return Figure(mean, low, high, len(held), k)


def auroc(clean: Sequence[float], planted: Sequence[float]) -> float:
    """P(score of a planted one > of a clean one) + half of the ties (Hanley & McNeil 1982). inf is a score like others.

    Raises:
        ValueError: one of the two is empty.
    """
    if not clean or not planted:
        raise ValueError(f"an AUROC needs both kinds, but got {len(clean)} clean and {len(planted)} planted")
    a, b = np.sort(np.asarray(clean, np.float64)), np.asarray(planted, np.float64)
    below, upto = np.searchsorted(a, b, "left"), np.searchsorted(a, b, "right")
    return float((below + upto).mean() / (2 * len(a)))


def auroc_figure(clean: Mapping[str, Sequence[float]], planted: Mapping[str, Sequence[float]], seed: int = 0) -> Figure:
    """AUROC with its interval over sources, which are drawn once for both kinds. Keys: source → scores."""
    names = sorted(set(clean) & set(planted))
    a = [list(clean[n]) for n in names]
    b = [list(planted[n]) for n in names]
    value = auroc([x for g in a for x in g], [x for g in b for x in g])
    count = sum(map(len, b))
    if value in (0.0, 1.0):
        return Figure(value, *wilson(value, len(names)), count, len(names))

    def drawn(pick: npt.NDArray[np.int64]) -> float:
        return auroc([x for i in pick for x in a[i]], [x for i in pick for x in b[i]])

    return Figure(value, *_quantiles(drawn, len(names), seed), count, len(names))


def wilson(share: float, n: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson's score interval (1927) of a share of n independent trials."""
    middle, half = share + z * z / (2 * n), z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, (middle - half) / (1 + z * z / n)), min(1.0, (middle + half) / (1 + z * z / n))


def _engine(name: str, rows: Sequence[Audited]) -> EngineFigures:
    sources = [r.source for r in rows]

    def over(value: Callable[[Audit], Any]) -> Figure:
        return clustered([float(value(r.audit)) for r in rows], sources)

    statuses: dict[str, int] = {}
    for r in rows:
        statuses[r.audit.status] = statuses.get(r.audit.status, 0) + 1
    passed = {c: over(lambda a, c=c: a.status == "ok" and c not in a.failed) for c in CHECKS}
    deletions = {
        "comprehensiveness": over(lambda a: a.moved.comprehensiveness if a.moved else math.nan),
        "sufficiency": over(lambda a: a.moved.sufficiency if a.moved else math.nan),
        "placebo": over(lambda a: a.moved.placebo if a.moved else math.nan),
        "gap": over(lambda a: a.moved.comprehensiveness - a.moved.placebo if a.moved else math.nan),
    }
    return EngineFigures(name, over(lambda a: a.auditable), passed, statuses, deletions)


def _quantiles(value: Callable[[npt.NDArray[np.int64]], float], k: int, seed: int) -> tuple[float, float]:
    chance = np.random.default_rng(seed)
    drawn = [value(chance.integers(0, k, k)) for _ in range(DRAWS)]
    low, high = np.quantile(drawn, (0.025, 0.975))
    return float(low), float(high)
