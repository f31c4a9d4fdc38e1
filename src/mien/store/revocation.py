"""Lists of what was revoked: releases, and sources and people whose examples are skipped wherever they are.

`{"version": 1, "releases": {"name-version": {"root", "reason", "at_utc"}}, "sources": [key], "subjects": [key]}`.
A list only ever adds, so several are joined, and one that cannot be read stops the reader: closed by default.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mien.core import MienError
from mien.store import durable
from mien.store.sealing import REVOKED, canonical


@dataclass(frozen=True, slots=True)
class Revoked:
    """One revoked release. `successor`: the release that takes its place, where there is one."""

    root: str
    reason: str
    at_utc: str
    successor: str = ""


@dataclass(frozen=True, slots=True)
class Revocations:
    """What was revoked. `sources`: keys (`source_key`), or sha256; `subjects`: keys (`subject_key`), or pseudonyms."""

    releases: dict[str, Revoked] = field(default_factory=dict)
    sources: frozenset[str] = frozenset()
    subjects: frozenset[str] = frozenset()

    def __or__(self, other: Revocations) -> Revocations:
        return Revocations(
            {**self.releases, **other.releases}, self.sources | other.sources, self.subjects | other.subjects
        )

    def of(self, label: str, root: str) -> Revoked | None:
        """Whether a release is revoked, by its name or by its root."""
        return self.releases.get(label) or next((r for r in self.releases.values() if r.root == root), None)

    def skips(self, sources: Sequence[str], subjects: Sequence[str]) -> bool:
        """Whether an example of these sources (sha256) and people (by key) is revoked."""
        keys = self.subjects | {subject_key(s) for s in self.subjects}
        named = {*sources, *map(source_key, sources)}
        return not self.sources.isdisjoint(named) or not keys.isdisjoint(subjects)

    @property
    def told(self) -> dict[str, Any]:
        """As JSON; `canonical` of it are the bytes that a signature is over."""
        releases = {
            label: {"root": r.root, "reason": r.reason, "at_utc": r.at_utc}
            | ({"successor": r.successor} if r.successor else {})
            for label, r in self.releases.items()
        }
        return {
            "version": 1,
            "releases": releases,
            "sources": sorted(self.sources),
            "subjects": sorted(self.subjects),
        }


def subject_key(subject_id: str) -> str:
    """How releases name a person: a digest of the pseudonym, so that lists can be published without it."""
    return hashlib.sha256(b"mien.subject.v1\0" + subject_id.encode()).hexdigest()


def source_key(sha256: str) -> str:
    """How a list names a recording where its sha256 would be a trace of it."""
    return hashlib.sha256(b"mien.source.v1\0" + sha256.encode()).hexdigest()


def beside(folder: Path) -> list[Path]:
    """Where a list may lie: in a release, beside it, in the project whose `releases` it is in, and in the user's
    configuration."""
    from platformdirs import user_config_path

    above = folder.resolve().parent
    project = [above.parent] if above.name == "releases" else []
    return [held / REVOKED for held in (folder, above, *project, user_config_path("mien"))]


def read(paths: Iterable[Path]) -> Revocations:
    """All lists that are there, joined.

    Raises:
        MienError: `release.revocation-unreadable`.
    """
    found = Revocations()
    for path in paths:
        if path.exists() or path.is_symlink():
            found |= _read(path)
    return found


def write(path: Path, revocations: Revocations) -> bytes:
    """Write a list in its one form; gives its bytes."""
    raw = canonical(revocations.told)
    durable.write(path, lambda out: out.write(raw))
    return raw


def _read(path: Path) -> Revocations:
    try:
        told = json.loads(path.read_bytes())
        if told["version"] != 1:
            raise ValueError(f"version {told['version']!r} is not known")
        releases = {
            str(label): Revoked(str(r["root"]), str(r["reason"]), str(r["at_utc"]), str(r.get("successor", "")))
            for label, r in told["releases"].items()
        }
        listed = [told["sources"], told["subjects"]]
        if not all(isinstance(held, list) and all(isinstance(v, str) for v in held) for held in listed):
            raise ValueError("sources and subjects must be lists of texts")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise MienError(
            "release.revocation-unreadable",
            f"the list of revocations {path.name} cannot be read: {error}",
            "fetch it again; nothing is loaded while it is unreadable",
        ) from error
    return Revocations(releases, frozenset(listed[0]), frozenset(listed[1]))
