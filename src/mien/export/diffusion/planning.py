"""What of a clip is trained: its bucket, its pieces, or why nothing of it. Pure.

A clip is a take without a cut, so a piece never spans two shots. Long takes become pieces that begin where movement is
least; what no piece holds is not trained.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mien.core import US, Source, Span
from mien.export.diffusion.targets import Size, Target, bucket, crop
from mien.export.selection.gate import Withheld

EVERY_US, PICTURES = 2 * US, 4  # of a clip, for models of pictures: one of every 2 s, 4 at most


@dataclass(frozen=True, slots=True)
class Piece:
    """One file to be. frames: what is trained; total: with the spare ones. crop: shares of the source's frame."""

    span: Span
    frames: int
    total: int
    size: Size
    crop: tuple[float, float, float, float]
    index: int = 0
    of: int = 1

    @property
    def whole(self) -> bool:
        """Whether it is all that is trained of its clip: what is said of the clip's course holds for it."""
        return self.of == 1


@dataclass(frozen=True, slots=True)
class Motion:
    """How much moves: t_us int64 [n], energy float32 [n] (NaN where not measured)."""

    t_us: npt.NDArray[np.int64]
    energy: npt.NDArray[np.float32]

    def quietest(self, first_us: int, last_us: int) -> int:
        """The time of least movement in `[first, last]`, the earliest of equals; `first` where nothing was measured."""
        there = (self.t_us >= first_us) & (self.t_us <= last_us) & np.isfinite(self.energy)
        if not there.any():
            return first_us
        return int(self.t_us[there][np.argmin(self.energy[there])])


NOTHING = Motion(np.zeros(0, np.int64), np.zeros(0, np.float32))


def pieces(what: str, source: Source, span: Span, wanted: Target, motion: Motion = NOTHING) -> list[Piece] | Withheld:
    """The pieces of one clip, in order of time; or why it is dropped.

    Codes: `clip.no-picture`, `clip.no-motion` (a still image where films are trained), `clip.too-small` (it would be
    enlarged), `clip.too-short`.
    """
    if source.kind == "audio" or not source.width_px or not source.height_px:
        return Withheld(what, "clip.no-picture", "it has no picture")
    if source.kind == "image" and not wanted.still:
        return Withheld(what, "clip.no-motion", f"a still image; {wanted.name} is trained on films")
    size = bucket(source.width_px, source.height_px, wanted)
    if size is None:
        least = round(min(wanted.areas_px) ** 0.5)
        words = f"{source.width_px}×{source.height_px} would be enlarged: the smallest bucket is about {least}×{least}"
        return Withheld(what, "clip.too-small", words)
    kept = crop(source.width_px, source.height_px, size)
    if wanted.still:
        count = max(1, min(PICTURES, span.duration_us // EVERY_US))
        at = [span.start_us + k * span.duration_us // count for k in range(count + 1)]
        return [Piece(Span(at[k], at[k + 1]), 1, 1, size, kept, k, count) for k in range(count)]
    fitting = [f for f in wanted.frames if _length_us(wanted.total(f), wanted) <= span.duration_us]
    if not fitting:
        least = _length_us(wanted.total(wanted.frames[0]), wanted) / US
        count = f"{wanted.frames[0]} frames at {wanted.fps} fps and {wanted.spare} spare"
        words = f"{span.duration_s:.2f} s; {count} need {least:.2f} s"
        return Withheld(what, "clip.too-short", words)
    frames = fitting[-1]
    starts = _starts(span, _length_us(wanted.total(frames), wanted), motion)
    total, length = wanted.total(frames), _length_us(wanted.total(frames), wanted)
    return [Piece(Span(s, s + length), frames, total, size, kept, i, len(starts)) for i, s in enumerate(starts)]


def _length_us(total: int, wanted: Target) -> int:
    return -(-total * US // wanted.fps)


def _starts(span: Span, length_us: int, motion: Motion) -> list[int]:
    count = span.duration_us // length_us
    slack, at, starts = span.duration_us - count * length_us, span.start_us, [span.start_us]
    for _ in range(count - 1):
        at += length_us
        start = motion.quietest(at, at + slack)
        slack -= start - at
        at = start
        starts.append(at)
    return starts
