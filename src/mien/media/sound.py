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

_JUMP_US = 20_000  # a clock that differs less from the running sample count is rounding, not a gap
_PREROLL_US = 500_000  # lapped codecs need a few packets before their output is right
_CHUNK = 4 * SAMPLE_RATE_HZ


class Line:
    """Resamples a stream piece by piece; a jump of its clock or a change of its form starts a new piece."""

    def __init__(self) -> None:
        self._resampler: Any = None
        self._form: tuple[Any, ...] = ()
        self._begin_us = 0
        self._in = 0
        self._out = 0

    def feed(self, t_us: int | None, frame: AudioFrame) -> Iterator[tuple[int, npt.NDArray[np.float32]]]:
        """(index of the first sample at 16 kHz, samples) that this frame completes."""
        import av

        form = (frame.format.name, frame.layout.name, frame.sample_rate)
        due = self._begin_us + self._in * US // frame.sample_rate
        if self._resampler is None or form != self._form or (t_us is not None and abs(t_us - due) > _JUMP_US):
            yield from self.flush()
            self._resampler = av.AudioResampler(format="flt", layout="mono", rate=SAMPLE_RATE_HZ)
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
            at = round(self._begin_us * SAMPLE_RATE_HZ / US) + self._out
            self._out += len(samples)
            yield at, samples


def send_sound(source: Source, start_us: int, end_us: int, send: Send) -> None:
    """The span's samples as pieces `{"at": index from the span's start}`; what no piece covers is a gap.

    Samples beyond ±1 (loud lossy coding, down-mixing) are clipped.
    """
    first, last = (round(t * SAMPLE_RATE_HZ / US) for t in (start_us, end_us))
    line, covered, last_end = Line(), 0, first
    pending: list[npt.NDArray[np.float32]] = []
    pending_at = 0

    def emit(at: int, samples: npt.NDArray[np.float32]) -> None:
        nonlocal covered, last_end, pending_at
        skip = max(0, last_end - at)  # pieces never overlap: the earlier one stands
        at, samples = at + skip, samples[skip : max(0, last - at)]
        if not len(samples):
            return
        if pending and (at != last_end or sum(map(len, pending)) >= _CHUNK):
            flush()
        if not pending:
            pending_at = at
        pending.append(samples)
        covered, last_end = covered + len(samples), at + len(samples)

    def flush() -> None:
        if pending:
            send({"at": pending_at - first}, np.clip(np.concatenate(pending), -1, 1).astype(np.float32))
            pending.clear()

    end = first
    for t_us, frame in source.sounds(max(0, start_us - _PREROLL_US)):
        if t_us is not None and t_us >= end_us + _JUMP_US:
            end = last
            break
        for at, samples in line.feed(t_us, frame):
            emit(at, samples)
    for at, samples in line.flush():
        emit(at, samples)
    flush()
    end = max(end, last_end)
    source.tally.gap_us = round((end - first - covered) * US / SAMPLE_RATE_HZ)
