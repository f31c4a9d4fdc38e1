"""Lists of what was revoked: releases, and recordings and people whose examples are skipped.

`{"version": 2, "at_utc", "releases": {"name-version": {"root_sha256", "reason", "at_utc"}}, "withdrawn": [digest]}`.
A digest names a recording or a person within one release: HMAC-SHA256 (RFC 2104) under the release's root, which stands
in its manifest. Somebody who holds a clip and a list, and not the release, cannot ask the list about the clip; the list
says neither how many people nor whose recordings. It only ever adds, so several are joined, and one that cannot be read
stops the reader: closed by default. Lists of version 1, whose digests have no key, are read and kept.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mien.core import MienError
from mien.store import durable
from mien.store.sealing import REVOKED, REVOKED_SIGNATURE, canonical, read_manifest

VERSION = 2
FETCH_S, LONGEST_BYTES = 20.0, 64 << 20


@dataclass(frozen=True, slots=True)
class Revoked:
    """One revoked release. `root_sha256`: `root_key` of its root; `successor`: the release that takes its place."""

    root_sha256: str
    reason: str
    at_utc: str
    successor: str = ""


@dataclass(frozen=True, slots=True)
class Revocations:
    """What was revoked.

    Attributes:
        withdrawn: of recordings and people, each in one release (`withdrawn_key`).
        sources, subjects: without a key, for every release: sha256 or `source_key`; pseudonyms or `subject_key`. What
            somebody asks for in a program, and what lists of version 1 hold.
        at_utc: when the list was written; "" where it does not say.
    """

    releases: dict[str, Revoked] = field(default_factory=dict)
    withdrawn: frozenset[str] = frozenset()
    sources: frozenset[str] = frozenset()
    subjects: frozenset[str] = frozenset()
    at_utc: str = ""

    def __or__(self, other: Revocations) -> Revocations:
        return Revocations(
            {**self.releases, **other.releases},
            self.withdrawn | other.withdrawn,
            self.sources | other.sources,
            self.subjects | other.subjects,
            max(self.at_utc, other.at_utc),
        )

    def of(self, label: str, root: str) -> Revoked | None:
        """Whether a release is revoked, by its name or by its root."""
        key = root_key(root)
        return self.releases.get(label) or next((r for r in self.releases.values() if r.root_sha256 == key), None)

    def skips(self, sources: Sequence[str], subjects: Sequence[str], root: str = "") -> bool:
        """Whether an example of these sources (sha256) and people (by key) is revoked.

        Args:
            root: of the release that it is in; "": none yet, so that nothing is withdrawn from it.
        """
        keys = self.subjects | {subject_key(s) for s in self.subjects}
        if not self.sources.isdisjoint({*sources, *map(source_key, sources)}) or not keys.isdisjoint(subjects):
            return True
        held = (withdrawn_key(root, s) for s in (*sources, *subjects)) if root and self.withdrawn else ()
        return any(h in self.withdrawn for h in held)

    @property
    def told(self) -> dict[str, Any]:
        """As JSON; `canonical` of it are the bytes that a signature is over."""
        releases = {
            label: {"root_sha256": r.root_sha256, "reason": r.reason, "at_utc": r.at_utc}
            | ({"successor": r.successor} if r.successor else {})
            for label, r in self.releases.items()
        }
        bare = {name: sorted(held) for name in ("sources", "subjects") if (held := getattr(self, name))}
        return {
            "version": VERSION,
            "at_utc": self.at_utc,
            "releases": releases,
            "withdrawn": sorted(self.withdrawn),
            **bare,
        }


def subject_key(subject_id: str) -> str:
    """How releases name a person: a digest of the pseudonym, so that they can be published without it."""
    return hashlib.sha256(b"mien.subject.v1\0" + subject_id.encode()).hexdigest()


def source_key(sha256: str) -> str:
    """How lists of version 1 name a recording."""
    return hashlib.sha256(b"mien.source.v1\0" + sha256.encode()).hexdigest()


def withdrawn_key(root: str, name: str) -> str:
    """How a list names a recording (its sha256) or a person (`subject_key`) that is withdrawn from one release."""
    return hmac.new(bytes.fromhex(root), b"mien.withdrawn.v2\0" + name.encode(), hashlib.sha256).hexdigest()


def root_key(root: str) -> str:
    """How a list names a release's root, which is the key of its digests and must not stand beside them."""
    return hashlib.sha256(b"mien.root.v2\0" + root.encode()).hexdigest()


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
    for _, held in read_each(paths):
        found |= held
    return found


