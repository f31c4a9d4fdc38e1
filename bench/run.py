"""× real time, ms per stage, overhead over bare inference, peak memory of `mien run`.

The partner in the same run is bare inference: every model call is noted with its batch, and then made again in a plain
loop over models, one thread, with nothing decoded, tracked, pooled or stored around it; loading the models counts on
both sides. Overhead = wall time of `mien run` ÷ wall time of that loop. A second, harsher figure divides by the calls
into the runtimes alone (no resizing, no decoding of outputs), spread perfectly over two threads. Memory is the peak of
the run with its workers and decoding children.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from mien.core import probe

WIDTH, HEIGHT = 640, 360
# Without what came after faces and voices: bodies, scenes, and a second opinion on expression.
FIRST = {"MIEN_STACK__POSE": "off", "MIEN_STACK__SCENE": "off", "MIEN_OPINIONS__EXPRESSION": "[]"}


def main(args: list[str]) -> list[str]:
    """`[minutes …]`, default 2 and 20. The shortest is also run in-process for the overhead."""
    minutes = sorted(float(a) for a in args) or [2.0, 20.0]
    folder = Path(tempfile.mkdtemp(prefix="mien-bench-"))
    try:
        videos = {m: footage(folder / f"{m:g}min.mp4", m * 60) for m in minutes}
        lines = [
            f"input: the demo composite looped, {WIDTH}×{HEIGHT}, one face and laughter; 5 frames/s; default stack",
            "",
        ]
        lines += ["| media | wall s | × real time | peak MB run | peak MB with decoder |", "|---|---|---|---|---|"]
        peaks: list[float] = []
        for m, video in videos.items():
            wall, own, both = subprocess_run(folder / f"project-{m:g}", video)
            peaks.append(both)
            lines.append(f"| {m:g} min | {wall:.1f} | {m * 60 / wall:.2f} | {own:.0f} | {both:.0f} |")
        least = minutes[0]
        wall, own, both = subprocess_run(folder / "first", videos[least], FIRST)
        lines.append(f"| {least:g} min, first stack | {wall:.1f} | {least * 60 / wall:.2f} | {own:.0f} | {both:.0f} |")
        if len(peaks) > 1:
            lines.append(f"\nmemory {minutes[-1]:g} min ÷ {minutes[0]:g} min: {peaks[-1] / peaks[0]:.3f}")
        return [*lines, "", *overhead(folder / "inside", videos[minutes[0]], minutes[0] * 60)]
    finally:
        shutil.rmtree(folder)


def footage(
    path: Path,
    seconds: float,
    size: tuple[int, int] = (WIDTH, HEIGHT),
    sound: Path | None = None,
    starts_s: tuple[float, ...] = (),
) -> Path:
    """The composite of the demo, scaled to `size`, encoded once and repeated packet by packet until `seconds`.

    `sound` at `starts_s` takes the place of the demo's laughter.
    """
    import av

    from mien.models.weights import resolve, select
    from mien.testing.composite import LAUGHING_FROM_S, with_sound

    entries = select(["sample.demo-video", "sample.demo-laugh"])
    whole, once = path.with_suffix(".whole.mp4"), path.with_suffix(".once.mp4")
    video_file, laugh = (resolve(e.weights).only for e in entries)
    with_sound(video_file, sound or laugh, starts_s if sound else LAUGHING_FROM_S, whole)
    with av.open(str(whole)) as source, av.open(str(once), "w") as target:
        picture, heard = source.streams.video[0], source.streams.audio[0]
        video = target.add_stream(
            "libx264", rate=picture.average_rate or 25, options={"crf": "23", "preset": "veryfast"}
        )
        video.width, video.height, video.pix_fmt = *size, "yuv420p"
        audio = target.add_stream("aac", rate=heard.rate, layout=heard.layout.name)
        for frame in source.decode(picture, heard):
            if isinstance(frame, av.VideoFrame):
                target.mux(video.encode(frame.reformat(*size)))
            elif isinstance(frame, av.AudioFrame):
                target.mux(audio.encode(frame))
        target.mux(video.encode(None))
        target.mux(audio.encode(None))
    offset = Fraction(0)
    with av.open(str(path), "w") as target:
        made: dict[int, Any] = {}
        while offset < seconds:
            with av.open(str(once)) as source:
                made = made or {s.index: target.add_stream_from_template(s) for s in source.streams}
                length = max(Fraction(s.duration or 0) * (s.time_base or 0) for s in source.streams)
                for packet in source.demux():
                    if packet.dts is None or packet.pts is None:
                        continue
                    if offset + packet.pts * packet.time_base >= seconds:
                        continue
                    shift = int(offset / packet.time_base)
                    packet.pts += shift
                    packet.dts += shift
                    packet.stream = made[packet.stream.index]
                    target.mux(packet)
            offset += length + Fraction(1, 10)  # room for the encoder delay that the next copy starts with
    once.unlink()
    whole.unlink()
    return path


def subprocess_run(
    root: Path, video: Path, env: Mapping[str, str] | None = None, settings: str = ""
) -> tuple[float, float, float]:
    """(wall s, peak MB of the process, peak MB with its children) of one `mien run`, with `env` added, and `settings`
    to the project's `mien.toml`."""
    import psutil

    from mien.pipeline import Project

    Project.init(root, "research").close()
    with (root / "mien.toml").open("a", encoding="utf-8") as terms:
        terms.write(settings)
    started = time.perf_counter()
    command = [sys.executable, "-m", "mien", "-C", str(root), "run", str(video)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, env={**os.environ, **(env or {})}) as run:
        watched = psutil.Process(run.pid)
        own = both = 0
        while run.poll() is None:
            try:
                mine = watched.memory_info().rss
                children = sum(c.memory_info().rss for c in watched.children(recursive=True))
            except psutil.Error:
                continue
            own, both = max(own, mine), max(both, mine + children)
            time.sleep(0.1)
        wall = time.perf_counter() - started
    if run.returncode:
        raise SystemExit(f"mien run failed with {run.returncode}")
    return wall, own / 1e6, both / 1e6


