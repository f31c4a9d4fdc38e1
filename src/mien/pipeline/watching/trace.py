"""A trace in Chrome's JSON format (Trace Event Format, Google, 2016): opens in ui.perfetto.dev and chrome://tracing.

Written as it comes, so that it costs no memory. The fuller the file, the longer a span must be to be written; what
was left out is counted in `otherData`.
"""

from __future__ import annotations

import gzip
import io
import json
import time
from pathlib import Path
from typing import IO, Any, cast

from mien.core import VERSION, MienError
from mien.core.probe import Note, Taken

HEAD = '{"displayTimeUnit": "ms", "traceEvents": [\n'
MOST = 1_000_000  # events of a file: about 150 MB, 12 MB with gzip; more than the viewers like
LEAST_NS = ((0.5, 0), (0.75, 1_000_000), (1.0, 10_000_000))  # up to this share of MOST: spans of at least so many ns
SAID = {"decode": "decode ", "load": "load ", "wait": "wait for ", "write": "write ", "scan": ""}
PLAIN = ("clip", "item", "infer", "preprocess", "post")  # drawn under their kind; the name is that of the model


class TraceFile:
    """Takes what processes noted and writes it as events.

    Args:
        path: `.json` or `.json.gz`; an older trace is replaced, any other file is not.

    Raises:
        MienError: `profile.wrong-name`, `profile.not-a-trace`, `profile.not-writable`.
    """

    def __init__(self, path: Path, most: int = MOST) -> None:
        if not path.name.endswith((".json", ".json.gz")):
            raise MienError("profile.wrong-name", f"a profile is .json or .json.gz, not {path.name}", "name it so")
        try:
            if path.exists() and not _ours(path):
                message = f"{path.name} is there and is no trace of mien"
                raise MienError("profile.not-a-trace", message, "give another name")
            self._raw = path.open("wb")
        except OSError as error:
            raise MienError(
                "profile.not-writable", f"cannot write {path.name}: {error.strerror}", "give another place"
            ) from error
        self._file: IO[str] = io.TextIOWrapper(
            cast("IO[bytes]", gzip.GzipFile("", "wb", 5, self._raw, 0)) if path.name.endswith(".gz") else self._raw,
            encoding="utf-8",
        )
        self._file.write(HEAD)
        self._zero, self._most = time.monotonic_ns(), most
        self._known: set[tuple[int, int]] = set()
        self.written = self.dropped = 0

    def add(self, taken: Taken) -> None:
        """Write what one process noted."""
        self.dropped += taken.dropped
        if (taken.pid, 0) not in self._known:
            self._known.add((taken.pid, 0))
            self._named(taken.pid, 0, "process_name", taken.name)
        for tid, name in taken.threads.items():
            if (taken.pid, tid) not in self._known:
                self._known.add((taken.pid, tid))
                self._named(taken.pid, tid, "thread_name", name)
        for note in taken.notes:
            self._note(taken.pid, note)

    def close(self) -> None:
        other = {"mien": VERSION, "dropped": self.dropped}
        with self._raw, self._file:
            self._file.write('{"ph": "M", "name": "end", "pid": 0}\n], "otherData": ' + json.dumps(other) + "}\n")

    def _note(self, pid: int, note: Note) -> None:
        kind, name, tid, start, length, clip = note
        ts = (start - self._zero) / 1000
        if kind == "count":
            self._event({"ph": "C", "name": name, "pid": pid, "ts": ts, "args": {name: length / 1000}})
            return
        if not any(self.written < share * self._most and length >= least for share, least in LEAST_NS):
            self.dropped += 1
            return
        args = {"clip": clip} if clip else {}
        if kind in PLAIN and kind != "clip":
            args["of"] = name
        said = kind if kind in PLAIN else SAID.get(kind, "") + name
        event = {"ph": "X", "name": said, "cat": kind, "pid": pid, "tid": tid, "ts": ts, "dur": length / 1000}
        self._event(event | ({"args": args} if args else {}))

    def _named(self, pid: int, tid: int, what: str, name: str) -> None:
        self._event({"ph": "M", "name": what, "pid": pid, "tid": tid, "args": {"name": name}})

    def _event(self, event: dict[str, Any]) -> None:
        self._file.write(json.dumps(event, separators=(",", ":")) + ",\n")
        self.written += 1


def _ours(path: Path) -> bool:
    try:
        with gzip.open(path) if path.name.endswith(".gz") else path.open("rb") as file:
            return file.read(len(HEAD)) in (HEAD.encode(), b"")
    except (OSError, EOFError):
        return False
