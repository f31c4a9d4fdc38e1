"""Clips per second of the encoder for studio exports, beside bare libav with the same settings in the same run."""

from __future__ import annotations

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

from mien.core import Span
from mien.export.diffusion.making import WORKERS
from mien.media import Decoder
from mien.media.encoding import Cutting, encode
from mien.testing.media import Recipe, make

FILM = Recipe(seconds=5.5, fps=25, width=1280, height=720)
SMALL = Recipe(seconds=1.5, fps=25, width=320, height=240)
WANTED = Cutting(Span(0, 5_500_000), 83, Fraction(16), 832, 480)


def main(args: list[str]) -> list[str]:
    """`N`: clips per round (default 12), three rounds each, in turn. `memory PATH N`: used by itself."""
    if args[:1] == ["memory"]:
        return _rounds_of(Path(args[1]), int(args[2]))
    n = int(args[0]) if args else 12
    program = _ffmpeg()
    with tempfile.TemporaryDirectory() as where:
        folder = Path(where)
        film, small = make(folder / "a.mp4", FILM).path, make(folder / "s.mp4", SMALL).path
        _run(lambda k: _ours(film, folder / f"w{k}.mp4"), 2)  # the zygote starts
        ways = {"mien": _ours, "bare": (lambda a, b: _bare(program, a, b)) if program else _library}
        spent: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(3):
            for name, way in ways.items():
                spent[name].append(_run(lambda k, way=way: way(film, folder / f"{k}.mp4"), n))
        best = {name: n / min(times) for name, times in spent.items()}
        peaks = [_peak(small, count) for count in (20, 200)]
    partner = "ffmpeg" if program else "PyAV without a child process"
    every = ", ".join(f"{n / a:.2f}/{n / b:.2f}" for a, b in zip(*spent.values(), strict=True))
    return [
        f"{n} clips of 83 frames at 16 fps and 832×480, from 1280×720 at 25 fps, {WORKERS} at a time, libx264 fast,"
        " crf 14, one thread each; the best of three rounds taken in turn.",
        "",
        "| | clips/s |",
        "|---|---|",
        f"| mien | {best['mien']:.2f} |",
        f"| {partner} | {best['bare']:.2f} |",
        "",
        f"Ratio {best['mien'] / best['bare']:.2f} (bar 0.9); rounds, mien/partner: {every}. mien's decoding is in a"
        " limited child process and includes its start.",
        f"Peak memory of the exporting process: {peaks[0]:.0f} MB after 20 clips, {peaks[1]:.0f} MB after 200.",
    ]


def _run(one: Callable[[int], object], n: int) -> float:
    start = time.perf_counter()
    with ThreadPoolExecutor(WORKERS) as pool:
        list(pool.map(one, range(n)))
    return time.perf_counter() - start


def _ours(film: Path, out: Path, cutting: Cutting = WANTED) -> None:
    with Decoder(film) as decoder:
        encode(decoder, cutting, out)


def _ffmpeg() -> str | None:
    """ffmpeg on the path, else that of the package imageio-ffmpeg where it is installed."""
    if found := shutil.which("ffmpeg"):
        return found
    try:
        import imageio_ffmpeg  # pyright: ignore[reportMissingImports]
    except ImportError:
        return None
    return imageio_ffmpeg.get_ffmpeg_exe()


def _bare(program: str, film: Path, out: Path) -> None:
    shape = "fps=16,scale=854:480:flags=lanczos,crop=832:480"
    codec = ("-c:v", "libx264", "-preset", "fast", "-crf", "14", "-bf", "0", "-threads", "1", "-pix_fmt", "yuv420p")
    few = ("-filter_threads", "1", "-threads", "1")
    subprocess.run(
        [program, "-v", "error", "-y", *few, "-i", str(film), "-vf", shape, "-an", "-frames:v", "83", *codec,
         "-fflags", "+bitexact", "-movflags", "+faststart", str(out)],
        check=True,
    )  # fmt: skip


def _library(film: Path, out: Path) -> None:
    """Decode, scale, crop and encode in this process, with PyAV alone."""
    import av
    import numpy as np

    from mien.media.cutting import Fitted

    fitted = Fitted(832, 480)
    with av.open(str(film)) as source, av.open(str(out), "w") as target:
        source.streams.video[0].thread_type = "NONE"
        stream = target.add_stream(
            "libx264", rate=16, options={"preset": "fast", "crf": "14", "x264-params": "bframes=0"}
        )
        stream.width, stream.height, stream.pix_fmt, stream.codec_context.thread_count = 832, 480, "yuv420p", 1
        k = 0
        for frame in source.decode(video=0):
            if k < 83 and frame.time >= k / 16 - 0.02:
                made = av.VideoFrame.from_ndarray(np.asarray(fitted(frame, None)), format="yuv420p")
                made.pts, k = k, k + 1
                target.mux(stream.encode(made))
        target.mux(stream.encode(None))


def _peak(film: Path, n: int) -> float:
    command = [
        sys.executable,
        "-c",
        f"from bench.release import main; print(main(['memory', {str(film)!r}, '{n}'])[0])",
    ]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def _rounds_of(film: Path, n: int) -> list[str]:
    wanted = Cutting(Span(0, 1_500_000), 19, Fraction(16), 288, 224)
    _run(lambda k: _ours(film, film.with_name(f"m{k % 4}.mp4"), wanted), n)
    return [f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.1f}"]
