"""Clips per second of the encoder for studio exports, beside bare ffmpeg that makes the same files in the same run.

`python -m bench release [N]`: N clips per round, three rounds each, in turn. `release same [N]`: N clips, one, two and
four at a time, and the files that differ. `release memory`: peak memory of whole exports of 20 and of 200 clips.
"""

from __future__ import annotations

import hashlib
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

from bench.release_made import exported
from mien.core import Span
from mien.export.diffusion.making import WORKERS
from mien.media import Decoder
from mien.media.encoding import Cutting, encode, options
from mien.testing.media import Recipe, make

PARTS = ("same", "memory")
FILM = Recipe(seconds=5.5, fps=25, width=1280, height=720)
SMALL = Recipe(seconds=4, fps=30, width=320, height=240)
WANTED = Cutting(Span(0, 5_500_000), 83, Fraction(16), 832, 480)
BRIEF = Cutting(Span(200_000, 3_900_000), 33, Fraction(16), 320, 224, sound=True)
WARM, ROUNDS = 2, 3


def main(args: list[str]) -> list[str]:
    match args:
        case ["same", *n]:
            return _same(int(n[0]) if n else 200)
        case ["memory"]:
            return _memory()
        case ["round", film, n]:  # a process of its own, so that its processor time can be told
            return [f"{_round(Path(film), int(n)):.4f}"]
        case ["export", n]:
            return exported(int(n))
        case _:
            return _speed(int(args[0]) if args else 8)


def _speed(n: int) -> list[str]:
    program = _ffmpeg()
    wall: dict[str, list[float]] = {"mien": [], "ffmpeg": []}
    spent: dict[str, list[float]] = {"mien": [], "ffmpeg": []}
    with tempfile.TemporaryDirectory() as where:
        film = make(Path(where) / "a.mp4", FILM).path
        start = _processor_s()
        _alone("round", str(film), "0")
        started = _processor_s() - start
        for _ in range(ROUNDS):
            start = _processor_s()
            wall["mien"].append(float(_alone("round", str(film), str(n))[0]))
            spent["mien"].append(_processor_s() - start - started)
            start = _processor_s()
            wall["ffmpeg"].append(_run(lambda k: _bare(program, film, film.with_name(f"{k % WORKERS}.mp4")), n))
            spent["ffmpeg"].append(_processor_s() - start)
        sizes = [_ours(film, film.with_name("m.mp4")), _bare(program, film, film.with_name("b.mp4"))]
    ratios = [b / a for a, b in zip(wall["mien"], wall["ffmpeg"], strict=True)]
    rows = [
        f"| {name} | {n / min(wall[name]):.2f} | {min(spent[name]) / n:.2f} | {size / 1000:.0f} |"
        for name, size in zip(wall, sizes, strict=True)
    ]
    return [
        f"{n} clips of 83 frames at 16 fps and 832×480, from 1280×720 at 25 fps without tags (BT.709, written as"
        f" BT.601), {WORKERS} at a time, libx264 `{options('libx264')}`, one thread each; the best of {ROUNDS} rounds"
        " taken in turn. mien's decoding is in a limited child process and includes its start.",
        "",
        "| | clips/s | processor s per clip | kB per clip |",
        "|---|---|---|---|",
        *rows,
        "",
        f"Ratio of clips/s {min(wall['ffmpeg']) / min(wall['mien']):.2f} (bar 0.9), of each round "
        + ", ".join(f"{r:.2f}" for r in ratios)
        + f"; of processor time {min(spent['ffmpeg']) / min(spent['mien']):.2f}.",
    ]


def _same(n: int) -> list[str]:
    found: dict[int, set[str]] = {}
    with tempfile.TemporaryDirectory() as where:
        film = make(Path(where) / "a.mp4", SMALL).path

        def one(k: int) -> str:
            out = film.with_name(f"{k}.mp4")
            _ours(film, out, BRIEF)
            digest = hashlib.sha256(out.read_bytes()).hexdigest()
            out.unlink()
            return digest

        for workers in (1, 2, 4):
            with ThreadPoolExecutor(workers) as pool:
                found[workers] = set(pool.map(one, range(n)))
    rows = [f"| {workers} | {n} | {len(made)} |" for workers, made in found.items()]
    return [
        "A clip of 33 frames at 320×224 with sound, made again and again.",
        "",
        "| at a time | clips | different files |",
        "|---|---|---|",
        *rows,
        "",
        f"Different files in all: {len(set().union(*found.values()))}.",
    ]


def _memory() -> list[str]:
    peaks = {n: _alone("export", str(n)) for n in (20, 200)}
    return [
        f"Peak memory of the process of a whole export for musubi-tuner, {WORKERS} clips at a time: "
        + "; ".join(f"{mb} MB for {files} clips" for files, mb in peaks.values())
        + "."
    ]


def _alone(*args: str) -> list[str]:
    """`main` in a process of its own."""
    code = f"from bench.release import main; print(*main({list(args)!r}), sep='\\n')"
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()


def _processor_s() -> float:
    """Of processes that have ended, with theirs: the zygote and its children end with what they were started for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _round(film: Path, n: int) -> float:
    def one(k: int) -> None:
        _ours(film, film.with_name(f"w{k % WORKERS}.mp4"))

    _run(one, WARM)
    return _run(one, n)


def _run(one: Callable[[int], object], n: int) -> float:
    start = time.perf_counter()
    with ThreadPoolExecutor(WORKERS) as pool:
        list(pool.map(one, range(n)))
    return time.perf_counter() - start


def _ours(film: Path, out: Path, cutting: Cutting = WANTED) -> int:
    with Decoder(film) as decoder:
        encode(decoder, cutting, out)
    return out.stat().st_size


def _ffmpeg() -> str:
    """ffmpeg on the path, else that of the package imageio-ffmpeg."""
    if found := shutil.which("ffmpeg"):
        return found
    import imageio_ffmpeg  # pyright: ignore[reportMissingImports]

    return imageio_ffmpeg.get_ffmpeg_exe()


def _bare(program: str, film: Path, out: Path) -> int:
    """The same frames, size, colours and encoder; ffmpeg decodes without limits."""
    colours = "in_color_matrix=bt709:out_color_matrix=bt601:out_range=tv"
    shape = f"fps=16,scale=854:480:flags=lanczos:{colours},crop=832:480"
    told = [word for key, value in options("libx264").items() for word in (f"-{key}", value)]
    few = ("-filter_threads", "1", "-threads", "1")
    subprocess.run(
        [program, "-v", "error", "-y", *few, "-i", str(film), "-vf", shape, "-an", "-frames:v", "83",
         "-c:v", "libx264", *told, "-threads", "1", "-pix_fmt", "yuv420p", "-fflags", "+bitexact",
         "-movflags", "+faststart", str(out)],
        check=True,
    )  # fmt: skip
    return out.stat().st_size
