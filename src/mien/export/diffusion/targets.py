"""What a family of models is trained on: frames per second, counts of frames, sizes. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

from mien.core import MienError

STEP_PX = 32
SPARE = 2  # frames beyond 8n+1: trainers that round frames down would otherwise fall to the next smaller count
_RATIOS = tuple(2 ** (k / 4) for k in range(-4, 5))  # width ÷ height from 1:2 to 2:1

Size = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Target:
    """One family. fps: 0 for pictures. frames: counts of 8n+1 (so 4n+1, too), rising. areas_px: falling. spare: frames
    that a file has beyond its count.

    families: what trainers call it (`ai-toolkit` → arch, `diffusion-pipe` → type, `SimpleTuner` → model_family).
    """

    name: str
    fps: int
    frames: tuple[int, ...]
    areas_px: tuple[int, ...]
    sound: bool = False
    spare: int = SPARE

    @property
    def still(self) -> bool:
        return self.fps == 0

    def total(self, frames: int) -> int:
        """Frames in the file: the count and the spare ones."""
        return frames + self.spare


_SMALL = (512 * 512, 384 * 384, 256 * 256)
TARGETS = {
    t.name: t
    for t in (
        Target("wan", 16, (17, 33, 49, 81), (832 * 480, *_SMALL)),
        Target("hunyuan", 24, (17, 33, 49, 73, 97, 121), (960 * 544, 832 * 480, *_SMALL)),
        Target("ltx", 24, (17, 25, 49, 73, 97, 121), (768 * 512, *_SMALL), sound=True),
        Target("ltx25", 25, (17, 25, 49, 73, 97, 121), (768 * 512, *_SMALL), sound=True),
        Target("cogvideo", 8, (9, 17, 33, 49), (720 * 480, *_SMALL)),
        Target("sdxl", 0, (1,), (1024 * 1024, 768 * 768, 512 * 512, 256 * 256)),
        Target("flux", 0, (1,), (1024 * 1024, 768 * 768, 512 * 512, 256 * 256)),
    )
}


def target(name: str, *, still: bool) -> Target:
    """The target of a name; "" for the trainer's usual one.

    Raises:
        MienError: `export.unknown-target`; `export.wrong-target` where the trainer takes pictures and the target films,
            or the other way round.
    """
    name = name or ("sdxl" if still else "wan")
    fitting = [t.name for t in TARGETS.values() if t.still == still]
    if name not in TARGETS:
        raise MienError("export.unknown-target", f"there is no target {name!r}", f"--target {' | '.join(fitting)}")
    if TARGETS[name].still != still:
        kind = "pictures" if still else "video"
        raise MienError("export.wrong-target", f"{name} is not trained on {kind}", f"--target {' | '.join(fitting)}")
    return TARGETS[name]


def sizes(area_px: int) -> tuple[Size, ...]:
    """The buckets (width, height) of an area: sides are multiples of 32."""
    made = {tuple(max(1, round(math.sqrt(area_px * r**sign) / STEP_PX)) * STEP_PX for sign in (1, -1)) for r in _RATIOS}
    return tuple(sorted((w, h) for w, h in made))


def bucket(width: int, height: int, wanted: Target) -> Size | None:
    """The largest bucket of the nearest shape that a picture fills without being enlarged; None: it is too small."""
    for area in wanted.areas_px:
        w, h = min(sizes(area), key=lambda s: (abs(math.log(width * s[1] / (height * s[0]))), s))
        if w <= width and h <= height:
            return w, h
    return None


def crop(width: int, height: int, size: Size) -> tuple[float, float, float, float]:
    """The centred part of a picture, as shares (x1, y1, x2, y2), that has the shape of a bucket."""
    scale = max(Fraction(size[0], width), Fraction(size[1], height))
    x, y = (float(1 - side / (scale * whole)) / 2 for side, whole in zip(size, (width, height), strict=True))
    return x, y, 1 - x, 1 - y
