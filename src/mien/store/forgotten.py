"""`forgotten.json`: what was forgotten and may not come back unasked, as digests that say nothing without their key.

HMAC-SHA256 (RFC 2104) of a recording's sha256 under 32 random bytes of this project, which lie in the same file, for
its owner's eyes alone. Whoever has the record, the log, a report or a list of revocations, and a clip, cannot ask
whether it was here. Whoever has the whole project folder can, as by giving it the clip: to refuse it is to know it.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from mien.core import MienError
from mien.store import durable

FILE = "forgotten.json"
VERSION = 1
CODE = "input.forgotten"


class Forgotten:
    """What a project has forgotten, as it stood when this was made. `root`: None for a project in memory.

    Raises:
        MienError: `store.forgotten-damaged`: nothing is taken in while nobody can tell what must stay out.
    """

    def __init__(self, root: Path | None) -> None:
        self._path = root / FILE if root else None
        self._key, self._held = b"", frozenset[str]()
        if self._path is None or not os.path.lexists(self._path):
            return
        try:
            told = json.loads(self._path.read_bytes())
            self._key, self._held = bytes.fromhex(told["key"]), frozenset(map(str, told["digests"]))
            if told["version"] != VERSION or len(self._key) != 32:
                raise ValueError("unknown version or key")
        except (OSError, ValueError, KeyError, TypeError) as error:
            hint = f"restore {FILE}; where it is lost, delete it: what was forgotten is then taken in again"
            raise MienError("store.forgotten-damaged", f"{FILE} cannot be read: {error}", hint) from error

    def check(self, sha256: str, name: str) -> None:
        """Raises MienError `input.forgotten` for a recording that was forgotten."""
        if self._held and self._digest(sha256) in self._held:
            raise MienError(
                CODE, f"{name} was forgotten here and stays out", f"on purpose: mien forget {name} --lift --by NAME"
            )

    def remember(self, shas: Iterable[str]) -> None:
        """Keep these out from now on."""
        self._key = self._key or secrets.token_bytes(32)
        self._write(self._held | {self._digest(s) for s in shas})

    def lift(self, sha256: str) -> bool:
        """Let a recording in again; whether it was kept out."""
        known = bool(self._held) and self._digest(sha256) in self._held
        if known:
            self._write(self._held - {self._digest(sha256)})
        return known

    def _digest(self, sha256: str) -> str:
        return hmac.new(self._key, f"source\0{sha256}".encode(), hashlib.sha256).hexdigest()

    def _write(self, digests: frozenset[str]) -> None:
        self._held = digests
        if self._path is None:
            return
        text = json.dumps({"version": VERSION, "key": self._key.hex(), "digests": sorted(digests)}, indent=0)

        def fill(out: BinaryIO) -> None:
            os.fchmod(out.fileno(), 0o600)
            out.write(text.encode())

        durable.write(self._path, fill)
