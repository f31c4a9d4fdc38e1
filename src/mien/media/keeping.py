"""What a scan hands out beside its findings, inside the child: the analysis' frames, and the sound from the beginning.

So a source is decoded once. Frames are those of `send_grid`. Sound depends on where decoding begins (a resampler's
phase), so it is kept only from the beginning on: it serves a clip that is the whole source.
"""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from mien.core import US
from mien.media.picture import Grid, Send, Upright
from mien.media.sound import JUMP_US, Sampler
from mien.media.source import Source

if TYPE_CHECKING:
    from av.audio.frame import AudioFrame
    from av.video.frame import VideoFrame


class Kept:
    """Sends `{"picture": t_us}` and `{"sound": first sample}`, each with its array.

    What fails here fails nothing: a later request meets the same failure and tells it with its code.
    """

    def __init__(self, source: Source, fps: Fraction, max_side_px: int | None, longest_us: int, send: Send) -> None:
        self._source, self._send = source, send
        self._longest_us, self._latest_us = longest_us, 0
        self._grid, self._upright = Grid(fps, source.tolerance_us), Upright(max_side_px)
        self._heard: list[tuple[dict[str, Any], npt.NDArray[Any] | None]] = []
        hear = Sampler(0, longest_us, lambda *piece: self._heard.append(piece))
        self._sampler = hear if source.audio is not None else None
        self._seeing = True

    def picture(self, t_us: int, frame: VideoFrame) -> None:
        """Asked of every frame, in order."""
        if not (self._grid.due(t_us) and t_us >= 0 and self._seeing and self._source.video):
            return
        try:
            pixels = self._upright(frame, self._source.video.sample_aspect_ratio)
        except Exception:  # noqa: BLE001 - see above
            self._seeing = False
            self._send({"lost": t_us}, None)
            return
        self._send({"picture": t_us}, pixels)

    def sound(self, t_us: int | None, frame: AudioFrame) -> None:
        """Asked of every frame of sound, in order; beyond the longest clip nothing is resampled."""
        self._latest_us = max(self._latest_us, t_us or 0)
        if self._latest_us > self._longest_us + US:
            self._sampler = None
        if self._sampler is not None:
            try:
                self._sampler.feed(t_us, frame)
            except Exception:  # noqa: BLE001 - see above
                self._sampler = None
            self._send_heard()

    def cut(self) -> None:
        """The source has more than one shot: sound from its beginning serves no clip."""
        self._sampler = None
        self._heard.clear()

    def finish(self, end_us: int) -> bool:
        """The rest of the sound; whether all of it up to `end_us` was sent, as a request for it alone would give."""
        if self._sampler is None or self._latest_us >= end_us + JUMP_US or end_us > self._longest_us:
            return False
        try:
            self._sampler.finish(over=False)
        except Exception:  # noqa: BLE001 - see above
            return False
        self._send_heard()
        return True

    def _send_heard(self) -> None:
        """Outside of what may fail, for sending tells when a newer request has come."""
        for header, samples in self._heard:
            self._send({"sound": header["at"]}, samples)
        self._heard.clear()
