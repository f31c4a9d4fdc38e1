"""The engine against bare work: `python -m bench engine speed|hour|many [figure]`.

`speed`: wall time of `mien run` (default stack and runner) at 640×360 and 1920×1080, beside three partners in the same
run: the calls into the runtimes that it makes, replayed on one thread, plus plain decoding of the file (PyAV, once,
all frames and the sound); and the loop that a user would write (OpenCV frame by frame, every fifth, each model on each
of these frames, the sound afterwards). Two independent loops of one model say what the second core is worth here.
`hour`: peak memory of 60 minutes ÷ that of 2. `many`: memory, threads and descriptors over 1,000 short clips.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from bench.run import footage, noted, replay, subprocess_run

PARTS = ("speed", "hour", "many")
SIZES = ((640, 360), (1920, 1080))
INT8 = ("face.centerface", "explicit.opennsfw")  # near enough in 8-bit numbers (`bench tune`), where a project asks
FPS = 5.0
USED = frozenset(
    (
        "objects",
        "pose",
        "faces",
        "landmarks",
        "expression",
        "explicit",
        "age",
        "scene",
        "vad",
        "pitch",
        "voice_embedding",
    )
)


def main(args: list[str]) -> list[str]:
    what, figure = (args or ["speed"])[0], args[1] if len(args) > 1 else ""
    folder = Path(tempfile.mkdtemp(prefix="mien-bench-"))
    try:
        match what:
            case "speed":
                return speed(folder, float(figure or 120))
            case "hour":
                return hour(folder, float(figure or 60))
            case "many":
                return many(folder, int(figure or 1000))
            case _:
                raise SystemExit("speed, hour or many")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


# ---------------------------------------------------------------- speed


def speed(folder: Path, seconds: float) -> list[str]:
    lines = [
        f"input: the demo composite looped to {seconds:g} s, one face and laughter; 5 frames/s; default stack; "
        f"{os.cpu_count()} cores; a machine's load before: {os.getloadavg()[0]:.1f}",
        f"two processes with one model loop each do {scaling():.2f} times the work of one",
        "",
        "| size | wall s | × real time | bare inference s | decode s | wall ÷ bare | loop s | loop ÷ wall | peak MB "
        "| int8: wall s | × real time |",
        f"|{11 * '---|'}",
    ]
    tuned = [name for name in INT8 if tune(name)]
    small = "".join(f'\n[adapters."{name}"]\nprecision = "int8"\n' for name in tuned)
    for size in SIZES:
        video = footage(folder / f"{size[1]}.mp4", seconds, size)
        name = f"{size[0]}×{size[1]}"
        first = subprocess_run(folder / f"first-{size[1]}", video)
        calls = noted(folder / f"noted-{size[1]}", video)
        bare = sum(replay(net, shapes, threads=1) for net, shapes in calls.runtime.items())
        decode = decoded_s(video)
        loop = loop_s(video)
        second = subprocess_run(folder / f"second-{size[1]}", video)
        eight = [subprocess_run(folder / f"int8-{turn}-{size[1]}", video, settings=small)[0] for turn in (1, 2)]
        wall, _, peak = min(first, second)
        lines.append(
            f"| {name} | {first[0]:.1f}, {second[0]:.1f} | {seconds / wall:.2f} | {bare:.1f} | {decode:.1f} "
            f"| {wall / (bare + decode):.2f} | {loop:.1f} | {loop / wall:.2f} | {peak:.0f} "
            f"| {', '.join(f'{t:.1f}' for t in eight)} | {seconds / min(eight):.2f} |"
        )
    lines += ["", "the better of two runs counts; starting and loading the models are within it"]
    return [*lines, f"int8: {' and '.join(tuned) or 'none kept on this machine'}, which a project has to ask for"]


def tune(name: str) -> bool:
    """Whether an int8 variant of an adapter is kept on this machine."""
    return subprocess.run([sys.executable, "-m", "mien", "models", "tune", name], check=False).returncode == 0


def decoded_s(video: Path) -> float:
    """Seconds to decode all frames to RGB at their size, and the sound, once, on one thread."""
    import av

    started = time.perf_counter()
    with av.open(str(video)) as source:
        for stream in source.streams:
            if stream.type == "video":
                stream.codec_context.thread_count = 1  # pyright: ignore[reportAttributeAccessIssue]
        for frame in source.decode(video=0):
            frame.to_ndarray(format="rgb24")
    with av.open(str(video)) as source:
        for frame in source.decode(audio=0):
            frame.to_ndarray()
    return time.perf_counter() - started


def loop_s(video: Path) -> float:
    """The loop that a user would write: every fifth frame, every model on each of them; then the sound."""
    import cv2

    from mien.core import Faces, Frames, People, Sound, Span
    from mien.media import Decoder
    from mien.models.weights import open_adapter
    from mien.pipeline.config import Stack

    started = time.perf_counter()
    names = Stack().model_dump()  # pyright: ignore[reportCallIssue]
    model: dict[str, Any] = {s: open_adapter(n) for s, n in names.items() if n != "off" and s in USED}
    model["second"] = open_adapter("expression.minixception")
    reader = cv2.VideoCapture(str(video))
    every = max(1, round(reader.get(cv2.CAP_PROP_FPS) / FPS))
    at = 0
    while (read := reader.read())[0]:
        if at % every == 0:
            rgb = np.asarray(cv2.cvtColor(read[1], cv2.COLOR_BGR2RGB), np.uint8)
            frames = Frames(rgb[None], np.array([at * 40_000], np.int64))
            seen = model["objects"].run(frames)
            people = seen.take(np.flatnonzero(seen.label == seen.names.index("person")))
            model["pose"].run(People(frames, people))
            model["explicit"].run(frames)
            model["scene"].run(frames)
            faces = Faces(frames, model["faces"].run(frames))
            for slot in ("landmarks", "expression", "age", "second"):
                model[slot].run(faces)
        at += 1
    reader.release()
    with Decoder(video) as decoder:
        sound = decoder.sound(Span(0, decoder.probe().duration_us or 1))
    for k in range(0, len(sound.samples), 160_000):
        part = Sound(sound.samples[k : k + 160_000], 0)
        model["vad"].run(part)
        model["pitch"].run(part)
        model["voice_embedding"].run([part])
    for held in model.values():
        held.close()
    return time.perf_counter() - started


LOOP = """
import sys, time
import numpy as np
from mien.core import Device, Frames
from mien.models.weights import open_adapter
model = open_adapter("face.centerface", None, Device(threads=1))
frames = Frames(np.random.default_rng(0).integers(0, 255, (4, 360, 640, 3), dtype=np.uint8), np.arange(4) * 200_000)
model.run(frames)
print("ready", flush=True)
sys.stdin.readline()
end, n = time.monotonic() + 6, 0
while time.monotonic() < end:
    model.run(frames)
    n += 1
