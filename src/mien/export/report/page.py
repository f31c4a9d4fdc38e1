"""One clip as the page shows it: lanes and panels on a shared clock, claims, moments and evidence, each with its links."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mien.core import Assessment, Claim, Contribution, Span, clock
from mien.export.report import words
from mien.export.report.curves import gap_spans, limits, pack, summary
from mien.export.report.data import ClipView, Event, Picture, SignalView


@dataclass(frozen=True, slots=True)
class Mark:
    """One span drawn in a lane; x, width and the parts' shares in percent."""

    id: str
    label: str
    text: str
    start_ms: int
    end_ms: int
    x: float
    width: float
    row: int = 0
    parts: tuple[tuple[str, float, float], ...] = ()  # (css class, y %, height %)
    dashed: bool = False


@dataclass(frozen=True, slots=True)
class Lane:
    name: str
    kind: str  # presence, event, moment, evidence
    track_id: str
    marks: tuple[Mark, ...]
    rows: int = 1


@dataclass(frozen=True, slots=True)
class Panel:
    key: str
    title: str
    unit: str
    who: str
    track_id: str
    signal_id: str
    colour: int
    weak: bool
    accuracy: str
    figures: str
    coverage: float


@dataclass(frozen=True, slots=True)
class Cell:
    """A source's word on one state: probability and the log-odds it added."""

    p: float | None
    log_odds: float | None


@dataclass(frozen=True, slots=True)
class SourceColumn:
    """One column of the table; `strength` is λ as a share of the largest λ beside it."""

    part: Contribution
    strength: float
    cells: tuple[Cell, ...]
    evidence: tuple[Ref, ...]


@dataclass(frozen=True, slots=True)
class Moment:
    assessment: Assessment
    who: str
    outcome: str
    reading: tuple[str, ...]
    bar: tuple[float, float, float, float]
    rows: tuple[tuple[str, float, float], ...]  # state, prior, posterior; the likeliest first
    columns: tuple[SourceColumn, ...]
    top: str
    key: bool


@dataclass(frozen=True, slots=True)
class Ref:
    """A link to evidence by id. `known` is False where the report holds no such row: said, never hidden."""

    id: str
    href: str
    label: str
    known: bool


@dataclass(frozen=True, slots=True)
class EvidenceRow:
    id: str
    dom: str
    what: str
    who: str
    track_id: str
    span: Span
    answer: str
    measured: bool
    quality: str
    n: str
    source: str
    cited_by: tuple[tuple[str, str], ...]  # (dom id, short name)


@dataclass(frozen=True, slots=True)
class ClaimRow:
    claim: Claim
    dom: str
    kind: str
    who: str
    evidence: tuple[Ref, ...]


@dataclass(frozen=True, slots=True)
class Shot:
    picture: Picture
    uri: str


@dataclass(frozen=True, slots=True)
class ClipPage:
    view: ClipView
    dom: str
    number: int
    title: str
    people: tuple[tuple[str, str], ...]  # (track id, name) of those with signals or assessments
    ticks: tuple[tuple[float, str], ...]
    lanes: tuple[Lane, ...]
    panels: tuple[Panel, ...]
    moments: tuple[Moment, ...]
    claims: tuple[ClaimRow, ...]
    evidence: tuple[EvidenceRow, ...]
    shots: tuple[Shot, ...]
    payload: dict[str, object]


def dom(kind: str, identity: str) -> str:
    """A DOM id made of a record's id; `claim-…` ids stay as they are, so that `#claim-…` links work."""
    safe = re.sub(r"\s+", "_", identity)
    return safe if safe.startswith(f"{kind}-") else f"{kind}-{safe}"


def short_path(path: str) -> str:
    return re.split(r"[\\/]", path.rstrip("\\/"))[-1] or path


def clip_page(view: ClipView, number: int, limit: int) -> ClipPage:
    """Everything the templates and the script need for one clip; curves have about `limit` points at most."""
    names = words.people(view.tracks)
    shown = {s.signal.track_id for s in view.signals} | {a.track_id for a in view.assessments}
    cited = {e for c in view.claims for e in c.evidence_ids}
    refs = _refs(view, names)
    signals = sorted(view.signals, key=lambda s: (words.order(s.signal.name), s.signal.track_id or ""))
    key = f"c{number}"
    return ClipPage(
        view=view,
        dom=dom("clip", view.clip.id),
        number=number,
        title=short_path(view.source.path),
        people=tuple((t.id, names[t.id]) for t in view.tracks if t.id in shown),
        ticks=_ticks(view.clip.span),
        lanes=_lanes(view, names, cited),
        panels=tuple(_panel(s, f"{key}p{i}", names) for i, s in enumerate(signals)),
        moments=_moments(view, names, refs),
        claims=tuple(
            ClaimRow(c, dom("claim", c.id), words.KINDS[c.kind], _who(c.track_id, names), _links(c.evidence_ids, refs))
            for c in view.claims
        ),
        evidence=_evidence(view, names),
        shots=tuple(Shot(p, "data:image/jpeg;base64," + base64.b64encode(p.jpeg).decode()) for p in view.pictures),
        payload=_payload(view, key, signals, limit),
    )


