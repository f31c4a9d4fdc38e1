"""Speech probability every 32 ms: Silero VAD, the variant that takes a whole sequence in one call."""

from __future__ import annotations

from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt

from mien.core import (
    AdapterSpec,
    Asset,
    Curve,
    Device,
    Licences,
    Sound,
    Strict,
    WeightFiles,
    Weights,
    adapter,
)
from mien.models.onnx import OnnxNet

F32 = npt.NDArray[np.float32]

FRAME = 512  # 32 ms
CONTEXT = 64  # the network sees the last 4 ms before each frame
BLOCK = 512  # frames per call: 16 s, so that memory does not grow with the sound

WEIGHTS = Weights(
    model="silero-vad",
    assets=(
        Asset(
            file="silero_vad_16k_sequence.onnx",
            source="wheel",
            name="silero-vad",
            version="6.2.3",
            member="silero_vad/data/silero_vad_16k_sequence.onnx",
            sha256="9ccdacc4719d8aa7e45a77536bfabec45a03ba1f2fad5e241ab4060b24238a85",
            bytes=1_246_165,
        ),
    ),
    licences=Licences(code="MIT", weights="MIT", training_data="not published by the authors"),
    runtime=("silero_vad_16k_sequence.onnx",),
)


def framed(samples: F32) -> F32:
    """Frames with their context: float32 `[n 576]`; the last frame is filled with silence."""
    n = -(-len(samples) // FRAME)
    padded = np.pad(samples, (CONTEXT, n * FRAME - len(samples)))
    if n == 0:
        return np.zeros((0, CONTEXT + FRAME), np.float32)
    return np.lib.stride_tricks.sliding_window_view(padded, CONTEXT + FRAME)[::FRAME]


@adapter
class SileroVad:
    """Voice activity. In: `Sound`. Out: `Curve` ("speech",), probability 0..1 every 32 ms.

    Trained on speech: cries, moans and laughs may score low, so `signals.vocal` never relies on it alone.
    """

    class Config(Strict):
        pass

    spec: ClassVar[AdapterSpec] = AdapterSpec(name="vad.silero", slot="vad", takes=Sound, gives=Curve, weights=WEIGHTS)

    def __init__(self, net: OnnxNet | None) -> None:
        self._net = net

    @classmethod
    def open(cls, files: WeightFiles, config: Config, device: Device) -> Self:
        """Raises MienError `weights.unreadable`."""
        return cls(OnnxNet(files.only, device))

    @classmethod
    def tiny(cls) -> Self:
        """Weightless: speech is where a frame's RMS is above -40 dBFS."""
        return cls(None)

    def run(self, batch: Sound) -> Curve:
        frames = framed(batch.samples)
        probs = self._probs(frames) if self._net else _loud(frames)
        hop_us = FRAME * 1_000_000 // 16_000
        return Curve(probs[:, None].astype(np.float32), ("speech",), batch.t0_us, hop_us)

    def _probs(self, frames: F32) -> F32:
        assert self._net is not None  # noqa: S101 — narrowed by the caller
        hidden = cell = np.zeros((1, 1, 128), np.float32)
        parts = [np.zeros(0, np.float32)]
        for start in range(0, len(frames), BLOCK):
            block = np.ascontiguousarray(frames[start : start + BLOCK])
            probs, hidden, cell = self._net.run(block, hidden, cell)
            parts.append(probs)
        return np.concatenate(parts)

    def close(self) -> None:
        if self._net:
            self._net.close()


def _loud(frames: F32) -> F32:
    rms = np.sqrt(np.mean(frames[:, CONTEXT:] ** 2, axis=1))
    return (rms > 0.01).astype(np.float32)