print(n, flush=True)
"""


def scaling() -> float:
    """What two processes with one model each get done together ÷ what one gets done alone."""

    def done(processes: int) -> int:
        piped = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        running = [subprocess.Popen([sys.executable, "-c", LOOP], **piped) for _ in range(processes)]
        for process in running:
            assert process.stdout is not None
            process.stdout.readline()
        return sum(int(p.communicate("\n")[0]) for p in _told(running))

    return done(2) / done(1)


def _told(running: list[Any]) -> list[Any]:
    for process in running:
        process.stdin.write("\n")
        process.stdin.flush()
    return running


# ---------------------------------------------------------------- memory


def hour(folder: Path, minutes: float) -> list[str]:
    """Peak memory of a long source ÷ that of two minutes, workers and decoding children included."""
    lines = ["| media | wall s | × real time | peak MB of all processes |", "|---|---|---|---|"]
    peaks: list[float] = []
    for length in (2.0, minutes):
        video = footage(folder / f"{length:g}.mp4", length * 60)
        wall, _, peak = subprocess_run(folder / f"project-{length:g}", video, {"MIEN_RUN__RUNNER": "process"})
        peaks.append(peak)
        lines.append(f"| {length:g} min | {wall:.1f} | {length * 60 / wall:.2f} | {peak:.0f} |")
    return [*lines, "", f"peak memory {minutes:g} min ÷ 2 min: {peaks[1] / peaks[0]:.3f}"]


def many(folder: Path, n: int) -> list[str]:
    """Memory, threads and descriptors of a run over n clips of two seconds, each a file of its own."""
    import psutil

    from mien.pipeline import Project

    media = folder / "clips"
    media.mkdir()
    short_clips(footage(folder / "long.mp4", 60.0), media, n)
    Project.init(folder / "project", "research").close()
    command = [sys.executable, "-m", "mien", "-C", str(folder / "project"), "run", str(media)]
    seen: dict[str, list[tuple[float, float]]] = defaultdict(list)
    started = time.perf_counter()
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as run:
        watched = psutil.Process(run.pid)
        while run.poll() is None:
            now = time.perf_counter() - started
            try:
                lasting = [watched, *(c for c in watched.children() if any("worker" in a for a in c.cmdline()))]
                for name, value in (
                    ("memory MB", sum(p.memory_info().rss for p in lasting) / 1e6),
                    ("threads", sum(p.num_threads() for p in lasting)),
                    ("descriptors", sum(p.num_fds() for p in lasting)),
                    ("processes", len(lasting)),
                ):
                    seen[name].append((now, float(value)))
            except psutil.Error:
                pass
            time.sleep(0.5)
    wall = time.perf_counter() - started
    lines = [
        f"{n} clips of 2 s, each its own file: {wall:.0f} s, {1000 * wall / n:.0f} ms per clip, exit {run.returncode}",
        "",
    ]
    lines += ["| of the run and its workers | 20-30 % of the time | the last 10 % | ratio |", "|---|---|---|---|"]
    for name, points in seen.items():
        early = [v for t, v in points if 0.2 <= t / wall <= 0.3]
        late = [v for t, v in points if t / wall >= 0.9]
        lines.append(f"| {name} | {max(early):.0f} | {max(late):.0f} | {max(late) / max(early):.3f} |")
    return lines


def short_clips(long: Path, folder: Path, n: int) -> None:
    """n files of two seconds, no two with the same bytes (stream copies from the keyframes of a longer one)."""
    import av

    with av.open(str(long)) as source:
        video = source.streams.video[0]
        keys = [float(p.pts * p.time_base) for p in source.demux(video) if p.is_keyframe and p.pts is not None]
    keys = [k for k in keys if k + 2 < 60]
    for i in range(n):
        start = keys[i % len(keys)]
        with av.open(str(long)) as source, av.open(str(folder / f"{i:05d}.mp4"), "w") as target:
            target.metadata["comment"] = str(i)
            made = {s.index: target.add_stream_from_template(s) for s in source.streams}
            source.seek(int(start * 1e6), backward=True)
            for packet in source.demux():
                if packet.dts is None or packet.pts is None:
                    continue
                at = float(packet.pts * packet.time_base)
                if start <= at < start + 2:
                    shift = int(start / packet.time_base)
                    packet.pts -= shift
                    packet.dts -= shift
                    packet.stream = made[packet.stream.index]
                    target.mux(packet)
