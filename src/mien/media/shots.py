"""One pass over the whole source inside the child: shots, true times, coverage, damage."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import asdict
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from mien.core import US
from mien.media.activity import Activity
from mien.media.picture import Upright
from mien.media.source import Source

if TYPE_CHECKING:
    from av.audio.frame import AudioFrame
    from av.video.frame import VideoFrame

    from mien.media.keeping import Kept

_SIDE_PX = 160
_MIN_SHOT_S = 0.4
_MIN_LIGHTNESS_STEP = 5.0  # of 255; hue and saturation of dark pixels are noise that jumps at keyframes
_LEAP_US = 3600 * US  # a sound that leaps further has lost its clock
_FEW_FRAMES = 0.9  # edit lists may hide some of the frames that a header counts
_STITCH_AFTER_US, _STITCH = 400_000, 0.75


def shot_detector() -> str:
    """Library, version and settings: part of what a cut depends on."""
    from importlib.metadata import version

    settings = f"{_SIDE_PX}px {_MIN_SHOT_S}s lightness≥{_MIN_LIGHTNESS_STEP:g} stitch≥{_STITCH:g}"
    return f"scenedetect-adaptive {version('scenedetect-headless')} {settings}"


class Shots:
    """PySceneDetect's AdaptiveDetector (Castellano, 2014-2026) on small frames, timed by PTS (safe for VFR).

    Scores are HSV differences to the previous frame; a cut stands out threefold from its four neighbours, so that fast
    motion is not taken for one; lightness must change too, so that chroma noise in the dark is not. A cut within the
    last two frames is not seen.

    Over-split shots are stitched: a cut is withdrawn when the picture 0.4 s after it correlates by 0.75 or more with
    the one just before it (a flash, a hand before the lens, a lamp switched on; correlation ignores brightness and
    contrast). Inside a shot we saw 0.8-0.93, across cuts 0.02-0.07, across a jump cut of one face 0.62.
    """

    def __init__(self, rate: Fraction | None) -> None:
        import cv2
        from scenedetect.detectors import AdaptiveDetector

        cv2.setNumThreads(1)
        self._fresh = lambda: AdaptiveDetector(min_scene_len=_MIN_SHOT_S)
        self._detector = self._fresh()
        self._light: np.ndarray[Any, np.dtype[np.int16]] | None = None
        self._steps: deque[tuple[int, float, np.ndarray[Any, np.dtype[np.int16]]]] = deque(maxlen=8)
        self._doubted: deque[tuple[int, np.ndarray[Any, np.dtype[np.int16]]]] = deque()
        self._rate = rate or Fraction(25, 1)
        self._shape: tuple[int, ...] = ()
        self.cuts_us: list[int] = []
        self.stitched_us: list[int] = []

    @property
    def step(self) -> float:
        """Mean change of lightness from the frame before, 0..1."""
        return self._steps[-1][1] / 255 if self._steps else 0.0

    @property
    def settled_us(self) -> int:
        """Every cut before this time is known."""
        waiting = self._doubted[0][0] if self._doubted else None
        oldest = self._steps[-3][0] if len(self._steps) > 2 else 0
        return oldest if waiting is None else min(oldest, waiting)

    def feed(self, t_us: int, bgr: np.ndarray[Any, np.dtype[np.uint8]]) -> None:
        """The next frame, uint8 `[h w 3]` BGR. A change of size starts a new shot."""
        from scenedetect.common import FrameTimecode, Timecode

        if self._shape and bgr.shape != self._shape:
            self.finish()
            self._detector, self._light = self._fresh(), None
            self.cuts_us.append(t_us)
        self._shape = bgr.shape
        now = FrameTimecode(Timecode(t_us, Fraction(1, US)), fps=self._rate)
        light = np.maximum(np.maximum(bgr[..., 0], bgr[..., 1]), bgr[..., 2]).astype(np.int16)  # .max(2) is 10× slower
        self._steps.append((t_us, 0.0 if self._light is None else float(np.abs(light - self._light).mean()), light))
        self._light = light
        for found in self._detector.process_frame(now, bgr):
            before = next((i for i, (t, *_) in enumerate(self._steps) if t == found.pts), 0) - 1
            if before >= 0 and self._steps[before + 1][1] >= _MIN_LIGHTNESS_STEP:
                self._doubted.append((found.pts, self._steps[before][2]))
        while self._doubted and t_us >= self._doubted[0][0] + _STITCH_AFTER_US:
            at, was = self._doubted.popleft()
            (self.stitched_us if _correlation(was, light) >= _STITCH else self.cuts_us).append(at)

    def finish(self) -> None:
        """No more frames of this size: cuts that nothing could be compared with stand."""
        self.cuts_us += [at for at, _ in self._doubted]
        self._doubted.clear()


def _correlation(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> float:
    """Pearson's, of two pictures of one size; 0 where one has no contrast."""
    x, y = a.astype(np.float32) - a.mean(), b.astype(np.float32) - b.mean()
    power = float(np.sqrt((x * x).sum() * (y * y).sum()))
    return float((x * y).sum()) / power if power else 0.0


