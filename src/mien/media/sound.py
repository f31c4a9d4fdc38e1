"""Sound inside the child: mono 16 kHz, every sample placed by its presentation time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mien.core import SAMPLE_RATE_HZ, US
from mien.media.picture import Send
from mien.media.source import Source

if TYPE_CHECKING:
    from av.audio.frame import AudioFrame

JUMP_US = 20_000  # a clock that differs less from the running sample count is rounding, not a gap
_PREROLL_US = 500_000  # lapped codecs need a few packets before their output is right
_CHUNK = 4 * SAMPLE_RATE_HZ


class Line:
    """Resamples a stream piece by piece; a jump of its clock or a change of its form starts a new piece."""

    def __init__(self, rate_hz: int = SAMPLE_RATE_HZ, channels: int = 1) -> None:
        self._rate, self._channels = rate_hz, channels
        self._resampler: Any = None
        self._form: tuple[Any, ...] = ()
        self._begin_us = 0
        self._in = 0
        self._out = 0

    def feed(self, t_us: int | None, frame: AudioFrame) -> Iterator[tuple[int, npt.NDArray[np.float32]]]:
        """(index of the first sample, samples) that this frame completes: `[n]`, or `[n 2]` of stereo."""
        import av

        form = (frame.format.name, frame.layout.name, frame.sample_rate)
        due = self._begin_us + self._in * US // frame.sample_rate
        if self._resampler is None or form != self._form or (t_us is not None and abs(t_us - due) > JUMP_US):
            yield from self.flush()
            layout = "mono" if self._channels == 1 else "stereo"
            self._resampler = av.AudioResampler(format="flt", layout=layout, rate=self._rate)
            self._form, self._in, self._out = form, 0, 0
            self._begin_us = due if t_us is None else t_us
        self._in += frame.samples
        frame.pts = None
        yield from self._take(frame)

    def flush(self) -> Iterator[tuple[int, npt.NDArray[np.float32]]]:
        """What the resampler still holds; the piece is over."""
        if self._resampler is not None:
            yield from self._take(None)
            self._resampler = None

    def _take(self, frame: AudioFrame | None) -> Iterator[tuple[int, npt.NDArray[np.float32]]]:
        for piece in self._resampler.resample(frame):
            samples = piece.to_ndarray().reshape(-1)
            if self._channels > 1:
                samples = samples.reshape(-1, self._channels)
            at = round(self._begin_us * self._rate / US) + self._out
            self._out += len(samples)
            yield at, samples


class Sampler:
    """The samples of one span, sent as pieces `{"at": index from the span's start}`; what no piece covers is a gap.

    Samples beyond ±1 (loud lossy coding, down-mixing) are clipped.
    """

    def __init__(
        self, start_us: int, end_us: int, send: Send, rate_hz: int = SAMPLE_RATE_HZ, channels: int = 1
    ) -> None:
        self._rate = rate_hz
        self._first, self._last = (round(t * rate_hz / US) for t in (start_us, end_us))
        self._line, self._send = Line(rate_hz, channels), send
        self._covered, self._last_end = 0, self._first
        self._pending: list[npt.NDArray[np.float32]] = []
        self._pending_at = 0

    def feed(self, t_us: int | None, frame: AudioFrame) -> None:
        """The next frame of the stream."""
        for at, samples in self._line.feed(t_us, frame):
            self._emit(at, samples)

    def finish(self, *, over: bool) -> int:
        """Send what is left; the length of all gaps in µs. `over`: the stream went on beyond the span."""
        for at, samples in self._line.flush():
            self._emit(at, samples)
        self._flush()
        end = max(self._last if over else self._first, self._last_end)
        return round((end - self._first - self._covered) * US / self._rate)

    def _emit(self, at: int, samples: npt.NDArray[np.float32]) -> None:
        skip = max(0, self._last_end - at)  # pieces never overlap: the earlier one stands
        at, samples = at + skip, samples[skip : max(0, self._last - at)]
        if not len(samples):
            return
        if self._pending and (at != self._last_end or sum(map(len, self._pending)) >= _CHUNK):
            self._flush()
        if not self._pending:
            self._pending_at = at
        self._pending.append(samples)
        self._covered, self._last_end = self._covered + len(samples), at + len(samples)

    def _flush(self) -> None:
        if self._pending:
            samples = np.clip(np.concatenate(self._pending), -1, 1).astype(np.float32)
            self._send({"at": self._pending_at - self._first}, samples)
            self._pending.clear()


def send_sound(
    source: Source, start_us: int, end_us: int, send: Send, rate_hz: int = SAMPLE_RATE_HZ, channels: int = 1
) -> None:
    """The span's samples, from a little before it on."""
    sampler, over = Sampler(start_us, end_us, send, rate_hz, channels), False
    for t_us, frame in source.sounds(max(0, start_us - _PREROLL_US)):
        if over := t_us is not None and t_us >= end_us + JUMP_US:
            break
        sampler.feed(t_us, frame)
    source.tally.gap_us = sampler.finish(over=over)
