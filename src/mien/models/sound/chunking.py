"""Long sound for networks that look at all they are given: windows on the source's own clock, context on both sides.

A transformer attends to its whole input, and a group norm over time averages over it: a window's states are not those
of the whole recording, however much context is added. What can be promised is that they depend on nothing but the
window: windows lie at multiples of `window` states of the source's clock, so that a file and any excerpt of it give the
same states wherever the excerpt holds a window with its whole context.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mien.core import SAMPLE_RATE_HZ, US, MienError, Sound

F32 = npt.NDArray[np.float32]
EPSILON = 1e-7  # of the published normalisation


@dataclass(frozen=True, slots=True)
class Call:
    """One call of the network: states `first` to `last` are computed, `keep_first` to `keep_last` are kept (half-open,
    counted from the first state of the sound)."""

    first: int
    last: int
    keep_first: int
    keep_last: int


@dataclass(frozen=True, slots=True)
class Grid:
    """Where states lie. hop and field in samples: from one state to the next, and what a state looks at; window and
    context in states: what is kept of one call, and what is computed and dropped on each side of it.

    Raises:
        MienError: `config.window` when a hop is no whole number of microseconds or a window holds no state.
    """

    hop: int
    field: int
    window: int
    context: int

    def __post_init__(self) -> None:
        if self.hop < 1 or self.hop * US % SAMPLE_RATE_HZ or self.field < 1 or self.window < 1 or self.context < 0:
            raise MienError(
                "config.window",
                f"a window must hold at least one state, but got {self.window} (states every {self.hop} samples)",
                "raise window_s",
            )

    @classmethod
    def of(cls, hop: int, field: int, window_s: float, context_s: float) -> Grid:
        rate = SAMPLE_RATE_HZ / hop
        return cls(hop, field, round(window_s * rate), round(context_s * rate))

    @property
    def hop_us(self) -> int:
        return self.hop * US // SAMPLE_RATE_HZ

    def place(self, sound: Sound) -> tuple[int, int, int]:
        """Number of the first state on the source's clock, the sample it starts at, and how many states there are.

        State i starts at i·hop_us of the clock: a sound that begins between two of them loses what is before the next.
        """
        half_sample_us = US // SAMPLE_RATE_HZ // 2
        number = -((half_sample_us - sound.t0_us) // self.hop_us)
        start = max(0, round((number * self.hop_us - sound.t0_us) * SAMPLE_RATE_HZ / US))
        return number, start, max(0, (len(sound) - start - self.field) // self.hop + 1)

    def calls(self, number: int, count: int) -> list[Call]:
        """The calls for `count` states, the first of which is the clock's state `number`.

        What is shorter than a window with its context goes in one piece, as the network was published.
        """
        if count < self.window + 2 * self.context:
            return [Call(0, count, 0, count)] if count else []
        out: list[Call] = []
        for k in range(number // self.window, (number + count - 1) // self.window + 1):
            a, b = k * self.window - number, (k + 1) * self.window - number
            given = max(a - self.context, 0), min(b + self.context, count)
            out.append(Call(*given, max(a, 0), min(b, count)))
        return out

    def samples(self, x: F32, call: Call) -> F32:
        """The samples of one call, `x` beginning where the first state does: those its states look at; the whole of a
        sound that goes in one piece, because a norm over time hears what is behind the last state, too."""
        if call.first == 0 and call.keep_last == call.last:
            return x
        return x[call.first * self.hop : (call.last - 1) * self.hop + self.field]


def standardised(x: F32, of: F32) -> F32:
    """`x` with the mean and variance of `of` taken away: what `do_normalize` means in a speech checkpoint."""
    mean, var = of.mean(dtype=np.float64), of.var(dtype=np.float64)
    return ((x - mean) / np.sqrt(var + EPSILON)).astype(np.float32)
