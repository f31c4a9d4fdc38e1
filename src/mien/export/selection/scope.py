"""What of a project may leave, and one clip's rows at a time: every format reads through here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mien.core import (
    Assessment,
    Claim,
    Clip,
    Item,
    MienError,
    Observation,
    Signal,
    Source,
    Subject,
    Trace,
    Track,
)
from mien.export.selection.gate import Withheld, clip_withheld, enrolled, refused, source_withheld
from mien.export.selection.labelled import Labels, labels_of, track_names
from mien.pipeline import Project
from mien.pipeline.plan import STAGES
from mien.policy import affect_allowed
from mien.reason import in_order

Progress = Callable[[int, int, str], None]
"""Gets (clips done, clips in all, name of the source)."""
_NEUTRAL = tuple(s.name for s in STAGES if not s.affect)


def unwatched(done: int, total: int, name: str) -> None:
    """Progress that nobody looks at."""


@dataclass(frozen=True, slots=True)
class Part:
    """One clip that may leave, and what people call its source."""

    name: str
    source: Source
    clip: Clip


@dataclass(frozen=True, slots=True)
class ClipRows:
    """All rows of one clip that may leave, each in a stable order. `who`: track id → "face 1".

    `hidden`: whether rows of a person who refused were left out; then boxes without a track stay behind too.
    """

    part: Part
    tracks: tuple[Track, ...]
    observations: tuple[Observation, ...]
    signals: tuple[Signal, ...]
    assessments: tuple[Assessment, ...]
    trace: Trace | None
    claims: tuple[Claim, ...]
    who: dict[str, str]
    hidden: bool


@dataclass(slots=True)
class Scope:
    """The clips of a project that may leave, by source name and time, and what stays behind and why."""

    project: Project
    parts: tuple[Part, ...]
    withheld: tuple[Withheld, ...]
    subjects: dict[str, Subject]
    progress: Progress = unwatched
    labels: Labels = field(default_factory=lambda: Labels(()))

    @property
    def sources(self) -> dict[str, Source]:
        """Source name → source, of those with a clip that may leave."""
        return {p.name: p.source for p in self.parts}

    def clips(self) -> Iterator[ClipRows]:
        """The rows of one clip after another; never more than one clip is held."""
        for done, part in enumerate(self.parts):
            self.progress(done, len(self.parts), part.name)
            yield self.rows(part)
        self.progress(len(self.parts), len(self.parts), "")

    def rows(self, part: Part) -> ClipRows:
        store, where = self.project.store, ("clip_id = ?", (part.clip.id,))
        tracks = store.all(Track, *where)
        gone = {t.id for t in tracks if self._refuses(t.subject_id)}
        context = self.project.config.context
        may_affect = {t.id for t in tracks if affect_allowed(context, enrolled(t.subject_id, self.subjects))}
        anyones = affect_allowed(context, subject_enrolled=False)

        def kept(record: type[Any]) -> list[Any]:
            affect = set[str]()
            if not anyones:
                marks = ",".join("?" * len(_NEUTRAL))
                clause = f"clip_id = ? AND _stage NOT IN ({marks})"
                affect = {r.id for r in store.all(record, clause, (part.clip.id, *_NEUTRAL))}
            return [
                r
                for r in store.all(record, *where)
                if r.track_id not in gone and (r.id not in affect or r.track_id in may_affect)
            ]

        observations = kept(Observation)
        cited = {o.id for o in observations}
        trace = next((t for t in store.all(Trace, *where) if t.engine.startswith("ledger")), None)
        claims = in_order(store.all(Claim, "trace_id = ?", (trace.id,))) if trace else []
        neutral = [
            c
            for c in claims
            if c.track_id not in gone
            and cited.issuperset(c.evidence_ids)
            and (anyones or c.track_id in may_affect or c.kind == "observation" or c.predicate.startswith("missing"))
        ]
        return ClipRows(
            part,
            tuple(sorted((t for t in tracks if t.id not in gone), key=lambda t: (t.span, t.kind, t.id))),
            tuple(sorted(observations, key=lambda o: (o.span, o.target, o.track_id or "", o.id))),
            tuple(sorted(kept(Signal), key=lambda s: (s.name, s.track_id or "", s.id))),
            tuple(sorted(kept(Assessment), key=lambda a: (a.span, a.track_id or "", a.id))),
            trace,
            tuple(neutral),
            track_names(tracks),
            bool(gone),
        )

    def _refuses(self, subject_id: str) -> bool:
        held = self.subjects.get(subject_id)
        return held is not None and refused(held.consent)


def scope_of(project: Project, progress: Progress = unwatched) -> Scope:
    """What may leave. Everything is judged before the first byte is written.

    Raises:
        MienError: `export.nothing` where no clip was analysed; `export.all-withheld` where none may leave.
    """
    store, context = project.store, project.config.context
    sources = store.all(Source)
    names = source_names(sources)
    parts: list[Part] = []
    withheld: list[Withheld] = []
    for source in sorted(sources, key=lambda s: names[s.sha256]):
        name = names[source.sha256]
        barred = source_withheld(name, source, context)
        if barred:
            withheld.append(barred)
            continue
        for clip in sorted(store.all(Clip, "source_sha = ?", (source.sha256,)), key=lambda c: c.span):
            wanted = "clip_id = ? AND target IN ('explicit.max', 'age', 'presence')"
            closed = clip_withheld(f"{name} {clip.span}", source, context, store.all(Observation, wanted, (clip.id,)))
            if closed:
                withheld.append(closed)
            else:
                parts.append(Part(name, source, clip))
    if not parts and not withheld:
        raise MienError("export.nothing", "there is nothing to export: no clip has been analysed", "mien run VIDEO")
    if not parts:
        why = "; ".join(f"{w.what}: {w.reason}" for w in withheld[:3])
        raise MienError(
            "export.all-withheld",
            f"nothing may leave this project ({len(withheld)} withheld: {why})",
            "a gate that has not run is made up for by: mien run",
        )
    subjects = {s.id: s for s in store.all(Subject)}
    return Scope(project, tuple(parts), tuple(withheld), subjects, progress, labels_of(store))


def source_names(sources: list[Source]) -> dict[str, str]:
    """sha256 → file name; where two files share a name, with the beginning of the sha256."""
    plain = {s.sha256: Path(s.path).name for s in sources}
    count = Counter(plain.values())
    return {sha: name if count[name] == 1 else f"{name}~{sha[:8]}" for sha, name in plain.items()}


def items_of(scope: Scope) -> Iterator[Item]:
    """Items that may leave: those without any media, and those with a source that may."""
    shas = {p.source.sha256 for p in scope.parts}
    for item in sorted(scope.project.store.all(Item), key=lambda i: i.id):
        if not item.source_shas or shas.intersection(item.source_shas):
            yield item
