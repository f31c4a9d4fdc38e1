"""What the `ledger` engine says of what was measured: sounds, presence, movement, events, and what came together."""

from __future__ import annotations

from collections.abc import Iterator

from mien.core import Observation, Span
from mien.reason.ledger import Ledger, top
from mien.reason.predicates import (
    Change,
    Gap,
    MoreVocal,
    Movement,
    Onset,
    Order,
    Peak,
    Predicate,
    Presence,
    Together,
    Vocal,
)
from mien.reason.vocabulary import EVENT_KINDS, QUANTITIES, TIME_US, is_affect, leading, movement

MAX_SOUND_CLAIMS = 8
MAX_OF_TWO = 4
MAX_EVENT_CLAIMS = 4  # per track
NEAR_US = 2_000_000


def sounds(ledger: Ledger) -> Iterator[Predicate]:
    """The longest vocal segments, and how many more there are."""
    segments = sorted(
        (o for o in ledger.observations if o.target == "vocal.kind" and o.dist),
        key=lambda o: (-o.span.duration_us, o.span),
    )
    by_span = {(o.target, o.span): o for o in ledger.observations}
    for row in sorted(segments[:MAX_SOUND_CLAIMS], key=lambda o: o.span.start_us):
        level, pitch = by_span.get(("vocal.level_dbfs", row.span)), by_span.get(("vocal.f0_hz", row.span))
        cited = tuple(o.id for o in (row, level, pitch) if o is not None and (o is row or o.value is not None))
        yield Vocal(
            span=row.span, track=None, cites=cited, voice=top(row.dist), seconds=row.span.duration_s,
            level=level.value if level else None, pitch=pitch.value if pitch else None,
        )  # fmt: skip
    rest = segments[MAX_SOUND_CLAIMS:]
    if rest:
        span = Span(min(o.span.start_us for o in rest), max(o.span.end_us for o in rest))
        yield MoreVocal(span=span, track=None, cites=tuple(o.id for o in rest), count=len(rest))


def people(ledger: Ledger) -> Iterator[Predicate]:
    faces = {t.id: t for t in ledger.tracks if t.kind == "face"}
    for row in ledger.observations:
        if row.target == "presence" and row.track_id in faces and row.value is not None:
            yield Presence(span=faces[row.track_id].span, track=row.track_id, cites=(row.id,), share=row.value)


def bodies(ledger: Ledger) -> Iterator[Predicate]:
    """One claim per track and kind of movement: the longest stretch, and how many more there are."""
    groups: dict[tuple[str, str, str], list[Observation]] = {}
    for row in ledger.observations:
        if row.track_id and movement(row):
            label = leading(row) if row.target.startswith("interaction.") else ""
            groups.setdefault((row.track_id, row.target, label), []).append(row)
    for (track, target, _), rows in sorted(groups.items(), key=lambda g: (min(o.span for o in g[1]), g[0])):
        longest = max(rows, key=lambda o: (o.span.duration_us, -o.span.start_us))
        yield Movement(
            span=Span(min(o.span.start_us for o in rows), max(o.span.end_us for o in rows)), track=track,
            cites=tuple(o.id for o in sorted(rows, key=lambda o: o.span)), target=target, value=longest.value or 0.0,
            detail=leading(longest), count=len(rows), longest=longest.span,
        )  # fmt: skip


def changes(ledger: Ledger) -> Iterator[Predicate]:
    """The largest event of each signal, for the signals that moved most by their own measure; where mouth corners have
    none, their change between two windows. All other events stay in the ledger."""
    best: dict[tuple[str, str], tuple[float, Observation]] = {}
    for row in sorted(ledger.observations, key=lambda o: (o.span, o.id)):
        kind, _, name = row.target.partition(".")
        if kind in EVENT_KINDS and name in QUANTITIES and row.value is not None:
            size = 1.0 if kind in ("gap", "peak") else abs(row.value) / QUANTITIES[name].least
            key = (row.track_id or "", name)
            if key not in best or size > best[key][0]:
                best[key] = (size, row)
    for track in sorted({track for track, _ in best}):
        mine = sorted(
            (held for key, held in best.items() if key[0] == track), key=lambda h: (-h[0], h[1].span, h[1].id)
        )
        for _, row in mine[:MAX_EVENT_CLAIMS]:
            yield _of_event(row)
    corners = "face.mouth_corner_raise"
    for track in ledger.tracks:
        if (track.id, corners) not in best:
            yield from _window_change(ledger, track.id, corners)


def _of_event(row: Observation) -> Predicate:
    kind, _, target = row.target.partition(".")
    value = row.value or 0.0
    if kind in ("rise", "fall"):
        return Change(
            span=row.span, track=row.track_id, cites=(row.id,), target=target, direction=kind, amount=abs(value)
        )
    if kind == "peak":
        return Peak(span=row.span, track=row.track_id, cites=(row.id,), target=target, value=value)
    if kind == "onset":
        return Onset(span=row.span, track=row.track_id, cites=(row.id,), target=target, amount=value)
    return Gap(span=row.span, track=row.track_id, cites=(row.id,), target=target)


def _window_change(ledger: Ledger, track: str, target: str) -> Iterator[Predicate]:
    """The change between the windows with the least and the greatest value, beyond their noise."""
    rows = [o for o in ledger.observations if o.track_id == track and o.target == target and o.value is not None]
    if len(rows) < 2:
        return
    low, high = min(rows, key=lambda o: o.value or 0.0), max(rows, key=lambda o: o.value or 0.0)
    change = (high.value or 0.0) - (low.value or 0.0)
    spread = ((low.sd or 0.0) ** 2 + (high.sd or 0.0) ** 2) ** 0.5
    if change > max(QUANTITIES[target].least, 2 * spread):
        first, last = sorted((low, high), key=lambda o: o.span.start_us)
        yield Change(
            span=Span(first.span.start_us, last.span.end_us), track=track, cites=(first.id, last.id), target=target,
            direction="rise" if last is high else "fall", amount=change,
        )  # fmt: skip


def pairs(ledger: Ledger) -> Iterator[Predicate]:
    """What a face or a body does around wordless sounds: before, after, or at the same time. The nearest pairs only."""
    sounds = [o for o in ledger.observations if o.target == "vocal.kind" and o.dist and top(o.dist) != "speech"]
    acts = [
        o
        for o in ledger.observations
        if o.track_id and o.value is not None
        and ((o.target.startswith(("rise.", "fall.")) and o.target.partition(".")[2] in QUANTITIES) or _act(o))
    ]  # fmt: skip
    found: list[tuple[int, Predicate]] = []
    for sound in sounds:
        for act in acts:
            first, second = sorted((sound, act), key=lambda o: o.span.start_us)
            lag = second.span.start_us - first.span.start_us
            both = first.span.overlap_us(second.span)
            where = {
                "span": Span(first.span.start_us, max(first.span.end_us, second.span.end_us)), "track": act.track_id,
                "cites": (first.id, second.id), "first": first.target, "second": second.target,
            }  # fmt: skip
            if 2 * TIME_US <= lag <= NEAR_US:
                found.append((lag, Order(**where, lag_s=lag / 1e6)))
            elif lag < 2 * TIME_US < 2 * both:
                found.append((lag, Together(**where, overlap_s=both / 1e6)))
    yield from (p for _, p in sorted(found, key=lambda f: (f[0], f[1].span, f[1].cites))[:MAX_OF_TWO])


def _act(row: Observation) -> bool:
    return row.target.startswith("body.") and bool(movement(row)) and not is_affect(row.target)
