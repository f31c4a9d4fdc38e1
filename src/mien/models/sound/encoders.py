"""Hidden states of speech encoders at 50 Hz: wav2vec 2.0, HuBERT, WavLM, as published or as ONNX exports.

A voice can be told by them: they stay in memory, like every embedding.
"""

from __future__ import annotations

import re
from typing import Annotated, ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
from annotated_types import Ge, Gt, Le

from mien.core import (
    SAMPLE_RATE_HZ,
    US,
    AdapterSpec,
    Asset,
    Device,
    Licences,
    MienError,
    Sound,
    States,
    Strict,
    WeightFiles,
    Weights,
    adapter,
)
from mien.models.onnx import Array, OnnxNet
from mien.models.sound.chunking import Grid, standardised
from mien.models.sound.pretrained import CONFIG, PREPROCESSOR, TENSORS, Layout, encoder
from mien.models.torchnet import TorchNet
from mien.models.vision.net import Net, StandIn

F32 = npt.NDArray[np.float32]


class EncoderConfig(Strict):
    """Which layers, and how a long sound is cut.

    layers: numbers, `middle` and `last`, with commas; 0 goes into the first block. statistics: what a sound is brought
    to mean 0 and variance 1 by, where the checkpoint wants that: each window (with its context), or the recording. A
    sound that goes in one piece is its own window.
    """

    layers: str = "middle,last"
    window_s: Annotated[float, Gt(0), Le(60)] = 10.0
    context_s: Annotated[float, Ge(0), Le(30)] = 2.0
    statistics: Literal["window", "recording"] = "window"


