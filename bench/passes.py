"""Processor time of decoding a second of media: for shots and for the analysis in one pass, beside the two it was.

Both ways hand over the same frames and sound, to the bit (a test says so); a decoder without requests is taken off.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from bench.decode import spent
from bench.run import footage

SIZES = ((640, 360), (1920, 1080))
SECONDS = 30.0
FPS, SIDE_PX, LONGEST_US = 5.0, 1280, 60_000_000


def main(args: list[str]) -> list[str]:
    """`[turns]`, default 3: how often each way is measured, in turns; the least counts."""
    folder = Path(tempfile.mkdtemp(prefix="mien-bench-"))
    try:
        return passes(folder, int(args[0]) if args else 3)
    finally:
        shutil.rmtree(folder)


def passes(folder: Path, turns: int) -> list[str]:
    """Shots, frames for the analysis and sound of 30 s, in two passes and in one."""
    once = (
        "import sys; from pathlib import Path; from mien.media import Decoder, Scanning, Spool\n"
        f"with Scanning(Path(sys.argv[1]), {LONGEST_US}, shelf=Spool(None, 2 << 30)"
        f".shelf({FPS}, {SIDE_PX}, {LONGEST_US})) as s, Decoder(sys.argv[1]) as d:\n"
        "    for cut in s:\n"
        "        kept = s.spooled(cut.span)\n"
        "        sound = kept.samples() if kept.sound is not None else d.sound(cut.span)\n"
        "        assert sound.samples.size and sum(len(f) for f in kept.frames())\n"
    )
    twice = (
        "import sys; from pathlib import Path; from mien.media import Decoder, Scanning\n"
        f"with Scanning(Path(sys.argv[1]), {LONGEST_US}) as s, Decoder(sys.argv[1]) as d:\n"
        "    for cut in s:\n"
        f"        assert d.sound(cut.span).samples.size and sum(len(f) for f in d.frames(cut.span, {FPS}, {SIDE_PX}))\n"
    )
    idle = "import sys; from pathlib import Path; from mien.media import Decoder, Spool; Decoder(sys.argv[1]).probe()\n"
    lines = [
        f"| {SECONDS:g} s of media | two passes, processor ms per media s | one pass | saved |",
        "|---|---|---|---|",
    ]
    for width, height in SIZES:
        video = footage(folder / f"{height}.mp4", SECONDS, (width, height))
        runs: dict[str, list[float]] = {twice: [], once: [], idle: []}
        for _ in range(turns):
            for code, took in runs.items():
                took.append(spent([sys.executable, "-c", code, str(video)])[1])
        base = min(runs[idle])
        two, one = (1000 * (min(runs[c]) - base) / SECONDS for c in (twice, once))
        lines.append(f"| {width}×{height} | {two:.1f} | {one:.1f} | {1 - one / two:.0%} |")
    return lines
