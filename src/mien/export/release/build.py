"""Building a release: everything into a draft beside its place, sealed, signed, registered, and renamed at the end.

What is hashed holds no time (unless one is given), no path of this machine and nothing of how the work was spread, so
that two builds of the same record have one root.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import date as Date  # noqa: N812 - `date` is the field below
from pathlib import Path
from typing import Any

from mien.core import VERSION, MienError, digest
from mien.export.release import card, index
from mien.export.release.croissant import NAME as CROISSANT
from mien.export.release.croissant import croissant, folders
from mien.export.release.keys import Key, open_key
from mien.export.release.notices import licences, summed
from mien.export.release.payload import TABLES, target_of, trainers_named, write_tables, write_trainers
from mien.export.selection.examples import unnamed
from mien.export.selection.gate import Withheld
from mien.export.selection.scope import Progress, Scope, scope_of, unwatched
from mien.export.selection.splits import Splits
from mien.export.selection.together import splits_of
from mien.export.tables.notice import Model, models_of
from mien.export.tables.schema import SCHEMA_VERSION
from mien.pipeline import Project
from mien.policy.uses import Use
from mien.store import STORE_VERSION, durable, revocation
from mien.store.released import EXAMPLES
from mien.store.sealing import (
    FORMAT,
    FORMAT_VERSION,
    MANIFEST,
    ROOT_DOMAIN,
    SIGNATURE,
    Sealed,
    canonical,
    check,
    file_sha256,
    seal,
    signature,
    walk,
)

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,60}[a-z0-9])?")
_VERSION = re.compile(r"\d{1,6}\.\d{1,6}\.\d{1,6}(?:-[a-z0-9.]{1,20})?")
_DECIDES = ("analysis", "stack", "adapters", "fusion", "body", "opinions", "policy")
_MACHINE = {"analysis": {"threads", "device"}}


@dataclass(frozen=True, slots=True)
class Order:
    """What to build.

    Attributes:
        trainers: for whom (`mien export --for`); each gets a folder.
        tables: whether the long tables go along.
        licence: SPDX id under which it is handed on; "": not stated, and then it cannot be published.
        key: the private key that signs it.
        date: ISO date that card and croissant name; "": none, so that building again gives the same bytes.
        after: the folder of the release whose place it takes.
        revocations: where its list of revocations will be: an https address, or a path seen from its folder.
    """

    name: str
    version: str
    trainers: tuple[str, ...] = ()
    tables: bool = False
    licence: str = ""
    use: Use = "publish"
    key: Path | None = None
    date: str = ""
    after: Path | None = None
    revocations: str = ""

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name) or not _VERSION.fullmatch(self.version):
            raise MienError(
                "release.bad-name",
                f"{self.name}-{self.version} is no name and version",
                "like faces 1.0.0: small letters, digits, '.', '_', '-'; three numbers",
            )
        if self.use not in ("share", "publish"):
            raise MienError("release.bad-use", f"a release is not for {self.use!r}", "share or publish")
        if self.revocations.partition("://")[1] and not self.revocations.startswith("https://"):
            hint = "https://…, or a path seen from the release"
            raise MienError("release.bad-revocations", f"{self.revocations} is no place for a list", hint)
        if self.date:
            try:
                Date.fromisoformat(self.date)
            except ValueError:
                raise MienError("release.bad-date", f"{self.date!r} is no date", "like 2026-01-31") from None

    @property
    def label(self) -> str:
        return f"{self.name}-{self.version}"


@dataclass(frozen=True, slots=True)
class Built:
    """A built release. `signer`: fingerprint of the key, or None."""

    folder: Path
    root: str
    signer: str | None
    files: int
    bytes: int
    figures: dict[str, Any]
    withheld: tuple[Withheld, ...]


def build(project: Project, order: Order, out: Path | None = None, *, progress: Progress = unwatched) -> Built:
    """Build `releases/NAME-VERSION` (or below `out`), whole or not at all.

    Raises:
        MienError: `release.exists`, `release.not-writable`, `export.unknown-trainer`, `export.nothing`,
            `export.all-withheld`, `licence.mixed`, `release.licence-refused`, `release.key-unreadable`,
            `release.bad-after`.
    """
    folder = _place(project, order, out)
    named = scope_of(project, progress, use=order.use, target=target_of(trainers_named(order.trainers)))
    return _built(project, order, folder, named, splits_of(project, named), progress)


def build_apart(
    project: Project, order: Order, out: Path | None = None, *, progress: Progress = unwatched
) -> tuple[Built, ...]:
    """Build one release for each set of recordings whose terms fit together: `NAME` where all do, else `NAME-KIND`, by
    the share-alike licence that binds it (`NAME-free` for none). Splits are drawn over all of them.

    Raises:
        MienError: as `build`; what was built before stays.
    """
    _place(project, order, out)
    named = scope_of(project, progress, use=order.use, target=target_of(trainers_named(order.trainers)), split=True)
    splits = splits_of(project, named)
    orders = [(replace(order, name=name), part) for name, part in named.named_groups(order.name)]
    places = [_place(project, o, out) for o, _ in orders]
    return tuple(
        _built(project, o, place, part, splits, progress) for (o, part), place in zip(orders, places, strict=True)
    )


def _place(project: Project, order: Order, out: Path | None) -> Path:
    """Where a release goes. Raises MienError `release.exists`, `input.no-folder`."""
    if out is None and project.root is None:
        raise MienError("input.no-folder", "a project in memory has no folder for releases", "name one")
    folder = (out if out is not None else _own(project) / "releases") / order.label
    _free(folder)
    return folder


def _built(project: Project, order: Order, folder: Path, named: Scope, splits: Splits, progress: Progress) -> Built:
    key = open_key(order.key) if order.key else None
    trainers = trainers_named(order.trainers)
    withheld = named.withheld + tuple(w for _, w in sorted(splits.left_out.items()))
    scope = replace(unnamed(named), withheld=summed(withheld))
    models = models_of(scope)
    conditions = _conditions(scope, order)
    terms = licences(scope, models, order.licence, conditions, _notes(scope))
    with _draft(folder) as draft:
        if order.tables:
            write_tables(scope, models, draft / TABLES)
        placed = write_trainers(trainers, scope, splits, draft, terms, progress)
        figures = index.write(placed, scope, draft / EXAMPLES)
        about = {
            **_about(scope, order, models, conditions),
            "withheld": len(withheld),
            "figures": figures.told,
            "splits": {s: t["clips"] for s, t in figures.told["splits"].items()},
            "lengths": {s: dict(sorted(c.items(), key=_edge)) for s, c in sorted(figures.lengths.items())},
            "after": _after(order.after, draft / EXAMPLES),
        }
        _tell(draft, about, terms)
        files = tuple(_files(draft))
        told = {"format": FORMAT, "format_version": FORMAT_VERSION, "name": order.name, "version": order.version}
        told |= {"mien": VERSION, "context": scope.project.config.context, "use": order.use, "about": about}
        raw, root = seal(told, files, key.fingerprint if key else None)
        _put(draft / MANIFEST, raw)
        if key:
            _put(draft / SIGNATURE, signature(key.public, root, key.sign(ROOT_DOMAIN, root)))
        _, wrong = check(draft, key.public if key else None)
        if wrong:
            raise MienError("release.not-clean", f"{wrong[0].path}: {wrong[0].text}", "rename it, then build again")
        _register(project, folder, root, figures)
    size = sum(f.bytes for f in files)
    return Built(folder, root, key.fingerprint if key else None, len(files), size, figures.told, withheld)


def _tell(draft: Path, about: dict[str, Any], terms: str) -> None:
    """Card, plots, terms and croissant of a draft that holds its payload."""
    for path, text in card.plots(about).items():
        (draft / path).parent.mkdir(exist_ok=True)
        _put(draft / path, text.encode())
    _put(draft / "LICENCES.txt", terms.encode())
    _put(draft / "README.md", card.card(about).encode())
    examples = Sealed(EXAMPLES, (draft / EXAMPLES).stat().st_size, file_sha256(draft / EXAMPLES))
    others = folders([path for path, _ in walk(draft)])
    _put(draft / CROISSANT, canonical(croissant(about, card.words(about), examples, others)))


def _about(scope: Scope, order: Order, models: list[Model], conditions: tuple[str, ...]) -> dict[str, Any]:
    config = scope.project.config.model_dump(mode="json", include=set(_DECIDES), exclude=_MACHINE)
    return {
        "name": order.name,
        "version": order.version,
        "use": order.use,
        "context": scope.project.config.context,
        "licence": order.licence,
        "conditions": list(conditions),
        "date": order.date,
        **({"revocations": order.revocations} if order.revocations else {}),
        "trainers": sorted(set(order.trainers)),
        "tables": order.tables,
        "schemas": {"store": STORE_VERSION, "tables": SCHEMA_VERSION, "release": FORMAT_VERSION},
        "config_sha256": digest(config),
        "record_sha256": _record(scope),
        "models": [
            {
                "name": m.name,
                "slot": m.slot,
                "fingerprint": m.fingerprint,
                "weights_sha256": m.weights_sha256,
                "code": m.licences.code,
                "weights": m.licences.weights,
                "training_data": m.licences.training_data,
            }
            for m in models
        ],
    }


def _record(scope: Scope) -> str:
    """What of the record stands behind the release: sources, clips and the keys of their results, without times."""
    sha = hashlib.sha256()
    for part in scope.parts:
        keys = sorted((r.stage, r.key) for r in scope.project.store.stages_of(part.clip.id) if r.state == "ok")
        sha.update(canonical([part.source.sha256, part.clip.id, keys]))
    return sha.hexdigest()


def _conditions(scope: Scope, order: Order) -> tuple[str, ...]:
    """What everything in it asks for together. Raises MienError `release.licence-refused`."""
    from mien.policy.licences import Ingredient, permitted

    conditions = scope.permission.conditions(order.use)
    if order.licence:
        own = permitted([Ingredient("recording", order.label, order.licence)], scope.project.config.policy)
        looser = [c for c in conditions if c not in own.conditions(order.use)]
        if not own.allows(order.use) or looser:
            why = f"it drops {', '.join(looser)}" if looser else "its terms do not permit it, or nobody knows them"
            raise MienError(
                "release.licence-refused", f"it cannot leave under {order.licence}: {why}", "see: mien licences"
            )
    return conditions


def _notes(scope: Scope) -> tuple[str, ...]:
    return tuple(sorted(n for n in scope.permission.notices if ": recording: " not in n))  # those name files


def _after(older: Path | None, examples: Path) -> dict[str, Any] | None:
    """What changed since another release, as counts. Raises MienError `release.bad-after`."""
    if older is None:
        return None
    if not os.path.lexists(older):  # `mien forget` has removed it; what it held is known to nobody any more
        gone = revocation.read(revocation.beside(older)).releases.get(older.name)
        if gone is not None:
            return {"label": older.name, "root": None, "removed": None, "added": None, "kept": None}
    manifest, wrong = check(older)
    if wrong or manifest is None:
        raise MienError("release.bad-after", f"{older} is no whole release: {wrong[0].text}", "mien release verify")
    before, now = _ids(older / EXAMPLES), _ids(examples)
    counts = {"removed": len(before - now), "added": len(now - before), "kept": len(now & before)}
    return {"label": manifest.label, "root": manifest.root, **counts}


def _ids(examples: Path) -> set[str]:
    import json

    with examples.open(encoding="utf-8") as lines:
        return {json.loads(line)["id"] for line in lines}


def _files(draft: Path) -> Iterator[Sealed]:
    """The files of a draft, each synced to disk."""
    for path, held in walk(draft):
        with (draft / path).open("rb") as file:
            sha = hashlib.file_digest(file, "sha256").hexdigest()
            os.fsync(file.fileno())
        yield Sealed(path, held.st_size, sha)


def _put(path: Path, raw: bytes) -> None:
    with path.open("wb") as file:
        file.write(raw)
        file.flush()
        os.fsync(file.fileno())


def _edge(pair: tuple[str, int]) -> float:
    return float(re.split(r"[– ]", pair[0])[0])


def _own(project: Project) -> Path:
    assert project.root is not None  # noqa: S101 - asked before
    return project.root


def _free(folder: Path) -> None:
    if os.path.lexists(folder):
        raise MienError(
            "release.exists", f"{folder.name} is there already", "releases never change: take a new version"
        )


@contextmanager
def _draft(folder: Path) -> Iterator[Path]:
    """A folder that becomes `folder` by one rename. What builds that died left is cleared first."""
    draft = folder.with_name(f".{folder.name}.{os.getpid()}.draft")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        for left in folder.parent.glob(f".{folder.name}.*.draft"):
            if not _alive(left.name.split(".")[-2]):
                shutil.rmtree(left, ignore_errors=True)
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir()
        yield draft
        for held in [draft, *(p for p in draft.rglob("*") if p.is_dir())]:
            durable.sync_folder(held)
        _free(folder)
        draft.rename(folder)  # fails where somebody else's build took the place meanwhile
        durable.sync_folder(folder.parent)
    except OSError as error:
        raise MienError(
            "release.not-writable", f"cannot write {folder}: {error.strerror}", "choose another folder: --out DIR"
        ) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _alive(pid: str) -> bool:
    if not pid.isdecimal() or int(pid) == os.getpid():
        return False
    with suppress(PermissionError):
        try:
            os.kill(int(pid), 0)
        except (ProcessLookupError, OverflowError):
            return False
    return True


def _register(project: Project, folder: Path, root: str, figures: index.Figures) -> None:
    """Note in the record what leaves, before it is there: what is withdrawn later must be found."""
    from datetime import UTC, datetime

    if project.root is not None:
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        project.store.register("release", folder, figures.sources.keys(), figures.people, root, now)


__all__ = ["Built", "Key", "Order", "build"]
