"""Who is who in recordings, and whom affect models may look at. Pseudonyms are given by people, never found by looks.

One rule says who a track is (`Marks.who`), for the runner, for exports and for `mien forget`.
"""

from __future__ import annotations

import datetime
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from mien.core import UNASSIGNED, Assignment, Clip, Consent, Context, Item, Span, Subject, Track, Verdict, label_key
from mien.policy import affect_allowed
from mien.policy.consent import refused, scopes_at
from mien.store import Store

SUBJECT = "subject"  # the target of labels that say who a track is
LEAST_SHARE, LEAST_IOU = 0.5, 0.5
_ORDER = {"session": 0, "zone": 1, "track": 2}


@dataclass(frozen=True, slots=True)
class Cast:
    """Who is in one clip, as far as people said it.

    Attributes:
        who: track id → pseudonym, of the tracks of which it was said.
        alone: the pseudonym of the whole clip, where everybody in view is that person or nobody is in view; else "".
        affect: the tracks that affect models may look at; None: all (outside `care`).
        sound: whether affect models may listen. everybody: whether everybody in view may be looked at.
    """

    who: dict[str, str] = field(default_factory=dict)
    alone: str = ""
    affect: frozenset[str] | None = None
    sound: bool = True
    everybody: bool = True

    def key_of(self, stage: str) -> list[object]:
        """What a stage's result depends on of all this; empty: on nothing."""
        if stage == "assess":
            return [*sorted(self.who.items()), *([self.alone] if self.alone else []), *self._limits()]
        if stage == "expression":
            return [sorted(self.affect)] if self.affect else []
        if stage in ("voice", "affect"):
            return ["allowed"] if self.affect is not None and self.allows(stage) else []
        return []

    def _limits(self) -> list[object]:
        return [] if self.affect is None or not (self.affect or self.sound) else [sorted(self.affect), self.sound]

    def allows(self, stage: str) -> bool:
        """Whether an affect stage has anybody it may look at or listen to."""
        if self.affect is None:
            return True
        by_stage = {"voice": self.sound, "assess": bool(self.affect) or self.sound}
        return by_stage.get(stage, bool(self.affect))


CLOSED = Cast(affect=frozenset(), sound=False, everybody=False)
"""A clip in `care` of which nobody said who is in it."""


