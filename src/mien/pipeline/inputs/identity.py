"""People by a code: what a subject column says never reaches the record."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import unicodedata
from pathlib import Path

from mien.store.durable import sync_folder

SALT = ".subjects.salt"


class Pseudonyms:
    """Codes of people: HMAC-SHA256 of the name under a salt of the project (RFC 2104), 48 bits of it.

    The salt lies in the project folder and is made when first needed. Without it nobody can tell which name a code
    stands for, not even by trying names; with it, the same name gives the same code in every run. Copies of the record
    that leave the folder are pseudonymous because the salt does not go with them. 48 bits: 10,000 people collide with a
    probability below one in a million.
    """

    def __init__(self, root: Path | None) -> None:
        self._root, self._salt = root, b"" if root else secrets.token_bytes(32)

    def code(self, name: str) -> str:
        """`subject-<12 hex>`. Spaces around the name and the form of its letters (NFC) do not matter, case does."""
        plain = unicodedata.normalize("NFC", name.strip()).encode("utf-8", "replace")
        return f"subject-{hmac.new(self._held(), plain, hashlib.sha256).hexdigest()[:12]}"

    def _held(self) -> bytes:
        if not self._salt and self._root is not None:
            path = self._root / SALT
            if not path.exists():
                temporary = path.with_suffix(".part")
                temporary.unlink(missing_ok=True)
                fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                with os.fdopen(fd, "wb") as file:
                    file.write(secrets.token_bytes(32))
                    file.flush()
                    os.fsync(file.fileno())
                temporary.rename(path)
                sync_folder(path.parent)
            self._salt = path.read_bytes()
        return self._salt
