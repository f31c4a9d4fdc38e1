"""How long stages take and how much memory models need: measured in this project's ledger, else shipped references."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from mien.core import Run
from mien.pipeline import preflight
from mien.pipeline.config import Config
from mien.pipeline.engine.crew import processes_for
from mien.pipeline.engine.work import LINES, SOUNDS
from mien.pipeline.plan import BY_NAME
from mien.pipeline.stack import Stack
from mien.store import Store

HERE, SHIPPED = "this project", "reference"
# `python -m bench run 2 6`, 2026-11-22, Intel Xeon, 2 cores: 640x360, 5 frames/s, one face; ms per second of media.
REFERENCE_MS = {
    "faces": 191.9, "objects": 172.3, "sound": 135.0, "explicit": 120.1, "pose": 116.1, "expression": 63.7,
    "landmarks": 55.4, "motion": 45.2, "quality": 19.8, "scene": 19.6, "age": 12.3, "voice": 9.3, "assess": 3.5,
    "signals": 1.8, "body": 1.8, "affect": 1.4, "claims": 0.9, "sources": 0.3,
}  # fmt: skip
UNKNOWN_MS = 50.0  # a stage that nobody has measured yet
REFERENCE_FPS = 5.0
REFERENCE_OVERHEAD = 1.0  # wall time of that run ÷ its longest line of passes and its derived stages
WORKER_START_S, SHARING = 4.0, 1.2  # of several processes: their start, and what cores lose that share a memory
START_S = 2.5  # interpreter, registration, loading the models (18.0 ms of 120 s in that run)
SOUND_LINE = SOUNDS
FIXED_RATE = ("explicit", "age", "quality", "scene")  # look at one frame a second or less, whatever `analysis.fps` says
_CLAMP = (0.8, 3.0)


class Rate(NamedTuple):
    """ms of work per second of media, and where that is known from."""

    ms_per_s: float
    basis: str


class Todo(NamedTuple):
    """Stages to do on one stretch of media."""

    media_s: float
    stages: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Rates:
    """Measured ms per media second by stage, and the overhead of a whole run over its longest line of passes.

    workers: media seconds to do → how many processes do them; 0: this one.
    """

    measured: Mapping[str, float]
    overhead: float | None
    fps: float
    workers: Callable[[float], int] = lambda _: 0

    def stage(self, name: str) -> Rate:
        """The rate of one stage; a reference is scaled to the frames per second that are analysed."""
        if name in self.measured:
            return Rate(self.measured[name], HERE)
        vision = name in BY_NAME and BY_NAME[name].kind == "vision" and name not in FIXED_RATE
        scale = self.fps / REFERENCE_FPS if vision else 1.0
        return Rate(REFERENCE_MS.get(name, UNKNOWN_MS) * scale, SHIPPED)

    def predict(self, work: Iterable[Todo]) -> tuple[float, str]:
        """(seconds of a run, what they stand on).

        In one process lines of passes run side by side, and the longest counts; of several, each does a share of all.
        """
        todo = [w for w in work if w.stages]
        spent = [{n: self.stage(n).ms_per_s * w.media_s for n in w.stages} for w in todo]
        workers = self.workers(sum(w.media_s for w in todo))
        lines_s = sum(map(line_ms, spent)) / 1000
        bases = {self.stage(n).basis for w in todo for n in w.stages}
        overhead = self.overhead if self.overhead is not None else REFERENCE_OVERHEAD
        said = "measured in this project" if bases == {HERE} else "reference figures of another machine"
        if bases == {HERE, SHIPPED}:
            said = "measured in this project, reference figures where it has none"
        if workers > 1:
            return START_S + WORKER_START_S + SHARING * sum(sum(ms.values()) for ms in spent) / 1000 / workers, said
        return START_S + overhead * lines_s, said


def line_ms(spent: Mapping[str, float]) -> float:
    """ms that the stages of one clip take: media lines side by side (the longest counts), derived stages after."""
    lines = [sum(spent.get(n, 0.0) for n in line) for line in (*LINES, SOUND_LINE)]
    known = {n for line in (*LINES, SOUND_LINE) for n in line}
    return max(lines) + sum(ms for n, ms in spent.items() if n not in known)


def rates_of(store: Store, config: Config) -> Rates:
    """What the project's ledger says. Stages that were done at another frame rate are scaled to the present one."""
    fps = config.analysis.fps
    _, rows = store.query(
        "SELECT s.stage, sum(s.ms), sum(max((c.end_us - c.start_us) / 1e6, " + repr(1 / fps) + ")) "
        "FROM stages s JOIN clips c ON c.id = s.unit WHERE s.ms IS NOT NULL AND s.state = 'ok' GROUP BY s.stage"
    )
    spent = {stage: ms for stage, ms, _ in rows}
    media = {stage: media_s for stage, _, media_s in rows}
    scale = _frame_scale(store, fps)
    vision = {n for n, s in BY_NAME.items() if s.kind == "vision" and n not in FIXED_RATE}
    measured = {n: ms / media[n] * (scale if n in vision else 1.0) for n, ms in spent.items()}
    return Rates(measured, _overhead(store), fps, lambda media_s: processes_for(config, Stack(config), media_s))


def _frame_scale(store: Store, fps: float) -> float:
    """Frames per second now ÷ those of the stored frame times."""
    rows = store.query(
        "SELECT sum(a.rows), sum(c.end_us - c.start_us) FROM arrays a JOIN clips c ON c.id = a.unit "
        "WHERE a.stage = 'motion' AND c.end_us - c.start_us > 1000000"
    )[1]
    frames, us = rows[0] if rows else (None, None)
    return fps / (frames / (us / 1e6)) if frames and us else 1.0


def _overhead(store: Store) -> float | None:
    """Wall time ÷ longest lines of the newest finished run that did media stages; None where there is none."""
    _, busy = store.query("SELECT run_id FROM stages WHERE ms IS NOT NULL GROUP BY run_id HAVING sum(ms) >= 1000")
    ended = [r for r in store.all(Run) if r.finished_utc and (r.id,) in busy]
    for run in sorted(ended, key=lambda r: r.id, reverse=True):
        lines_s = sum(line_ms(spent) for spent in store.spent(run.id)) / 1000
        wall = datetime.datetime.fromisoformat(run.finished_utc or "") - datetime.datetime.fromisoformat(
            run.started_utc
        )
        if lines_s >= 1:
            return min(_CLAMP[1], max(_CLAMP[0], (wall.total_seconds() - START_S) / lines_s))
    return None


def predicted_mb(slots: Iterable[str], stack: Stack) -> tuple[float, str]:
    """(peak memory of the run and its decoding child in MB, what it stands on), for the models of these slots."""
    needed, measured = preflight.expected(stack, slots)
    said = "measured on this machine" if measured else "reference figures of another machine, from model sizes"
    return round(needed.together_mb), said
