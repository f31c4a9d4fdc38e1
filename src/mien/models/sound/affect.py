"""What a voice suggests: distress, pleasure or calm, and arousal; both on the embedding of `voice.whisper`.

Made by `mien train cues` from prompted, self-recorded vocal bursts of adults; the card is docs/cards/voice-cues.md.
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
    Measured,
    MienError,
    Scalars,
    Strict,
    WeightFiles,
    Weights,
    adapter,
)
from mien.models import tensors
from mien.models.sound import cues, prosody
from mien.models.sound.cues import COMMAND, LICENCES, ON, CueHead
from mien.models.sound.whisper import COLUMNS, POOLED

F32 = npt.NDArray[np.float32]

STATES = ("distress", "pleasure", "calm")
TAXONOMY = "state"
FILE = "voice_arousal.safetensors"
PATH = Path(__file__).with_name(FILE)

WEIGHTS = Weights(
    model="voice-affect",
    assets=(
        cues.ASSET,
        Asset(
            file=FILE, source="package", name="mien", version="1", member=f"mien/models/sound/{FILE}",
            sha256="4592fea965bc3e648d94abd966290e5b7fc2fb527e7181d06d9d09e085af3813", bytes=2_424,
        ),
    ),
    licences=LICENCES,
    runtime=(cues.FILE, FILE),
    note="card: docs/cards/voice-cues.md",
)  # fmt: skip


@adapter
class VoiceState:
    """In: `Embeddings` of `voice.whisper`. Out: `Distribution` over distress, pleasure, calm; NaN in, NaN out.

    The 30 prompted categories of `voice.cues` put together. The probabilities hold for equal shares of the three states
    (`prior`); divide by `prior` before pooling.
    """

    class Config(Strict):
        pass

    spec: ClassVar[AdapterSpec] = AdapterSpec(
        name="voice.state",
        slot="voice_affect",
        takes=Embeddings,
        gives=Distribution,
        version=2,
        weights=WEIGHTS,
        affect=True,
        measured=(
            Measured("UAR 0.73 of 3 states (chance 0.33), worst-tenth person 0.61, ECE 0.03", ON, COMMAND),
            Measured("AUC 0.89 for pain or distress against ecstasy or desire, worst-tenth person 0.72", ON, COMMAND),
        ),
    )

    def __init__(self, head: CueHead) -> None:
        self.head = head

    @classmethod
    def open(cls, files: WeightFiles, config: Config, device: Device) -> Self:
        """Raises MienError `weights.unreadable`."""
        head = CueHead.read(files[cues.FILE])
        if TAXONOMY not in head.taxonomies or set(head.taxonomies[TAXONOMY].names) != set(STATES):
            raise MienError("weights.unreadable", f"{cues.FILE} does not know {', '.join(STATES)}", "reinstall mien")
        return cls(head)

    @classmethod
    def tiny(cls) -> Self:
        """A seeded head: right shapes, no meaning."""
        head = cues.seeded(STATES, COLUMNS)
        return cls(cues.with_taxonomy(head, TAXONOMY, {name: name for name in STATES}))

    @property
    def prior(self) -> tuple[tuple[str, float], ...]:
        """Share of each state that the probabilities hold for (π_train)."""
        return tuple((name, 1 / len(STATES)) for name in STATES)

    def run(self, batch: Embeddings) -> Distribution:
        names = self.head.taxonomies[TAXONOMY].names
        probs = self.head.answer(TAXONOMY, batch.vectors)
        return Distribution(np.ascontiguousarray(probs[:, [names.index(s) for s in STATES]]), STATES)

    def close(self) -> None:
        """Nothing to release."""


@dataclass(frozen=True, slots=True)
class Arousal:
    """A line on standardised prosody z = (x - mean) / scale, x the last columns of the embedding (`prosody.NAMES`).

    mean, scale, weight float32 `[p]`; bias, sd: in units of the circumplex, -1..1.
    """

    mean: F32
    scale: F32
    weight: F32
    bias: F32
    sd: F32

    @classmethod
    def read(cls, path: Path) -> Self:
        """Raises MienError `weights.unreadable`."""
        held, _ = tensors.read(path)
        fits = set(held) == set(cls.__slots__) and all(v.dtype == np.float32 for v in held.values())
        if not fits or any(len(held[n]) != len(prosody.NAMES) for n in ("mean", "weight")):
            raise MienError(
                "weights.unreadable", f"{path.name} is not a head of arousal: it holds {sorted(held)}", "reinstall mien"
            )
        return cls(**held)

    def write(self, path: Path, notes: dict[str, str]) -> None:
        tensors.write(path, {name: getattr(self, name) for name in self.__slots__}, notes)

    def __call__(self, vectors: F32) -> F32:
        """Arousal float32 `[n]` in -1..1 of embeddings `[n d]`; rows of NaN stay NaN."""
        z = (vectors[:, POOLED:] - self.mean) / self.scale
        return np.clip(z @ self.weight + self.bias, -1, 1).astype(np.float32)


@adapter
class VoiceArousal:
    """In: `Embeddings` of `voice.whisper`. Out: `Scalars`: arousal in -1..1 with its sd on people not trained on.

    From pitch, periodicity, spectral balance and the shape of the envelope, none of which gain can change; fitted to
    where the prompted words lie on Russell's circle, not to ratings of the clips.
    """

    class Config(Strict):
        pass

    spec: ClassVar[AdapterSpec] = AdapterSpec(
        name="voice.arousal",
        slot="voice_arousal",
        takes=Embeddings,
        gives=Scalars,
        version=2,
        weights=WEIGHTS,
        affect=True,
        measured=(
            Measured(
                "r 0.82 with rated arousal, CCC 0.37; r 0.29 beyond loudness (which alone has r 0.91)",
                "TAVA, 96 voices rated by about 150 people each",
                COMMAND,
                weak=True,
            ),
        ),
    )

    def __init__(self, head: Arousal) -> None:
        self.head = head

    @classmethod
    def open(cls, files: WeightFiles, config: Config, device: Device) -> Self:
        """Raises MienError `weights.unreadable`."""
        return cls(Arousal.read(files[FILE]))

    @classmethod
    def tiny(cls) -> Self:
        """A seeded line: right shapes, no meaning."""
        size = len(prosody.NAMES)
        weight = (np.random.default_rng(0).standard_normal(size) / 60).astype(np.float32)
        half = np.full(1, 0.5, np.float32)
        return cls(Arousal(np.zeros(size, np.float32), np.ones(size, np.float32), weight, half * 0, half))

    def run(self, batch: Embeddings) -> Scalars:
        value = self.head(batch.vectors)
        return Scalars(value, np.where(np.isnan(value), np.nan, self.head.sd).astype(np.float32))

    def close(self) -> None:
        """Nothing to release."""
