"""Sound and what is heard in it: float32 mono at 16 kHz in -1..1; times int64 µs of presentation time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mien.core.batches import F32, I64, check

SAMPLE_RATE_HZ = 16_000


@dataclass(frozen=True, slots=True)
class Sound:
    """samples float32 `[s]` mono 16 kHz in -1..1; t0_us: time of the first sample."""

    samples: F32
    t0_us: int

    def __post_init__(self) -> None:
        check("samples", self.samples, np.float32, (None,))

    def __len__(self) -> int:
        return len(self.samples)


@dataclass(frozen=True, slots=True)
class Curve:
    """A uniform grid over a sound: values float32 `[n k]`, names (k), hop_us; row i starts at t0_us + i·hop_us."""

    values: F32
    names: tuple[str, ...]
    t0_us: int
    hop_us: int

    def __post_init__(self) -> None:
        check("values", self.values, np.float32, (None, len(self.names)))

    def __len__(self) -> int:
        return len(self.values)


@dataclass(frozen=True, slots=True)
class States:
    """Hidden states of a speech encoder over one sound: values float32 `[l n d]` for the layers named (1 is the first
    transformer block's output, 0 what goes into it); row i starts at t0_us + i·hop_us and looks at `field_us` of sound.

    In RAM like `Embeddings`: a voice can be told by them.
    """

    values: F32
    layers: tuple[int, ...]
    t0_us: int
    hop_us: int
    field_us: int

    def __post_init__(self) -> None:
        check("values", self.values, np.float32, (len(self.layers), None, None))

    def __len__(self) -> int:
        return self.values.shape[1]


@dataclass(frozen=True, slots=True)
class Words:
    """Words heard in a batch of sounds, in order of time within each.

    sound int64 `[w]` (index into the batch, non-decreasing), span_us int64 `[w 2]` (start and end, half-open,
    presentation time), score float32 `[w]`: mean probability of a word's tokens, 0..1; text: w words as written.
    A transcript says who was meant and what was said: treat it as personal data.
    """

    sound: I64
    span_us: I64
    score: F32
    text: tuple[str, ...]

    def __post_init__(self) -> None:
        n = len(self.text)
        check("sound", self.sound, np.int64, (n,))
        check("span_us", self.span_us, np.int64, (n, 2))
        check("score", self.score, np.float32, (n,))

    def __len__(self) -> int:
        return len(self.text)

    def of_sound(self, index: int) -> Words:
        return self.take(np.flatnonzero(self.sound == index))

    def take(self, rows: npt.NDArray[np.intp]) -> Words:
        return Words(self.sound[rows], self.span_us[rows], self.score[rows], tuple(self.text[int(i)] for i in rows))
