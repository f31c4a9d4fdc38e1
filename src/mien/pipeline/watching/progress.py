"""How far a run is, for other processes: a small file that the writer keeps, and what a reader makes of it.

The file holds ids of clips, names of stages and codes, and is gone when the run is. A reader opens nothing for writing
and takes no lock, so any number may look at once.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mien.core import Clip, Source
from mien.pipeline.engine.resident import family, resident_mb
from mien.pipeline.events import Event, Listener
from mien.store import Store, holder

FILE = ".mien.progress"
EVERY_S = 1.0
SHOWN = 8  # clips under way


class Progress:
    """Listens to a run, tells another listener the same, and keeps the file. A full disk never stops a run."""

    def __init__(self, root: Path | None, run_id: str, then: Listener) -> None:
        self._path = root / FILE if root else None
        self._run_id, self._then = run_id, then
        self._under_way: dict[str, dict[str, Any]] = {}
        self._failures: Counter[str] = Counter()
        self._clips = self._stages = 0
        self._done_s = self._total_s = self._before_s = 0.0
        self._started: float | None = None
        self._written = 0.0

    def __call__(self, event: Event) -> None:
        now = time.monotonic()
        self._hear(event, now)
        if now >= self._written + EVERY_S:
            self._written = now
            self._write(now)
        self._then(event)

    def _hear(self, event: Event, now: float) -> None:
        match event.kind:
            case "plan":
                self._total_s = event.total_s
            case "begun":
                self._started = self._started or now
                stages = event.stage.split(",")
                self._under_way[event.unit] = {"clip": event.unit, "stages": stages, "began": now}
            case "ended":
                if self._under_way.pop(event.unit, None) is None:
                    self._before_s += event.clip_s
                self._clips += event.text != "again"
            case "progress":
                self._done_s = event.done_s
            case "stage":
                self._stages += 1
                if event.unit in self._under_way:
                    self._under_way[event.unit]["last"] = event.stage
            case "failed":
                self._failures[event.code] += 1
            case _:
                pass

    def said(self, now: float) -> dict[str, Any]:
        """What the file holds. rate: media seconds ÷ seconds since the first clip began, of what is new."""
        fresh_s = max(0.0, self._done_s - self._before_s)
        spent_s = now - self._started if self._started else 0.0
        rate = fresh_s / spent_s if spent_s > 0 and fresh_s > 0 else None
        ways = [
            {k: v for k, v in w.items() if k != "began"} | {"for_s": round(now - w["began"], 1)}
            for w in self._under_way.values()
        ]
        return {
            "run": self._run_id,
            "pid": os.getpid(),
            "at_utc": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "media_s": {"done": round(self._done_s, 3), "total": round(self._total_s, 3)},
            "clips_done": self._clips,
            "under_way": ways[:SHOWN],
            "queue": len(ways),
            "stages_done": self._stages,
            "failures": dict(self._failures),
            "times_real_time": None if rate is None else round(rate, 3),
            "eta_s": None if rate is None else round(max(0.0, self._total_s - self._done_s) / rate, 1),
        }

    def _write(self, now: float) -> None:
        if self._path is None:
            return
        with contextlib.suppress(OSError):
            new = self._path.with_name(FILE + "-new")
            new.write_text(json.dumps(self.said(now)), encoding="utf-8")
            new.replace(self._path)

    def close(self) -> None:
        """The run is over: the file goes."""
        if self._path is not None:
            with contextlib.suppress(OSError):
                self._path.unlink(missing_ok=True)
                self._path.with_name(FILE + "-new").unlink(missing_ok=True)


def look(root: Path, store: Store) -> dict[str, Any]:
    """A project as it is this moment, ready for JSON.

    state: `running`, `writing` (a command that is no run holds the project), `idle`. memory_mb: of the writer and of
    what it started, None where the system does not tell. clips.left: of those that are known so far.
    """
    held = holder(root)
    # Counted by SQLite: a look must not cost more as a project grows.
    known = int(store.query("SELECT count(*) FROM clips")[1][0][0])
    failed = int(store.query("SELECT count(*) FROM failures")[1][0][0])
    out: dict[str, Any] = {"state": "idle", "holder": None, "clips": {"known": known}, "failures_in_record": failed}
    if held is None:
        return out
    out |= {"state": "writing", "holder": asdict(held) | {"said": str(held)}, "memory_mb": _memory(held.pid)}
    said = _read(root)
    if said is None or said.get("pid") != held.pid:
        return out
    left = max(0, known - said["clips_done"])
    out |= {"state": "running", "run": said["run"], "at_utc": said["at_utc"], "media_s": said["media_s"]}
    out["clips"] = {"known": known, "done": said["clips_done"], "left": left}
    for key in ("under_way", "queue", "stages_done", "failures", "times_real_time", "eta_s"):
        out[key] = said[key]
    for way in out["under_way"]:
        way["name"] = _name(store, way["clip"])
    return out


def _name(store: Store, clip: str) -> str:
    for held in store.all(Clip, "id = ?", (clip,)):
        for source in store.all(Source, "sha256 = ?", (held.source_sha,)):
            return f"{Path(source.path).name} {held.span}"
    return clip


def _memory(pid: int) -> dict[str, float] | None:
    mine = resident_mb(pid)
    if mine is None:
        return None
    others = [resident_mb(p) or 0.0 for p in family(pid)[1:]]
    return {"writer": round(mine, 1), "others": round(sum(others), 1), "processes": len(others)}


def _read(root: Path) -> dict[str, Any] | None:
    try:
        said = json.loads((root / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return said if isinstance(said, dict) else None
