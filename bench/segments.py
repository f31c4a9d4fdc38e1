"""The voice heads on what the pipeline hands them: vocal segments with more or less of their quiet, and speech.

Held-out people only (`train.cues_data.held_out`); EmoDB is measured, never trained on. Needs the shared data.
"""

from __future__ import annotations

import io
import random
from collections import defaultdict
from math import gcd
from pathlib import Path
from typing import Any

import numpy as np

from mien.core import SAMPLE_RATE_HZ, Device, Sound
from mien.models.sound.affect import STATES
from mien.models.weights import open_adapter
from mien.signals.acoustics import describe
from mien.signals.vocal import vocal_segments
from mien.train.cues_data import held_out
from mien.train.measures import auc, uar
from mien.train.voice import STATE_OF

DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data"
CLIPS = 450
WORDS = {"W": "anger", "L": "boredom", "E": "disgust", "A": "fear", "F": "happiness", "T": "sadness", "N": "neutral"}


def main(args: list[str]) -> list[str]:
    models = {
        n: open_adapter(n, None, Device(threads=2))
        for n in ("voice.whisper", "voice.state", "vad.silero", "pitch.swiftf0")
    }
    return [*context(models), "", *speech(models)]


def context(models: dict[str, Any]) -> list[str]:
    """Recall and polarity by how much of a burst's surroundings the head hears."""
    import soundfile

    cuts: dict[str, list[Sound]] = defaultdict(list)
    truth: list[int] = []
    for category, audio in _held_out_clips():
        samples = np.asarray(soundfile.read(io.BytesIO(audio), dtype="float32")[0], np.float32)
        whole = Sound(samples, 0)
        found = vocal_segments(describe(whole), models["vad.silero"].run(whole), models["pitch.swiftf0"].run(whole))
        if not found:
            continue
        span = max(found, key=lambda s: s.span.duration_us).span
        start, end = span.start_us / 1e6, span.end_us / 1e6
        widen = max(0.3, 1.0 - (end - start) / 2)
        for name, around in (
            ("bare segment", 0.0),
            ("0.3 s around", 0.3),
            ("widened to 2 s", widen),
            ("whole clip", 9.0),
        ):
            first, last = max(0, round((start - around) * SAMPLE_RATE_HZ)), round((end + around) * SAMPLE_RATE_HZ)
            cuts[name].append(Sound(np.ascontiguousarray(samples[first:last]), 0))
        truth.append(STATES.index(STATE_OF[category]))
    y = np.array(truth)
    lines = [f"{len(y)} bursts of held-out people, longest segment of each:"]
    for name, sounds in cuts.items():
        batches = [sounds[i : i + 50] for i in range(0, len(sounds), 50)]
        probs = np.concatenate(
            [models["voice.state"].run(models["voice.whisper"].run(b)).probs for b in batches]
        ).astype(float)
        polar = y != STATES.index("calm")
        score = np.log(probs[:, 1] / probs[:, 0])[polar]
        lines.append(
            f"- {name}: 3-state UAR {uar(probs, y):.3f}, distress against pleasure AUC {auc(score, y[polar] == 1):.3f}"
        )
    return lines


def _held_out_clips() -> list[tuple[str, bytes]]:
    import pyarrow.parquet as pq

    rows: list[tuple[str, bytes]] = []
    for path in sorted((DATA / "vocal_bursts_emogator").glob("*.parquet")):
        table = pq.read_table(path, columns=["contributor", "category_name", "audio"])
        names = table["category_name"].to_pylist()
        apart = held_out(np.array(table["contributor"].to_pylist(), np.int64))
        rows += [(names[i], table["audio"][int(i)].as_py()) for i in np.flatnonzero(apart) if names[i] in STATE_OF]
    random.Random(0).shuffle(rows)
    return rows[:CLIPS]


def speech(models: dict[str, Any]) -> list[str]:
    """What the head says to acted sentences: it was not trained on speech."""
    import soundfile
    from scipy.signal import resample_poly

    held: dict[str, list[Any]] = defaultdict(list)
    for path in sorted((DATA / "speech_emodb").rglob("*.wav")):
        given, rate = soundfile.read(path, dtype="float32")
        shared = gcd(rate, SAMPLE_RATE_HZ)
        samples = np.asarray(resample_poly(given, SAMPLE_RATE_HZ // shared, rate // shared), np.float32)
        held[WORDS[path.stem[5]]].append(
            models["voice.state"].run(models["voice.whisper"].run([Sound(samples, 0)])).probs[0]
        )
    n = sum(map(len, held.values()))
    lines = [f"{n} acted sentences (EmoDB), mean answer ({', '.join(STATES)}):"]
    return lines + [
        f"- {word}: {', '.join(f'{p:.2f}' for p in np.mean(rows, axis=0))}" for word, rows in sorted(held.items())
    ]
