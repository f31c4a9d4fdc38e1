"""The whole of `mien train cues`: clips in, head and card out; arousal beside them where the data has what it needs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mien.core import AdapterSpec, MienError, Sound, States
from mien.models.sound import affect
from mien.models.sound.cues import reduced
from mien.models.sound.whisper import WhisperVoice
from mien.train import voice
from mien.train.cues import Trained, train
from mien.train.cues_card import Figures, card, figures
from mien.train.cues_data import CSV, PARQUET, Columns, Progress, embed
from mien.train.cues_heads import Recipe

F32 = npt.NDArray[np.float32]
MEANING = (
    "The labels are what the data's makers wrote beside each clip. The head says which of them a sound is like, never "
    "what somebody feels; to sounds of other kinds it answers all the same."
)
PROMPTED = (
    "The labels are prompts: adults recorded themselves expressing a word without words, and nobody rated the clips. "
    "The head says which prompt a sound is like, not what was felt. It has no classes such as moan or groan, nobody in "
    "the data communicates mainly by vocalisation, and to sounds of other kinds it answers all the same. Never use it "
    "as the only evidence about a person, about children, or about what somebody feels."
)


@dataclass(frozen=True, slots=True)
class Ask:
    """What the command was given.

    Attributes:
        labels: a CSV of file, label, person beside DATA; None where DATA holds Parquet files.
        label, person, sound: names of the columns, "" for the usual ones; groups: columns that the card breaks its
            figures down by.
        taxonomies: JSON file of coarser taxonomies, {name: {label: group}}.
        cache: keeps the embeddings; only for public data, since a voice can be told by them.
    """

    data: Path
    out: Path
    labels: Path | None = None
    label: str = ""
    person: str = ""
    sound: str = ""
    groups: tuple[str, ...] = ()
    taxonomies: Path | None = None
    cache: Path | None = None
    card: Path | None = None
    recipe: Recipe = field(default_factory=Recipe)
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Made:
    """Files written, and the figures of each taxonomy on people not trained on."""

    head: str
    card: str
    arousal: str
    figures: tuple[Figures, ...]


class Embedding:
    """An open adapter as the embedder of `cues_data.embed`: vectors, or reduced states for attention."""

    def __init__(self, model: Any, attentive: bool) -> None:
        """Raises MienError `train.wrong-embedding` for an adapter that embeds no sound."""
        self._model, self._attentive = model, attentive
        spec: AdapterSpec = model.spec
        if spec.slot not in ("voice_embedding", "sound_states"):
            raise MienError(
                "train.wrong-embedding",
                f"{spec.name} gives no embedding of sounds",
                "use voice.whisper, states.wav2vec2, states.hubert, states.wavlm or states.onnx",
            )
        weights = spec.weights.sha256[:8] if spec.weights else ""
        self.name = f"{spec.name}@{spec.version}+{weights}"

    def __call__(self, sounds: Sequence[Sound]) -> Sequence[F32]:
        if isinstance(self._model, WhisperVoice) and not self._attentive:
            return list(self._model.run(sounds).vectors)
        return [self._of(self._states(sound)) for sound in sounds]

    def _states(self, sound: Sound) -> States:
        return self._model.states(sound) if isinstance(self._model, WhisperVoice) else self._model.run(sound)

    def _of(self, states: States) -> F32:
        if not len(states):
            return np.full(1, np.nan, np.float32)
        if self._attentive:
            return reduced(states.values)
        return np.concatenate([states.values.mean(axis=1), states.values.std(axis=1)], axis=1).ravel()


def run(ask: Ask, model: Any, progress: Progress = lambda done, total: None) -> tuple[Made, Trained]:
    """Embed, train, write.

    Raises:
        MienError: `train.*` as `cues_data.rows`, `cues.train` and `cues_heads.fit` say; `train.bad-taxonomy`.
    """
    embedder = Embedding(model, ask.recipe.kind == "attentive")
    usual = CSV if ask.labels else PARQUET
    columns = Columns(ask.label or usual.label, ask.person or usual.person, ask.sound or usual.sound, tuple(ask.groups))
    cues = embed(ask.data, columns, embedder, table=ask.labels, cache=ask.cache, progress=progress)
    known = voice.taxonomies_of(set(cues.label.tolist()))
    taxonomies = read_taxonomies(ask.taxonomies) if ask.taxonomies else known
    trained = train(cues, taxonomies, ask.recipe, embedder.name, ask.seed)
    about = PROMPTED if known else MEANING
    ask.out.parent.mkdir(parents=True, exist_ok=True)
    trained.head.write(ask.out, {"about": about})
    arousal = ""
    if known and isinstance(model, WhisperVoice) and ask.recipe.kind != "attentive":
        path = ask.out.with_name(affect.FILE)
        voice.fit_arousal(trained.development).write(path, {"about": PROMPTED, "embedding": embedder.name})
        arousal = str(path)
    text = ask.card or ask.out.with_suffix(".md")
    title = f"Card: {ask.out.stem.replace('_', '-')}"
    text.write_text(card(trained, title, about, f"mien train cues {ask.data.name}"), encoding="utf-8")
    found = tuple(figures(trained, name) for name in trained.head.taxonomies)
    return Made(str(ask.out), str(text), arousal, found), trained


def read_taxonomies(path: Path) -> Mapping[str, Mapping[str, str]]:
    """Taxonomies of a JSON file. Raises MienError `train.bad-taxonomy`."""
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
        return {str(name): {str(a): str(b) for a, b in groups.items()} for name, groups in held.items()}
    except (OSError, ValueError, AttributeError) as error:
        raise MienError(
            "train.bad-taxonomy",
            f"{path.name} is no file of taxonomies: {error}",
            'write {"polarity": {"cry": "negative", "laugh": "positive"}}',
        ) from error
