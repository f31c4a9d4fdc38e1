"""The seal of a release: which files it holds, the root over them, its signature, and what is wrong with a folder.

The root is a Merkle tree hash over sorted leaves with the domains of RFC 6962 §2.1 (0x00 before a leaf, 0x01 before a
node), so that no file can pass for a node. A leaf is path, size and sha256 of a file; one more leaf holds what the
manifest says beside its list. Nothing here needs a project, and nothing is believed that was not checked.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

MANIFEST, SIGNATURE = "MANIFEST.json", "SIGNATURE"
REVOKED, REVOKED_SIGNATURE = "revoked.json", "revoked.sig"
OUTSIDE = frozenset({MANIFEST, SIGNATURE, REVOKED, REVOKED_SIGNATURE})  # of the list of files
FORMAT, FORMAT_VERSION = "mien.release", 1
ROOT_DOMAIN, REVOKED_DOMAIN = b"mien.release.root.v1\n", b"mien.release.revoked.v1\n"
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
_HEX = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
_TEXT = {"type": "string", "maxLength": 200}
_FILE = {
    "type": "object",
    "required": ["path", "bytes", "sha256"],
    "additionalProperties": False,
    "properties": {"path": {"type": "string"}, "bytes": {"type": "integer", "minimum": 0}, "sha256": _HEX},
}
SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["format", "format_version", "name", "version", "mien", "context", "use", "about", "files", "root",
                 "signer"],
    "additionalProperties": False,
    "properties": {
        "format": {"const": FORMAT},
        "format_version": {"const": FORMAT_VERSION},
        "name": _TEXT, "version": _TEXT, "mien": _TEXT,
        "context": {"enum": ["care", "research", "studio"]},
        "use": {"enum": ["share", "publish"]},
        "about": {"type": "object"},
        "files": {"type": "array", "items": _FILE},
        "root": _HEX,
        "signer": {"anyOf": [_HEX, {"type": "null"}]},
    },
}  # fmt: skip
_SIGNED: dict[str, Any] = {
    "type": "object",
    "required": ["algorithm", "public_key", "digest", "signature"],
    "additionalProperties": False,
    "properties": {
        "algorithm": {"const": "Ed25519"},
        "public_key": _HEX,
        "digest": _HEX,
        "signature": {"type": "string", "pattern": "^[0-9a-f]{128}$"},
    },
}


@dataclass(frozen=True, slots=True)
class Sealed:
    """One file of a release. `path`: relative, with `/`, in Unicode's composed form (NFC)."""

    path: str
    bytes: int
    sha256: str

    @property
    def leaf(self) -> bytes:
        return f"{self.path}\0{self.bytes}\0{self.sha256}".encode()


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong. `code` is stable."""

    code: str
    path: str
    text: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a release says of itself. `about`: models, licences, digests and counts, as the card tells them."""

    name: str
    version: str
    context: str
    use: str
    about: dict[str, Any]
    files: tuple[Sealed, ...]
    root: str
    signer: str | None

    @property
    def label(self) -> str:
        return f"{self.name}-{self.version}"


def canonical(value: Any) -> bytes:
    """JSON in its one form here: sorted keys, UTF-8, one space of indent; no NaN."""
    return (json.dumps(value, sort_keys=True, ensure_ascii=False, indent=1, allow_nan=False) + "\n").encode()


