"""Whether mien's pitch, energy and harmonicity agree with Praat and openSMILE on real voices, as these two do.

Speech: EmoDB; wordless voices: EmoGator (held-out people) and the nonverbal sounds of others. Needs the shared data
(`../shared/data`) and the packages `opensmile` and `praat-parselmouth`, which are installed for this alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.sounds import _bursts, _files
from mien.core import Curve, Device, Sound, WeightFiles
from mien.models.sound.opensmile import PITCH, EGeMaps
from mien.models.sound.praat import Praat
from mien.models.weights import open_adapter
from mien.signals.acoustics import describe

F64 = npt.NDArray[np.float64]
LOWEST_HZ, HIGHEST_HZ = 75.0, 600.0  # where all three look for a pitch
STEP_US = 10_000
PITCH_CENTRE_US = 0  # SwiftF0's rows tell of the moment they begin at: a sliding voice says so, and EmoDB, where the
# median distance to Praat is 0.08 semitones so and 0.20 with the middle of its 16 ms
BURSTS = 60


@dataclass(frozen=True, slots=True)
class Pitches:
    """How two pitch tracks on the same times agree. `either` and `both`: frames that one or both call voiced; of the
    latter: the median distance in semitones, and how many lie within half a semitone of it, an octave (or two) above or
    below it by less than a semitone, and elsewhere more than a semitone away."""

    either: int
    both: int
    median_st: float
    close: int
    octave_up: int
    octave_down: int
    elsewhere: int

    def __str__(self) -> str:
        if not self.both:
            return "no frame that both call voiced"
        n = self.both
        return (
            f"| {self.both} | {self.both / self.either:.2f} | {self.median_st:.2f} | {self.close / n:.3f} | "
            f"{self.octave_up} ({self.octave_up / n:.1%}) | {self.octave_down} ({self.octave_down / n:.1%}) | "
            f"{self.elsewhere / n:.1%} |"
        )


def pitches(ours_hz: F64, theirs_hz: F64) -> Pitches:
    """Agreement of two tracks in Hz (NaN: unvoiced). Frames out of 75-600 Hz in either track count nowhere."""
    inside = [np.isnan(x) | ((x >= LOWEST_HZ) & (x <= HIGHEST_HZ)) for x in (ours_hz, theirs_hz)]
    a, b = (x[inside[0] & inside[1]] for x in (ours_hz, theirs_hz))
    both = np.isfinite(a) & np.isfinite(b)
    away: F64 = 12 * np.log2(a[both] / b[both])
    octaves = np.round(away / 12)
    on_octave = (octaves != 0) & (np.abs(away - 12 * octaves) < 1)
    return Pitches(
        either=int((np.isfinite(a) | np.isfinite(b)).sum()),
        both=int(both.sum()),
        median_st=float(np.median(np.abs(away))) if len(away) else float("nan"),
        close=int((np.abs(away) <= 0.5).sum()),
        octave_up=int((on_octave & (away > 0)).sum()),
        octave_down=int((on_octave & (away < 0)).sum()),
        elsewhere=int(((np.abs(away) > 1) & ~on_octave).sum()),
    )


def correlation(a: F64, b: F64, least: int = 20) -> float:
    """Pearson's r over the rows that both have; NaN below `least` rows or where nothing changes."""
    both = np.isfinite(a) & np.isfinite(b)
    if both.sum() < least or np.ptp(a[both]) == 0 or np.ptp(b[both]) == 0:
        return float("nan")
    return float(np.corrcoef(a[both], b[both])[0, 1])


def at(curve: Curve, name: str, t_us: F64, centre_us: int) -> F64:
    """A column at given times, its rows centred `centre_us` after they begin: straight lines between rows, NaN where
    either neighbour is."""
    rows: F64 = curve.t0_us + centre_us + curve.hop_us * np.arange(len(curve), dtype=np.float64)
    values = curve.values[:, curve.names.index(name)].astype(np.float64)
    if len(rows) < 2:
        return np.full(len(t_us), np.nan)
    return np.asarray(np.interp(t_us, rows, values, left=np.nan, right=np.nan), np.float64)


