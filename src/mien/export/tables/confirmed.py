"""Where a person's label of the state meets what each source said alone: what reliability is counted from, and the size
of conformal sets."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from mien.core import UNASSIGNED, Assessment, Contribution, Dist
from mien.export.selection.scope import ClipRows, Scope, items_of, scope_of
from mien.export.tables.labels import UNCLEAR
from mien.export.tables.rows import label_for, subject_of
from mien.pipeline import Project


@dataclass(frozen=True, slots=True)
class Confirmed:
    """One source in one labelled window. person: pseudonym, "" where nobody said whose track it is."""

    person: str
    source: str
    said: str
    label: str

    @property
    def right(self) -> bool:
        return self.said == self.label


class Window(NamedTuple):
    """One window whose state a person named, and what was said of it. at_utc: when they did."""

    at_utc: str
    place: str
    posterior: Dist
    label: str
    sources: tuple[Confirmed, ...]


def confirmed(project: Project) -> tuple[list[Window], str]:
    """Every window whose state a person named, in the order in which they did, and a digest of what its sources said.

    Raises what `scope_of` raises.
    """
    scope = scope_of(project)
    windows = sorted(window for clip in scope.clips() for window in _of_clip(scope, clip))
    told = sorted(f"{r.person}\t{r.source}\t{r.said}\t{r.label}" for w in windows for r in w.sources)
    return windows, hashlib.sha256("\n".join(told).encode()).hexdigest() if told else ""


def _of_clip(scope: Scope, rows: ClipRows) -> Iterator[Window]:
    faces = [t for t in rows.tracks if t.kind == "face"]
    sha = rows.part.source.sha256
    items = {i.subject_id for i in items_of(scope) if sha in i.source_shas} - {UNASSIGNED}
    whole = items.pop() if len(items) == 1 and len(faces) < 2 else ""  # nobody else is in view
    names = {t.id: subject_of(scope, rows, t) for t in faces}
    for a in rows.assessments:
        label = label_for(scope, rows, a.span, a.track_id, "state")
        if label is None or label.value in ("", UNCLEAR):
            continue
        person = names.get(a.track_id or "", UNASSIGNED)
        person = whole if person == UNASSIGNED else person
        sources = tuple(Confirmed(person, c.source, said_alone(a, c), label.value) for c in a.contributions)
        place = f"{sha} {a.span.start_us:020d} {a.span.end_us:020d} {label.where.key} {a.id}"
        yield Window(label.at_utc, place, a.posterior, label.value, sources)


def said_alone(a: Assessment, c: Contribution) -> str:
    """The leading state of a source's own reading, under the project's prior and at full weight."""
    added = dict(c.log_odds)
    return max(a.prior, key=lambda pair: math.log(pair[1]) + added[pair[0]] / c.weight)[0]