def merkle_root(leaves: Sequence[bytes]) -> bytes:
    """The tree hash of a list of leaves (RFC 6962 §2.1), 32 bytes."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\0" + leaves[0]).digest()
    left = 1 << (len(leaves) - 1).bit_length() - 1  # the largest power of two below their number
    return hashlib.sha256(b"\1" + merkle_root(leaves[:left]) + merkle_root(leaves[left:])).digest()


def root_of(told: dict[str, Any], files: Iterable[Sealed]) -> str:
    """The root of a release: over what its manifest tells (without list, root and signer) and its files."""
    said = {k: v for k, v in told.items() if k not in ("files", "root", "signer")}
    leaves = [f.leaf for f in sorted(files, key=lambda f: f.path.encode())]
    return merkle_root([f"{MANIFEST}\0".encode() + canonical(said), *leaves]).hex()


def seal(told: dict[str, Any], files: Iterable[Sealed], signer: str | None) -> tuple[bytes, str]:
    """The bytes of a manifest over `files`, and the root."""
    listed = sorted(files, key=lambda f: f.path.encode())
    root = root_of(told, listed)
    rows = [{"path": f.path, "bytes": f.bytes, "sha256": f.sha256} for f in listed]
    return canonical({**told, "files": rows, "root": root, "signer": signer}), root


def fingerprint(public: bytes) -> str:
    """The fingerprint of a public key: sha256 of its 32 bytes, hex."""
    return hashlib.sha256(public).hexdigest()


def file_sha256(path: Path) -> str:
    with path.open("rb") as held:
        return hashlib.file_digest(held, "sha256").hexdigest()


def bad_path(path: str) -> str:
    """What is wrong with the name of a file; empty where it reads the same on every system and stays in its folder."""
    parts = path.split("/")
    if path != unicodedata.normalize("NFC", path):
        return "is not in Unicode's composed form"
    if any(not p or p in (".", "..") for p in parts) or PurePosixPath(path).is_absolute():
        return "leads out of the folder, or is no plain path"
    if any(not c.isprintable() or c in '\\:*?"<>|' for c in path):
        return "holds characters that not every system takes"
    if any(p.endswith((" ", ".")) or _RESERVED.fullmatch(p) or len(p.encode()) > 255 for p in parts):
        return "is no name on every system"
    return ""


def walk(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Everything below a folder that is no folder, as (path, lstat), sorted; links are told, never followed."""
    for entry in sorted(os.scandir(folder), key=lambda e: os.fsencode(e.name)):
        if entry.is_dir(follow_symlinks=False):
            for path, held in walk(Path(entry.path)):
                yield f"{entry.name}/{path}", held
        else:
            yield entry.name, entry.stat(follow_symlinks=False)


def read_manifest(folder: Path) -> tuple[Manifest | None, list[Finding]]:
    """A manifest, and what is wrong with it: form, schema, names, root. Files are not looked at; None: unreadable."""
    try:
        if (folder / MANIFEST).is_symlink():
            raise OSError("it is a link")
        raw = (folder / MANIFEST).read_bytes()
    except OSError as error:
        return None, [Finding("release.no-manifest", MANIFEST, f"cannot be read: {error}")]
    told, why = _parsed(raw, "manifest")
    if told is None:
        return None, [Finding("release.bad-manifest", MANIFEST, why)]
    files = tuple(Sealed(f["path"], f["bytes"], f["sha256"]) for f in told["files"])
    found = [Finding("release.bad-path", f.path, why) for f in files if (why := bad_path(f.path))]
    found += [Finding("release.bad-path", f.path, "belongs outside the list") for f in files if f.path in OUTSIDE]
    found += _collisions([f.path for f in files])
    if root_of(told, files) != told["root"]:
        found.append(Finding("release.root", MANIFEST, "its root is not the root of what it lists"))
    named = {k: told[k] for k in ("name", "version", "context", "use", "about", "root", "signer")}
    return Manifest(**named, files=files), found


def check(folder: Path, key: bytes | None = None) -> tuple[Manifest | None, list[Finding]]:
    """Everything that is wrong with a folder: names, links, missing, extra and changed files, root, signature.

    Args:
        key: the 32 bytes of the public key that must have signed it; None: any key, or none.
    """
    if not folder.is_dir():
        return None, [Finding("release.no-manifest", str(folder), "is no folder")]
    manifest, found = read_manifest(folder)
    there = dict(walk(folder))
    found += [Finding("release.link", p, "is no regular file") for p, s in there.items() if not stat.S_ISREG(s.st_mode)]
    if manifest is None:
        return None, found
    listed = {f.path for f in manifest.files}
    found += _collisions([p for p in there if p not in listed] + sorted(listed))
    extra = [p for p in there if p not in listed and p not in OUTSIDE]
    found += [Finding("release.extra-file", p, "is not in the manifest") for p in extra]
    for file in manifest.files:
        held = there.get(file.path)
        if held is None:
            found.append(Finding("release.missing-file", file.path, "is in the manifest, and not there"))
        elif stat.S_ISREG(held.st_mode) and (
            held.st_size != file.bytes or file_sha256(folder / file.path) != file.sha256
        ):
            found.append(Finding("release.changed", file.path, "holds other bytes than the manifest says"))
    found += signature_findings(folder / SIGNATURE, ROOT_DOMAIN, manifest.root, key, manifest.signer)
    return manifest, list(dict.fromkeys(found))


