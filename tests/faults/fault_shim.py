"""The shim before libc: built once, and the handle by which the program it is loaded into arms it."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent


def built(folder: Path) -> Path:
    """The shim as a library; skips where there is no C compiler or no Linux."""
    if sys.platform != "linux":
        pytest.skip("the shim is for Linux")
    made = folder / "shim.so"
    try:
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-w", "-o", made, HERE / "shim.c", "-ldl"], check=True)
    except FileNotFoundError:
        pytest.skip("needs a C compiler (cc)")
    return made


def scripted(shim: Path, folder: Path, *asked: object, timeout_s: float = 1800) -> Any:
    """What `fault_script.py` answers, run with the shim loaded."""
    done = subprocess.run(
        [sys.executable, HERE / "fault_script.py", folder, *map(str, asked)],
        env={**os.environ, "LD_PRELOAD": str(shim), "FAULT_SHIM": str(shim)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=timeout_s,
    )
    return json.loads(done.stdout)


class Shim:
    """The shim from within."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(os.environ.pop("FAULT_SHIM"))
        os.environ.pop("LD_PRELOAD")  # children are on their own
        self._library.shim_count.restype = ctypes.c_long

    def watch(self, folder: Path | None) -> None:
        """Look at changes below a folder from now on; None: at nothing."""
        self._library.shim_watch(os.fsencode(folder) if folder else b"")

    def fail(self, n: int, code: int, *, for_good: bool) -> None:
        """Let the n-th change from now (and all after it) fail with an errno."""
        self._library.shim_fail(ctypes.c_long(n), code, for_good)

    @property
    def count(self) -> int:
        """Changes since `watch` or `fail`."""
        return self._library.shim_count()

    def log(self, fd: int) -> None:
        """Write every change down from now on; -1: no longer."""
        self._library.shim_log(fd)

    def note(self, text: str) -> None:
        """Write a line of our own among them."""
        self._library.shim_note(text.encode())