class _Heard:
    """How much sound came, and where it ended."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.sound_us = 0.0
        self.end_us = 0

    def add(self, frame: AudioFrame) -> int:
        length_us = frame.samples * US / frame.sample_rate
        t_us = self._source.time(frame)
        start_us = self.end_us if t_us is None or t_us > self.end_us + _LEAP_US else t_us
        self.sound_us += length_us
        self.end_us = max(self.end_us, round(start_us + length_us))
        return start_us


def scan(
    source: Source, tell: Callable[[int, list[int], list[float]], None], kept: Kept | None = None
) -> dict[str, Any]:
    """The fields of `Scan`, and `sound_kept`. `tell` gets the fields of `Found` about once a second of media; `kept`
    every frame before what is found in it."""
    shots = Shots(source.rate) if source.video is not None and not source.image else None
    small, tally, heard = Upright(_SIDE_PX), source.tally, _Heard(source)
    activity = Activity(shots, source.audio is not None, tell)
    first_us: int | None = None
    last_us: int | None = None
    picture_end = gap = 0

    def pictures() -> Iterator[VideoFrame]:
        for stream, frame in source.decoded(*(s for s in (source.video, source.audio) if s is not None)):
            if stream.type == "video":
                yield frame
            else:
                activity.sound(heard.add(frame), frame)
                if kept is not None:
                    kept.sound(source.time(frame), frame)

    for t_us, frame in source.rising(pictures()):
        tally.frames += 1
        tally.hardware += source.hardware
        first_us = t_us if first_us is None else first_us
        gap = max(gap, t_us - (t_us if last_us is None else last_us))
        length_us = (
            float(frame.duration * frame.time_base * US) if frame.duration and frame.time_base else source.frame_us
        )
        last_us, picture_end = t_us, t_us + (0 if source.image else round(min(length_us, 10 * US)))
        if shots is not None:
            shots.feed(t_us, small(frame, None, "bgr24"))
        if kept is not None:
            kept.picture(t_us, frame)
            if shots is not None and shots.cuts_us:
                kept.cut()
        activity.picture(t_us)
    end_us = max(picture_end, heard.end_us)
    if shots is not None:
        shots.finish()
    activity.flush(end_us)
    return {
        "cuts_us": shots.cuts_us if shots else [],
        "stitched_us": shots.stitched_us if shots else [],
        "first_us": first_us,
        "last_us": last_us,
        "end_us": end_us,
        "sound_us": round(heard.sound_us) if source.audio is not None else None,
        "longest_gap_us": gap,
        "coverage": _coverage(source, first_us, picture_end, heard),
        "tally": asdict(tally),
        "sound_kept": kept is not None and kept.finish(end_us),
    }


def _coverage(source: Source, first_us: int | None, picture_end: int, heard: _Heard) -> float | None:
    """Decoded ÷ claimed, of the stream that lacks most. A stream whose own length the header does not claim (Matroska)
    may begin late or end early: none of these lacks anything where one reaches the end of the file."""
    if source.image:
        return float(first_us is not None)
    decoded: list[tuple[Any, int, int, int]] = []
    if source.video is not None:
        length = 0 if first_us is None else picture_end - first_us
        decoded.append((source.video, length, picture_end, source.frame_us))
    if source.audio is not None:
        decoded.append((source.audio, round(heard.sound_us), heard.end_us, 100_000))
    whole = any(_share(end, source.claimed_us(), slack) == [1.0] for s, _, end, slack in decoded if not s.duration)
    told = [d for d in decoded if d[0].duration or not whole]
    shares = [share for s, length, _, slack in told for share in _share(length, source.claimed_us(s), slack)]
    if source.video is not None and source.video.frames > 0 and source.tally.frames < _FEW_FRAMES * source.video.frames:
        shares.append(source.tally.frames / source.video.frames)
    return min(shares, default=1.0 if whole else None)


def _share(decoded_us: int, claimed_us: int | None, slack_us: int) -> list[float]:
    """Decoded ÷ claimed; a lack of no more than `slack_us` (a frame, a codec's padding) counts as none."""
    if not claimed_us:
        return []
    return [1.0 if decoded_us + slack_us >= claimed_us else max(0.0, decoded_us / claimed_us)]
