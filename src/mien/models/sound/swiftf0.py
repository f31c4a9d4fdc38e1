"""Fundamental frequency and voicing every 16 ms: SwiftF0 (Nieradzik, 2025)."""

from __future__ import annotations

from typing import Annotated, ClassVar, Self

import numpy as np
import numpy.typing as npt
from annotated_types import Gt

from mien.core import (
    SAMPLE_RATE_HZ,
    AdapterSpec,
    Asset,
    Curve,
    Device,
    Licences,
    MienError,
    Sound,
    Strict,
    WeightFiles,
    Weights,
    adapter,
)
from mien.models.onnx import OnnxNet

F32 = npt.NDArray[np.float32]

HOP = 256  # 16 ms
BLOCK = 1875  # frames per call: 30 s
LEFT, RIGHT = 11, 10  # frames a block needs before and after it for the answer of one long call
FMIN_HZ, FMAX_HZ = 46.875, 2093.75
SILENCE_PEAK = 1e-3  # below -60 dBFS the network sees its own floor and answers at random (its authors' limit)

WEIGHTS = Weights(
    model="swift-f0",
    assets=(
        Asset(
            file="swift_f0.onnx",
            source="wheel",
            name="swift-f0",
            version="0.3.0",
            member="swift_f0/model.onnx",
            sha256="6385e8c2ebc3872e82c9ff5946228de44cd3be77a750ea53698b7dbfe94b0a22",
            bytes=135_090,
        ),
    ),
    licences=Licences(code="MIT", weights="MIT", training_data="speech, song and instruments; see its training code"),
    runtime=("swift_f0.onnx",),
)


@adapter
class SwiftF0:
    """Pitch. In: `Sound`. Out: `Curve` ("f0_hz", "voicing") every 16 ms.

    voicing is a score in 0..1 (0 in silence below -60 dBFS); f0_hz is NaN where voicing < `voiced`. The last,
    incomplete 16 ms of a sound have no row. A row describes the moment it begins at, not the middle of its 16 ms: so it
    agrees with Praat to a median of 0.08 semitones on speech (0.20 by the middle; `python -m bench agreement`).
    """

    class Config(Strict):
        fmin_hz: Annotated[float, Gt(0)] = FMIN_HZ
        fmax_hz: Annotated[float, Gt(0)] = 1500.0  # screams reach 1.2 kHz; higher pitches are whistles and alarms
        voiced: Annotated[float, Gt(0)] = 0.5

    spec: ClassVar[AdapterSpec] = AdapterSpec(
        name="pitch.swiftf0", slot="pitch", takes=Sound, gives=Curve, weights=WEIGHTS
    )

    def __init__(self, net: OnnxNet | None, config: Config) -> None:
        if not FMIN_HZ <= config.fmin_hz < config.fmax_hz <= FMAX_HZ:
            raise MienError(
                "config.pitch-range",
                f"pitch must be sought within {FMIN_HZ}-{FMAX_HZ} Hz, but got {config.fmin_hz}-{config.fmax_hz}",
                "set fmin_hz below fmax_hz, both within the range",
            )
        self._net, self._config = net, config

    @classmethod
    def open(cls, files: WeightFiles, config: Config, device: Device) -> Self:
        """Raises MienError `weights.unreadable`, `config.pitch-range`."""
        return cls(OnnxNet(files.only, device), config)

    @classmethod
    def tiny(cls) -> Self:
        """Weightless: f0 from the zero crossings of each frame, voiced above the silence limit."""
        return cls(None, cls.Config())

    def run(self, batch: Sound) -> Curve:
        x = batch.samples
        n = len(x) // HOP
        f0, voicing = self._scores(x, n) if self._net else _crossings(x, n)
        voicing[np.abs(x[: n * HOP].reshape(n, HOP)).max(axis=1, initial=0) < SILENCE_PEAK] = 0
        f0[voicing < self._config.voiced] = np.nan
        values = np.stack([f0, voicing], axis=1).astype(np.float32)
        return Curve(values, ("f0_hz", "voicing"), batch.t0_us, HOP * 1_000_000 // SAMPLE_RATE_HZ)

    def _scores(self, x: F32, n: int) -> tuple[F32, F32]:
        assert self._net is not None  # noqa: S101 — narrowed by the caller
        band = np.array(self._config.fmin_hz, np.float32), np.array(self._config.fmax_hz, np.float32)
        out = np.zeros((2, n), np.float32)
        for start in range(0, n, BLOCK):
            end, left = min(start + BLOCK, n), max(0, start - LEFT)
            part = x[left * HOP : (end + RIGHT) * HOP if end < n else None]
            for row, answer in zip(out, self._net.run(part[None], *band), strict=True):
                row[start:end] = answer[0, start - left : end - left]
        return out[0], out[1]

    def close(self) -> None:
        if self._net:
            self._net.close()


def _crossings(x: F32, n: int) -> tuple[F32, F32]:
    frames = x[: n * HOP].reshape(n, HOP)
    ups = ((frames[:, :-1] < 0) & (frames[:, 1:] >= 0)).sum(axis=1)
    return (ups * (SAMPLE_RATE_HZ / HOP)).astype(np.float32), (ups > 0).astype(np.float32)