class Marks:
    """What people said of who is who, and what those agreed to, at one time; read once for a run.

    Args:
        at: UTC; consent that expires later still holds.
    """

    def __init__(self, store: Store, context: Context, at: datetime.datetime) -> None:
        self._store = store
        self._context: Context = context
        self._assigned: dict[str, list[Assignment]] = defaultdict(list)
        for a in store.all(Assignment):
            self._assigned[a.source_sha].append(a)
        self._labels: dict[str, Verdict] = {}
        for v in store.all(Verdict, "target = ?", (SUBJECT,)):
            if v.key not in self._labels or v.at_utc > self._labels[v.key].at_utc:
                self._labels[v.key] = v
        self._given: dict[str, set[str]] = defaultdict(set)
        for item in store.all(Item, "subject_id != ?", (UNASSIGNED,)):
            for sha in item.source_shas:
                self._given[sha].add(item.subject_id)
        words = {s.id: s.consent for s in store.all(Subject)}
        held: dict[str, list[Consent]] = defaultdict(list)
        for c in store.all(Consent):
            held[c.subject_id].append(c)
        self._enrolled = frozenset(
            s for s, rows in held.items() if "analyse" in (scopes_at(rows, at) or ()) and not refused(words.get(s))
        )

    def enrolled(self, subject: str) -> bool:
        """Whether affect models may look at this person: outside `care` anybody; in `care` where a consent record with
        the scope `analyse` is in force and no column's words refuse. Words of a table alone open nothing."""
        return affect_allowed(self._context, subject in self._enrolled)

    def assigned(self, sha: str, span: Span | None = None) -> tuple[Assignment, ...]:
        """The assignments in force over a recording, or over what of it touches a span, newest first. One is in force
        where no newer one of its kind and place covers all of it that is asked about; `unassigned` takes back."""
        found: list[Assignment] = []
        over: list[Assignment] = []
        for a in sorted(self._assigned.get(sha, ()), key=lambda a: (a.at_utc, a.id), reverse=True):
            part = a.span if span is None else _common(a.span, span)
            if part is None:
                continue
            if not any(b.kind == a.kind and b.zone == a.zone and _covers(b.span, part) for b in over):
                found.append(a)
            over.append(a)
        return tuple(a for a in found if a.subject_id not in ("", UNASSIGNED))

    def newest_session(self, sha: str) -> Assignment | None:
        """The last word on whose a recording, or some part of it, is; None where it took one back."""
        held = [a for a in self._assigned.get(sha, ()) if a.kind == "session"]
        newest = max(held, key=lambda a: (a.at_utc, a.id), default=None)
        return None if newest is None or newest.subject_id == UNASSIGNED else newest

    @property
    def anybody(self) -> bool:
        """Whether there is anybody whom affect models may look at."""
        return self._context != "care" or bool(self._enrolled and (self._assigned or self._labels or self._given))

    def cast(self, clip: Clip) -> Cast:
        """Who is in a clip, and what that permits."""
        sha, care = clip.source_sha, self._context == "care"
        if not (self._assigned.get(sha) or self._labels or self._given.get(sha)):
            return CLOSED if care else Cast()
        tracks = [t for t in self._store.all(Track, "clip_id = ?", (clip.id,)) if t.kind != "object"]
        who = {t.id: name for t in tracks if (name := self.who(clip, t, tracks))}
        session = self._session(sha, clip.span)
        alone = self._whole(clip, tracks, who) or session
        if not care:
            return Cast(who, alone)
        faces = [t for t in tracks if t.kind == "face"]
        may = frozenset(t.id for t in faces if self.enrolled(who.get(t.id, "")))
        everybody = self._everybody(tracks, who, may) if tracks else self.enrolled(alone)
        return Cast(who, alone, may, everybody or (session != "" and self.enrolled(session)), everybody)

    def who(self, clip: Clip, track: Track, beside: Sequence[Track]) -> str:
        """Whose track it is; "" where nobody said. A label or an assignment of the track itself comes before one of a
        place, that before one of the session, that before a column; of one kind, the newest.

        Args:
            beside: all tracks of people and faces of the clip.
        """
        sha = clip.source_sha
        said = [(_ORDER[a.kind], a.at_utc, a.subject_id) for a in self._assigned[sha] if _fits(a, track, beside)]
        label = self._labels.get(label_key(sha, track.span, track.geometry))
        if label and label.value:
            said.append((_ORDER["track"], label.at_utc, label.value))
        if said:
            return "" if max(said)[2] in ("", UNASSIGNED) else max(said)[2]
        if track.subject_id not in ("", UNASSIGNED):
            return track.subject_id
        same = [t for t in beside if t.kind == track.kind]
        return self._column(sha) if len(same) < 2 else ""

    def _column(self, sha: str) -> str:
        found = self._given.get(sha, set())
        return next(iter(found)) if len(found) == 1 else ""

    def _session(self, sha: str, span: Span) -> str:
        """Whom the session is assigned to that holds this span, most of it."""
        held = [a for a in self._assigned.get(sha, ()) if a.kind == "session" and _mostly(a.span, span)]
        newest = max(held, key=lambda a: a.at_utc, default=None)
        return "" if newest is None or newest.subject_id == UNASSIGNED else newest.subject_id

    def _whole(self, clip: Clip, tracks: Sequence[Track], who: dict[str, str]) -> str:
        if not any(t.kind == "face" for t in tracks):
            return self._column(clip.source_sha)
        named = {who.get(t.id, "") for t in tracks if t.kind == "face"}
        return named.pop() if len(named) == 1 else ""

    def _everybody(self, tracks: Sequence[Track], who: dict[str, str], may: frozenset[str]) -> bool:
        """Whether every face and every body in view is of somebody enrolled. A body counts with the enrolled face that
        lies in it; one face speaks for one body."""
        if any(t.kind == "face" and t.id not in may for t in tracks):
            return False
        free = [t for t in tracks if t.id in may]
        for body in (t for t in tracks if t.kind == "person"):
            if self.enrolled(who.get(body.id, "")):
                continue
            mine = next((f for f in free if _inside(f.geometry, body.geometry) and f.span.overlap_us(body.span)), None)
            if mine is None:
                return False
            free.remove(mine)
        return True


def now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


def subjects_of(store: Store, clip: Clip) -> dict[str, str]:
    """Track id → pseudonym, of the tracks of a clip of which somebody said it."""
    return Marks(store, "research", now()).cast(clip).who


def _mostly(outer: Span, inner: Span) -> bool:
    return outer.overlap_us(inner) >= LEAST_SHARE * max(1, inner.duration_us)


def _covers(outer: Span, inner: Span) -> bool:
    return outer.start_us <= inner.start_us and inner.end_us <= outer.end_us


def _common(a: Span, b: Span) -> Span | None:
    """What two spans have in common; a still picture's span has no length and lies in the other."""
    start, end = max(a.start_us, b.start_us), min(a.end_us, b.end_us)
    return Span(start, end) if start < end or (start == end and 0 in (a.duration_us, b.duration_us)) else None


def _fits(said: Assignment, track: Track, beside: Sequence[Track]) -> bool:
    if not _mostly(said.span, track.span):
        return False
    if said.kind == "session":  # it says who the recording is of, and not which of several people that is
        others = [t for t in beside if t.id != track.id and t.span.overlap_us(track.span)]
        bodies = [t for t in others if t.kind == "person"]
        return not any(t.kind == track.kind for t in others) and len(bodies) < 2
    if said.zone is None:
        return False
    if said.kind == "zone":
        return _inside(track.geometry, said.zone)
    return _iou(track.geometry, said.zone) >= LEAST_IOU and _mostly(track.span, said.span)


def _inside(box: tuple[float, ...], place: tuple[float, ...]) -> bool:
    """Whether the middle of a box lies in a place."""
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    return place[0] <= x <= place[2] and place[1] <= y <= place[3]


def _iou(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if w <= 0 or h <= 0:
        return 0.0
    return w * h / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - w * h)
