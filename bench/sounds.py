"""Speech against wordless bursts: the speech detector alone and with articulation; word times; descriptors' cost.

Bursts: EmoGator, the middle of the step from its development people, figures from the others. Speech: EmoDB (German,
acted; measured alone), and `demo-speech`. Needs the shared data (`../shared/data`).
"""

from __future__ import annotations

import io
import random
import time
from collections.abc import Callable, Iterator
from math import gcd
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mien.core import SAMPLE_RATE_HZ, Device, Sound
from mien.models.weights import open_adapter, resolve, select
from mien.signals.acoustics import describe
from mien.signals.envelope import envelope, roughness, shape
from mien.signals.timbre import timbre
from mien.signals.vocal import VocalSegment, passages, spoken, vocal_segments
from mien.train.cues_data import held_out
from mien.train.measures import auc

DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data"
BURSTS = 120
F64 = npt.NDArray[np.float64]
Segment = tuple[VocalSegment, float]
"""The longest segment of a recording and its mean speech probability."""


def main(args: list[str]) -> list[str]:
    models = {n: open_adapter(n, None, Device(threads=2)) for n in ("vad.silero", "pitch.swiftf0")}
    return [*told_apart(models), "", *rough(), "", *words(models["vad.silero"]), "", *cost()]


def told_apart(models: dict[str, Any]) -> list[str]:
    """AUC, and shares called speech, per condition; the step's middle in the development people."""
    seen = {
        "development bursts": list(_bursts(False)),
        "bursts of held-out people": list(_bursts(True)),
        "crying, laughing, moaning … (other recordings)": list(_files("vocal_nonverbal_deeply_NC")),
        "sentences (EmoDB)": list(_files("speech_emodb")),
    }
    lines: list[str] = []
    for condition, change in CONDITIONS.items():
        found = {name: _longest([change(x) for x in held], models) for name, held in seen.items()}
        moved = np.array([s.articulation for s, _ in found["development bursts"]])
        snr = np.median([s.snr_db for s, _ in found["development bursts"]])
        lines.append(
            f"**{condition}** (development bursts: articulation median {np.nanmedian(moved):.1f}, nine of ten below "
            f"{np.nanquantile(moved, 0.9):.1f}; median SNR {snr:.0f} dB)"
        )
        speech = found["sentences (EmoDB)"]
        for name, held in list(found.items())[1:]:
            called = f"{np.mean([s.kind == 'speech' for s, _ in held]):.2f}"
            alone = f"{np.mean([s.speech >= 0.5 for s, _ in held]):.2f}"
            line = f"- {name}, {len(held)}: called speech {called}, by the detector alone {alone}"
            if held is not speech:
                by = (lambda s, _: s.speech), (lambda _, p: p), (lambda s, _: s.articulation), (lambda s, _: s.talk)
                share, mean, art, talk = (_auc(speech, held, f) for f in by)
                line += (
                    f"; AUC detector's share {share:.3f}, its mean {mean:.3f}, articulation {art:.3f}, both {talk:.3f}"
                )
            lines.append(line)
    return lines


def rough() -> list[str]:
    """Median roughness and slow modulation of what is called what."""
    lines = ["Median roughness where the pitch is above 160 Hz, over clips (lower and upper quartile):"]
    pitch = open_adapter("pitch.swiftf0", None, Device(threads=2))
    groups = {f"prompted {c}": list(_bursts(True, (c,))) for c in ("Pain", "Anger", "Fear", "Serenity", "Contentment")}
    for name, held in {**groups, "EmoDB sentences": list(_files("speech_emodb"))}.items():
        value = np.array([_roughness(Sound(x, 0), pitch) for x in held])
        low, mid, high = np.nanquantile(value, [0.25, 0.5, 0.75])
        lines.append(f"- {name}, {np.isfinite(value).sum()}: {mid:.3f} ({low:.3f}-{high:.3f})")
    return lines


def words(vad: Any) -> list[str]:
    """Words of read speech, and how many recordings without words were given some."""
    model = open_adapter("words.whisper", None, Device(threads=2))
    (entry,) = select(["sample.demo-speech"])
    sound = Sound(_read(resolve(entry.weights).only), 0)
    start = time.perf_counter()
    heard = spoken(model.run([sound]), vad.run(sound))
    taken = time.perf_counter() - start
    times = ", ".join(f"{t} {s / 1e6:.2f}-{e / 1e6:.2f}" for t, (s, e) in zip(heard.text, heard.span_us, strict=True))
    pitch = open_adapter("pitch.swiftf0", None, Device(threads=2))
    told = {"all": 0, "of passages called speech": 0}
    bursts = list(_bursts(True))[:40]
    for x in bursts:
        given = Sound(x, 0)
        curve = vad.run(given)
        told["all"] += len(spoken(model.run([given]), curve)) > 0
        found = vocal_segments(describe(given), curve, pitch.run(given), timbre=timbre(given))
        told["of passages called speech"] += (
            sum(len(spoken(model.run([_cut(given, span)]), curve)) for span in passages(found)) > 0
        )
    return [
        f"Words of `demo-speech` ({len(sound) / SAMPLE_RATE_HZ:.1f} s, {taken:.1f} s to transcribe): {times}",
        f"{len(bursts)} wordless bursts of held-out people: words in {told['all']} when every burst is transcribed, in "
        f"{told['of passages called speech']} when passages called speech are.",
    ]


