"""One heap for all threads of a process."""

from __future__ import annotations

import contextlib
import ctypes


def one_heap() -> None:
    """One arena for all threads (glibc): each thread's own would keep what it once freed, and memory would creep up."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(-8, 1)  # M_ARENA_MAX
