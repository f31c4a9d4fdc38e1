"""Pitch, harmonicity, jitter and shimmer by Praat itself (Boersma & Weenink) through parselmouth (Jadoul, 2018).

Both are GPL-3.0-or-later: an opt-in that a user installs and accepts, no part of mien and of none of its extras but
its own.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
from annotated_types import Ge, Gt, Le

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
NAMES = ("f0_hz", "hnr_db", "jitter_local", "shimmer_local")
PERIODS = 3  # of the lowest pitch, in Praat's analysis window
# Praat's own settings of "Get jitter (local)" and "Get shimmer (local)"
SHORTEST_PERIOD_S, LONGEST_PERIOD_S, PERIOD_FACTOR, AMPLITUDE_FACTOR = 0.0001, 0.02, 1.3, 1.6
UNVOICED_DB = -199.0  # Praat writes -200 dB


@adapter
class Praat:
    """Voice descriptors. In: `Sound`. Out: `Curve` ("f0_hz", "hnr_db", "jitter_local", "shimmer_local") every 10 ms.

    Rows are taken at the middle of their 10 ms. f0: autocorrelation, Praat's settings; hnr: cross-correlation;
    jitter and shimmer: relative, over the periods within `window_s` around the row. NaN where a row is unvoiced, and
    everywhere in a sound too short for three periods of `floor_hz`. Voicing depends on the recording's loudest sample.
    """

    class Config(Strict):
        floor_hz: Annotated[float, Ge(30), Le(400)] = 75.0
        ceiling_hz: Annotated[float, Gt(100), Le(3000)] = 600.0
        window_s: Annotated[float, Ge(0.1), Le(10)] = 0.5

    spec: ClassVar[AdapterSpec] = AdapterSpec(
        name="voice.praat",
        slot="voice_descriptors",
        takes=Sound,
        gives=Curve,
        weights=Weights(
            model="praat",
            assets=(),
            licences=Licences("GPL-3.0-or-later (parselmouth and Praat)", "none: rules", "none", accept="GPL-3.0"),
            runtime=(),
            note="rules of a package, no files: pip install 'mien[praat]', then: mien models pull praat "
            "--accept-licence GPL-3.0",
        ),
    )

    def __init__(self, praat: Any, config: Config) -> None:
        self._praat, self._config = praat, config

    @classmethod
    def open(cls, files: WeightFiles, config: Config, device: Device) -> Self:
        """Raises MienError `install.missing-extra`."""
        try:
            import parselmouth
        except ImportError as error:
            raise missing_extra("praat-parselmouth", "praat") from error
        return cls(parselmouth, config)

    @classmethod
    def tiny(cls) -> Self:
        """Without the package: pitch from zero crossings, the rest from the level of each 10 ms."""
        return cls(None, cls.Config())

    def run(self, batch: Sound) -> Curve:
        n = -(-len(batch) // HOP)
        values = np.full((n, len(NAMES)), np.nan, np.float32)
        if self._praat is None:
            values = _levels(batch.samples, n)
        elif len(batch) > PERIODS * SAMPLE_RATE_HZ / self._config.floor_hz + HOP:
            self._measure(batch.samples, values)
        return Curve(values, NAMES, batch.t0_us, HOP * US // SAMPLE_RATE_HZ)

    def _measure(self, x: F32, values: F32) -> None:
        c, call = self._config, self._praat.praat.call
        sound = self._praat.Sound(x.astype(np.float64), SAMPLE_RATE_HZ)
        step = HOP / SAMPLE_RATE_HZ
        pitch = sound.to_pitch_ac(time_step=step, pitch_floor=c.floor_hz, pitch_ceiling=c.ceiling_hz)
        harmonicity = call(sound, "To Harmonicity (cc)", step, c.floor_hz, 0.1, 1.0)
        pulses = call([sound, pitch], "To PointProcess (cc)")
        limits = SHORTEST_PERIOD_S, LONGEST_PERIOD_S, PERIOD_FACTOR
        for i, row in enumerate(values):
            t = (i + 0.5) * step
            row[0] = pitch.get_value_at_time(t)
            if not row[0] > 0:
                row[0] = np.nan
                continue
            db = call(harmonicity, "Get value at time", t, "nearest")
            row[1] = db if db > UNVOICED_DB else np.nan
            around = t - c.window_s / 2, t + c.window_s / 2
            row[2] = call(pulses, "Get jitter (local)", *around, *limits)
            row[3] = call([sound, pulses], "Get shimmer (local)", *around, *limits, AMPLITUDE_FACTOR)

    def close(self) -> None:
        """Nothing is held."""


def _levels(x: F32, n: int) -> F32:
    frames = np.pad(x, (0, n * HOP - len(x))).reshape(n, HOP)
    ups = ((frames[:, :-1] < 0) & (frames[:, 1:] >= 0)).sum(axis=1) * (SAMPLE_RATE_HZ / HOP)
    level = np.sqrt((frames**2).mean(axis=1))
    return np.stack([ups, level, level**2, level / 2], axis=1).astype(np.float32)