def cost() -> list[str]:
    """Median ms of one thread per second of sound, on 20 s."""
    sound = Sound(np.resize(np.concatenate(list(_files("speech_emodb"))), 20 * SAMPLE_RATE_HZ), 0)
    acoustics = describe(sound)
    timed: dict[str, Callable[[], object]] = {
        "acoustics.describe": lambda: describe(sound),
        "timbre.timbre": lambda: timbre(sound),
        "envelope.envelope": lambda: envelope(sound),
        "envelope.roughness (envelope included)": lambda: roughness(sound),
        "envelope.shape, 20 segments": lambda: [shape(acoustics, s) for s in _seconds()],
    }
    lines = ["ms of processor time per second of sound (median of 5):"]
    for name, call in timed.items():
        taken = []
        for _ in range(5):
            start = time.process_time()
            call()
            taken.append(time.process_time() - start)
        lines.append(f"- {name}: {1000 * float(np.median(taken)) / 20:.2f}")
    return lines


# ---------------------------------------------------------------- parts


def _noisy(x: npt.NDArray[np.float32], snr_db: float) -> npt.NDArray[np.float32]:
    level = np.sqrt(np.mean(x**2)) * 10 ** (-snr_db / 20)
    quiet = np.pad(x, SAMPLE_RATE_HZ // 2)  # noise begins before the voice
    return (quiet + np.random.default_rng(len(x)).normal(0, level, len(quiet))).astype(np.float32)


def _narrow(x: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    from scipy.signal import butter, sosfilt

    return np.asarray(sosfilt(butter(8, 3400, fs=SAMPLE_RATE_HZ, output="sos"), x), np.float32)


def _short(x: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """0.8 s about the middle of the energy, so that length tells nothing."""
    middle = int(np.searchsorted(np.cumsum(x**2), np.sum(x**2) / 2))
    first = max(0, middle - round(0.4 * SAMPLE_RATE_HZ))
    return np.ascontiguousarray(x[first : first + round(0.8 * SAMPLE_RATE_HZ)])


CONDITIONS: dict[str, Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]] = {
    "as recorded": lambda x: x,
    "0.8 s of each": _short,
    "low-passed at 3.4 kHz": _narrow,
    "white noise, 10 dB": lambda x: _noisy(x, 10),
}


def _longest(held: list[npt.NDArray[np.float32]], models: dict[str, Any]) -> list[Segment]:
    out: list[Segment] = []
    for x in held:
        sound = Sound(x, 0)
        vad = models["vad.silero"].run(sound)
        found = vocal_segments(describe(sound), vad, models["pitch.swiftf0"].run(sound), timbre=timbre(sound))
        if found:
            best = max(found, key=lambda s: s.span.duration_us)
            rows = slice(best.span.start_us // vad.hop_us, -(-best.span.end_us // vad.hop_us))
            out.append((best, float(vad.values[rows, 0].mean())))
    return out


def _auc(speech: list[Segment], other: list[Segment], figure: Callable[[VocalSegment, float], float]) -> float:
    score = np.nan_to_num(np.array([figure(s, p) for s, p in [*speech, *other]], np.float64))
    return auc(score, np.arange(len(score)) < len(speech))


def _roughness(sound: Sound, pitch: Any) -> float:
    curve, f0 = roughness(sound), pitch.run(sound)
    row = np.minimum(np.arange(len(curve)) * curve.hop_us // f0.hop_us, len(f0) - 1)
    voiced = f0.values[row, 0] > 160
    value = curve.values[voiced, 0]
    return float(np.nanmedian(value)) if np.isfinite(value).sum() >= 10 else float("nan")


def _bursts(apart: bool, names: tuple[str, ...] = ()) -> Iterator[npt.NDArray[np.float32]]:
    import pyarrow.parquet as pq
    import soundfile

    rows: list[bytes] = []
    for path in sorted((DATA / "vocal_bursts_emogator").glob("*.parquet")):
        table = pq.read_table(path, columns=["contributor", "category_name", "audio"])
        person = held_out(np.array(table["contributor"].to_pylist(), np.int64))
        kept = np.array([not names or n in names for n in table["category_name"].to_pylist()])
        chosen = np.flatnonzero((person == apart) & kept)[:: 1 if names else 5]
        rows += [table["audio"][int(i)].as_py() for i in chosen]
    random.Random(3).shuffle(rows)
    for audio in rows[: 40 if names else BURSTS]:
        yield np.asarray(soundfile.read(io.BytesIO(audio), dtype="float32")[0], np.float32)


def _files(folder: str) -> Iterator[npt.NDArray[np.float32]]:
    for path in sorted((DATA / folder).rglob("*.wav")):
        yield _read(path)


def _read(path: Path) -> npt.NDArray[np.float32]:
    import soundfile
    from scipy.signal import resample_poly

    given, rate = soundfile.read(path, dtype="float32", always_2d=True)
    shared = gcd(rate, SAMPLE_RATE_HZ)
    return np.asarray(resample_poly(given.mean(axis=1), SAMPLE_RATE_HZ // shared, rate // shared), np.float32)


def _cut(sound: Sound, span: Any) -> Sound:
    a, b = (t * SAMPLE_RATE_HZ // 1_000_000 for t in (span.start_us, span.end_us))
    return Sound(np.ascontiguousarray(sound.samples[a:b]), span.start_us)


def _seconds() -> list[Any]:
    from mien.core import Span

    return [Span(i * 1_000_000, (i + 1) * 1_000_000) for i in range(20)]
