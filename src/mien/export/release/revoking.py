"""Revoking a release: a list beside it that the loader reads, signed where the release was."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from mien.core import MienError
from mien.export.release.keys import open_key
from mien.pipeline import Project
from mien.store import durable
from mien.store.revocation import Revocations, Revoked, beside, hand_on, read, root_key, write
from mien.store.sealing import (
    REVOKED,
    REVOKED_DOMAIN,
    REVOKED_SIGNATURE,
    read_manifest,
    signature,
    signature_findings,
)


def revoke(folder: Path, why: str, *, key: Path | None = None, successor: str = "", at_utc: str = "") -> Path:
    """Put a release on the list beside it (`revoked.json`); gives the list. The release itself is not touched.

    Args:
        folder: the release; its list is that of the folder it lies in.
        why: for its readers: never who.
        key: the private key; asked for where the release was signed.
        successor: the release that takes its place, as `name-version`.

    Raises:
        MienError: `release.bad-manifest`, `release.no-reason`, `release.key-missing`, `release.other-key`,
            `release.revocation-unreadable`.
    """
    manifest, _ = read_manifest(folder)
    if manifest is None:
        raise MienError("release.bad-manifest", f"{folder} holds no readable release", "name its folder")
    if not why.strip():
        raise MienError(
            "release.no-reason", "a revocation needs a reason", "--why TEXT; readers see it, so name nobody"
        )
    if manifest.signer and key is None:
        raise MienError("release.key-missing", f"{manifest.label} was signed: so must be its end", "--sign KEY")
    held = open_key(key) if key else None
    if held and manifest.signer and held.fingerprint != manifest.signer:
        raise MienError("release.other-key", f"{manifest.label} was signed with another key", "--sign that one")
    path = folder.resolve().parent / REVOKED
    now = at_utc or datetime.now(UTC).isoformat(timespec="seconds")
    older = read([path])
    mine = Revoked(root_key(manifest.root), why.strip(), now, successor)
    raw = write(path, replace(older, releases={**older.releases, manifest.label: mine}, at_utc=now))
    beside = path.with_name(REVOKED_SIGNATURE)
    if held is None:
        durable.remove(beside)  # of the list before: it does not hold for this one
    else:
        digest = hashlib.sha256(raw).hexdigest()
        made = signature(held.public, digest, held.sign(REVOKED_DOMAIN, digest))
        durable.write(beside, lambda out: out.write(made))
    return path


def into_copies(project: Project, folder: Path) -> tuple[list[Path], list[str]]:
    """Write what the lists say of a release into its copies that the project knows of.

    Returns:
        Lists that were written; places where somebody has to copy it by hand.
    """
    manifest, _ = read_manifest(folder)
    if manifest is None:
        raise MienError("release.bad-manifest", f"{folder} holds no readable release", "name its folder")
    held = read(beside(folder)).of(manifest.label, manifest.root)
    if held is None:
        return [], []
    listed = Revocations({manifest.label: held}, at_utc=held.at_utc)
    known = [r.path for r in project.store.registered() if r.kind == "release" and r.sha256 == manifest.root]
    local = {p: ((project.root or Path()) / p).resolve() for p in known if "://" not in p}
    others = [p for p in local.values() if p != folder.resolve()]
    done, failed = hand_on(others, listed, manifest.root)
    reached = {p.parent for p in done}
    gone = [str(p) for p in others if p not in reached]
    return done, sorted({*gone, *map(str, failed), *(p for p in known if "://" in p)})


def list_findings(folder: Path, key: bytes | None) -> list[str]:
    """What is wrong with the signature of the list beside a release; it binds, signed or not."""
    path = folder.resolve().parent / REVOKED
    if not path.is_file():
        return []
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    beside = path.with_name(REVOKED_SIGNATURE)
    if not beside.is_file():
        return []
    return [f.text for f in signature_findings(beside, REVOKED_DOMAIN, digest, key)]
