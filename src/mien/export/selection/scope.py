"""What of a project may leave, and one clip's rows at a time: every format reads through here."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
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
from mien.export.selection.gate import Withheld, clip_withheld, source_rules, source_withheld
from mien.export.selection.labelled import Labels, labels_of, track_names
from mien.export.selection.models import model_permissions
from mien.export.selection.people import People, mining_of, people_of
from mien.pipeline import Project
from mien.pipeline.plan import STAGES
from mien.policy import affect_allowed
from mien.policy.flow import Target
from mien.policy.uses import FREE, Permission, Use, groups_of, together
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
    use: Use = "share"
    target: Target = "understanding"
    people: People | None = None
    recordings: dict[str, Permission] = field(default_factory=dict)
    models: dict[str, Permission] = field(default_factory=dict)

    @property
    def permission(self) -> Permission:
        """What is permitted with all of it together, on which conditions, and what has to be told beside it."""
        return together((*(self.recordings[s.sha256] for s in self.sources.values()), *self._used.values()))

    @property
    def _used(self) -> dict[str, Permission]:
        """Fingerprint → permission of the models whose rows may leave."""
        return {name: p for name, p in self.models.items() if p.allows(self.use)}

    def groups(self) -> tuple[Scope, ...]:
        """The same in parts, each of which may be used as a whole (`--split-by-licence`), by share-alike kind."""
        names = {p.source.sha256 for p in self.parts}
        made, _ = groups_of({sha: self.recordings[sha] for sha in names}, self.use)
        return tuple(replace(self, parts=tuple(p for p in self.parts if p.source.sha256 in g.members)) for g in made)

    def named_groups(self, name: str) -> tuple[tuple[str, Scope], ...]:
        """`groups` with a name for each: `name` where all may stay together, else `name-KIND`, by the share-alike
        licence that binds it (`name-free` for none)."""
        parts = self.groups()
        return ((name, parts[0]),) if len(parts) == 1 else tuple((f"{name}-{p._kind()}", p) for p in parts)

    def _kind(self) -> str:
        bound = (c.partition(":")[2] for c in self.permission.conditions(self.use) if c.startswith("share-alike:"))
        return re.sub(r"[^a-z0-9]+", "-", next(bound, "free").lower()).strip("-")

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
        people, sha = self.asked, part.source.sha256
        gone = {t.id for t in tracks if any(people.says(s, self.use) == "no" for s in people.who(sha, t))}
        context = self.project.config.context
        may_affect = {t.id for t in tracks if affect_allowed(context, people.agreed(people.who(sha, t)))}
        anyones = affect_allowed(context, subject_enrolled=False)
        closed = [name for name in self.models if name not in self._used]

        def kept(record: type[Any]) -> list[Any]:
            affect = set[str]()
            if not anyones:
                marks = ",".join("?" * len(_NEUTRAL))
                clause = f"clip_id = ? AND _stage NOT IN ({marks})"
                affect = {r.id for r in store.all(record, clause, (part.clip.id, *_NEUTRAL))}
            return [
                r
                for r in store.all(record, *where)
                if r.track_id not in gone
                and (r.id not in affect or r.track_id in may_affect)
                and not any(name in r.adapter for name in closed)
            ]

        observations = kept(Observation)
        cited = {o.id for o in observations}
        assessments: list[Assessment] = kept(Assessment)
        if closed:  # what was pooled from answers that stay behind stays, too
            assessments = [a for a in assessments if all(cited.issuperset(c.evidence_ids) for c in a.contributions)]
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
            tuple(sorted(assessments, key=lambda a: (a.span, a.track_id or "", a.id))),
            trace,
            tuple(neutral),
            track_names(tracks),
            bool(gone),
        )

    @property
    def asked(self) -> People:
        """Who is in it, and what they agreed to."""
        if self.people is None:
            self.people = people_of(self.project.store, self.project.config.context, datetime.now(UTC))
        return self.people


def scope_of(
    project: Project,
    progress: Progress = unwatched,
    *,
    use: Use = "share",
    target: Target = "understanding",
    split: bool = False,
    at: datetime | None = None,
) -> Scope:
    """What may leave for a use. Everything is judged before the first byte is written.

    Args:
        use: `publish` asks more than `share`: consent and licence have to be stated, and fit together.
        target: what it is for; models that make pictures learn from less.
        split: the caller writes `Scope.groups()` apart, so that licences need not fit together.
        at: the time at which consent has to hold; default: now.

    Raises:
        MienError: `export.nothing` where no clip was analysed; `export.all-withheld` where none may leave;
            `licence.mixed` where what may leave may not leave together.
    """
    store, context, terms = project.store, project.config.context, project.config.policy
    sources = store.all(Source)
    names = source_names(sources)
    labels = labels_of(store)
    people, mined = people_of(store, context, at or datetime.now(UTC)), mining_of(store)
    parts: list[Part] = []
    withheld: list[Withheld] = []
    recordings: dict[str, Permission] = {}
    for source in sorted(sources, key=lambda s: names[s.sha256]):
        name = names[source.sha256]
        consent = people.permission(name, source)
        # Silence about publishing is asked of each clip: there may be nobody in it.
        asked = consent if use != "publish" or "no" in _said(people, source) else FREE
        rules = source_rules(name, source, context, target, asked, mined.get(source.sha256, ()), terms)
        barred = source_withheld(name, rules, use)
        if barred:
            withheld.append(barred)
            continue
        recordings[source.sha256] = together(rules)
        for clip in sorted(store.all(Clip, "source_sha = ?", (source.sha256,)), key=lambda c: c.span):
            wanted = "clip_id = ? AND target IN ('explicit.max', 'age', 'presence')"
            seen = store.all(Observation, wanted, (clip.id,))
            what = f"{name} {clip.span}"
            closed = clip_withheld(what, source, context, seen, use, target)
            if closed is None and (no := people.part_refused(source, clip.span, use)):
                closed = Withheld(what, no.code, no.text)
            if closed is None and use == "publish":
                closed = _unasked(project, people, what, source, clip)
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
            "a gate that has not run is made up for by: mien run; consent and licences: mien licences",
        )
    models = model_permissions(project)
    for name, permission in models.items():
        for reason in permission.why_not(use)[:1]:
            withheld.append(Withheld(reason.what or name, reason.code, f"its answers stay behind: {reason.text}"))
    made = Scope(
        project, tuple(parts), tuple(withheld), people.subjects, progress, labels, use, target, people, recordings,
        models,
    )  # fmt: skip
    if not split and not made.permission.allows(use):
        kinds = sorted({c for p in recordings.values() for c in p.conditions(use)})
        raise MienError(
            "licence.mixed",
            f"these recordings cannot leave as one: their terms contradict each other ({', '.join(kinds)})",
            "one folder for each that fit together: --split-by-licence (mien release build, mien export --for)",
        )
    return made


def _said(people: People, source: Source) -> tuple[str, ...]:
    """What a recording's own consent and its people's say of publishing."""
    return people.of_recording(source, "publish"), *(
        people.says(s, "publish") for s in people.of_source.get(source.sha256, ())
    )


def _unasked(project: Project, people: People, what: str, source: Source, clip: Clip) -> Withheld | None:
    """Why a clip may not be published: somebody is in it of whom no agreement is recorded, or nobody looked."""
    if people.of_recording(source, "publish", clip.span) == "yes":
        return None
    store = project.store
    found = [t for t in store.all(Track, "clip_id = ?", (clip.id,)) if t.kind != "object"]
    looked = any((row := store.stage(clip.id, s)) is not None and row.state == "ok" for s in ("faces", "objects"))
    heard = source.kind == "audio" or store.all(Observation, "clip_id = ? AND target = 'vocal.kind'", (clip.id,))
    if not heard and looked and all(people.of_track(source, t, "publish") != "unknown" for t in found):
        return None
    return Withheld(what, "consent.not-stated", "nobody's agreement to publish is recorded for people in it")


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
