"""Vocal cue heads on other recordings: rated voices, acted sound types, gain, an ambiguous moan; and what they cost."""

from __future__ import annotations

import csv
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mien.core import Device, Embeddings, Sound
from mien.models.sound.affect import Arousal
from mien.models.sound.cues import CueHead, VoiceCues
from mien.models.sound.prosody import prosody
from mien.models.sound.whisper import WhisperVoice
from mien.models.weights import open_adapter
from mien.signals.acoustics import describe
from mien.train.cues import train, truth_of
from mien.train.cues_card import figures
from mien.train.cues_data import Columns, embed
from mien.train.cues_heads import Recipe
from mien.train.cues_run import Embedding
from mien.train.measures import ccc

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
TAVA, DEEPLY = "vocal_valence_arousal_tava", "vocal_nonverbal_deeply_NC"
DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data"


def lines(voice: WhisperVoice, head: CueHead, arousal: Arousal) -> list[str]:
    return [*deeply(voice, head), "", *tava(voice, head, arousal), "", *moan(voice, head), "", *speed(voice, head)]


def deeply(voice: WhisperVoice, head: CueHead) -> list[str]:
    """Seven sound types, people kept apart, by the command's own recipes; and what the shipped head says to moans."""
    folder = DATA / DEEPLY
    columns = Columns("class", "speaker", "file", ("sex",))
    held = embed(folder, columns, Embedding(voice, attentive=False), table=folder / "labels.csv")
    found: list[str] = []
    for kind in ("logistic", "mlp"):
        made = train(held, {}, Recipe(kind=kind, epochs=40), "")  # pyright: ignore[reportArgumentType]
        f = figures(made, "label")
        right = made.apart.argmax(axis=1) == truth_of(held, made.head.labels)
        found.append(f"{kind} accuracy {right.mean():.2f}, UAR {f.uar:.2f}, ECE {f.ece:.2f}")
    moans, cues = held.take(held.label == "moaning").vectors, VoiceCues(head, VoiceCues.Config())
    states = head.answer("state", moans)
    return [
        f"**Deeply** ({len(held)} clips, {len(np.unique(held.person))} people, 7 sound types, ten folds over people; "
        f"not shipped): {'; '.join(found)}; floor 0.70. The shipped head withholds polarity for "
        f"{cues.withheld('polarity', Embeddings(moans)).mean():.0%} of its {len(moans)} moans and the categories for "
        f"{cues.withheld('twelve', Embeddings(moans)).mean():.0%}; highest state probability, median "
        f"{np.median(states.max(axis=1)):.2f}.",
    ]


def tava(voice: WhisperVoice, head: CueHead, arousal: Arousal) -> list[str]:
    """Human ratings of 96 voices (measured only; AGPL data) beside plain loudness, and gain."""
    with (DATA / TAVA / "labels.csv").open() as file:
        rows = list(csv.DictReader(file))
    sounds = [_wav(DATA / TAVA / row["file"]) for row in rows]
    rated = {name: np.array([float(row[name]) for row in rows]) for name in ("arousal", "valence")}
    loud = np.array([10 * np.log10(np.mean(s.samples**2)) for s in sounds])
    plain = voice.run(sounds).vectors
    said = {"arousal": arousal(plain).astype(np.float64), "valence": _valence(head, plain)}
    moved = []
    for db in (-20, 20):
        other = voice.run([Sound(s.samples * np.float32(10 ** (db / 20)), 0) for s in sounds]).vectors
        change = [np.abs(arousal(other) - said["arousal"]).max()]
        change += [np.abs(head.answer(t, other) - head.answer(t, plain)).max() for t in head.taxonomies]
        moved.append(f"{db:+d} dB: arousal {change[0]:.4f}, probabilities {max(change[1:]):.4f}")
    out = []
    for name, values in said.items():
        truth = rated[name]
        out.append(
            f"{name}: r {_r(values, truth):.3f}, CCC {ccc(values, truth):.3f}; loudness alone r {_r(loud, truth):.3f}, "
            f"CCC {ccc(_scaled(loud, truth), truth):.3f} even with the ratings' own mean and spread; with loudness "
            f"taken out of both r {_r(_without(values, loud), _without(truth, loud)):.3f}; with loudness "
            f"r {_r(values, loud):.3f}"
        )
    return [
        f"**TAVA** ({len(rows)} voices, about 150 raters each; never trained on). {'. '.join(out)}.",
        f"Valence is p(positive) - p(negative). Largest change under gain: {'; '.join(moved)}.",
    ]


