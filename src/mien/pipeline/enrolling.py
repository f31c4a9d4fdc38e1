"""People of a project: pseudonyms, what they agreed to, and who they are in recordings. All of it only ever added."""

from __future__ import annotations

import datetime
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mien.core import (
    UNASSIGNED,
    AssignedBy,
    Assignment,
    Clip,
    Consent,
    MienError,
    Source,
    Span,
    Subject,
    Track,
    content_id,
)
from mien.core.records import Assent
from mien.media import hash_file
from mien.pipeline.engine.books import utc_now
from mien.pipeline.people import Marks, now
from mien.pipeline.project import Project
from mien.policy.consent import moment, scopes_at
from mien.store import Store

UNIT = STAGE = "people"
SCOPES = ("analyse", "export", "train", "publish")
ASSENTS = ("yes", "no", "not-able", "not-asked")
_PSEUDONYM = re.compile(r"[^\W_][\w.-]{0,63}")
Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Person:
    """One person as the record knows them. `scopes`: what holds now; None: nothing was recorded."""

    id: str
    scopes: tuple[str, ...] | None
    expires_utc: str | None
    consents: tuple[Consent, ...]
    assignments: tuple[Assignment, ...]


def add(project: Project, pseudonym: str) -> Subject:
    """Make a person known.

    Raises:
        MienError: `people.not-a-pseudonym`, `people.exists`.
    """
    if not _PSEUDONYM.fullmatch(pseudonym) or pseudonym == UNASSIGNED:
        raise MienError(
            "people.not-a-pseudonym",
            f"{pseudonym!r} must be one word of letters, digits, '.', '_' and '-', 64 at most",
            "take a code such as P1, never a name; who P1 is belongs on paper elsewhere",
        )
    if project.store.all(Subject, "id = ?", (pseudonym,)):
        raise MienError("people.exists", f"{pseudonym} is known already", f"see: mien people show {pseudonym}")
    subject = Subject(pseudonym)
    _put(project, [subject], "person", {"subject": pseudonym})
    return subject


def consent(
    project: Project,
    pseudonym: str,
    scopes: Sequence[str],
    by: str,
    *,
    expires: str | None = None,
    assent: str = "not-asked",
    note: str = "",
) -> Consent:
    """Record what a person agrees to from now on, in place of all before; no scopes: a withdrawal.

    Args:
        by: who recorded it. expires: ISO date or time from which it holds no longer.

    Raises:
        MienError: `people.unknown`, `people.bad-scope`, `people.bad-time`, `people.no-recorder`.
    """
    _known(project, pseudonym)
    wrong = [s for s in scopes if s not in SCOPES] or ([assent] if assent not in ASSENTS else [])
    if wrong:
        raise MienError(
            "people.bad-scope",
            f"there is no {wrong[0]!r}",
            f"scopes: {', '.join(SCOPES)}; assent: {', '.join(ASSENTS)}",
        )
    if expires is not None and moment(expires) is None:
        raise MienError("people.bad-time", f"{expires!r} is no date", "write it as 2027-06-30")
    at = _after(max((c.at_utc for c in project.store.all(Consent, "subject_id = ?", (pseudonym,))), default=""))
    kept: Any = tuple(s for s in SCOPES if s in scopes)
    how: Assent = assent  # type: ignore[assignment]
    made = Consent("", pseudonym, kept, at, expires, _by(by), how, note)
    made = replace(made, id=content_id("consent", pseudonym, at, kept, expires))
    told = {"subject": pseudonym, "scopes": list(kept), "expires": expires, "by": by, "assent": assent}
    _put(project, [made], "consent" if kept else "withdrawal", told)
    return made


def assign(
    project: Project,
    pseudonym: str,
    source: str,
    by: str,
    *,
    start_s: float | None = None,
    end_s: float | None = None,
    zone: Box | None = None,
    track: str = "",
) -> Assignment:
    """Say who somebody in a recording is: a session, or a part of it; a place of the frame; a track ("face 1").

    Args:
        pseudonym: `unassigned` takes an older assignment of the same kind back. source: file, its name, or sha256.
        start_s, end_s: of the recording; None: its beginning, its end. zone: x1, y1, x2, y2 as a share of the frame.

    Raises:
        MienError: `people.unknown`, `people.no-recorder`, `people.no-source`, `people.no-track`, `people.bad-zone`,
            `people.bad-time`.
    """
    if pseudonym != UNASSIGNED:
        _known(project, pseudonym)
    held = source_of(project.store, source)
    first, last = round(1e6 * (start_s or 0.0)), held.duration_us if end_s is None else round(1e6 * end_s)
    if not 0 <= first < max(1, last):
        raise MienError(
            "people.bad-time", "the end must come after the beginning", "times are seconds: --from 3 --to 9"
        )
    span, kind, box = Span(first, max(first + 1, last)), "session", zone
    if zone is not None:
        kind = "zone"
        if not (0 <= zone[0] < zone[2] <= 1 and 0 <= zone[1] < zone[3] <= 1):
            raise MienError("people.bad-zone", f"{zone} is no place of the frame", "as shares of it: --zone 0,0,0.5,1")
    if track:
        kind = "track"
        found = _track(project.store, held, track, span)
        span, box = found.span, found.geometry
    older = project.store.all(Assignment, "source_sha = ?", (held.sha256,))
    at, how = _after(max((a.at_utc for a in older), default="")), kind
    named: AssignedBy = how  # type: ignore[assignment]
    made = Assignment("", pseudonym, held.sha256, span, named, box, _by(by), at)
    made = replace(made, id=content_id("assignment", pseudonym, held.sha256, span, kind, at))
    told = {"subject": pseudonym, "source": held.sha256, "span": [span.start_us, span.end_us], "kind": kind, "by": by}
    _put(project, [made], "assignment", told)
    return made


