"""Who is in a project's media and what they agreed to: every record of a person, brought to one answer per use."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from mien.core import UNASSIGNED, Attribute, Clip, Consent, Context, Item, Source, Span, Subject, Track
from mien.pipeline.people import Marks
from mien.policy.consent import State, permission, refused, state, told
from mien.policy.mining import PREFIX
from mien.policy.uses import Permission, Reason, Use
from mien.store import Store

TAIL_US = 500_000  # a session that ends this near to a recording's end is all of it: a header and a scan may differ


@dataclass(slots=True)
class People:
    """Consent of everybody in a project, at one time.

    Attributes:
        of_source: sha256 → whom the recording as a whole is about: by a column of the input, or a session that is all
            of it. Who is in a part of it: `about`, `present`.
    """

    subjects: dict[str, Subject]
    consents: dict[str, tuple[Consent, ...]]
    of_source: dict[str, tuple[str, ...]]
    marks: Marks
    store: Store
    at: datetime
    _beside: tuple[str, tuple[Track, ...]] = ("", ())

    def about(self, sha: str, span: Span | None = None) -> tuple[str, ...]:
        """Whom a recording is about; with a span also those whose session touches it."""
        sessions = () if span is None else (a for a in self.marks.assigned(sha, span) if a.kind == "session")
        return tuple(sorted({*self.of_source.get(sha, ()), *(a.subject_id for a in sessions)}))

    def present(self, sha: str, span: Span | None = None) -> tuple[str, ...]:
        """Everybody who was said to be in a recording (or a span of it), found by a detector or not."""
        said = (a.subject_id for a in self.marks.assigned(sha, span))
        return tuple(sorted({*self.of_source.get(sha, ()), *said}))

    def who(self, sha: str, track: Track) -> tuple[str, ...]:
        """Whose track it is, as people said it (`pipeline.people`); nobody, or one."""
        if self._beside[0] != track.clip_id:
            tracks = self.store.all(Track, "clip_id = ? AND kind != 'object'", (track.clip_id,))
            self._beside = (track.clip_id, tuple(tracks))
        if track.kind == "object":
            return ()
        clip = Clip(track.clip_id, sha, track.span, "", "", "")  # its source is all that is asked of it
        named = self.marks.who(clip, track, self._beside[1])
        return (named,) if named else ()

    def says(self, subject: str, use: Use) -> State:
        """What one person agreed to."""
        held = self.subjects.get(subject)
        return state(use, (held.consent if held else None,), self.consents.get(subject, ()), self.at)

    def of_track(self, source: Source, track: Track, use: Use) -> State:
        """Whether the person of a track agreed: "no" if anybody it may be refuses. What a recording's own consent, or
        that of the person it is about, says holds for those in it of whom nothing is recorded."""
        found = {self.says(subject, use) for subject in self.who(source.sha256, track)}
        if "no" in found:
            return "no"
        if found:
            return "yes" if "yes" in found else self.of_recording(source, use, track.span)
        return self.of_recording(source, use, track.span)

    def of_recording(self, source: Source, use: Use, span: Span | None = None) -> State:
        """What a recording's own field says; else what the people say whose recording, or whose part of it, it is."""
        own = state(use, (source.consent,), (), self.at)
        if own != "unknown":
            return own
        said = {self.says(subject, use) for subject in self.about(source.sha256, span)}
        return "no" if "no" in said else "yes" if said == {"yes"} else "unknown"

    def permission(self, name: str, source: Source) -> Permission:
        """What the consent of a recording, and of those whose recording it is, closes."""
        made = permission(name, (source.consent,), (), self.at)
        for subject in self.of_source.get(source.sha256, ()):
            made &= self._of_person(subject)
        return made

    def part_refused(self, source: Source, span: Span, use: Use) -> Reason | None:
        """Why a part of a recording may not leave: whose session it is said no to this use; None where nobody did."""
        for subject in self.about(source.sha256, span):
            if self.says(subject, use) == "no":
                return self._of_person(subject).why_not(use)[0]
        return None

    def _of_person(self, subject: str) -> Permission:
        held = self.subjects.get(subject)
        return permission(subject, (held.consent if held else None,), self.consents.get(subject, ()), self.at)

    def told(self, source: Source) -> str:
        """What of the consent behind a recording is told to others: scopes and end, never the words about a person."""
        made = [told((source.consent,), (), self.at)] if source.consent else []
        for subject in self.of_source.get(source.sha256, ()):
            held = self.subjects.get(subject)
            made.append(told((held.consent if held else None,), self.consents.get(subject, ()), self.at))
        return "; ".join(sorted({t for t in made if t}))

    def agreed(self, subjects: Sequence[str]) -> bool:
        """Whether somebody is enrolled: known, with a consent that holds (what `care` asks before affect leaves)."""

        def holds(subject: str) -> bool:
            held, rows = self.subjects.get(subject), self.consents.get(subject, ())
            words = held.consent if held else None
            return bool(rows) and not refused(words) and self.says(subject, "view") == "yes"

        return bool(subjects) and all(holds(s) for s in subjects)


def people_of(store: Store, context: Context, at: datetime) -> People:
    """Read what the record holds of people."""
    consents: dict[str, list[Consent]] = defaultdict(list)
    for row in store.all(Consent):
        consents[row.subject_id].append(row)
    of_source: dict[str, set[str]] = defaultdict(set)
    for item in store.all(Item, "subject_id != ?", (UNASSIGNED,)):
        for sha in item.source_shas:
            of_source[sha].add(item.subject_id)
    marks = Marks(store, context, at)
    for source in store.all(Source):
        whole = source.duration_us - TAIL_US
        newest = marks.newest_session(source.sha256)
        if newest is not None and newest.span.start_us <= 0 and newest.span.end_us >= whole:
            of_source[source.sha256].add(newest.subject_id)  # older ones and parts are asked clip by clip
    return People(
        {s.id: s for s in store.all(Subject)},
        {subject: tuple(rows) for subject, rows in consents.items()},
        {sha: tuple(sorted(subjects)) for sha, subjects in of_source.items()},
        marks,
        store,
        at,
    )


def mining_of(store: Store) -> dict[str, tuple[tuple[str, str], ...]]:
    """sha256 → what its file, or a table beside it, says of training and mining."""
    said: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for a in store.all(Attribute, "key LIKE ?", (f"{PREFIX}%",)):
        said[a.item_id].append((a.key, a.value))
    found: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for item_id, rows in said.items():
        for item in store.all(Item, "id = ?", (item_id,)):
            for sha in item.source_shas:
                found[sha].update(rows)
    return {sha: tuple(sorted(rows)) for sha, rows in found.items()}
