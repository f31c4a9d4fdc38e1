"""`mien forget`: a person or a recording leaves the project, to the last byte that is ours, and nobody else does.

Every step can be done again; the journal (`mien.store.erasure`) stands until the last one, so that a kill at any moment
is made good by the same command. The log keeps its chain; the receipt counts and names nobody.
"""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mien.core import UNASSIGNED, Clip, Item, MienError, Source, Subject, Track, digest, label_key
from mien.core.records import Consent
from mien.fusion import FusionConfig, learned
from mien.media import hash_file
from mien.pipeline.config import load
from mien.pipeline.engine.books import utc_now
from mien.pipeline.enrolling import source_of
from mien.pipeline.people import Marks, now
from mien.pipeline.project import Project
from mien.store import Store, drawn, durable, erasure, revocation
from mien.store.erasure import Plan
from mien.store.forgotten import Forgotten
from mien.store.log import Registered

REVOKED = "revoked.json"
ASIDE = (".mien.progress", "profile.json.gz", "profile.json", "report.html")  # made by runs, of all clips together
COPY_ON_WRITE = "on copy-on-write disks, on flash and in backups, older blocks may outlive this: mien cannot reach them"


@dataclass(frozen=True, slots=True)
class Receipt:
    """What was removed, by count. `commitment`, `head`: of the log's entry that holds this; None: a dry run.

    `outside`, `releases`, `adapters`: what holds data that was withdrawn, and only people can remove or rebuild.
    `originals`: recordings that mien refers to and never removes; they are told here and kept nowhere.
    """

    kind: str
    removed: dict[str, int]
    files: int
    releases: tuple[str, ...]
    outside: tuple[str, ...]
    adapters: tuple[str, ...]
    limits: str = COPY_ON_WRITE
    commitment: str | None = None
    head: str | None = None
    originals: tuple[str, ...] = ()


def nothing(step: str) -> None:
    """Called after every step; tests kill the process here."""


def forget(project: Project, target: str, *, dry_run: bool = False, after: Callable[[str], None] = nothing) -> Receipt:
    """Erase a person (a pseudonym) or a recording (path, name or sha256), and finish whatever erasure was cut off.

    A recording in which only this person was named goes whole. In recordings that they share, all results of the clips
    they are in go, as what was said of one cannot be taken out of them; the next run makes them again without knowing
    of the person.

    Raises:
        MienError: `forget.unknown`, `forget.in-memory`, `store.busy`.
    """
    if project.root is None:
        raise MienError("forget.in-memory", "a project in memory keeps nothing")
    if dry_run:
        plan, originals = _planned(project.store, project.root, project.config.context, target)
        counts = {"sources": len(plan.sources), "clips": sum(u.startswith("clip-") for u in plan.units)}
        return _receipt(plan, counts, sum(1 for p in plan.inside for _ in _files(project.root / p)), originals)
    with Store(project.root, write=True) as store:
        done = [_carried(store, name, plan, (), after) for name, plan in erasure.pending(store).items()]
        try:
            plan, originals = _planned(store, project.root, project.config.context, target)
        except MienError:
            if done:
                return done[-1]
            raise
        name = hashlib.sha256(f"{plan.kind}\0{target}".encode()).hexdigest()
        erasure.begin(store, name, plan)
        after("planned")
        return _carried(store, name, plan, originals, after)


def lift(project: Project, given: Path, by: str) -> None:
    """Let a recording that was forgotten be taken in again: somebody answers for it, and the log says so.

    Raises:
        MienError: `forget.not-forgotten`, `forget.in-memory`, `people.no-recorder`; `media.*` where it cannot be read.
    """
    if project.root is None:
        raise MienError("forget.in-memory", "a project in memory keeps nothing")
    if not by.strip():
        raise MienError("people.no-recorder", "who lifts this must be said", "--by C1, a name or pseudonym")
    sha = hash_file(given)
    with Store(project.root, write=True) as store:
        if not Forgotten(project.root).lift(sha):
            raise MienError("forget.not-forgotten", f"{given.name} was not forgotten here", "give it: mien run FILE")
        store.note("lift", {"source": sha, "by": by.strip()}, utc_now())


