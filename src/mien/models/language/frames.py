"""Frames to what a Qwen3-VL network takes: patches at the size its pixel budget allows, and the text of their times.

The same numbers as the published processor (transformers' Qwen3VLProcessor; Qwen3-VL technical report, 2025), without
torchvision, and with the frames' own times: two frames make one temporal patch, and its time is the mean of the two.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mien.core import US, Frames, MienError
from mien.models.resampling import resampled

F32 = npt.NDArray[np.float32]
NARROWEST = 200


@dataclass(frozen=True, slots=True)
class Sight:
    """How a checkpoint cuts pictures: `patch` px, `merge` × `merge` patches one token, `temporal` frames one patch."""

    patch: int = 16
    merge: int = 2
    temporal: int = 2
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    sd: tuple[float, ...] = (0.5, 0.5, 0.5)

    @property
    def factor(self) -> int:
        """Side of one token, px: heights and widths are multiples of it."""
        return self.patch * self.merge

    @classmethod
    def of(cls, folder: Path) -> Sight:
        """From the processor's configuration beside the weights.

        Raises:
            MienError: `weights.no-file`, `weights.wrong-format`.
        """
        names = ("video_preprocessor_config.json", "preprocessor_config.json", "processor_config.json")
        path = next((folder / name for name in names if (folder / name).is_file()), None)
        if path is None:
            raise MienError("weights.no-file", f"{folder} has no {names[0]}", "fetch the whole published folder")
        held: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        held = held.get("video_processor", held)
        try:
            return cls(
                int(held["patch_size"]),
                int(held["merge_size"]),
                int(held["temporal_patch_size"]),
                tuple(float(v) for v in held["image_mean"]),
                tuple(float(v) for v in held["image_std"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise MienError("weights.wrong-format", f"{path.name} does not say {error}", "fetch it again") from error


@dataclass(frozen=True, slots=True)
class Seen:
    """One picture or video as a network takes it.

    values float32 `[t·h·w, 3·temporal·patch²]`; grid (t, h, w) in patches; times: seconds of each temporal patch (none
    for a picture).
    """

    values: F32
    grid: tuple[int, int, int]
    times: tuple[float, ...]

    def tokens(self, sight: Sight) -> int:
        """Tokens of one temporal patch."""
        return self.grid[1] * self.grid[2] // sight.merge**2


def size_for(n: int, height: int, width: int, sight: Sight, low_px: int, high_px: int) -> tuple[int, int]:
    """Height and width, multiples of `sight.factor`, at which `n` frames hold between low_px and high_px in all.

    The published rule (`smart_resize`); n = 1 for a picture.

    Raises:
        MienError: `language.too-narrow`.
    """
    factor = sight.factor
    if n > 1 and min(height, width) < factor:
        scale = max(factor / height, factor / width)
        height, width = int(height * scale), int(width * scale)
    if max(height, width) > NARROWEST * min(height, width):
        raise MienError("language.too-narrow", f"a picture of {width}x{height} px is too narrow", "cut it first")
    counted = n if n == 1 else round(n / sight.temporal) * sight.temporal
    h, w = round(height / factor) * factor, round(width / factor) * factor
    if counted * h * w > high_px:
        shrink = math.sqrt(n * height * width / high_px)
        h, w = (max(factor, math.floor(side / shrink / factor) * factor) for side in (height, width))
    elif counted * h * w < low_px:
        grow = math.sqrt(low_px / (n * height * width))
        h, w = (math.ceil(side * grow / factor) * factor for side in (height, width))
    return h, w


def seen(frames: Frames, sight: Sight, low_px: int, high_px: int) -> Seen:
    """Frames as one video (a single frame as a picture), resized to hold between low_px and high_px in all."""
    n, height, width = frames.pixels.shape[:3]
    h, w = size_for(n, height, width, sight, low_px, high_px)
    pixels = resampled(frames.pixels, h, w, "bicubic")
    pixels = np.concatenate([pixels, np.repeat(pixels[-1:], -n % sight.temporal, axis=0)])
    x = (pixels.astype(np.float32) - np.array(sight.mean, np.float32) * 255) / (np.array(sight.sd, np.float32) * 255)
    t, m, p = len(x) // sight.temporal, sight.merge, sight.patch
    cut = x.reshape(t, sight.temporal, h // m // p, m, p, w // m // p, m, p, 3)
    # One row per patch, the m × m patches of a token side by side: (t, rows, columns, m, m), (rgb, time, y, x).
    rows = cut.transpose(0, 2, 5, 3, 6, 8, 1, 4, 7).reshape(t * (h // p) * (w // p), -1)
    times = patch_times(frames.t_us.tolist(), sight.temporal) if n > 1 else ()
    return Seen(np.ascontiguousarray(rows), (t, h // p, w // p), times)


def patch_times(t_us: Sequence[int], temporal: int) -> tuple[float, ...]:
    """Seconds of each temporal patch: the mean of its first and last frame; a last, short one is filled up."""
    filled = [*t_us, *[t_us[-1]] * (-len(t_us) % temporal)]
    return tuple((a + b) / (2 * US) for a, b in zip(filled[::temporal], filled[temporal - 1 :: temporal], strict=True))


def shown(what: Seen, sight: Sight) -> str:
    """The text that stands for it: a video is its patches, each after its time to a tenth of a second."""
    if not what.times:
        return f"<|vision_start|>{'<|image_pad|>' * what.tokens(sight)}<|vision_end|>"
    one = f"<|vision_start|>{'<|video_pad|>' * what.tokens(sight)}<|vision_end|>"
    return "".join(f"<{seconds:.1f} seconds>{one}" for seconds in what.times)
