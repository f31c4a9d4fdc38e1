"""Everything an input can be, as one stream of entries."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from mien.core import MienError
from mien.pipeline.inputs.entry import Entry, Refused
from mien.pipeline.inputs.folders import read_file, read_folder
from mien.pipeline.inputs.mapping import Inputs
from mien.pipeline.inputs.vault import Vault

_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+://", re.I)


def discover(paths: Iterable[str | Path], inputs: Inputs, vault: Vault) -> Iterator[Entry | Refused]:
    """The items of files, folders, tables and archives: lazily, in a fixed order, each item once.

    Whatever cannot be read is a `Refused` with its code, and the rest follows. Media inside archives and Parquet are
    written to the vault as they are met.
    """
    seen: set[str] = set()
    for path in paths:
        for entry in _one(path, inputs, vault):
            if isinstance(entry, Entry):
                if entry.item.id in seen:
                    continue
                seen.add(entry.item.id)
            yield entry


def _one(path: str | Path, inputs: Inputs, vault: Vault) -> Iterator[Entry | Refused]:
    if _ADDRESS.match(str(path)):
        error = MienError("input.url", f"{str(path)[:80]!r} is an address", "nothing is downloaded: give local files")
        yield Refused(str(path), error)
        return
    whole = Path(os.path.abspath(path))
    shown = os.fsencode(whole).decode("utf-8", "backslashreplace")
    if shown != str(whole):
        yield Refused(shown, MienError("input.bad-path", f"the name of {shown} is not UTF-8", "rename it"))
        return
    read = read_folder if whole.is_dir() else read_file
    yield from read(whole, str(whole), inputs, vault)
