"""The evidence ledger: the immutable rows reasoning may cite for one clip, and its rendering under a token budget."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import get_args

from mien.core import Assessment, Claim, Clip, Observation, Span, Track, clock
from mien.core.records import ClaimKind, Dist
from mien.reason.predicates import Says
from mien.reason.vocabulary import EVENT_KINDS, is_affect


@dataclass(frozen=True, slots=True)
class Ledger:
    """Observations and events of signals, the assessments made of them, and what the stack could not say."""

    clip: Clip
    tracks: tuple[Track, ...]
    observations: tuple[Observation, ...]
    assessments: tuple[Assessment, ...]
    missing: tuple[str, ...]

    @property
    def names(self) -> dict[str, str]:
        """`face 1`, `face 2` … in order of appearance; numbers mean nothing beyond their clip."""
        names: dict[str, str] = {}
        for kind in ("face", "person"):
            mine = sorted((t for t in self.tracks if t.kind == kind), key=lambda t: (t.span.start_us, t.id))
            names |= {t.id: f"{kind} {i}" for i, t in enumerate(mine, 1)}
        return names


def observables(ledger: Ledger) -> Ledger:
    """The same ledger without any inference about feeling: what may be said where emotion words may not."""
    rows = tuple(o for o in ledger.observations if not is_affect(o.target))
    return replace(ledger, observations=rows, assessments=())


def top(dist: Dist) -> str:
    """The leading label of a distribution."""
    return max(dist, key=lambda pair: pair[1])[0]


def episodes(rows: Iterable[Assessment]) -> list[tuple[Assessment, ...]]:
    """Consecutive assessments of one track with the same outcome: a state, or the reason to abstain."""
    groups: list[list[Assessment]] = []
    for row in sorted(rows, key=lambda a: (a.track_id or "", a.span.start_us)):
        last = groups[-1][-1] if groups else None
        if last and _outcome(last) == _outcome(row) and row.span.start_us == last.span.end_us:
            groups[-1].append(row)
        else:
            groups.append([row])
    return [tuple(g) for g in groups]


def _outcome(row: Assessment) -> tuple[str | None, bool, str]:
    return row.track_id, row.abstained, row.reason if row.abstained else top(row.posterior)


def span_of(rows: Sequence[Assessment]) -> Span:
    return Span(min(a.span.start_us for a in rows), max(a.span.end_us for a in rows))


def mean(dists: Sequence[Dist]) -> dict[str, float]:
    """The mean of distributions over the same labels."""
    held = [dict(d) for d in dists]
    return {state: sum(d[state] for d in held) / len(held) for state in held[0]}


def says(rows: Sequence[Assessment]) -> Says:
    """What each source said on its own: its mean distribution's leading state, and its mean weight."""
    out: list[tuple[str, str, float, float]] = []
    for name in sorted({c.source for a in rows for c in a.contributions if c.weight > 0}):
        held = [c for a in rows for c in a.contributions if c.source == name and c.weight > 0]
        own = mean([c.dist for c in held])
        state = max(own, key=own.__getitem__)
        out.append((name, state, own[state], sum(c.weight for c in held) / len(held)))
    return tuple(out)


def odds_for(rows: Sequence[Assessment], source: str, state: str) -> float:
    """The mean centred log-odds that a source added for a state, over the assessments it took part in."""
    held = [dict(c.log_odds).get(state, 0.0) for a in rows for c in a.contributions if c.source == source]
    return sum(held) / len(held) if held else 0.0


def in_order(claims: Iterable[Claim]) -> list[Claim]:
    """Claims as a reader wants them: readings and doubts by time, then what was merely observed."""
    kinds = get_args(ClaimKind)
    return sorted(claims, key=lambda c: (c.kind == "observation", c.span, kinds.index(c.kind), c.id))


# ---------------------------------------------------------------- rendering


def rough_tokens(text: str) -> int:
    """An upper guess at the tokens of a line: three characters each. A model's own counter is better."""
    return -(-len(text) // 3)


def rendered(ledger: Ledger, budget: int, count: Callable[[str], int] = rough_tokens) -> str:
    """The ledger's rows as lines by time, within `budget` tokens. What spoke against a leading state is kept first.

    Rows are kept in this order: evidence of contrary sources and of every source in a conflict; other evidence of
    assessments, by the log-odds it added; events and movements; the rest. The last line says how many rows of which
    kind were left out, and whether contrary ones were among them.
    """
    names = ledger.names
    ranked = sorted(ledger.observations, key=_rank(ledger.assessments))
    contrary = _contrary(ledger.assessments)
    lines = {o.id: line(o, names) for o in ranked}
    left = budget - count(_rest(ranked, contrary))
    kept: list[Observation] = []
    for row in ranked:
        cost = count(lines[row.id] + "\n")
        if cost <= left:
            kept.append(row)
            left -= cost
    held = {o.id for o in kept}
    gone = [o for o in ranked if o.id not in held]
    shown = [lines[o.id] for o in sorted(kept, key=lambda o: (o.span, o.target, o.id))]
    return "\n".join([*shown, *([_rest(gone, contrary)] if gone else [])])


def line(row: Observation, names: dict[str, str]) -> str:
    """One row: id, span, who, target, value ± sd with unit or distribution, quality, fingerprint."""
    said: list[str] = []
    if row.value is not None:
        said.append(f"{row.value:.4g}" + (f" ± {row.sd:.2g}" if row.sd is not None else "") + f" {row.unit}".rstrip())
    if row.dist:
        said.append(", ".join(f"{k} {p:.2f}" for k, p in sorted(row.dist, key=lambda d: -d[1])[:4]))
    if row.reason:
        said.append(f"not measured: {row.reason}")
    quality = "" if row.quality is None else f"quality {row.quality:.2f}"
    who = "the recording" if row.track_id is None else names.get(row.track_id, "a thing")
    span = f"{clock(row.span.start_us)}-{clock(row.span.end_us)}"
    return " | ".join(p for p in (row.id, span, who, row.target, "; ".join(said), quality, row.adapter) if p)


def _contrary(rows: Sequence[Assessment]) -> set[str]:
    found: set[str] = set()
    for a in rows:
        state = top(a.posterior)
        for c in a.contributions:
            if c.weight > 0 and (dict(c.log_odds).get(state, 0.0) < 0 or a.reason == "conflict"):
                found |= set(c.evidence_ids)
    return found


def _rank(rows: Sequence[Assessment]) -> Callable[[Observation], tuple[int, float, Span, str]]:
    contrary = _contrary(rows)
    mass: dict[str, float] = {}
    for c in (c for a in rows for c in a.contributions):
        for i in c.evidence_ids:
            mass[i] = mass.get(i, 0.0) + sum(abs(v) for _, v in c.log_odds)

    def rank(row: Observation) -> tuple[int, float, Span, str]:
        event = row.target.split(".")[0] in (*EVENT_KINDS, "body", "interaction", "vocal")
        first = 0 if row.id in contrary else 1 if row.id in mass else 2 if event else 3
        return first, -mass.get(row.id, 0.0), row.span, row.id

    return rank


def _rest(gone: Sequence[Observation], contrary: set[str]) -> str:
    kinds = sorted({o.target.split(".")[0] for o in gone})
    against = sum(o.id in contrary for o in gone)
    return f"… {len(gone)} more rows are not shown ({', '.join(kinds)})" + (f"; {against} contrary" if against else "")
