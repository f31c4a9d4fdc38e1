"""Handing a release on: to a folder, a bucket or the Hub. Everything is asked before a byte leaves, nothing by default.

A push copies what the manifest lists, with manifest and signature, and nothing else that may lie in the folder.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from mien.core import MienError, missing_extra
from mien.pipeline import Project, utc_now
from mien.policy.egress import STORES, EgressTerms, endpoint
from mien.store.released import refuse_revoked
from mien.store.revocation import beside, read
from mien.store.sealing import MANIFEST, SIGNATURE, Manifest, check

HUB = "https://huggingface.co"
# Where the bytes of an address go, so that the list of endpoints can be asked.
HOSTS = {**STORES, "hf": HUB}


@dataclass(frozen=True, slots=True)
class Pushed:
    """What went, or would go. `sent`: False for a dry run."""

    label: str
    root: str
    to: str
    files: tuple[str, ...]
    bytes: int
    sent: bool


def push(
    folder: Path,
    to: str,
    *,
    egress: EgressTerms,
    key: bytes | None = None,
    send: bool = False,
    hub: Any = None,
) -> Pushed:
    """Check a release and where it would go, and, with `send`, copy it there.

    Args:
        to: a folder, `file:///…`, `hf://ORG/NAME` (a data set of the Hub that exists) or another address of fsspec.
        egress: the project's `[egress]`; an address beyond this machine must be on its list.
        key: the public key that must have signed it.
        send: False: only say what would go.
        hub: a client with `upload_folder`, for tests; None: `huggingface_hub`.

    Raises:
        MienError: what `verify` finds; `release.revoked`, `release.care`, `release.not-public`, `release.no-licence`,
            `release.target-unknown`, `release.target-exists`, `release.push-failed`, `egress.*`,
            `install.missing-extra`.
    """
    manifest, found = check(folder, key)
    if found or manifest is None:
        raise MienError(found[0].code, f"{found[0].path}: {found[0].text}", "nothing was sent: mien release verify")
    refuse_revoked(manifest, read(beside(folder)))
    kind, place = _target(to, egress)
    _permitted(manifest, kind)
    files = (*(f.path for f in manifest.files), MANIFEST, *([SIGNATURE] if manifest.signer else []))
    if send:
        _send(folder, files, kind, place, manifest.label, hub)
    size = sum((folder / f).stat().st_size for f in files)
    return Pushed(manifest.label, manifest.root, to, files, size, send)


def register_copy(project: Project, pushed: Pushed) -> None:
    """Note where a release of the project went, with whose data it holds; one of elsewhere is not known there."""
    kind = "folder" if "://" not in pushed.to or pushed.to.startswith("file:") else ""
    place: Path | str = pushed.to
    if kind:
        place = Path(urlsplit(pushed.to).path if pushed.to.startswith("file:") else pushed.to) / pushed.label
    for r in project.store.registered():
        if r.kind == "release" and r.sha256 == pushed.root:
            project.store.register("release", place, r.sources, r.subjects, r.sha256, utc_now())
            return


def _permitted(manifest: Manifest, kind: str) -> None:
    if manifest.context == "care":
        raise MienError("release.care", "what was made in care never leaves by a push", "nothing was sent")
    if kind == "folder":
        return
    if manifest.use != "publish":
        raise MienError(
            "release.not-public", f"{manifest.label} was built to share, not to publish", "build it with --use publish"
        )
    if not manifest.about.get("licence"):
        raise MienError("release.no-licence", f"{manifest.label} names no licence", "build it with --licence SPDX")


def _target(to: str, egress: EgressTerms) -> tuple[Literal["folder", "hub", "fsspec"], str]:
    """What kind of place it is; its host is asked of the list of endpoints."""
    parts = urlsplit(to)
    if "://" not in to:
        return "folder", to
    if parts.scheme == "file":
        if parts.netloc not in ("", "localhost"):
            raise _unknown(to)
        return "folder", parts.path
    if parts.scheme == "memory":
        return "fsspec", to
    if parts.scheme not in HOSTS or "@" in parts.netloc:
        raise _unknown(to)
    endpoint(HOSTS[parts.scheme], egress)
    if parts.scheme == "hf":
        name = f"{parts.netloc}{parts.path}".strip("/")
        if name.count("/") != 1:
            raise _unknown(to)
        return "hub", name
    return "fsspec", to


def _send(folder: Path, files: tuple[str, ...], kind: str, place: str, label: str, hub: Any) -> None:
    try:
        if kind == "folder":
            _copy(folder, files, Path(place) / label)
        elif kind == "hub":
            client = hub if hub is not None else _hub()
            client.upload_folder(
                repo_id=place,
                repo_type="dataset",
                folder_path=str(folder),
                allow_patterns=[_literal(f) for f in files],
                commit_message=f"{label}",
            )
        else:
            _put(folder, files, f"{place.rstrip('/')}/{label}")
    except MienError:
        raise
    except Exception as error:  # of somebody else's client
        raise MienError(
            "release.push-failed", f"{place}: {type(error).__name__}: {error}"[:300], "nothing may be complete there"
        ) from error


def _copy(folder: Path, files: tuple[str, ...], to: Path) -> None:
    """Whole or not at all: into a draft, checked, renamed."""
    if to.exists():
        raise MienError("release.target-exists", f"{to} is there already", "releases never change")
    draft = to.with_name(f".{to.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    try:
        for path in files:
            (draft / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(folder / path, draft / path)
        _, found = check(draft)
        if found:
            raise MienError("release.push-failed", f"{found[0].path} arrived changed", "push again")
        draft.rename(to)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _put(folder: Path, files: tuple[str, ...], to: str) -> None:
    """One file after the other, the manifest last: a folder without one is no release."""
    try:
        import fsspec
    except ImportError:
        raise missing_extra("fsspec", "release") from None
    system, root = fsspec.core.url_to_fs(to)
    if system.exists(root):
        raise MienError("release.target-exists", f"{to} is there already", "releases never change")
    for path in sorted(files, key=lambda f: f == MANIFEST):
        system.makedirs(f"{root}/{path}".rpartition("/")[0], exist_ok=True)
        system.put_file(str(folder / path), f"{root}/{path}")


def _hub() -> Any:
    try:
        from huggingface_hub import HfApi
    except ImportError:
        raise missing_extra("huggingface_hub", "release") from None
    return HfApi(endpoint=HUB)


def _literal(path: str) -> str:
    """A path as a pattern that means itself."""
    return "".join(f"[{c}]" if c in "*?[" else c for c in path)


def _unknown(to: str) -> MienError:
    return MienError(
        "release.target-unknown",
        f"{to[:100]!r} is no place that a release can go to",
        f"a folder, file:///…, hf://ORG/NAME, or {', '.join(sorted(HOSTS))}",
    )