def signature_findings(
    path: Path, domain: bytes, digest: str, key: bytes | None, signer: str | None = None
) -> list[Finding]:
    """What is wrong with a signature over `digest`.

    Args:
        key: the public key it must be of; None: any.
        signer: the fingerprint of who is said to have signed; None with no `key`: it may be unsigned.

    Raises:
        MienError: `install.missing-extra` where there is a signature and no package to check it with.
    """
    if path.is_symlink() or not path.is_file():
        wanted = key is not None or signer is not None
        return [Finding("release.unsigned", path.name, "there is no signature")] if wanted else []
    told, why = _parsed(path.read_bytes(), "signature")
    if told is None:
        return [Finding("release.signature", path.name, why)]
    public = bytes.fromhex(told["public_key"])
    if path.name == SIGNATURE and fingerprint(public) != signer:
        return [Finding("release.signature", path.name, "it is of another key than the manifest names")]
    if told["digest"] != digest or not _signed(
        public, bytes.fromhex(told["signature"]), domain + bytes.fromhex(digest)
    ):
        return [Finding("release.signature", path.name, "it does not hold for what lies here")]
    if key is not None and public != key:
        return [Finding("release.other-key", path.name, f"it is of the key {fingerprint(public)[:16]}…, not the given")]
    return []


def signature(public: bytes, digest: str, made: bytes) -> bytes:
    """The bytes of a file that holds a signature."""
    told = {"algorithm": "Ed25519", "public_key": public.hex(), "digest": digest, "signature": made.hex()}
    return canonical(told)


def _signed(public: bytes, made: bytes, message: bytes) -> bool:
    from mien.core import missing_extra

    try:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    except ImportError:
        raise missing_extra("cryptography", "release") from None
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(made, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def _collisions(paths: Iterable[str]) -> list[Finding]:
    """Paths that some system takes for one another: by letter case or form, or a file where another has a folder."""
    seen: dict[str, str] = {}
    found: list[Finding] = []
    for path in paths:
        folded = unicodedata.normalize("NFKC", path).casefold()
        if folded in seen:
            found.append(Finding("release.case-collision", path, f"is {seen[folded]!r} on some systems"))
        seen.setdefault(folded, path)
    for folded, path in seen.items():
        above = next((a for a in _above(folded) if a in seen), None)
        if above is not None:
            found.append(Finding("release.case-collision", path, f"lies below the file {seen[above]!r}"))
    return found


def _above(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[:i]) for i in range(1, len(parts))]


def _parsed(raw: bytes, what: str) -> tuple[dict[str, Any] | None, str]:
    """JSON in its one form and of its schema; else why not. Bytes that say the same in another form are refused, so
    that no bit can be changed unseen."""
    try:
        told = json.loads(raw, parse_constant=_refuse)
        if canonical(told) != raw:
            return None, "is not in its one form: it was changed, or written by something else"
        problem = next(iter(_validator(what).iter_errors(told)), None)
    except (ValueError, RecursionError) as error:
        return None, f"is no JSON: {error}"[:200]
    return (told, "") if problem is None else (None, f"{problem.json_path}: {problem.message}"[:200])


@lru_cache(maxsize=2)
def _validator(what: str) -> Any:
    from jsonschema import Draft202012Validator

    return Draft202012Validator(SCHEMA if what == "manifest" else _SIGNED)


def _refuse(word: str) -> None:
    raise ValueError(f"{word} is no number")
