"""Media that no file holds (members of archives, bytes within Parquet) as files named by their content.

They lie under the project's `media/`. In `care` nothing is written: mien keeps no unencrypted copies there.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from pathlib import Path
from typing import BinaryIO

from mien.core import Context, MienError
from mien.store.durable import sync_folder

CHUNK = 1 << 20
MAX_MEMBER_BYTES = 4 << 30


class Vault:
    """Where media bytes go. `root=None`: a project in memory, which keeps nothing."""

    def __init__(self, root: Path | None, context: Context) -> None:
        self._root, self._context = root, context
        if root is not None:
            for left in (root / "media").glob(".part-*"):  # of a run that was killed; the project's lock is ours
                left.unlink(missing_ok=True)

    def check(self, name: str) -> None:
        """Raise `input.care-no-copies` or `input.no-project` where nothing may be written."""
        if self._context == "care":
            raise MienError(
                "input.care-no-copies",
                f"{name} holds media inside, and in care mien keeps no unencrypted copies",
                "unpack it yourself to a place you protect, then give that folder",
            )
        if self._root is None:
            raise MienError(
                "input.no-project",
                f"{name} holds media inside, and without a project there is nowhere to unpack them",
                "mien init DIR --context research, then: mien -C DIR run FILE",
            )

    def put(self, stream: BinaryIO, suffix: str, name: str) -> Path:
        """Write a stream under its sha256, whole or not at all; the same bytes twice are one file.

        Raises:
            MienError: `input.too-large`, `store.write-failed`, and those of `check`.
        """
        self.check(name)
        assert self._root is not None  # noqa: S101 - `check` refused it
        folder, sha, size = self._root / "media", hashlib.sha256(), 0
        try:
            folder.mkdir(exist_ok=True)
            with contextlib.ExitStack() as undo:
                fd, temporary = tempfile.mkstemp(prefix=".part-", dir=folder)
                undo.callback(Path(temporary).unlink, missing_ok=True)
                with os.fdopen(fd, "wb") as file:
                    while chunk := stream.read(CHUNK):
                        size += len(chunk)
                        if size > MAX_MEMBER_BYTES:
                            raise MienError("input.too-large", f"{name} holds more than {MAX_MEMBER_BYTES >> 30} GiB")
                        sha.update(chunk)
                        file.write(chunk)
                    path = folder / sha.hexdigest()[:2] / f"{sha.hexdigest()}{suffix}"
                    for held in path.parent.glob(f"{path.stem}*"):  # under another ending, too
                        if held.stat().st_size == size:
                            return held
                    file.flush()
                    os.fsync(file.fileno())
                path.parent.mkdir(exist_ok=True)
                Path(temporary).rename(path)
                for above in (path.parent, folder, self._root):
                    sync_folder(above)
        except OSError as error:
            raise MienError(
                "store.write-failed", f"cannot keep {name}: {error.strerror}", "free some disk space, then run again"
            ) from error
        return path