def moan(voice: WhisperVoice, head: CueHead) -> list[str]:
    """A synthetic moan without any cue to its polarity: a harmonic tone of 180 Hz that swells slowly."""
    batch, cues = voice.run([ambiguous()]), VoiceCues(head, VoiceCues.Config())
    told = []
    for name in ("polarity", "state", "twelve"):
        said = cues.of(name, batch)
        held = ", withheld" if name != "state" and cues.withheld(name, batch)[0] else ""
        told.append(f"{name}: {said.labels[int(said.probs.argmax())]} {said.probs.max():.2f}{held}")
    return [f"**A tone of 180 Hz that swells** (no cue to polarity): {'; '.join(told)}."]


def ambiguous(f0_hz: float = 180.0, seconds: float = 1.6, rate: int = 16_000) -> Sound:
    """A harmonic tone with a slow swell between two silences."""
    t = np.arange(round(seconds * rate)) / rate
    tone = sum(np.sin(2 * np.pi * f0_hz * k * t) / k**2 for k in range(1, 12)) * np.sin(np.pi * t / seconds) ** 2
    quiet = np.zeros(rate // 5)
    noise = 0.001 * np.random.default_rng(0).standard_normal(len(t) + 2 * len(quiet))
    return Sound((0.2 * np.concatenate([quiet, tone, quiet]) + noise).astype(np.float32), 0)


def voices(data: Path) -> list[Sound]:
    return [_wav(path) for path in sorted((data / TAVA).glob("*.wav"))]


def speed(voice: WhisperVoice, head: CueHead) -> list[str]:
    """Median ms per second of sound on ten pieces of 2 s, one thread."""
    x = np.concatenate([s.samples for s in voices(DATA)[:16]])[: 20 * 16_000]
    pieces = [Sound(part, 0) for part in np.split(x, 10)]
    one = open_adapter("voice.whisper", None, Device(threads=1))
    vectors: Embeddings = one.run(pieces)
    timed: dict[str, Any] = {
        "voice.whisper (encoder, pooling, prosody)": lambda: one.run(pieces),
        "of that, prosody": lambda: [prosody(p.samples) for p in pieces],
        "the head, four taxonomies": lambda: [head.answer(t, vectors.vectors) for t in head.taxonomies],
        "signals.acoustics, for comparison": lambda: describe(Sound(x, 0)),
    }
    found = []
    for name, call in timed.items():
        taken = []
        for _ in range(5):
            start = time.thread_time()
            call()
            taken.append(time.thread_time() - start)
        found.append(f"- {name}: {1000 * float(np.median(taken)) / 20:.2f}")
    return ["ms of one thread's processor time per second of sound (median of 5):", *found]


# ---------------------------------------------------------------- parts


def _valence(head: CueHead, vectors: F32) -> F64:
    names = head.taxonomies["polarity"].names
    probs = head.answer("polarity", vectors).astype(np.float64)
    return probs[:, names.index("positive")] - probs[:, names.index("negative")]


def _r(a: F64, b: F64) -> float:
    return float(np.corrcoef(a, b)[0, 1])


def _scaled(a: F64, like: F64) -> F64:
    return (a - a.mean()) / a.std() * like.std() + like.mean()


def _without(a: F64, b: F64) -> F64:
    """What a straight line on b does not explain of a."""
    return a - np.polyval(np.polyfit(b, a, 1), b)


def _wav(path: Path) -> Sound:
    import soundfile
    from scipy.signal import resample_poly

    samples, rate = soundfile.read(path, dtype="float64")
    return Sound(resample_poly(samples, 16_000, rate).astype(np.float32), 0)
