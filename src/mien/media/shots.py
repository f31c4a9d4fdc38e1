"""One pass over the whole source inside the child: shots, true times, coverage, damage."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from fractions import Fraction
from typing import Any

import numpy as np

from mien.core import US
from mien.media.picture import Upright
from mien.media.source import Clock, Source

_SIDE_PX = 160
_MIN_SHOT_S = 0.4
_FEW_FRAMES = 0.9  # edit lists may hide some of the frames that a header counts


class Shots:
    """PySceneDetect's AdaptiveDetector (Castellano, 2014-2026) on small frames, timed by PTS (safe for VFR).

    Scores are HSV differences to the previous frame; a cut stands out threefold from its four neighbours, so that fast
    motion is not taken for one. A cut within the last two frames is not seen.
    """

    def __init__(self, rate: Fraction | None) -> None:
        import cv2
        from scenedetect.detectors import AdaptiveDetector

        cv2.setNumThreads(1)
        self._detector = AdaptiveDetector(min_scene_len=_MIN_SHOT_S)
        self._rate = rate or Fraction(25, 1)
        self._shape: tuple[int, ...] = ()
        self.cuts_us: list[int] = []

    @staticmethod
    def name() -> str:
        """Library, version and settings: part of what a cut depends on."""
        from importlib.metadata import version

        return f"scenedetect-adaptive {version('scenedetect-headless')} {_SIDE_PX}px {_MIN_SHOT_S}s"

    def feed(self, t_us: int, bgr: np.ndarray[Any, np.dtype[np.uint8]]) -> None:
        """The next frame, uint8 `[h w 3]` BGR. A change of size starts a new shot."""
        from scenedetect.common import FrameTimecode, Timecode
        from scenedetect.detectors import AdaptiveDetector

        if self._shape and bgr.shape != self._shape:
            self._detector = AdaptiveDetector(min_scene_len=_MIN_SHOT_S)
            self.cuts_us.append(t_us)
        self._shape = bgr.shape
        now = FrameTimecode(Timecode(t_us, Fraction(1, US)), fps=self._rate)
        self.cuts_us += [found.pts for found in self._detector.process_frame(now, bgr)]


def scan(source: Source, report: Callable[[int], None]) -> dict[str, Any]:
    """The fields of `Scan`. `report` gets the time reached, for progress."""
    shots = Shots(source.rate) if source.video is not None and not source.image else None
    small, clock, tally = Upright(_SIDE_PX), Clock(source.frame_us, source.tally), source.tally
    first_us: int | None = None
    picture_end = sound_end = gap = 0
    sound_us = 0.0
    for stream, frame in source.decoded(*(s for s in (source.video, source.audio) if s is not None)):
        if stream.type == "audio":
            length_us = frame.samples * US / frame.sample_rate
            sound_us += length_us
            if frame.pts is not None:
                at_us = float(frame.pts * frame.time_base * US) - source.start_us
                sound_end = max(sound_end, round(min(at_us, sound_us + 3600 * US) + length_us))
            continue
        before = clock.last_us
        t_us = source.timed(clock, frame)
        if t_us is None:
            continue
        tally.frames += 1
        first_us = t_us if first_us is None else first_us
        gap = max(gap, t_us - (t_us if before is None else before))
        length_us = float(frame.duration * frame.time_base * US) if frame.duration else source.frame_us
        picture_end = t_us + (0 if source.image else round(min(length_us, 10 * US)))
        if shots is not None:
            shots.feed(t_us, small(frame, None, "bgr24"))
        report(t_us)
    return {
        "cuts_us": shots.cuts_us if shots else [],
        "detector": Shots.name() if shots else "",
        "first_us": first_us,
        "last_us": clock.last_us,
        "end_us": max(picture_end, sound_end, round(sound_us) if not sound_end else 0),
        "sound_us": round(sound_us) if source.audio is not None else None,
        "longest_gap_us": gap,
        "coverage": _coverage(source, first_us, picture_end, round(sound_us)),
        "tally": asdict(tally),
    }


def _coverage(source: Source, first_us: int | None, picture_end: int, sound_us: int) -> float | None:
    shares: list[float] = []
    if source.video is not None:
        decoded = 0 if first_us is None else picture_end - first_us
        shares += _share(decoded, source.claimed_us(source.video), source.frame_us)
        if source.video.frames > 0 and source.tally.frames < _FEW_FRAMES * source.video.frames:
            shares.append(source.tally.frames / source.video.frames)
        if source.image:
            shares = [float(first_us is not None)]
    if source.audio is not None:
        shares += _share(sound_us, source.claimed_us(source.audio), 100_000)
    return min(shares, default=None)


def _share(decoded_us: int, claimed_us: int | None, slack_us: int) -> list[float]:
    """Decoded ÷ claimed; a lack of no more than `slack_us` (a frame, a codec's padding) counts as none."""
    if not claimed_us:
        return []
    return [1.0 if decoded_us + slack_us >= claimed_us else max(0.0, decoded_us / claimed_us)]