def key_moment(assessments: Sequence[Assessment]) -> Assessment | None:
    """The moment to show first: where the posterior left its prior furthest, or the sources disagree most."""

    def weight(a: Assessment) -> float:
        prior = dict(a.prior)
        moved = sum(abs(p - prior.get(s, 0.0)) for s, p in a.posterior) / 2
        return max(0.0 if a.abstained else moved, words.unsure(a)[1])

    return max(assessments, key=weight, default=None)


# ---------------------------------------------------------------- lanes and panels


def _mark(view: ClipView, identity: str, label: str, text: str, span: Span) -> Mark:
    whole = view.clip.span
    length = max(1, whole.duration_us)
    start = min(max(span.start_us, whole.start_us), whole.end_us)
    end = max(start, min(span.end_us, whole.end_us))
    x = 100 * (start - whole.start_us) / length
    width = max(0.4, 100 * (end - start) / length)
    return Mark(identity, label, text, start // 1000, end // 1000, min(x, 99.6), width)


def _lanes(view: ClipView, names: dict[str, str], cited: set[str]) -> tuple[Lane, ...]:
    lanes: list[Lane] = []
    seen = {e.track_id for e in view.events if e.kind == "presence"}
    for track in view.tracks:
        if track.id not in seen:
            mark = _mark(view, "", f"{names[track.id]} in view, {words.between(track.span)}", "", track.span)
            lanes.append(Lane(names[track.id], "presence", track.id, (mark,)))
    groups: dict[tuple[str, str | None], list[Event]] = {}
    for event in view.events:
        groups.setdefault((event.kind, event.track_id), []).append(event)
    for (kind, track_id), events in groups.items():
        who = names.get(track_id or "", "")
        name = (who or "In view") if kind == "presence" else words.title(kind) + (f" · {who}" if who else "")
        marks = [
            _mark(view, e.id, f"{name}: {e.text}, {words.between(e.span)}", "" if kind == "presence" else e.text, e.span)
            for e in events
        ]
        lane = "presence" if kind == "presence" else "event"
        lanes.append(Lane(name, lane, track_id or "", *_stack(marks, 1 if lane == "presence" else 3)))
    lanes.sort(key=lambda lane: lane.kind != "presence")
    lanes += _moment_lanes(view, names)
    named = [(o.id, f"{words.title(o.target)}: {words.answer(o)}", o.span) for o in view.observations if o.id in cited]
    if named:
        marks = [_mark(view, i, f"Evidence {text}, {words.between(span)}", "", span) for i, text, span in named]
        lanes.append(Lane("Cited evidence", "evidence", "", *_stack(marks, 4)))
    return tuple(lanes)


def _moment_lanes(view: ClipView, names: dict[str, str]) -> Iterable[Lane]:
    by_track: dict[str | None, list[Mark]] = {}
    for a in view.assessments:
        mark = _mark(view, a.id, f"{words.outcome(a)}, {words.between(a.span)}", "", a.span)
        ambiguity, conflict, missing, _ = (100 * share for share in words.unsure(a))
        parts = (
            ("missing", 100 - missing, missing),
            ("conflict", 100 - missing - conflict, conflict),
            ("ambiguity", 100 - missing - conflict - ambiguity, ambiguity),
        )
        mark = Mark(
            mark.id, mark.label, "", mark.start_ms, mark.end_ms, mark.x, mark.width, 0, parts, dashed=a.abstained
        )
        by_track.setdefault(a.track_id, []).append(mark)
    for track_id, marks in by_track.items():
        who = names.get(track_id or "", "")
        yield Lane("Why unsure" + (f" · {who}" if who else ""), "moment", track_id or "", tuple(marks))


def _stack(marks: Sequence[Mark], most: int) -> tuple[tuple[Mark, ...], int]:
    """Marks that overlap go to rows below each other, at most `most` of them."""
    ends: list[float] = []
    placed: list[Mark] = []
    for m in sorted(marks, key=lambda m: m.x):
        row = next((i for i, end in enumerate(ends) if m.x >= end), len(ends))
        row = min(row, most - 1)
        if row == len(ends):
            ends.append(0.0)
        ends[row] = max(ends[row], m.x + m.width)
        placed.append(Mark(m.id, m.label, m.text, m.start_ms, m.end_ms, m.x, m.width, row, m.parts, m.dashed))
    return tuple(placed), max(1, len(ends))


def _panel(view: SignalView, key: str, names: dict[str, str]) -> Panel:
    s = view.signal
    found = summary(view)
    figures = (
        f"median {words.number(found[0])}, 5–95 %: {words.number(found[1])} to {words.number(found[2])}"
        if found
        else "not measured in this clip"
    )
    colour = {"valence": 1, "arousal": 2, "conflict": 3}.get(s.name, 4 if s.track_id else 5)
    return Panel(
        key, words.title(s.name), s.unit, _who(s.track_id, names), s.track_id or "", s.id, colour, s.weak,
        s.accuracy, figures, found[3] if found else 0.0,
    )  # fmt: skip


def _ticks(span: Span) -> tuple[tuple[float, str], ...]:
    length = span.duration_us
    steps = (100_000, 200_000, 500_000, *(s * 1_000_000 for s in (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800)))
    step = next((s for s in steps if length / s <= 7), steps[-1])
    first = -(-span.start_us // step) * step
    # A label close to the right edge would be cut off.
    return tuple(
        (100 * (t - span.start_us) / max(1, length), clock(t)[:-3] if step >= 1_000_000 else clock(t)[:-1])
        for t in range(first, span.end_us, step)
        if t - span.start_us <= 0.96 * length
    )


# ---------------------------------------------------------------- evidence and moments


def _who(track_id: str | None, names: dict[str, str]) -> str:
    return names.get(track_id, "unknown person") if track_id else ""


def _refs(view: ClipView, names: dict[str, str]) -> dict[str, Ref]:
    refs: dict[str, Ref] = {}
    for o in view.observations:
        who = _who(o.track_id, names)
        refs[o.id] = Ref(o.id, dom("ev", o.id), words.title(o.target) + (f", {who}" if who else ""), True)
    for e in view.events:
        refs[e.id] = Ref(e.id, dom("ev", e.id), f"{words.title(e.kind)}: {e.text}", True)
    for a in view.assessments:
        refs[a.id] = Ref(a.id, dom("moment", a.id), f"assessment {clock(a.span.start_us)}", True)
    for s in view.signals:
        refs[s.signal.id] = Ref(s.signal.id, dom("signal", s.signal.id), f"curve: {words.title(s.signal.name)}", True)
    return refs


def _links(ids: Iterable[str], refs: dict[str, Ref]) -> tuple[Ref, ...]:
    return tuple(refs.get(i, Ref(i, "", i, False)) for i in ids)


def _evidence(view: ClipView, names: dict[str, str]) -> tuple[EvidenceRow, ...]:
    citing: dict[str, list[tuple[str, str]]] = {}
    for n, claim in enumerate(view.claims, 1):
        for e in claim.evidence_ids:
            citing.setdefault(e, []).append((dom("claim", claim.id), str(n)))
    rows = [
        EvidenceRow(
            o.id, dom("ev", o.id), words.title(o.target), _who(o.track_id, names), o.track_id or "", o.span,
            words.answer(o), o.value is not None or bool(o.dist), words.number(o.quality), str(o.n), o.adapter,
            tuple(citing.get(o.id, ())),
        )
        for o in view.observations
    ] + [
        EvidenceRow(
            e.id, dom("ev", e.id), words.title(e.kind), _who(e.track_id, names), e.track_id or "", e.span, e.text, True,
            "", "", "event", tuple(citing.get(e.id, ())),
        )
        for e in view.events
    ]  # fmt: skip
    return tuple(sorted(rows, key=lambda r: (r.span, r.what, r.id)))


def _moments(view: ClipView, names: dict[str, str], refs: dict[str, Ref]) -> tuple[Moment, ...]:
    first = key_moment(view.assessments)
    moments: list[Moment] = []
    for a in sorted(view.assessments, key=lambda a: (a.span, a.track_id or "")):
        prior = dict(a.prior)
        states = sorted(a.posterior, key=lambda pair: -pair[1])
        heaviest = max((c.weight for c in a.contributions), default=0.0) or 1.0
        columns = []
        for c in a.contributions:
            said, odds = dict(c.dist), dict(c.log_odds)
            cells = tuple(Cell(said.get(s), odds.get(s)) for s, _ in states)
            columns.append(SourceColumn(c, c.weight / heaviest, cells, _links(c.evidence_ids, refs)))
        moments.append(
            Moment(
                a, _who(a.track_id, names), words.outcome(a), tuple(words.reading(a)), words.unsure(a),
                tuple((s, prior.get(s, float("nan")), p) for s, p in states), tuple(columns),
                states[0][0] if states else "", a is first,
            )  # fmt: skip
        )
    return tuple(moments)


def _payload(view: ClipView, key: str, signals: Sequence[SignalView], limit: int) -> dict[str, object]:
    """What the script needs: curves, and where each piece of evidence and each claim lies (ms of the source)."""

    def place(span: Span, track_id: str | None) -> list[object]:
        return [span.start_us // 1000, span.end_us // 1000, track_id or ""]

    start = view.clip.span.start_us // 1000
    spans = {o.id: place(o.span, o.track_id) for o in view.observations}
    spans |= {e.id: place(e.span, e.track_id) for e in view.events}
    spans |= {a.id: place(a.span, a.track_id) for a in view.assessments}
    spans |= {s.signal.id: place(view.clip.span, s.signal.track_id) for s in view.signals}
    panels = [
        pack(s, limit) | {"key": f"{key}p{i}", "range": limits(s), "gaps": gap_spans(s, view.clip.span)}
        for i, s in enumerate(signals)
    ]
    return {
        "dom": dom("clip", view.clip.id),
        "range": [start, max(start + 1, view.clip.span.end_us // 1000)],
        "panels": panels,
        "spans": spans,
        "claims": {dom("claim", c.id): {"ev": c.evidence_ids, "at": place(c.span, c.track_id)} for c in view.claims},
    }
