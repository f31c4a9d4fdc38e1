"""The lanes above the curves: who was in view, events, why an assessment is unsure, and which evidence is cited."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from mien.core import Span, clock
from mien.export.report import words
from mien.export.report.data import ClipView, Event
from mien.export.report.views import Lane, Mark


def _mark(view: ClipView, identity: str, label: str, text: str, span: Span) -> Mark:
    whole = view.clip.span
    length = max(1, whole.duration_us)
    start = min(max(span.start_us, whole.start_us), whole.end_us)
    end = max(start, min(span.end_us, whole.end_us))
    x = 100 * (start - whole.start_us) / length
    width = max(0.4, 100 * (end - start) / length)
    return Mark(identity, label, text, start // 1000, end // 1000, min(x, 99.6), width)


def lanes(view: ClipView, names: dict[str, str], cited: set[str]) -> tuple[Lane, ...]:
    drawn: list[Lane] = []
    seen = {e.track_id for e in view.events if e.kind == "presence"}
    things: list[Mark] = []
    for track in view.tracks:
        mark = _mark(view, "", f"{names[track.id]} in view, {words.between(track.span)}", "", track.span)
        if track.kind == "object":
            things.append(replace(mark, text=names[track.id]))
        elif track.id not in seen:
            drawn.append(Lane(names[track.id], "presence", track.id, (mark,)))
    if things:
        drawn.append(Lane("Objects in view", "object", "", *_stack(things, 4)))
    groups: dict[tuple[str, str | None], list[Event]] = {}
    for event in view.events:
        groups.setdefault((event.kind, event.track_id), []).append(event)
    for (kind, track_id), events in groups.items():
        who = names.get(track_id or "", "")
        name = (who or "In view") if kind == "presence" else words.title(kind) + (f" · {who}" if who else "")
        lane = "presence" if kind == "presence" else "event"
        marks = [
            _mark(view, e.id, f"{name}: {e.text}, {words.between(e.span)}", e.text if lane == "event" else "", e.span)
            for e in events
        ]
        drawn.append(Lane(name, lane, track_id or "", *_stack(marks, 1 if lane == "presence" else 3)))
    # A stable sort: people first, then what happened, then things.
    drawn.sort(key=lambda lane: ("presence", "event", "object").index(lane.kind))
    drawn += _moment_lanes(view, names)
    named = [(o.id, f"{words.title(o.target)}: {words.answer(o)}", o.span) for o in view.observations if o.id in cited]
    if named:
        marks = [_mark(view, i, f"Evidence {text}, {words.between(span)}", "", span) for i, text, span in named]
        drawn.append(Lane("Cited evidence", "evidence", "", *_stack(marks, 4)))
    return tuple(drawn)


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
        mark = replace(mark, parts=parts, dashed=a.abstained)
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
        placed.append(replace(m, row=row))
    return tuple(placed), max(1, len(ends))


def ticks(span: Span) -> tuple[tuple[float, str], ...]:
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
