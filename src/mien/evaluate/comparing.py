"""Two runs, side by side: what differs in their configuration, how far their answers agree, what each cost."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mien.core import UNASSIGNED, Assessment, Clip, Item, MienError, Observation, Source, Span, Track
from mien.evaluate.matching import Box, Seen, iou, matched
from mien.evaluate.sides import Side
from mien.evaluate.tally import Key, Row, Tally
from mien.models.weights import load_adapters
from mien.store import AsOf

Truth = Callable[[str, Span, Box | None, str], str | None]
"""(sha256 of the source, span, box or None, target) → what people said there, or None."""
LEFT_OUT = ("history.", "project.name")  # settings that change no result
Group = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Models:
    """What fills a slot on either side, and the bytes of its weights (None: not known to this mien)."""

    slot: str
    a: tuple[str, ...]
    b: tuple[str, ...]
    bytes_a: int | None
    bytes_b: int | None


@dataclass(frozen=True, slots=True)
class Cost:
    """ms of work per second of media of a stage on either side (None: not done there); same: clips with one result."""

    stage: str
    ms_per_s_a: float | None
    ms_per_s_b: float | None
    clips_a: int
    clips_b: int
    same: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """Everything a comparison shows. config, adapters: (key or stage, in a, in b) where the two differ; in_memory: two
    models were run for it."""

    a: str
    b: str
    context: str
    sources: int
    only_a: int
    only_b: int
    config: tuple[tuple[str, Any, Any], ...]
    adapters: tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...]
    models: tuple[Models, ...]
    rows: tuple[Row, ...]
    cost: tuple[Cost, ...]
    notes: tuple[str, ...]
    in_memory: bool


def compare(a: Side, b: Side, truth: Truth | None = None) -> Comparison:
    """Hold side b against side a.

    Raises:
        MienError: `diff.same-run`, `diff.contexts-differ`, `diff.nothing-in-common`.
    """
    if a.key == b.key:
        raise MienError("diff.same-run", f"{a.name} and {b.name} are the same run", "name two: mien diff lists them")
    if a.context != b.context:
        message = f"{a.name} is of context {a.context}, {b.name} of {b.context}: these are never mixed"
        raise MienError("diff.contexts-differ", message, "compare runs of one context")
    books = tuple(_Book(side, side.view(), truth) for side in (a, b))
    shas = tuple({sha for sha in book.sources if book.view.clips(sha)} for book in books)
    common = sorted(shas[0] & shas[1])
    if not common:
        raise MienError(
            "diff.nothing-in-common",
            f"{a.name} has results of {len(shas[0])} source(s), {b.name} of {len(shas[1])}, and no file is in both",
            "run both on the same files: mien run FILES",
        )
    tallies: dict[Group, Tally] = {}
    for sha in common:
        _source(tallies, sha, books[0].rows(sha), books[1].rows(sha), books, truth)
    config, notes = _config(a, b)
    said = list(dict.fromkeys(f"{side.name}: {note}" for side in (a, b) for note in side.notes))
    return Comparison(
        a.name, b.name, a.context, len(common), len(shas[0] - shas[1]), len(shas[1] - shas[0]), config,
        _adapters(books), _models(a, b), tuple(t.row() for _, t in sorted(tallies.items())), _cost(books, common),
        (*notes, *said, "peak memory: runs do not record it", "curves (arrays) are not compared, only the record"),
        a.run_id is None or b.run_id is None,
    )  # fmt: skip


class _Book:
    """What one side holds, read one source at a time."""

    def __init__(self, side: Side, view: AsOf, truth: Truth | None) -> None:
        self.side, self.view, self._truth = side, view, truth
        store = side.project.store
        self.sources = {s.sha256: s for s in store.all(Source)}
        self._people: dict[str, set[str]] = defaultdict(set)
        for item in store.all(Item):
            for sha in item.source_shas:
                self._people[sha].add(item.subject_id)
        self.adapters: dict[str, set[str]] = defaultdict(set)
        self.clips: dict[str, list[Clip]] = {}

    def rows(self, sha: str) -> dict[Group, list[Seen]]:
        """(slot, target) → rows of a source."""
        found: dict[Group, list[Seen]] = defaultdict(list)
        self.clips[sha] = self.view.clips(sha)
        for clip in self.clips[sha]:
            held = self.view.records(clip.id)
            tracks: dict[str, Track] = {t.id: t for _, t in held[Track]}
            for stage, t in held[Track]:
                target = f"tracks: {t.label if t.kind == 'object' else t.kind}"
                found[stage, target].append(Seen(t.span, t.id, t.geometry, t))
            for stage, o in held[Observation]:
                self.adapters[stage].add(o.adapter)
                found[stage, o.target].append(_seen(o, tracks))
            for stage, s in held[Assessment]:
                found[stage, "state"].append(_seen(s, tracks))
        return found

    def subject(self, sha: str, seen: Seen) -> str:
        """Who a row is about, where that is known: from people's labels, the track, or the rows of the input."""
        said = self._truth(sha, seen.span, seen.box, "subject") if self._truth and seen.box else None
        own = seen.row.subject_id if isinstance(seen.row, Track) else UNASSIGNED
        given = self._people.get(sha, set())
        return said or (own if own != UNASSIGNED else next(iter(given - {UNASSIGNED}), "") if len(given) == 1 else "")


