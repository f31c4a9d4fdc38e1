"""The voice heads on people they have not met, TAVA's human ratings, gain, and ms per second of sound.

Needs the shared data (`../shared/data`). Embeddings of the public training set are kept in mien's cache folder.
`python -m bench voice --train` also fits the heads again and writes the shipped file.
"""

from __future__ import annotations

import csv
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mien.core import Device, Embeddings, Sound
from mien.models.sound.affect import PATH, STATES, Head, VoiceState
from mien.models.sound.whisper import WhisperVoice
from mien.models.weights import cache_dir, open_adapter
from mien.signals.acoustics import describe
from mien.signals.vocal import vocal_segments
from mien.train.measures import auc, balanced_weight, ccc, ece, log_loss, people_interval, recalls, uar
from mien.train.voice import (
    NEGATIVE,
    POSITIVE,
    Bursts,
    arousal_target,
    cached,
    cross_logits,
    folds,
    held_out,
    labelled,
    softmax,
    train,
)

DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data"
F64 = npt.NDArray[np.float64]


def main(args: list[str]) -> list[str]:
    voice = open_adapter("voice.whisper", None, Device(threads=2))
    assert isinstance(voice, WhisperVoice)
    weights = WhisperVoice.spec.weights
    cache = cache_dir() / "train" / f"emogator-{weights.sha256[:12] if weights else ''}.npz"
    data = DATA / "vocal_bursts_emogator"
    lines: list[str] = []
    if "--train" in args:
        done = train(data, PATH, voice, cache=cache, progress=_progress)
        tried = ", ".join(f"C={s:g}: {u:.3f}" for s, u in done.uar_by_strength)
        lines.append(f"development people, UAR out of fold by strength: {tried}; chosen C={done.strength:g}")
        lines += [f"temperature {done.head.temperature[0]:.3f}; ridge {done.ridge:g}", ""]
    everyone = cached(data, voice, cache, _progress)
    head = Head.read(PATH)
    apart = held_out(everyone.person)
    lines += [*on_held_out(everyone.take(apart), head), *across_folds(everyone.take(~apart), head), ""]
    lines += [*on_tava(voice, head), "", *speed(voice, head)]
    return lines


def on_held_out(bursts: Bursts, head: Head) -> list[str]:
    """The shipped file on people that neither fit nor selection has seen."""
    some, truth = labelled(bursts)
    weight = balanced_weight(truth, len(STATES))
    before = softmax(np.log(np.maximum(_states(head, some), 1e-30)) * head.temperature[0])
    probs = _states(head, some)
    each = _by_person(some.person, lambda rows: uar(probs[rows], truth[rows]))
    low, high = people_interval(each)
    n = len(np.unique(some.person))
    per_class = ", ".join(f"{s} {r:.3f}" for s, r in zip(STATES, recalls(probs, truth), strict=True))
    score, positive, rows = _polarity(bursts, np.log(_states(head, bursts) + 1e-12))
    people = _by_person(bursts.person[rows], lambda r: auc(score[r], positive[r]))
    alow, ahigh = people_interval(people)
    target = arousal_target(bursts.category)
    known = np.isfinite(target)
    guess = head.arousal(bursts.vectors).astype(np.float64)[known]
    inside = np.mean(np.abs(guess - target[known]) <= 1.96 * head.arousal_sd[0])
    return [
        f"**{n} held-out people**, {len(some)} clips of 13 categories (shipped file):",
        f"- 3 states: UAR {uar(probs, truth):.3f} (per person {each.mean():.3f}, 95 % {low:.3f}-{high:.3f}, "
        f"tenth percentile {np.quantile(each, 0.1):.3f}); recall {per_class}",
        f"- log-loss {log_loss(probs, truth, weight):.3f} (ln 3 = 1.099), before temperature "
        f"{log_loss(before, truth, weight):.3f}; ECE {ece(probs, truth, weight):.3f}, before "
        f"{ece(before, truth, weight):.3f}",
        f"- polarity (Pain, Distress vs Ecstasy, Desire) by log p(pleasure) - log p(distress): AUC "
        f"{auc(score, positive):.3f}; per person {people.mean():.3f} (95 % {alow:.3f}-{ahigh:.3f}), tenth percentile "
        f"{np.quantile(people, 0.1):.3f}",
        f"- arousal against the octant of the prompted word: r {np.corrcoef(guess, target[known])[0, 1]:.3f}; "
        f"{inside:.1%} within ±1.96 sd (sd {head.arousal_sd[0]:.2f})",
    ]


def across_folds(bursts: Bursts, head: Head) -> list[str]:
    """Five folds over the development people: a head for polarity alone, its floor in shuffled labels."""
    rows = np.flatnonzero(np.isin(bursts.category, NEGATIVE + POSITIVE))
    some = bursts.take(rows)
    truth = np.isin(some.category, POSITIVE).astype(np.int64)
    z = ((some.vectors - head.mean) / head.scale).astype(np.float64)
    strength = 1e-3  # what the three-state head chose
    logits = cross_logits(z, truth, some.person, strength)[:, 1]
    each = _by_person(some.person, lambda r: auc(logits[r], truth[r] == 1))
    fold = [auc(logits[test], truth[test] == 1) for _, test in folds(some.person)]
    mixed = np.random.default_rng(0).permutation(truth)
    chance = cross_logits(z, mixed, some.person, strength)[:, 1]
    states, state_truth = labelled(bursts)
    zs = ((states.vectors - head.mean) / head.scale).astype(np.float64)
    shuffled = np.random.default_rng(1).permutation(state_truth)
    none = softmax(cross_logits(zs, shuffled, states.person, strength))
    return [
        f"**Five folds over {len(np.unique(some.person))} development people**: polarity, fitted for it: AUC "
        f"{auc(logits, truth == 1):.3f} (folds {min(fold):.3f}-{max(fold):.3f}; baseline 0.90), balanced accuracy "
        f"{np.mean([np.mean((logits > 0)[truth == c] == c) for c in (0, 1)]):.3f} (log-mel floor 0.758), "
        f"tenth-percentile person {np.nanquantile(each, 0.1):.3f}; with shuffled labels AUC "
        f"{auc(chance, mixed == 1):.3f}, 3-state UAR {uar(none, shuffled):.3f}",
    ]