def chosen_layers(wanted: str, blocks: int) -> tuple[int, ...]:
    """Layer numbers in rising order.

    Raises:
        MienError: `config.layers`.
    """
    named = {"middle": blocks // 2, "last": blocks}
    words = [w.strip() for w in wanted.split(",") if w.strip()]
    found = {named[w] if w in named else int(w) if w.isdecimal() else -1 for w in words}
    if not found or min(found) < 0 or max(found) > blocks:
        raise MienError(
            "config.layers",
            f"layers must be numbers from 0 to {blocks}, 'middle' or 'last', but got {wanted!r}",
            "for example layers = 'middle,last'",
        )
    return tuple(sorted(found))


class SpeechEncoder:
    """Hidden states. In: `Sound`. Out: `States` `[l n d]`, one row every 20 ms that looks at 25 ms and, by attention,
    at the rest of its window.

    Rows lie on multiples of 20 ms of the source's clock. A sound shorter than `window_s` + 2 `context_s` goes in one
    piece and gives the published numbers. A longer one is cut into windows at multiples of `window_s` of that clock,
    each computed with `context_s` on both sides: a file and an excerpt of it agree wherever the excerpt holds a window
    with its context. That holds exactly where each window is standardised by itself; by the whole recording it holds
    to 1e-4 for networks with a group norm (the base sizes), which undoes the level anyway, and not for those with layer
    norms (the large sizes). Windows differ from one call over the whole recording, by nature: attention is global, and
    so is the group norm.
    """

    families: ClassVar[tuple[str, ...]] = ()
    spec: ClassVar[AdapterSpec]

    class Config(EncoderConfig):
        pass

    def __init__(self, net: Net, layout: Layout, layers: tuple[int, ...], config: EncoderConfig) -> None:
        self._net, self._layout, self._layers, self._config = net, layout, layers, config
        self._grid = Grid.of(layout.hop, layout.field, config.window_s, config.context_s)

    @classmethod
    def open(cls, files: WeightFiles, config: Config, device: Device) -> Self:
        """Raises MienError `install.missing-extra`, `config.layers`, `device.unavailable`, `weights.unreadable`,
        `weights.wrong-config`, `weights.wrong-keys`, `weights.wrong-shape`, `weights.not-finite`."""
        layout = cls._layout_of(files)
        layers = chosen_layers(config.layers, layout.blocks)
        return cls(cls._network(files, layout, layers, device), layout, layers, config)

    @classmethod
    def _network(cls, files: WeightFiles, layout: Layout, layers: tuple[int, ...], device: Device) -> Net:
        return TorchNet(encoder(files[CONFIG], layout, layers), device, cls.spec.name)

    @classmethod
    def _layout_of(cls, files: WeightFiles) -> Layout:
        layout = Layout.read(files[CONFIG], files[PREPROCESSOR])
        if layout.family not in cls.families:
            raise MienError(
                "weights.wrong-config",
                f"{files[CONFIG].parent.name} holds a {layout.family} network, but {cls.spec.name} takes "
                + " or ".join(cls.families),
                f"use states.{layout.family}",
            )
        return layout

    @classmethod
    def tiny(cls) -> Self:
        """Weightless: band levels of each 25 ms, and their mean with both neighbours, as two layers."""
        layout = Layout(cls.families[0], 2, 320, 400, standardise=True)
        return cls(StandIn(_bands), layout, (1, 2), cls.Config())

    def run(self, batch: Sound) -> States:
        """Raises MienError `models.not-finite`."""
        grid = self._grid
        number, start, count = grid.place(batch)
        x = batch.samples[start:]
        parts: list[F32] = []
        for call in grid.calls(number, count):
            part = grid.samples(x, call)
            if self._layout.standardise:
                part = standardised(part, batch.samples if self._config.statistics == "recording" else part)
            states = self._net.run(part[None])[0]
            parts.append(states[:, call.keep_first - call.first : call.keep_last - call.first].astype(np.float32))
        values = np.concatenate(parts, axis=1) if parts else np.zeros((len(self._layers), 0, 0), np.float32)
        field_us = grid.field * US // SAMPLE_RATE_HZ
        return States(values, self._layers, number * grid.hop_us, grid.hop_us, field_us)

    def close(self) -> None:
        self._net.close()


def _bands(x: Array) -> list[Array]:
    frames = np.lib.stride_tricks.sliding_window_view(x[0], 400)[::320]
    power = np.abs(np.fft.rfft(frames, axis=1))[:, :200] ** 2
    one = np.log1p(power.reshape(len(frames), 8, 25).mean(2))
    padded = np.pad(one, ((1, 1), (0, 0)), mode="edge")
    return [np.stack([one, (padded[:-2] + padded[1:-1] + padded[2:]) / 3]).astype(np.float32)]


# ---------------------------------------------------------------- the published families


def _published(family: str, model: str, repo: str, revision: str, sha256: str, licences: Licences) -> AdapterSpec:
    """What a published checkpoint of a family says of itself; sha256: of its pytorch_model.bin."""
    files = ((CONFIG, ""), (PREPROCESSOR, ""), ("pytorch_model.bin", sha256))
    weights = Weights(
        model=model,
        assets=(),
        licences=licences,
        runtime=(CONFIG, PREPROCESSOR, TENSORS),
        note=f"fetch {CONFIG}, {PREPROCESSOR} and the weights from {repo}, then: mien models add {model} FOLDER. Any "
        "folder of this family will do.",
        bring=tuple(Asset(file, "hub", repo, revision, file, sha, 0) for file, sha in files),
    )
    return AdapterSpec(f"states.{family}", "sound_states", takes=Sound, gives=States, weights=weights)


LIBRISPEECH = "LibriSpeech, 960 h of read English (CC BY 4.0)"


@adapter
class Wav2Vec2(SpeechEncoder):
    """wav2vec 2.0 (Baevski et al., 2020); rows, windows and units as in `SpeechEncoder`."""

    families = ("wav2vec2",)
    spec: ClassVar[AdapterSpec] = _published(
        "wav2vec2",
        "wav2vec2-base",
        "facebook/wav2vec2-base",
        "1bac60e55e57a98b727354678e675caf18ee3fcb",
        "39a04f50c9895743ff8de80f2e23d53c64d8a0bdb1604cf2fbb8bf36bf2eb0ee",
        Licences("Apache-2.0 (transformers)", "Apache-2.0", LIBRISPEECH),
    )


@adapter
class Hubert(SpeechEncoder):
    """HuBERT (Hsu et al., 2021); rows, windows and units as in `SpeechEncoder`."""

    families = ("hubert",)
    spec: ClassVar[AdapterSpec] = _published(
        "hubert",
        "hubert-base-ls960",
        "facebook/hubert-base-ls960",
        "ca9b5559d9bae24c142e045c9b0e1db3f3878dbc",
        "062249fffb353eab67547a2fbc129f7c31a2f459faf641b19e8fb007cc5c48ad",
        Licences("Apache-2.0 (transformers)", "Apache-2.0", LIBRISPEECH),
    )


@adapter
class WavLM(SpeechEncoder):
    """WavLM (Chen et al., 2022); rows, windows and units as in `SpeechEncoder`."""

    families = ("wavlm",)
    spec: ClassVar[AdapterSpec] = _published(
        "wavlm",
        "wavlm-base-plus",
        "microsoft/wavlm-base-plus",
        "4c66d4806a428f2e922ccfa1a962776e232d487b",
        "3bb273a6ace99408b50cfc81afdbb7ef2de02da2eab0234e18db608ce692fe51",
        Licences(
            "Apache-2.0 (transformers)",
            "CC BY-SA 3.0 (UniSpeech)",
            "Libri-Light, GigaSpeech, VoxPopuli: 94,000 h of English, part of it web audio on terms of its own",
        ),
    )


@adapter
class OnnxStates(SpeechEncoder):
    """An ONNX export of any of the three (`last_hidden_state`, `hidden_states.I`); else as in `SpeechEncoder`."""

    families = ("wav2vec2", "hubert", "wavlm")
    spec: ClassVar[AdapterSpec] = AdapterSpec(
        name="states.onnx",
        slot="sound_states",
        takes=Sound,
        gives=States,
        weights=Weights(
            model="speech-encoder-onnx",
            assets=(),
            licences=Licences("MIT (onnxruntime)", "those of your file", "those of your file"),
            runtime=(CONFIG, PREPROCESSOR, "model.onnx"),
            note="export a wav2vec 2.0, HuBERT or WavLM encoder for feature extraction, then: mien models add "
            "speech-encoder-onnx FOLDER. Layers below the last need outputs named hidden_states.I",
        ),
    )

    class Config(SpeechEncoder.Config):
        layers: str = "last"

    @classmethod
    def _network(cls, files: WeightFiles, layout: Layout, layers: tuple[int, ...], device: Device) -> Net:
        return OnnxLayers(OnnxNet(files["model.onnx"], device), layout, layers)


class OnnxLayers:
    """Picks the outputs of an ONNX export that are the chosen layers: `[1 n d]` each → one `[l n d]`.

    Raises:
        MienError: `config.layers` when the file does not give a layer, `models.not-finite`.
    """

    def __init__(self, net: OnnxNet, layout: Layout, layers: tuple[int, ...]) -> None:
        given = {layout.blocks: net.outputs.index("last_hidden_state")} if "last_hidden_state" in net.outputs else {}
        for place, name in enumerate(net.outputs):
            if match := re.fullmatch(r"hidden_states[._](\d+)", name):
                given.setdefault(int(match[1]), place)
        lacking = [i for i in layers if i not in given]
        if lacking:
            raise MienError(
                "config.layers",
                f"model.onnx gives layers {sorted(given)}, but not {lacking[0]}",
                "set layers to those, or export it with all hidden states",
            )
        self._net, self._places = net, [given[i] for i in layers]
        self.map = net.map

    def run(self, *inputs: Array) -> list[Array]:
        masks = [np.ones(inputs[0].shape, np.int64)] * (len(self._net.inputs) - 1)  # attention_mask: all of it
        outputs = self._net.run(*inputs, *masks)
        states = np.concatenate([outputs[p] for p in self._places]).astype(np.float32)
        if not np.isfinite(states).all():
            raise MienError("models.not-finite", "model.onnx answered NaN or Inf", "check its weights, or use float32")
        return [states]

    def close(self) -> None:
        self._net.close()