def measured(sound: Sound, models: dict[str, Any]) -> dict[str, F64]:
    """All tracks of one sound at the middles of its 10 ms rows."""
    ours, pitch, praat, smile = describe(sound), *(models[n].run(sound) for n in ("pitch", "praat", "smile"))
    t_us: F64 = sound.t0_us + STEP_US * (np.arange(len(ours), dtype=np.float64) + 0.5)
    semitones = at(smile, PITCH, t_us, 30_000)
    return {
        "mien": at(pitch, "f0_hz", t_us, PITCH_CENTRE_US),
        "Praat": at(praat, "f0_hz", t_us, STEP_US // 2),
        "openSMILE": 27.5 * 2 ** (semitones / 12),
        "energy": at(ours, "energy_dbfs", t_us, STEP_US // 2),
        "loudness": at(smile, "Loudness_sma3", t_us, 10_000),
        "harmonicity": at(ours, "harmonicity_db", t_us, STEP_US // 2),
        "hnr Praat": at(praat, "hnr_db", t_us, STEP_US // 2),
        "hnr openSMILE": at(smile, "HNRdBACF_sma3nz", t_us, 30_000),
    }


def open_models() -> dict[str, Any]:
    """The three, with their defaults. Raises MienError `install.missing-extra`, `weights.missing`."""
    none, device = WeightFiles({}), Device(threads=1)
    return {
        "pitch": open_adapter("pitch.swiftf0", None, device),
        "praat": Praat.open(none, Praat.Config(), device),
        "smile": EGeMaps.open(none, EGeMaps.Config(), device),
    }


def main(args: list[str]) -> list[str]:
    models = open_models()
    lines = [
        "Frames of 10 ms that both call voiced, pitch in 75-600 Hz; the last pair of each block says how far the two "
        "references are apart. Octave: by less than a semitone; elsewhere: more than a semitone away.",
    ]
    for name, sounds in groups().items():
        tracks = [measured(Sound(x, 0), models) for x in sounds]
        joined = {k: np.concatenate([t[k] for t in tracks]) for k in tracks[0]}
        lines += ["", f"**{name}** ({len(tracks)} recordings)", "", *told(joined), "", *levels(tracks, joined)]
    lines += ["", "Jitter and shimmer: mien measures none of its own; `voice.praat` and `voice.egemaps` give theirs."]
    return lines


def groups() -> dict[str, Iterator[npt.NDArray[np.float32]]]:
    return {
        "sentences (EmoDB)": _files("speech_emodb"),
        "prompted bursts of held-out people (EmoGator)": (
            x for x, _ in zip(_bursts(True), range(BURSTS), strict=False)
        ),
        "crying, laughing, moaning … (other recordings)": _files("vocal_nonverbal_deeply_NC"),
    }


def told(joined: dict[str, F64]) -> list[str]:
    """A table of the three pairs of pitch tracks."""
    rows = [
        "| first | second | both voiced | of either | median st | within 0.5 st | octave up | octave down | elsewhere |"
    ]
    rows += ["|---|---|---|---|---|---|---|---|---|"]
    for a, b in (("mien", "Praat"), ("mien", "openSMILE"), ("openSMILE", "Praat")):
        rows.append(f"| {a} | {b} {pitches(joined[a], joined[b])}")
    return rows


def levels(tracks: list[dict[str, F64]], joined: dict[str, F64]) -> list[str]:
    """Energy and harmonicity."""
    voiced = np.isfinite(joined["mien"])
    r = np.array([correlation(t["energy"], np.log(np.maximum(t["loudness"], 1e-3))) for t in tracks])
    lines = [
        f"- energy_dbfs and the logarithm of openSMILE's loudness, all frames: r = {np.nanmedian(r):.3f} "
        f"(median of recordings; lowest tenth {np.nanquantile(r, 0.1):.3f})"
    ]
    for a, b in (("harmonicity", "hnr Praat"), ("harmonicity", "hnr openSMILE"), ("hnr openSMILE", "hnr Praat")):
        x, y = joined[a][voiced], joined[b][voiced]
        r, away = correlation(x, y), np.nanmedian(x - y)
        lines.append(f"- {a} and {b} (dB), voiced frames: r = {r:.3f}, median difference {away:+.1f}")
    return lines
