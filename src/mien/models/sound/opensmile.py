"""eGeMAPS (Eyben et al., 2016) by openSMILE itself: an opt-in for research, never a default.

openSMILE's licence allows research and other non-commercial use alone, and that of the features it computes, too.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
from annotated_types import Ge, Le

from mien.core import (
    SAMPLE_RATE_HZ,
    US,
    AdapterSpec,
    Curve,
    Device,
    Licences,
    Sound,
    Strict,
    WeightFiles,
    Weights,
    adapter,
    missing_extra,
)

F32 = npt.NDArray[np.float32]

HOP = 160  # 10 ms
SHORTEST = 1000  # samples: below this openSMILE has no frame of 60 ms
PITCH = "F0semitoneFrom27.5Hz_sma3nz"
LEVELS = (
    "Loudness_sma3", "alphaRatio_sma3", "hammarbergIndex_sma3", "slope0-500_sma3", "slope500-1500_sma3",
    "spectralFlux_sma3", "mfcc1_sma3", "mfcc2_sma3", "mfcc3_sma3", "mfcc4_sma3", PITCH, "jitterLocal_sma3nz",
    "shimmerLocaldB_sma3nz", "HNRdBACF_sma3nz", "logRelF0-H1-H2_sma3nz", "logRelF0-H1-A3_sma3nz",
    *(f"F{i}{what}_sma3nz" for i in (1, 2, 3) for what in ("frequency", "bandwidth", "amplitudeLogRelF0")),
)  # fmt: skip


@adapter
class EGeMaps:
    """eGeMAPSv02. In: `Sound`. Out: `Curve` with openSMILE's own names: its 25 low-level descriptors every 10 ms, or
    its 88 functionals over `window_s` every `hop_s`.

    A row begins at its time: level and spectrum look at 20 ms from there (so they are centred 10 ms later), pitch,
    voice quality and formants at 60 ms (30 ms later), each smoothed over three rows. NaN where openSMILE writes 0 or
    -201 for what an unvoiced row does not have. F0 is in semitones from 27.5 Hz.
    """

    class Config(Strict):
        level: Literal["descriptors", "functionals"] = "descriptors"
        window_s: Annotated[float, Ge(0.5), Le(60)] = 2.0
        hop_s: Annotated[float, Ge(0.1), Le(60)] = 1.0

    spec: ClassVar[AdapterSpec] = AdapterSpec(
        name="voice.egemaps",
        slot="voice_descriptors",
        takes=Sound,
        gives=Curve,
        weights=Weights(
            model="opensmile-egemaps",
            assets=(),
            licences=Licences(
                "audEERING Research License (non-commercial; of openSMILE and of what it computes)",
                "none: rules",
                "none",
                accept="research-only",
            ),
            runtime=(),
            note="rules of a package, no files: pip install 'mien[opensmile]', then: mien models pull "
            "opensmile-egemaps --accept-licence research-only",
        ),
    )

    def __init__(self, smile: Any, config: Config) -> None:
        self._smile: Any = smile
        self._config = config
        self.names = tuple(smile.feature_names)

    @classmethod
    def open(cls, files: WeightFiles, config: Config, device: Device) -> Self:
        """Raises MienError `install.missing-extra`."""
        try:
            import opensmile
        except ImportError as error:
            raise missing_extra("opensmile", "opensmile") from error
        level = opensmile.FeatureLevel
        wanted = level.LowLevelDescriptors if config.level == "descriptors" else level.Functionals
        return cls(opensmile.Smile(opensmile.FeatureSet.eGeMAPSv02, wanted, num_workers=1), config)

    @classmethod
    def tiny(cls) -> Self:
        """Without the package: the level of 25 bands of each 20 ms, every 10 ms."""
        return cls(StandIn(), cls.Config())

    def run(self, batch: Sound) -> Curve:
        if self._config.level == "descriptors":
            values = self._rows(batch.samples)
            return Curve(voiced_only(values, self.names), self.names, batch.t0_us, HOP * US // SAMPLE_RATE_HZ)
        window, hop = (round(s * SAMPLE_RATE_HZ / HOP) * HOP for s in (self._config.window_s, self._config.hop_s))
        starts = range(0, max(0, len(batch) - SHORTEST), hop)
        rows = [self._rows(batch.samples[a : a + window]) for a in starts]
        values = np.concatenate([np.zeros((0, len(self.names)), np.float32), *rows])
        for i, name in enumerate(self.names):
            if "sma3nz" in name:
                values[values[:, i] == 0, i] = np.nan
        return Curve(values, self.names, batch.t0_us, hop * US // SAMPLE_RATE_HZ)

    def _rows(self, x: F32) -> F32:
        if len(x) < SHORTEST:
            return np.zeros((0, len(self.names)), np.float32)
        return np.asarray(self._smile.process_signal(x, SAMPLE_RATE_HZ).to_numpy(), np.float32)

    def close(self) -> None:
        self._smile = None


def voiced_only(values: F32, names: tuple[str, ...]) -> F32:
    """Low-level descriptors with NaN where openSMILE has a mark for "not there".

    The mark of a formant's level, -201, is averaged into the neighbouring rows: these are NaN, too.
    """
    out, f0 = values.copy(), values[:, names.index(PITCH)]
    near = np.pad(f0 > 0, 1, constant_values=True)
    whole = near[:-2] & near[1:-1] & near[2:]
    for i, name in enumerate(names):
        if "amplitudeLogRelF0" in name:
            out[~whole | (values[:, i] < -200), i] = np.nan
        elif name.endswith("sma3nz"):
            out[values[:, i] == 0, i] = np.nan
    return out


class StandIn:
    """What `tiny` runs instead of openSMILE: 25 columns under its names."""

    feature_names = LEVELS

    def process_signal(self, x: F32, rate: int) -> StandIn:
        frames = np.lib.stride_tricks.sliding_window_view(x, 2 * HOP)[::HOP]
        power = np.abs(np.fft.rfft(frames, axis=1))[:, :150].reshape(len(frames), 25, 6).mean(2)
        self._values = np.log1p(power)
        return self

    def to_numpy(self) -> npt.NDArray[np.float64]:
        return self._values
