"""How much moves and sounds in each 0.2 s of a source: where a long take may be split without harm."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from mien.core import US
from mien.media.clips import CELL_US

if TYPE_CHECKING:
    from av.audio.frame import AudioFrame

    from mien.media.shots import Shots

_TELL_US = US


class Activity:
    """Mean change of picture plus level of sound per cell; tells what is new about once a second of media."""

    def __init__(self, shots: Shots | None, sound: bool, tell: Callable[[int, list[int], list[float]], None]) -> None:
        self._shots, self._tell = shots, tell
        self._light, self._power = _Cells(), _Cells()
        self._sound = sound
        self._told_us, self._told_cuts, self._told_cells = 0, 0, 0

    def picture(self, t_us: int) -> None:
        if self._shots is not None:
            self._light.add(t_us, self._shots.step)
            self._news()

    def sound(self, t_us: int, frame: AudioFrame) -> None:
        samples: np.ndarray[Any, Any] = frame.to_ndarray()
        zero, full = {"i": (0.0, 2.0 ** (8 * samples.itemsize - 1)), "u": (128.0, 128.0)}.get(
            samples.dtype.kind, (0.0, 1.0)
        )
        level = (samples.astype(np.float32) - zero) / full
        self._power.add(t_us, float(np.mean(level * level)) if samples.size else 0.0)
        if self._shots is None:
            self._news()

    def _news(self) -> None:
        reached = [self._shots.settled_us] if self._shots is not None else []
        reached += [self._power.last_us] if self._sound else []
        if min(reached) >= self._told_us + _TELL_US:
            self.flush(min(reached))

    def flush(self, settled_us: int) -> None:
        """Tell everything that is certain before `settled_us`."""
        cuts = [at for at in self._shots.cuts_us[self._told_cuts :] if at < settled_us] if self._shots else []
        cells = range(self._told_cells, settled_us // CELL_US)
        values = [self._light.mean(i) + float(np.sqrt(self._power.mean(i))) for i in cells]
        self._told_us = settled_us
        self._told_cuts += len(cuts)
        self._told_cells = max(self._told_cells, cells.stop)
        self._tell(settled_us, cuts, [round(v, 5) if np.isfinite(v) else 1.0 for v in values])


class _Cells:
    """Sums per cell of the clock."""

    def __init__(self) -> None:
        self._sums: dict[int, tuple[float, int]] = {}
        self.last_us = 0

    def add(self, t_us: int, value: float) -> None:
        self.last_us = max(self.last_us, t_us)
        total, n = self._sums.get(t_us // CELL_US, (0.0, 0))
        self._sums[t_us // CELL_US] = (total + value, n + 1)

    def mean(self, cell: int) -> float:
        """Asked for once per cell, so it is forgotten."""
        total, n = self._sums.pop(cell, (0.0, 0))
        return total / n if n else 0.0
