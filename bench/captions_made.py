"""Real footage for the bench of captions: pieces of it, encoded in several ways, and their analysed projects."""

from __future__ import annotations

import os
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from mien.export.selection.scope import Scope, scope_of

PIECE_S, SHIFT_S = 4.0, 0.2
RATE = 48_000
VARIANTS = {
    "base": (18, 1.0, 0.0, {}),
    "encoded anew, crf 30": (30, 1.0, 0.0, {}),
    "scaled by 0.75": (18, 0.75, 0.0, {}),
    "cut 0.2 s later": (18, 1.0, SHIFT_S, {}),
    "analysed again, two worker processes": (18, 1.0, 0.0, {"run": {"runner": "process", "workers": 2}}),
}
"""Name → crf, scale, seconds that both borders move, settings of the run."""


SETS = ("held out", "first", "second")


def footage(which: str) -> list[tuple[Path, tuple[float, ...]]]:
    """Real files and where their pieces begin, in s. Words, edges and rules were settled on two of the sets."""
    from mien.models.weights import resolve, select

    (entry,) = select(["sample.demo-video"])
    demo = resolve(entry.weights).only
    shared = Path(os.environ.get("MIEN_SHARED_DATA", Path(__file__).parents[2] / "shared" / "data"))
    faces, walks = shared / "video_faces", shared / "tracking"
    talk, street = faces / "short_hamilton_clip.mp4", walks / "one-by-one-person-detection.mp4"
    yard = walks / "vtest.avi"
    held = {
        "first": [
            (demo, (0.0, 3.0, 6.0, 9.0, 12.0)),
            (talk, (0.0, 3.0, 5.5)),
            (faces / "single_face.mp4", (0.0,)),
            (faces / "face_noface.mov", (0.0, 2.0)),
            *((faces / f"{name}.mkv", (0.0,)) for name in ("hungry", "no", "sorry")),
            (street, (5.0, 30.0, 55.0, 80.0, 105.0)),
            (yard, (0.0, 20.0, 40.0, 60.0)),
        ],
        "second": [
            (demo, (1.5, 4.5, 7.5, 10.5)),
            (talk, (1.5, 4.5)),
            (faces / "classroom.gif", (0.0,)),
            (faces / "face-demographics-walking.gif", (0.0,)),
            (faces / "no_face.mp4", (0.0,)),
            (street, (17.0, 42.0, 67.0, 92.0, 120.0)),
            (yard, (10.0, 30.0, 50.0, 70.0)),
        ],
        "held out": [
            (demo, (2.2, 8.2)),
            (talk, (3.7,)),
            (street, (11.0, 24.0, 36.0, 48.0, 61.0, 73.0, 86.0, 98.0, 112.0, 126.0)),
            (yard, (5.0, 15.0, 25.0, 35.0, 45.0, 55.0, 65.0, 75.0)),
        ],
    }
    return [(path, starts) for path, starts in held[which] if path.is_file()]


def piece(path: Path, start_s: float, crf: int, scale: float, out: Path) -> None:
    """`PIECE_S` of a file from `start_s` on, encoded anew, its sound as PCM."""
    import av

    with av.open(str(path)) as source, av.open(str(out), "w") as target:
        seen = source.streams.video[0]
        rate = Fraction(seen.average_rate or 25).limit_denominator(1001)
        picture: Any = target.add_stream("libx264", rate=rate, options={"crf": str(crf), "preset": "veryfast"})
        picture.width, picture.height = (int(side * scale) // 2 * 2 for side in (seen.width, seen.height))
        picture.pix_fmt = "yuv420p"
        audio: Any = target.add_stream("pcm_s16le", rate=RATE, layout="mono") if source.streams.audio else None
        first = None
        for frame in source.decode(seen):
            t = float(frame.time or 0.0) - start_s
            if t >= PIECE_S:
                break
            if t >= 0:
                first = t if first is None else first
                shown = frame.reformat(picture.width, picture.height, "yuv420p")
                shown.time_base = Fraction(1, 90_000)
                shown.pts = round((t - first) * 90_000)
                target.mux(picture.encode(shown))
        target.mux(picture.encode(None))
        if audio is not None:
            samples = _sound(path)[round(start_s * RATE) : round((start_s + PIECE_S) * RATE)]
            heard = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
            heard.sample_rate, heard.pts, heard.time_base = RATE, 0, Fraction(1, RATE)
            target.mux(audio.encode(heard))
            target.mux(audio.encode(None))


def _sound(path: Path) -> np.ndarray[Any, Any]:
    import av

    with av.open(str(path)) as file:
        resampler = av.AudioResampler("s16", "mono", RATE)
        parts = [f.to_ndarray()[0] for frame in file.decode(audio=0) for f in resampler.resample(frame)]
    return np.concatenate(parts)


def analysed(root: Path, name: str, inputs: Any = None, which: str = "first") -> Scope:
    """What may leave of the project of one variant; made where it is not there yet."""
    from mien.pipeline import Project

    crf, scale, shift_s, flags = VARIANTS.get(name, (0, 0.0, 0.0, {}))
    folder = root / f"{name} {which if which != 'first' else ''}".strip().replace(" ", "-").replace(",", "")
    if not (folder / "done").is_file():
        (folder / "in").mkdir(parents=True, exist_ok=True)
        for path, starts in [] if inputs else footage(which):
            for start in starts:
                made = folder / "in" / f"{path.stem}-{start:g}.mkv"
                if not made.exists():  # made again, it would have other bytes
                    piece(path, start + shift_s, crf, scale, made)
        if inputs:
            inputs(folder / "in")
        if not (folder / "project" / "mien.toml").is_file():
            Project.init(folder / "project", "research", "captions").close()
        project = Project.open(folder / "project", flags)
        outcome = project.run([folder / "in"])
        project.close()
        (folder / "done").touch()
        print(name, outcome.done, "stages,", outcome.failed, "failed", file=sys.stderr)
    return scope_of(Project.open(folder / "project"))