class Calls(probe.Watcher):
    """Notes every call: into an adapter with its batch, and into a runtime with the shapes of its inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.models: dict[Any, list[Any]] = defaultdict(list)
        self.runtime: dict[Any, list[tuple[tuple[tuple[int, ...], Any], ...]]] = defaultdict(list)
        self.loading: list[float] = []

    def model(self, model: Any, batch: Any) -> None:
        with self._lock:
            self.models[model].append(batch)

    def called(self, net: Any, inputs: tuple[Any, ...]) -> None:
        if inputs:
            with self._lock:
                self.runtime[net].append(tuple((i.shape, i.dtype) for i in inputs))

    def span(self, kind: str, name: str, clip: str = "", above: Any = None) -> Any:
        return contextlib.nullcontext()  # times come from the replay


class Noting:
    """An adapter that notes what it is called with."""

    def __init__(self, model: Any, calls: Calls) -> None:
        self._model, self._calls = model, calls

    def run(self, batch: Any) -> Any:
        self._calls.model(self._model, batch)
        return self._model.run(batch)

    def close(self) -> None:
        """The replay still needs it."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)


def noted(root: Path, video: Path) -> Calls:
    """The calls of one run, made in this process on one thread."""
    from mien.pipeline import Project, stack

    calls, open_adapter = Calls(), stack.open_adapter

    def opening(*given: Any) -> Noting:
        began = time.perf_counter()
        model = open_adapter(*given)
        calls.loading.append(time.perf_counter() - began)
        return Noting(model, calls)

    stack.open_adapter = opening
    probe.watch(calls)
    try:
        Project.init(root, "research").close()
        project = Project.open(root, {"run": {"runner": "inline", "workers": 1}, "analysis": {"threads": 1}})
        project.run([video])
        project.close()
    finally:
        probe.watch(None)
        stack.open_adapter = open_adapter
    return calls


def overhead(root: Path, video: Path, media_s: float) -> list[str]:
    """One run in this process to note its calls; these again with nothing around; whole runs in turns with that."""
    from mien.store import Store

    calls = noted(root, video)
    loading = sum(calls.loading)
    lines = ["| model | calls | ms per media s, called in a loop |", "|---|---|---|"]
    lines.append(f"| loading the models | {len(calls.loading)} | {1000 * loading / media_s:.1f} |")
    # A machine's speed varies by a third within minutes: both sides go twice, in turns; the better of each counts.
    walls, loops = list[float](), list[dict[Any, float]]()
    for turn in ("one", "two"):
        loops.append(in_a_loop(calls))
        walls.append(subprocess_run(root.with_name(turn), video)[0])
    best = min(loops, key=lambda spent: sum(spent.values()))
    for model, spent in best.items():
        lines.append(f"| {model.spec.name} | {len(calls.models[model])} | {1000 * spent / media_s:.1f} |")
    wall, loop = min(walls), loading + sum(best.values())
    bare = sum(replay(net, shapes) for net, shapes in calls.runtime.items())
    with Store(root) as store:
        rows = store.query("SELECT stage, sum(ms) FROM stages WHERE ms > 0 GROUP BY stage ORDER BY 2 DESC")[1]
    lines += ["", "| stage | ms per media s, one after another |", "|---|---|"]
    lines += [f"| {stage} | {ms / media_s:.1f} |" for stage, ms in rows]
    lines += [
        "",
        f"runs {walls[0]:.1f} and {walls[1]:.1f} s; the same model calls in a plain loop, with loading the models, "
        f"{' and '.join(f'{loading + sum(s.values()):.1f}' for s in loops)} s: overhead {wall / loop:.2f} "
        "(the better of each)",
        f"the runtime calls alone, spread perfectly over two threads, {bare:.1f} s: {wall / bare:.2f}",
    ]
    return lines


def in_a_loop(calls: Calls) -> dict[Any, float]:
    """Seconds of every model for the same calls, one after another."""
    spent: dict[Any, float] = {}
    for model, batches in calls.models.items():
        started = time.perf_counter()
        for batch in batches:
            model.run(batch)
        spent[model] = time.perf_counter() - started
    return spent


def replay(net: Any, shapes: list[Any], threads: int = 2) -> float:
    """Seconds for the same runtime calls on made-up inputs (their time does not depend on the values)."""
    rng = np.random.default_rng(0)
    made: dict[Any, tuple[Any, ...]] = {}
    for call in shapes:
        if call not in made:
            made[call] = tuple(np.asarray(rng.random(shape) * 0.1, dtype) for shape, dtype in call)
    inputs = [made[call] for call in shapes]
    net.run(*inputs[0])
    with ThreadPoolExecutor(threads) as pool:
        started = time.perf_counter()
        list(pool.map(lambda given: net.run(*given), inputs))
        return time.perf_counter() - started