def _carried(store: Store, name: str, plan: Plan, originals: Sequence[str], after: Callable[[str], None]) -> Receipt:
    """Carry a plan out, from wherever it stopped."""
    root = store.root
    assert root is not None  # noqa: S101 - `forget` refused it
    files = 0
    for path in plan.inside:
        files += _removed(root / path)
    after("files")
    if plan.subjects:
        _unlearn(root, plan.subjects)
    _redrawn(store, root, plan)
    if plan.sources:
        Forgotten(root).remember(plan.sources)
    _revoke(root, plan)
    after("revoked")
    gone = erasure.rows(store, plan)
    after("rows")
    erasure.forget_plan(store, name, plan)
    after("nameless")
    store.scrub()
    after("scrubbed")
    receipt = _receipt(plan, dict(gone), files, ())
    told = {k: v for k, v in dataclasses.asdict(receipt).items() if k not in ("commitment", "head", "originals")}
    entry = erasure.end(store, name, told, utc_now())
    store.scrub()
    after("ended")
    return dataclasses.replace(receipt, commitment=entry.commitment, head=entry.hash, originals=tuple(originals))


def _receipt(plan: Plan, gone: dict[str, int], files: int, originals: Sequence[str]) -> Receipt:
    held = [line.partition(" ") for line in plan.outside]
    return Receipt(
        plan.kind,
        gone,
        files,
        tuple(label for label, _ in plan.revoked),
        tuple(path for kind, _, path in held if kind != "adapter"),
        tuple(path for kind, _, path in held if kind == "adapter"),
        originals=tuple(originals),
    )


# ---------------------------------------------------------------- what is to go


def _planned(store: Store, root: Path, context: Any, target: str) -> tuple[Plan, tuple[str, ...]]:
    known = {s.id for s in store.all(Subject)} | {c.subject_id for c in store.all(Consent)}
    known |= {i.subject_id for i in store.all(Item)}
    if target in known - {UNASSIGNED}:
        return _of_subject(store, root, context, target)
    try:
        source = source_of(store, target)
    except MienError as error:
        hint = "people: mien people list; recordings: mien status"
        raise MienError("forget.unknown", f"{target!r} is no person and no recording here", hint) from error
    return _plan(store, root, "source", [source], [], (), ())


def _of_subject(store: Store, root: Path, context: Any, who: str) -> tuple[Plan, tuple[str, ...]]:
    marks, alone, shared, keys = Marks(store, context, now()), list[Source](), list[str](), list[str]()
    items = [i for i in store.all(Item) if i.subject_id == who]
    theirs = {sha for i in items for sha in i.source_shas}
    for source in store.all(Source):
        named, clips = {a.subject_id for a in marks.assigned(source.sha256)}, list[str]()
        for clip in store.all(Clip, "source_sha = ?", (source.sha256,)):
            cast = marks.cast(clip)
            said = {*cast.who.values(), cast.alone} - {""}
            named |= said
            if who in said:
                clips.append(clip.id)
                mine = {t for t, name in cast.who.items() if name == who}
                tracks = [t for t in store.all(Track, "clip_id = ?", (clip.id,)) if t.id in mine]
                keys += [label_key(source.sha256, t.span, t.geometry) for t in tracks]
        if (clips or source.sha256 in theirs) and named <= {who}:
            alone.append(source)
        else:
            shared += clips
    return _plan(store, root, "subject", alone, shared, (who,), keys, items)


def _plan(
    store: Store,
    root: Path,
    kind: str,
    sources: Sequence[Source],
    clips: Sequence[str],
    subjects: tuple[str, ...],
    keys: Sequence[str],
    items: Sequence[Item] = (),
) -> tuple[Plan, tuple[str, ...]]:
    """What goes with these sources, clips and people, and the originals that stay with whoever keeps them."""
    shas = {s.sha256 for s in sources}
    cut = [c.id for s in sources for c in store.all(Clip, "source_sha = ?", (s.sha256,))]
    items = [*items, *(i for i in store.all(Item) if i.source_shas and shas.issuperset(i.source_shas))]
    paths = {s.path for s in sources} | {i.origin for i in items if not i.row}
    units = [*sorted(shas), *cut, *clips, *(i.id for i in items), *sorted(paths)]
    needles = {*shas, *cut, *paths, *subjects, *(i.id for i in items)}
    media = {str(p.relative_to(root)) for sha in shas for p in (root / "media").rglob(f"{sha}*")}
    inside, outside, revoked = media | {n for n in ASIDE if (root / n).exists()}, list[str](), list[tuple[str, str]]()
    registered = store.registered()
    for r in registered:
        if shas.isdisjoint(r.sources) and set(subjects).isdisjoint(r.subjects) and not _holds(store, r, clips):
            continue
        if r.kind == "release":
            revoked.append((Path(r.path).name, r.sha256))
        if "://" in r.path or Path(r.path).is_absolute() or r.kind == "adapter":
            outside.append(f"{r.kind} {r.path}")
        else:
            inside.add(r.path)
    found = [f"exports/{p.name}" for p in (root / "exports").glob("*")]
    inside |= set(found) - {r.path for r in registered}  # older than the registry: nobody knows of whom they are
    originals = tuple(sorted(s.path for s in sources if not Path(s.path).is_relative_to(root / "media")))
    plan = Plan(
        kind, subjects, tuple(sorted(shas)), tuple(dict.fromkeys(units)), tuple(keys), tuple(sorted(inside)),
        tuple(outside), tuple(revoked), tuple(sorted(needles)),
    )  # fmt: skip
    return plan, originals