def people(project: Project) -> list[Person]:
    """Everybody in the project, in the order of their pseudonyms."""
    return [person(project, s.id) for s in sorted(project.store.all(Subject), key=lambda s: s.id) if s.id != UNASSIGNED]


def person(project: Project, pseudonym: str) -> Person:
    """What is recorded of one person.

    Raises:
        MienError: `people.unknown`.
    """
    _known(project, pseudonym)
    rows = sorted(project.store.all(Consent, "subject_id = ?", (pseudonym,)), key=lambda c: c.at_utc)
    mine = sorted(project.store.all(Assignment, "subject_id = ?", (pseudonym,)), key=lambda a: a.at_utc)
    scopes = scopes_at(rows, now())
    held = None if scopes is None else tuple(s for s in SCOPES if s in scopes)
    return Person(pseudonym, held, rows[-1].expires_utc if rows else None, tuple(rows), tuple(mine))


def seen(project: Project, pseudonym: str) -> list[tuple[Clip, tuple[str, ...]]]:
    """The clips in which a person was said to be, with the ids of their tracks; none: the whole clip is theirs."""
    marks = Marks(project.store, project.config.context, now())
    found: list[tuple[Clip, tuple[str, ...]]] = []
    for clip in sorted(project.store.all(Clip), key=lambda c: (c.source_sha, c.span)):
        cast = marks.cast(clip)
        mine = tuple(sorted(t for t, who in cast.who.items() if who == pseudonym))
        if mine or cast.alone == pseudonym:
            found.append((clip, mine))
    return found


def source_of(store: Store, given: str) -> Source:
    """The source that a path, a file name or (the beginning of) a sha256 names.

    Raises:
        MienError: `people.no-source`.
    """
    sources = store.all(Source)
    path = Path(given)
    sha = hash_file(path) if path.is_file() else ""
    by_name = [s for s in sources if s.sha256 == sha] or [s for s in sources if Path(s.path).name == given]
    if not by_name and len(given) >= 8:
        by_name = [s for s in sources if s.sha256.startswith(given)]
    if len(by_name) != 1:
        held = ", ".join(sorted(Path(s.path).name for s in sources)[:5]) or "none yet"
        raise MienError("people.no-source", f"{given!r} names no source, or several", f"sources: {held}")
    return by_name[0]


def _track(store: Store, source: Source, name: str, span: Span) -> Track:
    kind, _, number = name.strip().partition(" ")
    clips = [c for c in store.all(Clip, "source_sha = ?", (source.sha256,)) if c.span.overlap_us(span)]
    found = [
        t
        for clip in sorted(clips, key=lambda c: c.span)
        for i, t in enumerate(
            sorted((t for t in store.all(Track, "clip_id = ?", (clip.id,)) if t.kind == kind), key=_order), 1
        )
        if str(i) == number and t.span.overlap_us(span)
    ]
    if len(found) != 1:
        raise MienError(
            "people.no-track",
            f"{len(found)} tracks are {name!r} in this part of the recording",
            "tracks are numbered per clip (the report shows them): narrow it down with --from and --to",
        )
    return found[0]


def _order(track: Track) -> tuple[int, str]:
    return track.span.start_us, track.id


def _known(project: Project, pseudonym: str) -> None:
    if not project.store.all(Subject, "id = ?", (pseudonym,)):
        raise MienError(
            "people.unknown", f"nobody is called {pseudonym}", f"make them known: mien people add {pseudonym}"
        )


def _by(by: str) -> str:
    if not by.strip():
        raise MienError("people.no-recorder", "who records this must be said", "--by C1, a name or pseudonym")
    return by.strip()


def _after(last: str) -> str:
    """Now, or just after `last` where the clock stands or went back: the newest counts."""
    at = utc_now()
    if at > last:
        return at
    later = datetime.datetime.fromisoformat(last) + datetime.timedelta(milliseconds=1)
    return later.isoformat(timespec="milliseconds")


def _put(project: Project, records: list[Any], kind: str, told: dict[str, Any]) -> None:
    store = Store(project.root, write=True) if project.root else project.store
    try:
        store.put(records, unit=UNIT, stage=STAGE)
        store.note(kind, told, utc_now())
    finally:
        if project.root:
            store.close()
