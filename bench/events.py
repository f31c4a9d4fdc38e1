"""Vocal events in long audio: bursts at known times in beds of noise, music and speech, against the segments and the
speech detector alone.

Bursts: held-out people of EmoGator, trimmed to where they lie within 25 dB of their loudest 50 ms (which is the truth
for onset, peak and offset). Beds are generated, but for the speech (EmoDB). Needs the shared data (`../shared/data`).
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.sounds import DATA, _bursts, _files
from mien.core import SAMPLE_RATE_HZ, US, Curve, Device, Sound, Span
from mien.models.weights import open_adapter
from mien.signals.acoustics import describe
from mien.signals.steadiness import steadiness
from mien.signals.timbre import timbre
from mien.signals.vocal import column, stretches, vocal_segments
from mien.signals.vocal_events import VocalEvent, vocal_events

F32 = npt.NDArray[np.float32]
COUNT, EVERY_S = 24, 5.0
TRUE_RANGE_DB = 25.0
RATE = SAMPLE_RATE_HZ


@dataclass(frozen=True, slots=True)
class Found:
    """What the three ways answer on one sound."""

    events: list[VocalEvent]
    segments: list[Span]
    detected: list[Span]


def main(args: list[str]) -> list[str]:
    if not DATA.is_dir():
        raise SystemExit("needs the shared data (../shared/data)")
    models = {n: open_adapter(n, None, Device(threads=2)) for n in ("vad.silero", "pitch.swiftf0")}
    return [*in_beds(models), "", *alone(models), "", *cost()]


def in_beds(models: dict[str, Any]) -> list[str]:
    bursts = [b for b in (trimmed(x) for x in _bursts(True)) if b is not None][:COUNT]
    lines = [f"{len(bursts)} bursts of held-out people, one in {EVERY_S:g} s; level over the bed (mean powers):"]
    for name, bed in BEDS.items():
        for snr_db in (20.0, 10.0, 5.0):
            sound, truth = planted(bursts, bed, snr_db)
            lines.append(f"- {name}, {snr_db:g} dB: {compared(answers(sound, models), truth)}")
    sound, truth = between_sentences(bursts)
    found = answers(sound, models)
    wordless = [e for e in found.events if dict(e.kinds)["voice"] == max(p for _, p in e.kinds)]
    lines.append(f"- between read sentences, white noise 30 dB below: {compared(found, truth)}")
    lines.append(f"  - events that are likeliest wordless: {score([e.span for e in wordless], truth)}")
    sound, truth = planted(bursts, read_aloud, 10.0)
    lines.append(f"- over read sentences without a pause, 10 dB: {compared(answers(sound, models), truth)}")
    return lines


def compared(found: Found, truth: list[tuple[Span, int]]) -> str:
    ways = {"events": [e.span for e in found.events], "segments": found.segments, "detector alone": found.detected}
    return (
        "; ".join(f"{way} {score(spans, truth)}" for way, spans in ways.items())
        + f"; peak {peak_error(found.events, truth)}"
    )


def alone(models: dict[str, Any]) -> list[str]:
    """Mean distribution of what is found in whole recordings of one kind."""
    kinds: dict[str, list[F32]] = {
        "bursts of held-out people": list(_bursts(True))[:60],
        "sentences (EmoDB)": list(_files("speech_emodb")),
        "generated music": [music(20 * RATE, seed) for seed in range(6)],
        "generated music, every other two seconds": [music(20 * RATE, s) * gates(20 * RATE) for s in range(6)],
        "noise that swells": [(noise(20 * RATE, s) * swell(20 * RATE)).astype(np.float32) for s in range(3)],
    }
    lines = ["Mean kinds of the events in recordings of one kind (weighted by length):"]
    for name, held in kinds.items():
        events = [e for x in held for e in answers(Sound(x, 0), models).events]
        seconds = sum(e.span.duration_s for e in events)
        total = (
            {k: sum(dict(e.kinds)[k] * e.span.duration_s for e in events) for k in dict(events[0].kinds)}
            if events
            else {}
        )
        said = ", ".join(f"{k} {v / seconds:.2f}" for k, v in total.items()) or "no event"
        lines.append(f"- {name}, {len(held)}: {said}")
    return lines


def cost() -> list[str]:
    """Two hours: ms of processor time per second of sound, and what memory they add."""
    n = 2 * 3600 * 100
    draw = np.random.default_rng(0)
    energy = draw.normal(-60, 1, n)
    for at in range(0, n - 500, 700):
        energy[at : at + 150] = -25
    acoustics = Curve(energy.astype(np.float32)[:, None], ("energy_dbfs",), 0, 10_000)
    likely = np.where(energy > -40, 0.9, 0.0).astype(np.float32)[:, None]
    vad = Curve(likely, ("speech",), 0, 10_000)
    pitch = Curve(np.repeat(likely, 2, axis=1), ("f0_hz", "voicing"), 0, 10_000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    lines: list[str] = []
    for hours in (0.25, 2.0):
        rows = round(hours * 3600 * 100)
        a, v, p = (Curve(c.values[:rows], c.names, 0, c.hop_us) for c in (acoustics, vad, pitch))
        start = time.process_time()
        events = vocal_events(a, vocal_segments(a, v, p), v, p)
        taken = time.process_time() - start
        lines.append(f"{hours:g} h: {len(events)} events, {1000 * taken / (rows / 100):.3f} ms per second of sound")
    added = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    long = Sound(music(60 * RATE, 0), 0)
    start = time.process_time()
    steadiness(long)
    per_s = 1000 * (time.process_time() - start) / 60
    return [
        "Cost of segments and events: "
        + "; ".join(lines)
        + f"; memory + {added:.0f} MB. steadiness: {per_s:.2f} ms per second"
    ]


# ---------------------------------------------------------------- parts


def answers(sound: Sound, models: dict[str, Any]) -> Found:
    acoustics = describe(sound)
    vad, pitch = models["vad.silero"].run(sound), models["pitch.swiftf0"].run(sound)
    segments = vocal_segments(acoustics, vad, pitch, timbre=timbre(sound))
    events = vocal_events(acoustics, segments, vad, pitch, steady=steadiness(sound))
    spoken = [
        Span(vad.t0_us + a * vad.hop_us, vad.t0_us + b * vad.hop_us) for a, b in stretches(column(vad, "speech") >= 0.5)
    ]
    return Found(events, [s.span for s in segments], spoken)


def trimmed(x: F32, longest_s: float = 3.0, hole_s: float = 0.2) -> tuple[F32, float, float] | None:
    """The sound between its edges, the time of its loudest 50 ms in it and its length (s); None for one in pieces."""
    power = np.convolve(x.astype(np.float64) ** 2, np.ones(160) / 160, "same")
    loud = np.convolve(x.astype(np.float64) ** 2, np.ones(800) / 800, "same")
    above = np.flatnonzero(power > loud.max() * 10 ** (-TRUE_RANGE_DB / 10))
    first, last = int(above[0]), int(above[-1]) + 1
    if np.diff(above).max(initial=0) > hole_s * RATE or not 0.2 * RATE < last - first < longest_s * RATE:
        return None
    return x[first:last], (int(loud.argmax()) - first) / RATE, (last - first) / RATE


def planted(
    bursts: list[tuple[F32, float, float]], bed: Callable[[int, int], F32], snr_db: float
) -> tuple[Sound, list[tuple[Span, int]]]:
    """The sound, and (span, time of the peak) of each burst in it."""
    length = round((len(bursts) * EVERY_S + 3) * RATE)
    x = bed(length, 1).astype(np.float64)
    x *= 0.01 / np.sqrt(np.mean(x**2))
    draw = np.random.default_rng(4)
    truth: list[tuple[Span, int]] = []
    for k, (burst, peak_s, long_s) in enumerate(bursts):
        at = round((2 + k * EVERY_S + draw.uniform(0, EVERY_S - 3.5)) * RATE)
        gain = 0.01 * 10 ** (snr_db / 20) / np.sqrt(np.mean(burst**2))
        x[at : at + len(burst)] += gain * burst
        start = round(at / RATE * US)
        truth.append((Span(start, start + round(long_s * US)), start + round(peak_s * US)))
    return Sound((x / max(1.0, float(np.abs(x).max()))).astype(np.float32), 0), truth


def between_sentences(bursts: list[tuple[F32, float, float]]) -> tuple[Sound, list[tuple[Span, int]]]:
    """A sentence, a pause, a burst of the same mean power, a pause, and so on."""
    sentences = [s for s in (trimmed(x, longest_s=20, hole_s=9) for x in _files("speech_emodb")) if s is not None]
    pause = np.zeros(round(0.6 * RATE))
    parts, truth, at = [pause, pause], list[tuple[Span, int]](), 2 * len(pause)
    for k, (burst, peak_s, long_s) in enumerate(bursts):
        sentence = sentences[k % len(sentences)][0]
        gain = np.sqrt(np.mean(sentence**2) / np.mean(burst**2))
        parts += [sentence, pause, gain * burst, pause]
        start = round((at + len(sentence) + len(pause)) / RATE * US)
        truth.append((Span(start, start + round(long_s * US)), start + round(peak_s * US)))
        at += len(sentence) + len(burst) + 2 * len(pause)
    x = np.concatenate(parts)
    x = x + noise(len(x), 2) * np.sqrt(np.mean(x**2)) * 10 ** (-30 / 20)
    return Sound((x / max(1.0, float(np.abs(x).max()))).astype(np.float32), 0), truth


def score(found: list[Span], truth: list[tuple[Span, int]]) -> str:
    """Recall (half of the burst or more in one answer at most twice as long), precision, median errors of the edges."""
    pairs = [
        (t, f)
        for t, _ in truth
        for f in found
        if f.overlap_us(t) >= t.duration_us / 2 and f.duration_us <= 2 * t.duration_us
    ]
    hit = {f for _, f in pairs}
    recall = len({t for t, _ in pairs}) / len(truth)
    if not pairs:
        return f"recall {recall:.2f} of {len(found)} answers"
    on = np.median([abs(f.start_us - t.start_us) for t, f in pairs]) / 1000
    off = np.median([abs(f.end_us - t.end_us) for t, f in pairs]) / 1000
    return f"recall {recall:.2f}, precision {len(hit) / len(found):.2f}, onset ± {on:.0f} ms, offset ± {off:.0f} ms"


def peak_error(events: list[VocalEvent], truth: list[tuple[Span, int]]) -> str:
    errors = [
        abs((e.peak.start_us + e.peak.end_us) / 2 - at) / 1000 for t, at in truth for e in events
        if e.span.overlap_us(t) >= t.duration_us / 2 and e.span.duration_us <= 2 * t.duration_us
    ]  # fmt: skip
    return f"± {np.median(errors):.0f} ms" if errors else "not found"


def noise(n: int, seed: int) -> F32:
    return np.random.default_rng(seed).standard_normal(n).astype(np.float32)


def rumble(n: int, seed: int) -> F32:
    """Noise that falls 6 dB an octave above 100 Hz, as traffic does."""
    from scipy.signal import lfilter

    return np.asarray(lfilter([1], [1, -0.96], noise(n, seed)), np.float32)


def swell(n: int) -> npt.NDArray[np.float64]:
    return 0.5 - 0.45 * np.cos(2 * np.pi * np.arange(n) / RATE / 4)


def gates(n: int) -> F32:
    return np.clip(4 * np.sin(2 * np.pi * np.arange(n) / RATE / 4), 0.001, 1).astype(np.float32)


def music(n: int, seed: int) -> F32:
    """Chords of three notes with eight harmonics, plucked on the beat, a bass, and a drum of noise."""
    draw = np.random.default_rng(seed)
    beat = round(60 / draw.uniform(80, 130) * RATE)
    x = np.zeros(n + 8 * beat)
    t = np.arange(2 * beat) / RATE
    roots = 110 * 2 ** (draw.choice([0, 5, 7, 9], n // (4 * beat) + 1) / 12)
    for k, at in enumerate(range(0, n, beat)):
        root = roots[k // 4]
        for semitones, gain in ((0, 0.6), (12, 0.4), (16, 0.4), (19, 0.4)):
            f0 = root * 2 ** (semitones / 12)
            tone = sum(np.sin(2 * np.pi * f0 * h * t + draw.uniform(0, 6)) / h for h in range(1, 9))
            x[at : at + len(t)] += gain * tone * np.exp(-t / draw.uniform(0.3, 1.2)) * np.minimum(1, t / 0.005)
        hit = round(0.06 * RATE)
        x[at : at + hit] += 0.8 * draw.standard_normal(hit) * np.exp(-np.arange(hit) / (0.015 * RATE))
    return (0.1 * x[:n]).astype(np.float32)


def read_aloud(n: int, seed: int) -> F32:
    return np.resize(np.concatenate(list(_files("speech_emodb"))), n).astype(np.float32)


BEDS: dict[str, Callable[[int, int], F32]] = {
    "white noise": noise,
    "rumble": rumble,
    "generated music": music,
}
