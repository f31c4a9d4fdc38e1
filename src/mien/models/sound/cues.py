"""What was prompted when people made a sound like this: a head on the voice embedding, made by `mien train cues`.

The file that ships was trained on 30 prompted expressions of adults; it has no classes "moan" or "groan", and a
prompted expression is not a felt one. The card is docs/cards/voice-cues.md.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar, Literal, Self

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
    Strict,
    WeightFiles,
    Weights,
    adapter,
)
from mien.models import tensors
from mien.models.sound.whisper import COLUMNS

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
Kind = Literal["logistic", "mlp", "attentive"]

FORMAT = "mien.cues/1"
FILE = "voice_cues.safetensors"
PATH = Path(__file__).with_name(FILE)
STEP = 8
STEP = 8
FINEST = "label"  # the taxonomy that is the labels themselves


@dataclass(frozen=True, slots=True)
class Answering:
    """How one taxonomy is answered.

    Attributes:
        groups: label → name, for the labels that the taxonomy knows; others are left out of it.
        temperature: log-probabilities are divided by it (Guo et al., 2017), fitted on people not trained on.
        threshold: an answer whose highest probability is below it is withheld. It is the lowest one at which, on people
            not trained on, at most the share `error` of the answers given was wrong.
        error: that share.
    """

    groups: dict[str, str]
    temperature: float = 1.0
    threshold: float = 0.0
    error: float = 1.0

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the taxonomy, in the order in which they first occur."""
        return tuple(dict.fromkeys(self.groups.values()))


@dataclass(frozen=True, slots=True)
class CueHead:
    """A small network on standardised vectors z = (x - mean) / scale, or on states with attentive pooling before it.

    Attributes:
        labels: the classes it was trained on. embedding: the adapter whose answers it reads, `NAME@version+weights`.
        mean, scale: float32 `[d]`. members: networks whose log-probabilities are averaged; each has `weight_1`
            `[d h]` and `bias_1` `[h]` (absent in `logistic`), `weight_2` `[h c]`, `bias_2` `[c]`, and in `attentive`
            `mix` `[l]` (softmax: weights of the layers) and `query` `[d k]` (one column a head of attention).
        taxonomies: name → how it is answered; `label` is there always.
    """

    labels: tuple[str, ...]
    kind: Kind
    embedding: str
    mean: F32
    scale: F32
    members: tuple[Mapping[str, F32], ...]
    taxonomies: Mapping[str, Answering] = field(default_factory=dict)

    def log_probs(self, x: F32 | Sequence[F32]) -> F64:
        """Log-probabilities `[n c]` over `labels` before any temperature: x float32 `[n d]`, or for `attentive` a list
        of states `[l t d]`. Rows of NaN stay NaN.

        Raises:
            ValueError: for vectors of another width.
        """
        found = [self._member(member, x) for member in self.members] if len(x) else []
        return log_softmax(np.mean(found, axis=0)) if len(x) else np.zeros((0, len(self.labels)))

    def answer(self, taxonomy: str, x: F32 | Sequence[F32]) -> F32:
        """Probabilities float32 `[n k]` over `taxonomies[taxonomy].names`, for equal shares of the names."""
        how = self.taxonomies[taxonomy]
        return grouped(self.log_probs(x), self.labels, how.groups, how.temperature).astype(np.float32)

    def withheld(self, taxonomy: str, probs: F32) -> npt.NDArray[np.bool_]:
        """Which rows of `answer` are too uncertain to be given, bool `[n]`; rows of NaN are."""
        return ~(probs.max(axis=1, initial=-np.inf) >= self.taxonomies[taxonomy].threshold)

    def _member(self, member: Mapping[str, F32], x: F32 | Sequence[F32]) -> F64:
        if isinstance(x, np.ndarray):
            if x.ndim != 2 or x.shape[1] != len(self.mean):
                raise ValueError(f"vectors must have shape [? {len(self.mean)}], but got {list(x.shape)}")
            z = (x - self.mean) / self.scale
        else:
            z = np.stack([attended((s - self.mean) / self.scale, member["mix"], member["query"]) for s in x])
        if "weight_1" in member:
            z = gelu(z @ member["weight_1"] + member["bias_1"])
        return log_softmax((z @ member["weight_2"] + member["bias_2"]).astype(np.float64))

    def write(self, path: Path, notes: Mapping[str, str]) -> None:
        """One safetensors file; weights of the members as float16. The same head gives the same bytes."""
        held: dict[str, npt.NDArray[np.floating]] = {"mean": self.mean, "scale": self.scale}
        for i, member in enumerate(self.members):
            held |= {f"member_{i}.{name}": value.astype(np.float16) for name, value in member.items()}
        told = {
            name: {"groups": how.groups, "temperature": how.temperature, "threshold": how.threshold, "error": how.error}
            for name, how in self.taxonomies.items()
        }
        own = {
            "format": FORMAT, "kind": self.kind, "embedding": self.embedding, "labels": json.dumps(self.labels),
            "taxonomies": json.dumps(told),
        }  # fmt: skip
        tensors.write(path, held, {**notes, **own})

    @classmethod
    def read(cls, path: Path) -> Self:
        """Raises MienError `weights.unreadable`."""
        held, notes = tensors.read(path)
        try:
            if notes["format"] != FORMAT:
                raise ValueError(f"its format is {notes['format']!r}")
            told = {name: Answering(**how) for name, how in json.loads(notes["taxonomies"]).items()}
            count = 1 + max(int(name.split(".")[0].removeprefix("member_")) for name in held if "." in name)
            members = tuple(
                {n.split(".")[1]: v.astype(np.float32) for n, v in held.items() if n.startswith(f"member_{i}.")}
                for i in range(count)
            )
            labels = tuple(json.loads(notes["labels"]))
            kind: Kind = notes["kind"]  # pyright: ignore[reportAssignmentType] - checked where it is used
            if any(m["weight_2"].shape[1] != len(labels) for m in members) or FINEST not in told:
                raise ValueError("labels and weights do not fit each other")
            return cls(labels, kind, notes["embedding"], held["mean"], held["scale"], members, told)
        except (KeyError, ValueError, TypeError, IndexError) as error:
            raise MienError(
                "weights.unreadable",
                f"{path.name} is not a head of vocal cues: {error!r}",
                "make one with 'mien train cues', or reinstall mien",
            ) from error


