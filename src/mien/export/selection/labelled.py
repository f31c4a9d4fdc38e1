"""People's labels and where on the media they lie. A label belongs to a span and a place of a source, never to an id of
ours, so that another cutter or tracker orphans none.

Labels are `Verdict` rows: only ever added, the newest counts, an empty value withdraws. The key is a hash, so where it
points to is kept beside it, once, as a row of its own (target `label.where`).
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from mien.core import MienError, Source, Span, Track, Verdict, label_key
from mien.pipeline import Project
from mien.store import Store

Box = tuple[float, float, float, float]
WHERE = "label.where"
STAGE = "label"  # who owns the rows: no stage of a run, so no run takes them back
LEAST_SHARE = 0.5  # of a row's span that labels of one value must cover
LEAST_IOU, NEAR_IOU = 0.3, 0.2  # of median boxes; candidates this far below the best-placed one are other people


@dataclass(frozen=True, slots=True)
class Place:
    """Where on the media: a span of a source, and a box as a share of the frame (None: the whole recording)."""

    source_sha: str
    span: Span
    box: Box | None

    @property
    def key(self) -> str:
        return label_key(self.source_sha, self.span, self.box)


@dataclass(frozen=True, slots=True)
class Label:
    """One label: what `by` said of `target` there. An empty value withdraws the earlier ones."""

    where: Place
    target: str
    value: str
    by: str
    at_utc: str


class Labels:
    """All labels of a project, and the one in force for a place."""

    def __init__(self, verdicts: Iterable[Verdict]) -> None:
        rows = sorted(verdicts, key=lambda v: (v.at_utc, v.key, v.target))
        self._where = {v.key: _place(v.value) for v in rows if v.target == WHERE}
        self._keyed: dict[tuple[str, str], Verdict] = {}
        self._history: list[Verdict] = [v for v in rows if v.target != WHERE]
        for verdict in self._history:
            self._keyed[verdict.key, verdict.target] = verdict  # the newest stays
        self._placed: dict[tuple[str, str], list[Label]] = defaultdict(list)
        for verdict in self._keyed.values():
            where = self._where.get(verdict.key)
            if where is not None:
                label = Label(where, verdict.target, verdict.value, verdict.by, verdict.at_utc)
                self._placed[where.source_sha, verdict.target].append(label)

    def __len__(self) -> int:
        return len(self._history)

    def known(self, key: str) -> bool:
        """Whether the place of a key is kept already."""
        return key in self._where

    def newest(self, key: str, target: str) -> Verdict | None:
        return self._keyed.get((key, target))

    def history(self) -> list[tuple[Verdict, Place | None]]:
        """Every label ever given, oldest first, and where it lies (None for one keyed elsewhere)."""
        return [(v, self._where.get(v.key)) for v in self._history]

    def of(self, where: Place, target: str) -> Label | None:
        """The label in force for a place: each instant speaks for the newest label that covers it, and a value holds
        for the whole where it covers at least half."""
        near = [label for label in self._placed.get((where.source_sha, target), ()) if _share(label, where) > 0]
        fits = {id(label): 1.0 if where.box is None else _iou(label.where.box, where.box) for label in near}
        best = max(fits.values(), default=0.0)
        near = [label for label in near if fits[id(label)] >= max(LEAST_IOU, best - NEAR_IOU)]
        exact = self.newest(where.key, target)
        if exact is not None and where.key not in self._where:  # keyed by another part of mien, which kept no place
            near.append(Label(where, target, exact.value, exact.by, exact.at_utc))
        return _in_force(near, where.span)


def _in_force(labels: Sequence[Label], span: Span) -> Label | None:
    newest_first = sorted(labels, key=lambda label: (label.at_utc, label.where.key), reverse=True)
    whole = Span(span.start_us, max(span.end_us, span.start_us + 1))
    edges = {whole.start_us, whole.end_us}
    for label in newest_first:
        edges |= {t for t in (label.where.span.start_us, label.where.span.end_us) if whole.contains(t)}
    covered: dict[str, int] = defaultdict(int)
    spoke: dict[str, Label] = {}
    bounds = sorted(edges)
    for a, b in pairwise(bounds):
        for label in newest_first:
            if label.where.span.start_us <= a and b <= max(label.where.span.end_us, label.where.span.start_us + 1):
                covered[label.value] += b - a
                if label.value not in spoke or spoke[label.value].at_utc < label.at_utc:
                    spoke[label.value] = label
                break
    value = max(covered, key=lambda v: (covered[v], spoke[v].at_utc), default="")
    return spoke[value] if value and covered[value] >= LEAST_SHARE * whole.duration_us else None


def _share(label: Label, where: Place) -> float:
    if (label.where.box is None) != (where.box is None):
        return 0.0
    return label.where.span.overlap_us(where.span) / max(1, where.span.duration_us)


def _iou(a: Box | None, b: Box | None) -> float:
    if a is None or b is None:
        return 0.0
    w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if w <= 0 or h <= 0:
        return 0.0
    both = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
    return w * h / (both - w * h)


def overlaps(a: Place, b: Place) -> bool:
    """Whether two places mean the same: at least half of either span in common, and boxes that meet."""
    least = max(1, min(a.span.duration_us, b.span.duration_us))
    if a.source_sha != b.source_sha or (a.box is None) != (b.box is None):
        return False
    return a.span.overlap_us(b.span) >= LEAST_SHARE * least and (a.box is None or _iou(a.box, b.box) >= LEAST_IOU)


# ---------------------------------------------------------------- the store


def labels_of(store: Store) -> Labels:
    return Labels(store.all(Verdict))


def put_labels(project: Project, held: Labels, labels: Sequence[Label]) -> None:
    """Add labels to the record. Never replaces a row: a label of the same instant and place must not be among them."""
    placed: set[str] = set()
    rows: dict[str, list[Verdict]] = defaultdict(list)
    for label in labels:
        key = label.where.key
        if not held.known(key) and key not in placed:
            placed.add(key)
            rows[label.where.source_sha].append(Verdict(key, WHERE, _told(label.where), label.by, label.at_utc))
        rows[label.where.source_sha].append(Verdict(key, label.target, label.value, label.by, label.at_utc))
    store = Store(project.root, write=True) if project.root else project.store
    try:
        for sha, verdicts in sorted(rows.items()):
            if not store.all(Source, "sha256 = ?", (sha,)):
                raise MienError("labels.no-source", f"no source of this project has the sha256 {sha[:12]}…")
            store.put(verdicts, unit=sha, stage=STAGE)
    finally:
        if project.root:
            store.close()


def _told(where: Place) -> str:
    span = where.span
    return json.dumps([where.source_sha, span.start_us, span.end_us, where.box], separators=(",", ":"))


def _place(text: str) -> Place | None:
    try:
        sha, start, end, box = json.loads(text)
        return Place(sha, Span(start, end), None if box is None else (box[0], box[1], box[2], box[3]))
    except (ValueError, TypeError, IndexError):
        return None


def track_names(tracks: Sequence[Track]) -> dict[str, str]:
    """Track id → `face 1`, `person 2`, `chair 1`, in order of appearance: as claims name them, numbered per clip."""
    count: dict[str, int] = defaultdict(int)
    names: dict[str, str] = {}
    for track in sorted(tracks, key=lambda t: (t.span.start_us, t.id)):
        kind = track.label if track.kind == "object" else track.kind
        count[kind] += 1
        names[track.id] = f"{kind} {count[kind]}"
    return names
