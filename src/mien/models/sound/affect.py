"""What a voice suggests: distress, pleasure or calm, and arousal; linear heads on the Whisper voice embedding.

Trained on prompted, self-recorded vocal bursts of adults by `mien train voice`; the card is docs/cards/voice-affect.md.
A prompted expression is not a felt emotion, and nobody in the data is a minimally speaking person.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt

from mien.core import (
    AdapterSpec,
    Asset,
    Device,
    Distribution,
    Embeddings,
    Licences,
    Measured,
    MienError,
    Scalars,
    Strict,
    WeightFiles,
    Weights,
    adapter,
)
from mien.models import tensors

F32 = npt.NDArray[np.float32]

STATES = ("distress", "pleasure", "calm")
FILE = "voice_affect.safetensors"
PATH = Path(__file__).with_name(FILE)

WEIGHTS = Weights(
    model="voice-affect",
    assets=(
        Asset(
            file=FILE,
            source="package",
            name="mien",
            version="1",
            member=f"mien/models/sound/{FILE}",
            sha256="9e200e283fee83e26baa884f678cce17b1eee7b7bbd6fd89e662c59d21efb9cd",
            bytes=19_268,
        ),
    ),
    licences=Licences(code="Apache-2.0", weights="Apache-2.0", training_data="Apache-2.0 (EmoGator vocal bursts)"),
    runtime=(FILE,),
    note="card: docs/cards/voice-affect.md",
)

ON = "EmoGator, 41 people never trained on, prompted bursts"
COMMAND = "python -m bench voice"


@dataclass(frozen=True, slots=True)
class Head:
    """Linear heads on standardised embeddings z = (x - mean) / scale.

    state_weight float32 `[d 3]`, state_bias `[3]`, temperature: logits are divided by it (Guo et al., 2017);
    prior `[3]`: class shares the state head was fitted under, which fusion divides out; arousal_weight `[d]`,
    arousal_bias, arousal_sd: in units of the circumplex, -1..1.
    """

    mean: F32
    scale: F32
    state_weight: F32
    state_bias: F32
    temperature: F32
    prior: F32
    arousal_weight: F32
    arousal_bias: F32
    arousal_sd: F32

    @classmethod
    def read(cls, path: Path) -> Self:
        """Raises MienError `weights.unreadable`."""
        held, _ = tensors.read(path)
        if set(held) != set(cls.__slots__) or any(v.dtype != np.float32 for v in held.values()):
            raise MienError(
                "weights.unreadable",
                f"{path.name} is not a voice head: it holds {sorted(held)}",
                "retrain or reinstall",
            )
        return cls(**held)

    def write(self, path: Path, notes: dict[str, str]) -> None:
        tensors.write(path, {name: getattr(self, name) for name in self.__slots__}, notes)

    @classmethod
    def seeded(cls, width: int = 768) -> Self:
        """A head of random numbers, the same every time."""
        draw = np.random.default_rng(0).standard_normal

        def f(*shape: int) -> F32:
            return (draw(shape) / 30).astype(np.float32)

        one = np.ones(1, np.float32)
        ones, third = np.ones(width, np.float32), np.full(3, 1 / 3, np.float32)
        half = np.full(1, 0.5, np.float32)
        return cls(np.zeros(width, np.float32), ones, f(width, 3), f(3), one, third, f(width), f(1), half)

    def states(self, vectors: F32) -> F32:
        """Probabilities float32 `[n 3]` under `prior`; NaN rows stay NaN."""
        logits = (self._z(vectors) @ self.state_weight + self.state_bias) / self.temperature
        e = np.exp(logits - logits.max(axis=1, keepdims=True, initial=-np.inf))
        return (e / e.sum(axis=1, keepdims=True)).astype(np.float32)

    def arousal(self, vectors: F32) -> F32:
        """Arousal float32 `[n]` in -1..1; NaN rows stay NaN."""
        return np.clip(self._z(vectors) @ self.arousal_weight + self.arousal_bias, -1, 1).astype(np.float32)

    def _z(self, vectors: F32) -> F32:
        if vectors.shape[1] != len(self.mean):
            raise ValueError(f"vectors must have shape [? {len(self.mean)}], but got {list(vectors.shape)}")
        return (vectors - self.mean) / self.scale


class _OnHead:
    """What both adapters share."""

    class Config(Strict):
        pass

    def __init__(self, head: Head) -> None:
        self.head = head

    @classmethod
    def open(cls, files: WeightFiles, config: Config, device: Device) -> Self:
        """Raises MienError `weights.unreadable`."""
        return cls(Head.read(files[FILE]))

    @classmethod
    def tiny(cls) -> Self:
        """A seeded head: right shapes, no meaning."""
        return cls(Head.seeded())

    def close(self) -> None:
        """Nothing to release."""


@adapter
class VoiceState(_OnHead):
    """In: `Embeddings` of `voice.whisper`. Out: `Distribution` over distress, pleasure, calm; NaN in, NaN out.

    The probabilities hold for equal shares of the three states (`prior`); divide by `prior` before pooling.
    """

    spec: ClassVar[AdapterSpec] = AdapterSpec(
        name="voice.state",
        slot="voice_affect",
        takes=Embeddings,
        gives=Distribution,
        weights=WEIGHTS,
        affect=True,
        measured=(
            Measured("UAR 0.69 of 3 states (chance 0.33), worst-tenth person 0.59, ECE 0.015", ON, COMMAND),
            Measured("AUC 0.84 for pain or distress against ecstasy or desire, worst-tenth person 0.72", ON, COMMAND),
        ),
    )

    @property
    def prior(self) -> tuple[tuple[str, float], ...]:
        """Training share of each state (π_train)."""
        return tuple(zip(STATES, map(float, self.head.prior), strict=True))

    def run(self, batch: Embeddings) -> Distribution:
        return Distribution(self.head.states(batch.vectors), STATES)


@adapter
class VoiceArousal(_OnHead):
    """In: `Embeddings` of `voice.whisper`. Out: `Scalars`: arousal in -1..1 with its sd on people not trained on.

    Derived and weak: fitted to where the prompted words lie on Russell's circle, not to ratings of the clips. On rated
    voices it says nothing that loudness does not say better: keep it out of fusion.
    """

    spec: ClassVar[AdapterSpec] = AdapterSpec(
        name="voice.arousal",
        slot="voice_arousal",
        takes=Embeddings,
        gives=Scalars,
        weights=WEIGHTS,
        affect=True,
        measured=(
            Measured(
                "r 0.32 with rated arousal, CCC 0.06, nothing beyond loudness (which alone has r 0.91)",
                "TAVA, 96 voices rated by about 150 people each",
                COMMAND,
                weak=True,
            ),
        ),
    )

    def run(self, batch: Embeddings) -> Scalars:
        value = self.head.arousal(batch.vectors)
        return Scalars(value, np.where(np.isnan(value), np.nan, self.head.arousal_sd).astype(np.float32))