def _holds(store: Store, r: Registered, clips: Sequence[str]) -> bool:
    """Whether something that left was made of recordings with these clips."""
    found = {c.source_sha for clip in clips for c in store.all(Clip, "id = ?", (clip,))}
    return not found.isdisjoint(r.sources)


# ---------------------------------------------------------------- the steps


def _files(path: Path) -> list[Path]:
    if path.is_dir() and not path.is_symlink():
        return [p for p in path.rglob("*") if p.is_file()]
    return [path] if path.is_file() or path.is_symlink() else []


def _removed(path: Path) -> int:
    """Remove a file or a folder; how many files that were."""
    files = _files(path)
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
        if path.parent.is_dir():
            durable.sync_folder(path.parent)
    except OSError as error:
        raise MienError("forget.not-removed", f"cannot remove {path.name}: {error.strerror}", "then again") from error
    return len(files)


def _unlearn(root: Path, subjects: Sequence[str]) -> None:
    """Take what was learnt of a person's confirmations out of fusion.toml."""
    path = root / learned.FILE
    if not path.is_file():
        return
    held = tomllib.loads(path.read_text(encoding="utf-8"))
    if not set(subjects) & set(held.get("people", {})):
        return
    held["people"] = {who: said for who, said in held["people"].items() if who not in subjects}
    text = learned.as_toml(FusionConfig.model_validate({k: v for k, v in held.items() if k != "format"}))
    durable.write(path, lambda file: file.write(text.encode()))


def _redrawn(store: Store, root: Path, plan: Plan) -> None:
    """Take people and recordings out of `splits.json`. Where its salt is no longer that of mien.toml it cannot be told
    which lines are theirs, and the file goes."""
    path = root / drawn.FILE
    if not path.is_file():
        return
    terms = load(root)[0].splits
    marks = [f"subject:{s}" for s in plan.subjects] + [f"source:{s}" for s in plan.sources]
    marks += [f"item:{u}" for u in plan.units]  # as they were called before they were made of content
    shared = [i.source_shas for i in store.all(Item) if len(i.source_shas) > 1]
    marks += [f"item:{digest(sorted(shas))}" for shas in shared if not set(plan.sources).isdisjoint(shas)]
    others = [s.sha256 for s in store.all(Source)] if plan.sources else []
    marks += [f"copy:{a}:{b}" for s in plan.sources for o in others for a, b in ((s, o), (o, s))]
    try:
        drawn.forget(path, marks, drawn.Draw(terms.validation, terms.test, terms.salt))
    except MienError as error:
        if error.code not in ("splits.damaged", "splits.other-salt"):
            raise
        _removed(path)


def _revoke(root: Path, plan: Plan) -> None:
    """Add to the project's list of revocations, which names nobody (`mien.store.revocation`), and to copies of its
    releases that lie elsewhere on this machine: each gets what concerns it."""
    if not (plan.subjects or plan.sources):
        return  # it was written before the kill
    path, at = root / REVOKED, utc_now()
    copies = [Path(where) for kind, _, where in (line.partition(" ") for line in plan.outside) if kind == "release"]
    names = [*plan.sources, *map(revocation.subject_key, plan.subjects)]
    made = revocation.Revocations(at_utc=at)
    for label, sha in plan.revoked:
        keys = frozenset(revocation.withdrawn_key(sha, name) for name in names)
        mine = revocation.Revocations(
            {label: revocation.Revoked(revocation.root_key(sha), "withdrawal", at)}, keys, at_utc=at
        )
        revocation.hand_on(copies, mine, sha)
        made |= mine
    revocation.write(path, made | revocation.read([path]))