def on_tava(voice: WhisperVoice, head: Head) -> list[str]:
    """Human ratings of 96 voices (measured only; AGPL data): the heads beside plain loudness, and under gain."""
    folder = DATA / "vocal_valence_arousal_tava"
    with (folder / "labels.csv").open() as file:
        rows = list(csv.DictReader(file))
    sounds = [_wav(folder / row["file"]) for row in rows]
    arousal = np.array([float(row["arousal"]) for row in rows])
    valence = np.array([float(row["valence"]) for row in rows])
    plain = voice.run(sounds)
    loud = np.array([10 * np.log10(np.mean(s.samples**2)) for s in sounds])
    guess = head.arousal(plain.vectors).astype(np.float64)
    states = head.states(plain.vectors).astype(np.float64)
    polarity = np.log(states[:, 1] / states[:, 0])
    moved = []
    for db in (-20, 20):
        louder = voice.run([Sound(s.samples * np.float32(10 ** (db / 20)), 0) for s in sounds])
        a, p = head.arousal(louder.vectors), head.states(louder.vectors)
        moved.append(f"{db:+d} dB: arousal {np.abs(a - guess).max():.4f}, probability {np.abs(p - states).max():.4f}")

    def r(a: F64, b: F64) -> float:
        return float(np.corrcoef(a, b)[0, 1])

    rest = r(_without(guess, loud), _without(arousal, loud))
    return [
        f"**TAVA** ({len(rows)} voices, about 150 raters each; never trained on): arousal r {r(guess, arousal):.3f}, "
        f"CCC {ccc(guess, arousal):.3f}; loudness alone r {r(loud, arousal):.3f}; arousal with loudness taken out "
        f"of both r {rest:.3f}. Valence against log p(pleasure)/p(distress): r {r(polarity, valence):.3f}; loudness "
        f"alone r {r(loud, valence):.3f}.",
        f"Largest change under gain: {'; '.join(moved)}.",
    ]


def speed(voice: WhisperVoice, head: Head) -> list[str]:
    """Median ms per second of sound on 20 s, one call; the embedding on ten 2 s pieces."""
    x = _long()
    sound = Sound(x, 0)
    vad = open_adapter("vad.silero", None, Device(threads=1))
    pitch = open_adapter("pitch.swiftf0", None, Device(threads=1))
    state = VoiceState(head)
    pieces = [Sound(part, 0) for part in np.split(x[: 20 * 16_000], 10)]
    one = open_adapter("voice.whisper", None, Device(threads=1))
    vectors: Embeddings = one.run(pieces)
    curves = describe(sound), vad.run(sound), pitch.run(sound)
    timed = {
        "vad.silero": lambda: vad.run(sound),
        "pitch.swiftf0": lambda: pitch.run(sound),
        "signals.acoustics": lambda: describe(sound),
        "signals.vocal": lambda: vocal_segments(*curves),
        "voice.whisper, one thread": lambda: one.run(pieces),
        "voice.whisper, two threads": lambda: voice.run(pieces),
        "voice.state": lambda: state.run(vectors),
    }
    lines = ["ms per second of sound (median of 5):"]
    for name, call in timed.items():
        taken = []
        for _ in range(5):
            start = time.perf_counter()
            call()
            taken.append(time.perf_counter() - start)
        lines.append(f"- {name}: {1000 * float(np.median(taken)) / 20:.2f}")
    return lines


# ---------------------------------------------------------------- parts


def _states(head: Head, bursts: Bursts) -> F64:
    return head.states(bursts.vectors).astype(np.float64)


def _polarity(bursts: Bursts, logs: F64) -> tuple[F64, npt.NDArray[np.bool_], npt.NDArray[np.intp]]:
    rows = np.flatnonzero(np.isin(bursts.category, NEGATIVE + POSITIVE))
    score = logs[rows, STATES.index("pleasure")] - logs[rows, STATES.index("distress")]
    return score, np.isin(bursts.category[rows], POSITIVE), rows


def _by_person(person: npt.NDArray[np.int64], figure: Callable[[npt.NDArray[np.intp]], float]) -> F64:
    return np.array([figure(np.flatnonzero(person == p)) for p in np.unique(person)])


def _without(a: F64, b: F64) -> F64:
    """What a straight line on b does not explain of a."""
    return a - np.polyval(np.polyfit(b, a, 1), b)


def _wav(path: Path) -> Sound:
    import soundfile
    from scipy.signal import resample_poly

    samples, rate = soundfile.read(path, dtype="float64")
    return Sound(resample_poly(samples, 16_000, rate).astype(np.float32), 0)


def _long() -> npt.NDArray[np.float32]:
    files = sorted((DATA / "vocal_valence_arousal_tava").glob("*.wav"))[:16]
    return np.concatenate([_wav(file).samples for file in files])[: 20 * 16_000]


def _progress(done: int, total: int) -> None:
    print(f"\r{done}/{total} clips", end="" if done < total else "\n", file=sys.stderr)