# ---------------------------------------------------------------- arithmetic


def grouped(log_probs: F64, labels: Sequence[str], groups: Mapping[str, str], temperature: float = 1.0) -> F64:
    """Probabilities `[n k]` of groups of labels, for equal shares of the groups.

    A group's likelihood is the mean of its labels', so a group of five labels does not weigh more than one of three.
    """
    names = tuple(dict.fromkeys(groups.values()))
    columns = [[labels.index(label) for label, group in groups.items() if group == name] for name in names]
    with np.errstate(invalid="ignore"):  # rows of NaN are answered with NaN
        each = [np.logaddexp.reduce(log_probs[:, c], axis=1) - np.log(len(c)) for c in columns]
    return np.exp(log_softmax(np.stack(each, axis=1) / temperature))


def log_softmax(logits: F64) -> F64:
    top = logits.max(axis=1, keepdims=True, initial=-np.inf)
    return logits - top - np.log(np.exp(logits - top).sum(axis=1, keepdims=True))


def gelu(x: F32) -> F32:
    """x·Φ(x) (Hendrycks & Gimpel, 2016), by the error function as torch computes it."""
    from scipy.special import erf

    return (0.5 * x * (1 + erf(x / np.sqrt(2)))).astype(np.float32)


def reduced(states: F32) -> F32:
    """States `[l t d]` as means of up to eight (160 ms at 50 Hz): `[l ceil(t/8) d]`, what attention looks at."""
    parts = np.array_split(states, max(1, -(-states.shape[1] // STEP)), axis=1)
    return np.stack([part.mean(axis=1) for part in parts], axis=1).astype(np.float32)


def attended(states: F32, mix: F32, query: F32) -> F32:
    """Attentive statistics pooling (Okabe, Koshinaka & Shinoda, 2018): states `[l t d]` → weighted mean and standard
    deviation of the mixed layers for each head of attention, float32 `[2·k·d]`."""
    share = np.exp(mix - mix.max())
    mixed = np.tensordot(share / share.sum(), states, 1)
    scores = mixed @ query / np.sqrt(np.float32(mixed.shape[1]))
    weight = np.exp(scores - scores.max(axis=0))
    weight /= weight.sum(axis=0)
    mean = weight.T @ mixed
    variance = np.maximum(weight.T @ mixed**2 - mean**2, 1e-6)
    return np.concatenate([mean.ravel(), np.sqrt(variance).ravel()]).astype(np.float32)


# ---------------------------------------------------------------- the adapter

ASSET = Asset(
    file=FILE,
    source="package",
    name="mien",
    version="1",
    member=f"mien/models/sound/{FILE}",
    sha256="4bf67d95f278f0d0175bc4b161f5942713948a1d10f2765b05103a9b02b0d175",
    bytes=1_287_608,
)
LICENCES = Licences(code="Apache-2.0", weights="Apache-2.0", training_data="Apache-2.0 (EmoGator vocal bursts)")
WEIGHTS = Weights(
    model="voice-cues",
    assets=(ASSET,),
    licences=LICENCES,
    runtime=(FILE,),
    note="card: docs/cards/voice-cues.md. A head of your own: mien train cues, then mien models add voice-cues FILE",
)
ON = "EmoGator, 41 people never trained on, prompted bursts"
COMMAND = "python -m bench cues"


@adapter
class VoiceCues:
    """In: `Embeddings` of `voice.whisper`. Out: `Distribution` over prompted categories; NaN in, NaN out.

    The probabilities hold for equal shares of the categories and say which prompt people were given when they sounded
    like this, never what somebody feels. `withheld` says which rows are too uncertain to be given; `polarity` answers
    the coarser question in the same way.
    """

    class Config(Strict):
        """taxonomy: which of the head's `run` answers; "" is `twelve` where the head has it, else `label`."""

        taxonomy: str = ""

    spec: ClassVar[AdapterSpec] = AdapterSpec(
        name="voice.cues",
        slot="voice_cues",
        takes=Embeddings,
        gives=Distribution,
        weights=WEIGHTS,
        affect=True,
        measured=(
            Measured(
                "UAR 0.53 of 12 prompted categories (chance 0.08), worst-tenth person 0.39, ECE 0.03", ON, COMMAND
            ),
            Measured("UAR 0.32 of 30 prompted categories (chance 0.03)", ON, COMMAND),
            Measured("AUC 0.92 for pain or distress against ecstasy or desire, worst-tenth person 0.81", ON, COMMAND),
        ),
    )

    def __init__(self, head: CueHead, config: Config) -> None:
        self.head = head
        self.taxonomy = config.taxonomy or next(t for t in ("twelve", FINEST) if t in head.taxonomies)
        if self.taxonomy not in head.taxonomies:
            raise MienError(
                "config.taxonomy",
                f"the head has no taxonomy {self.taxonomy!r}: it has {', '.join(head.taxonomies)}",
                "set adapters.'voice.cues'.taxonomy to one of them",
            )

    @classmethod
    def open(cls, files: WeightFiles, config: Config, device: Device) -> Self:
        """Raises MienError `weights.unreadable`, `weights.wrong-embedding`, `config.taxonomy`."""
        head = CueHead.read(files[FILE])
        if head.kind == "attentive" or len(head.mean) != COLUMNS:
            raise MienError(
                "weights.wrong-embedding",
                f"the head reads {head.embedding or 'another embedding'} by {head.kind} pooling",
                "in a run heads read voice.whisper: mien train cues --embedding voice.whisper --kind mlp",
            )
        return cls(head, config)

    @classmethod
    def tiny(cls) -> Self:
        """A seeded head of three labels: right shapes, no meaning."""
        return cls(seeded(("one", "two", "three"), COLUMNS), cls.Config())

    def run(self, batch: Embeddings) -> Distribution:
        return self.of(self.taxonomy, batch)

    def of(self, taxonomy: str, batch: Embeddings) -> Distribution:
        """The answer of any taxonomy of the head."""
        return Distribution(self.head.answer(taxonomy, batch.vectors), self.head.taxonomies[taxonomy].names)

    def withheld(self, taxonomy: str, batch: Embeddings) -> npt.NDArray[np.bool_]:
        """Which rows of `of` are too uncertain to be given, bool `[n]`.

        Another taxonomy's answer is withheld where that of `run` is, too: asked nothing but polarity, a head calls a
        hum without any cue positive; asked for categories, it does not know.
        """
        own = self.head.withheld(taxonomy, self.of(taxonomy, batch).probs)
        return own if taxonomy == self.taxonomy else own | self.head.withheld(self.taxonomy, self.run(batch).probs)

    def close(self) -> None:
        """Nothing to release."""


def with_taxonomy(head: CueHead, name: str, groups: dict[str, str]) -> CueHead:
    """The same head with one taxonomy more, not calibrated."""
    return replace(head, taxonomies={**head.taxonomies, name: Answering(groups)})


def seeded(labels: tuple[str, ...], width: int) -> CueHead:
    """A logistic head of random numbers, the same every time; each label is its own state."""
    draw = np.random.default_rng(0).standard_normal((width, len(labels))) / 60
    member = {"weight_2": draw.astype(np.float32), "bias_2": np.zeros(len(labels), np.float32)}
    mean, scale = np.zeros(width, np.float32), np.ones(width, np.float32)
    return CueHead(labels, "logistic", "", mean, scale, (member,), {FINEST: Answering({n: n for n in labels})})