def read_each(paths: Iterable[Path]) -> list[tuple[Path, Revocations]]:
    """Each list that is there. Raises MienError `release.revocation-unreadable`."""
    return [(p, parsed(_bytes(p), p.name)) for p in paths if p.exists() or p.is_symlink()]


def write(path: Path, revocations: Revocations) -> bytes:
    """Write a list in its one form; gives its bytes."""
    raw = canonical(revocations.told)
    durable.write(path, lambda out: out.write(raw))
    return raw


def hand_on(copies: Iterable[Path], listed: Revocations, root: str) -> tuple[list[Path], list[Path]]:
    """Write a list into copies of a release; gives the lists that were written, and the folders that could not be.

    Args:
        copies: folders; those that hold another release, or none, are left alone.
        listed: what concerns this release, and nothing else; joined to what lies there.

    Raises:
        MienError: `release.revocation-unreadable` of a list that lies there.
    """
    done, failed = list[Path](), list[Path]()
    for folder in dict.fromkeys(copies):
        manifest, _ = read_manifest(folder)
        if manifest is None or manifest.root != root:
            continue
        try:
            path = folder / REVOKED
            write(path, listed | read([path]))
            durable.remove(folder / REVOKED_SIGNATURE)  # of the list before
            done.append(path)
        except MienError as error:
            if error.code != "store.write-failed":
                raise
            failed.append(folder)
    return done, failed


def age_days(at_utc: str, now: datetime | None = None) -> float | None:
    """Days since a list was written; None where it does not say."""
    try:
        at = datetime.fromisoformat(at_utc)
    except ValueError:
        return None
    return ((now or datetime.now(UTC)) - (at if at.tzinfo else at.replace(tzinfo=UTC))).total_seconds() / 86_400


def fetched(url: str) -> Revocations:
    """The list at an https address; redirects elsewhere than https are not followed.

    Raises:
        MienError: `release.revocation-unreadable`.
    """
    from urllib.request import HTTPRedirectHandler, build_opener

    class Https(HTTPRedirectHandler):
        def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
            to = newurl if newurl.startswith("https://") else ""
            return super().redirect_request(req, fp, code, msg, headers, to) if to else None

    try:
        with build_opener(Https).open(url, timeout=FETCH_S) as held:
            raw = held.read(LONGEST_BYTES + 1)
    except (OSError, ValueError) as error:
        raise _unreadable(url, error) from error
    if len(raw) > LONGEST_BYTES:
        raise _unreadable(url, ValueError(f"it is longer than {LONGEST_BYTES} bytes"))
    return parsed(raw, url)


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _unreadable(path.name, error) from error


def parsed(raw: bytes, name: str) -> Revocations:
    """A list from its bytes. Raises MienError `release.revocation-unreadable`."""
    try:
        told = json.loads(raw)
        version = told["version"]
        if version not in (1, VERSION):
            raise ValueError(f"version {version!r} is not known")
        releases = {
            str(label): Revoked(
                root_key(str(r["root"])) if version == 1 else str(r["root_sha256"]),
                *(str(r["reason"]), str(r["at_utc"]), str(r.get("successor", ""))),
            )
            for label, r in told["releases"].items()
        }
        bare = (
            [told["sources"], told["subjects"]] if version == 1 else [told.get(n, []) for n in ("sources", "subjects")]
        )
        listed = [told["withdrawn"] if version > 1 else [], *bare]
        if not all(isinstance(held, list) and all(isinstance(v, str) for v in held) for held in listed):
            raise ValueError("withdrawn, sources and subjects must be lists of texts")
        at = str(told["at_utc"]) if version > 1 else max((r.at_utc for r in releases.values()), default="")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _unreadable(name, error) from error
    withdrawn, sources, subjects = map(frozenset[str], listed)
    return Revocations(releases, withdrawn, sources, subjects, at)


def _unreadable(name: str, error: Exception) -> MienError:
    return MienError(
        "release.revocation-unreadable",
        f"the list of revocations {name} cannot be read: {error}",
        "fetch it again; nothing is loaded while it is unreadable",
    )
