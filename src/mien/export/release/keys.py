"""Keys that sign releases: Ed25519 (RFC 8032), made once, kept by the user and never in a project."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mien.core import MienError, missing_extra
from mien.store.sealing import fingerprint

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


@dataclass(frozen=True, slots=True)
class Key:
    """A key that can sign. `public`: its 32 public bytes."""

    public: bytes
    _private: Any

    @property
    def fingerprint(self) -> str:
        """sha256 of the public bytes, hex."""
        return fingerprint(self.public)

    def sign(self, domain: bytes, digest: str) -> bytes:
        """64 bytes over a digest; `domain` keeps a signature of one thing from passing for another's."""
        return self._private.sign(domain + bytes.fromhex(digest))


def default_key() -> Path:
    """Where the key lies unless somebody says otherwise: the user's configuration."""
    from platformdirs import user_config_path

    return user_config_path("mien") / "release.key"


def new_key(path: Path) -> Key:
    """Make a key: PEM (PKCS #8, not encrypted) that only its owner may read, and `.pub`, the public bytes as hex.

    Raises:
        MienError: `release.key-exists`, `install.missing-extra`.
    """
    private_class, forms = _packages()
    private = private_class.generate()
    pem = private.private_bytes(forms.Encoding.PEM, forms.PrivateFormat.PKCS8, forms.NoEncryption())
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        held = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise MienError(
            "release.key-exists", f"{path} is there already", "a key is never replaced: name another file"
        ) from None
    with os.fdopen(held, "wb") as file:
        file.write(pem)
        file.flush()
        os.fsync(file.fileno())
    key = Key(private.public_key().public_bytes_raw(), private)
    path.with_suffix(".pub").write_text(key.public.hex() + "\n", encoding="ascii")
    return key


def open_key(path: Path) -> Key:
    """Read a private key.

    Raises:
        MienError: `release.key-unreadable`; `release.key-open` where others than its owner may read it.
    """
    _, forms = _packages()
    try:
        mode = path.stat().st_mode
        private = forms.load_pem_private_key(path.read_bytes(), None)
        public = private.public_key().public_bytes_raw()
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise MienError("release.key-unreadable", f"{path} is no key: {error}", "make one: mien release key") from error
    if os.name == "posix" and mode & 0o077:
        raise MienError("release.key-open", f"others may read {path}", f"chmod 600 {path}")
    return Key(public, private)


def public_key(text: str) -> bytes:
    """A public key from a file, or from its 64 hex digits.

    Raises:
        MienError: `release.key-unreadable`.
    """
    try:
        told = Path(text).read_text(encoding="ascii").strip() if len(text) != 64 or Path(text).is_file() else text
        public = bytes.fromhex(told)
    except (OSError, ValueError) as error:
        raise MienError("release.key-unreadable", f"{text} is no public key: {error}", "give the .pub file") from error
    if len(public) != 32:
        raise MienError("release.key-unreadable", f"{text} holds {len(public)} bytes, not 32", "give the .pub file")
    return public


def _packages() -> tuple[type[Ed25519PrivateKey], Any]:
    try:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    except ImportError:
        raise missing_extra("cryptography", "release") from None
    return Ed25519PrivateKey, serialization
