"""A worker of the process crew: `python -P -m mien.pipeline.engine.worker FD`. Does tasks until the line is closed.

It never sees the store. What it is sent and sends back are our own records and Arrow tables, pickled: both ends are
one program on one machine, and the line is an unnamed pair of sockets.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import sys
import threading
import time
from multiprocessing.connection import Connection
from typing import Any

TELL_S = 0.5


def main(argv: list[str]) -> None:
    """First comes a `Config`, and the worker's name where its time is watched; then tasks, or what to do with the
    models (`LOAD`, `UNLOAD`).

    Back go `("progress", t_us)` and `("finished", Finished)`.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    line: Connection[Any, Any] = Connection(int(argv[0]))
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        _serve(line)
    # Nothing is left to save here, and native threads sometimes abort an orderly end.
    os._exit(0)


def _serve(line: Connection[Any, Any]) -> None:
    from mien.core import probe
    from mien.pipeline.engine.hand import Hand
    from mien.pipeline.engine.heap import one_heap
    from mien.pipeline.engine.resident import note_memory
    from mien.pipeline.engine.task import LOAD, UNLOAD
    from mien.pipeline.stack import Stack

    one_heap()
    config, watched_as = line.recv()
    if watched_as:
        probe.watch(probe.Watcher(watched_as))
    told = 0.0

    def progress(t_us: int) -> None:
        nonlocal told
        if time.monotonic() >= told + TELL_S:
            told = time.monotonic()
            line.send(("progress", t_us))
            note_memory()

    hand = Hand(Stack(config, threads=1), config.analysis, side_by_side=False)
    while True:
        with probe.span("wait", "task"):
            task = line.recv()
        if task == LOAD:
            hand.prepare()
        elif task == UNLOAD:
            hand.unload()
        else:
            done = hand.do(task, progress)
            line.send(("finished", dataclasses.replace(done, spans=probe.drained())))


def _end_with(parent: int) -> None:
    """Work for nobody ends with whoever asked for it, however that ended."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)


if __name__ == "__main__":
    main(sys.argv[1:])