def _seen(row: Observation | Assessment, tracks: dict[str, Track]) -> Seen:
    track = tracks.get(row.track_id or "")
    return Seen(row.span, row.track_id, track.geometry if track else None, row)


def _source(
    tallies: dict[Group, Tally],
    sha: str,
    a: dict[Group, list[Seen]],
    b: dict[Group, list[Seen]],
    books: tuple[_Book, ...],
    truth: Truth | None,
) -> None:
    for group in sorted({*a, *b}):
        tally = tallies.setdefault(group, Tally(*group))
        left, right = a.get(group, []), b.get(group, [])
        pairs = matched(left, right)
        tally.only[0] += len(left) - len(pairs)
        tally.only[1] += len(right) - len(pairs)
        for i, j in pairs:
            one, other = left[i], right[j]
            key = Key(sha, books[0].subject(sha, one) or books[1].subject(sha, other))
            if isinstance(one.row, Track):
                tally.pairs[key] += 1
                tally.overlap.append(iou(one.row.geometry, other.row.geometry))
                tally.changed += (one.span, one.box) != (other.span, other.box)
            else:
                tally.add(key, one.row, other.row, _said(truth, sha, group[1], one, other))


def _said(truth: Truth | None, sha: str, target: str, *seen: Seen) -> str | None:
    """What people said of both rows; None where they said nothing, or two different things."""
    if truth is None:
        return None
    found = {said for s in seen if (said := truth(sha, s.span, s.box, target))}
    return found.pop() if len(found) == 1 else None


# ---------------------------------------------------------------- configuration and cost


def _config(a: Side, b: Side) -> tuple[tuple[tuple[str, Any, Any], ...], list[str]]:
    notes = [f"{side.name}: its configuration was not kept" for side in (a, b) if side.config is None]
    if a.config is None or b.config is None:
        return (), notes
    keys = sorted(k for k in {*a.config, *b.config} if not k.startswith(LEFT_OUT))
    return tuple((k, x, y) for k in keys if (x := a.config.get(k)) != (y := b.config.get(k))), notes


def _adapters(books: tuple[_Book, ...]) -> tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...]:
    a, b = (book.adapters for book in books)
    return tuple((s, tuple(sorted(a[s])), tuple(sorted(b[s]))) for s in sorted({*a, *b}) if a[s] != b[s])


def _models(a: Side, b: Side) -> tuple[Models, ...]:
    sides = [_filled(side.config or {}) for side in (a, b)]
    return tuple(
        Models(slot, x, y, _bytes(x), _bytes(y))
        for slot in sorted({*sides[0], *sides[1]})
        if (x := sides[0].get(slot, ())) != (y := sides[1].get(slot, ()))
    )


def _filled(config: dict[str, Any]) -> dict[str, tuple[str, ...]]:
    """Slot → its model and further opinions, as a flat configuration says."""
    stack = {k.removeprefix("stack."): v for k, v in config.items() if k.startswith("stack.") and v != "off"}
    return {slot: tuple(dict.fromkeys((name, *config.get(f"opinions.{slot}", ())))) for slot, name in stack.items()}


def _bytes(names: tuple[str, ...]) -> int | None:
    adapters: dict[str, Any] = load_adapters()
    weights = [adapters[n].spec.weights if n in adapters else None for n in names if n != "geometry"]
    if any(n not in adapters for n in names if n != "geometry"):
        return None
    return sum(asset.bytes for w in weights if w for asset in (*w.assets, *w.bring))


def _cost(books: tuple[_Book, ...], common: list[str]) -> tuple[Cost, ...]:
    spent: list[defaultdict[str, list[float]]] = []
    for book in books:
        sums: defaultdict[str, list[float]] = defaultdict(lambda: [0.0, 0.0, 0])
        clips = {c.id: c for sha in common for c in book.clips[sha]}
        for (unit, stage), held in book.view.ledger.items():
            if unit in clips and held.ms is not None and held.state == "ok":
                fps = float((book.side.config or {}).get("analysis.fps", 5.0))
                media_s = max(clips[unit].span.duration_s, 1 / fps)  # a still counts as the time between two frames
                sums[stage] = [sums[stage][0] + held.ms, sums[stage][1] + media_s, sums[stage][2] + 1]
        spent.append(sums)
    rate = [{stage: ms / s for stage, (ms, s, _) in sums.items()} for sums in spent]
    a, b = (book.view.ledger for book in books)
    both = [at for at in a.keys() & b.keys() if a[at].key and a[at].key == b[at].key]
    units = {c.id for sha in common for c in books[0].clips[sha]}
    same = Counter(stage for unit, stage in both if unit in units)
    stages = sorted({*spent[0], *spent[1]}, key=lambda s: -max(rate[0].get(s, 0), rate[1].get(s, 0)))
    return tuple(
        Cost(s, rate[0].get(s), rate[1].get(s), int(spent[0][s][2]), int(spent[1][s][2]), same[s]) for s in stages
    )
