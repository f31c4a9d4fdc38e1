"""`mien train voice DATA`: the heads behind `voice.state` and `voice.arousal`, from prompted vocal bursts.

DATA is a folder of Parquet files with the columns contributor, category_name and audio (bytes of a 16 kHz mono file).
People are kept apart everywhere: about 15 % of them (by a hash of their number) are only looked at for the final
figures; strength and temperature are chosen on folds over the others.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mien.core import SAMPLE_RATE_HZ, MienError, Sound
from mien.models.sound.affect import STATES, Head
from mien.models.sound.whisper import WhisperVoice
from mien.train.measures import balanced_weight, log_loss, uar

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Strings = npt.NDArray[np.str_]
Progress = Callable[[int, int], None]

STATE_OF = {
    # aversive and asking for relief; Anger lies beside distress on the circumplex (Russell, 1980) and is to carers a
    # reason to look; Sadness is acted as sobbing
    "Pain": "distress", "Distress": "distress", "Fear": "distress", "Anger": "distress", "Sadness": "distress",
    # enjoyment of body or moment; Triumph is its shouted form, without which every shout would be anger
    "Amusement": "pleasure", "Elation": "pleasure", "Ecstasy": "pleasure", "Desire": "pleasure",
    "Triumph": "pleasure",
    # nothing that asks for anything
    "Contentment": "calm", "Serenity": "calm", "Neutral": "calm",
}  # fmt: skip
"""Left out rather than forced: social and self-judging ones (Contempt, Disgust, Embarrassment, Guilt, Shame, Pride,
Sympathy, Adoration, Romantic Love, Disappointment), those about knowing (Awe, Confusion, Interest, Realization), both
Surprises, and Relief, whose sigh ends a strain and may as well belong to it."""

AROUSAL_OF = {
    # the sine of the octant of Russell's circle (1980): excitement 45°, arousal 90°, distress 135°, depression 225°,
    # relaxation 315°; which octant a prompted word belongs to is our reading, so the values are coarse
    "Elation": 45, "Ecstasy": 45, "Triumph": 45, "Anger": 90, "Fear": 135, "Distress": 135, "Sadness": 225,
    "Contentment": 315, "Serenity": 315,
}  # fmt: skip
NEGATIVE, POSITIVE = ("Pain", "Distress"), ("Ecstasy", "Desire")
STRENGTHS = (3e-4, 1e-3, 3e-3)
RIDGES = (1e3, 1e4, 1e5)
FOLDS = 5
HELD_OUT = 0.15


@dataclass(frozen=True, slots=True)
class Bursts:
    """Embedded clips: vectors float32 `[n 768]`, person int64 `[n]`, category `[n]`. Lives in RAM; a cache of the
    public training set may be written by `save`."""

    vectors: F32
    person: Ints
    category: Strings

    def __len__(self) -> int:
        return len(self.person)

    def take(self, rows: npt.NDArray[Any]) -> Bursts:
        return Bursts(self.vectors[rows], self.person[rows], self.category[rows])

    def save(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, vectors=self.vectors.astype(np.float16), person=self.person, category=self.category)

    @classmethod
    def load(cls, path: Path) -> Bursts:
        with np.load(path, allow_pickle=False) as held:
            return cls(held["vectors"].astype(np.float32), held["person"], held["category"])


def clips(data: Path) -> Iterator[tuple[int, str, bytes]]:
    """Person, category and encoded sound of every clip. Raises MienError `train.no-data`."""
    import pyarrow.parquet as pq

    files = sorted(data.glob("*.parquet"))
    if not files:
        raise MienError(
            "train.no-data", f"{data} holds no Parquet files", "give a folder with contributor, category_name, audio"
        )
    for file in files:
        for batch in pq.ParquetFile(file).iter_batches(64, columns=["contributor", "category_name", "audio"]):
            for row in batch.to_pylist():
                yield int(row["contributor"]), str(row["category_name"]), row["audio"]


def embed(data: Path, voice: WhisperVoice, progress: Progress = lambda done, total: None) -> Bursts:
    """Every clip encoded by itself; clips without any sound are left out. Raises MienError `train.no-data`."""
    import pyarrow.parquet as pq

    total = sum(pq.ParquetFile(file).metadata.num_rows for file in data.glob("*.parquet"))
    source, rows, people, names = clips(data), [], [], []
    with ThreadPoolExecutor(1) as ahead:  # one block is decoded while the one before is encoded
        following: Future[list[tuple[int, str, Sound]]] | None = ahead.submit(_decoded, source)
        while following is not None:
            block = following.result()
            following = ahead.submit(_decoded, source) if block else None
            rows.append(voice.run([sound for _, _, sound in block]).vectors)
            people += [person for person, _, _ in block]
            names += [name for _, name, _ in block]
            progress(len(people), total)
    # float16 as in the cache, so that a fit from the cache equals the first one to the byte
    vectors = np.concatenate(rows).astype(np.float16).astype(np.float32)
    bursts = Bursts(vectors, np.array(people, np.int64), np.array(names, np.str_))
    return bursts.take(np.flatnonzero(np.isfinite(bursts.vectors[:, 0])))


def _decoded(source: Iterator[tuple[int, str, bytes]]) -> list[tuple[int, str, Sound]]:
    import soundfile

    block = []
    for person, name, data in islice(source, 256):
        samples, rate = soundfile.read(io.BytesIO(data), dtype="float32")
        if rate != SAMPLE_RATE_HZ or samples.ndim != 1:
            raise MienError("train.bad-audio", f"clips must be 16 kHz mono, but got {rate} Hz", "resample them first")
        block.append((person, name, Sound(np.asarray(samples, np.float32), 0)))
    return block


def held_out(person: Ints) -> npt.NDArray[np.bool_]:
    """Which rows belong to people kept for the final figures: by SHA-256 of the person's number, the same for ever."""

    def share(number: int) -> float:
        return int.from_bytes(hashlib.sha256(f"voice:{number}".encode()).digest()[:4], "big") / 2**32

    kept = {int(number): share(int(number)) < HELD_OUT for number in np.unique(person)}
    return np.array([kept[int(number)] for number in person], np.bool_)


def folds(person: Ints) -> list[tuple[Ints, Ints]]:
    """Five folds over people: (train rows, test rows)."""
    from sklearn.model_selection import GroupKFold

    return [(a, b) for a, b in GroupKFold(FOLDS).split(person, groups=person)]


def labelled(bursts: Bursts, states: dict[str, str] = STATE_OF) -> tuple[Bursts, Ints]:
    """The clips whose category has a state, and their states as indices into `STATES`."""
    rows = np.isin(bursts.category, list(states))
    kept = bursts.take(rows)
    return kept, np.array([STATES.index(states[str(name)]) for name in kept.category], np.int64)


def fit_linear(x: F64, truth: Ints, strength: float) -> tuple[F64, F64]:
    """Multinomial logistic regression under equal class shares: weight `[d c]` and bias `[c]`."""
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=strength, max_iter=500, tol=1e-4, class_weight="balanced").fit(x, truth)
    if len(model.classes_) == 2:
        return np.hstack([np.zeros_like(model.coef_.T), model.coef_.T]), np.append(0.0, model.intercept_)
    return model.coef_.T, model.intercept_


def cross_logits(x: F64, truth: Ints, person: Ints, strength: float) -> F64:
    """Logits of every row from a model that has not met its person `[n c]`."""
    out = np.zeros((len(x), int(truth.max()) + 1))
    for train_rows, test_rows in folds(person):
        weight, bias = fit_linear(x[train_rows], truth[train_rows], strength)
        out[test_rows] = x[test_rows] @ weight + bias
    return out


def softmax(logits: F64) -> F64:
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def fit_temperature(logits: F64, truth: Ints) -> float:
    """The divisor of the logits with the least log-loss (Guo et al., 2017); give logits of people not trained on."""
    from scipy.optimize import minimize_scalar

    weight = balanced_weight(truth, logits.shape[1])
    best: Any = minimize_scalar(
        lambda log_t: log_loss(softmax(logits / np.exp(log_t)), truth, weight), bounds=(-2, 2), method="bounded"
    )
    return float(np.exp(best.x))


@dataclass(frozen=True, slots=True)
class Trained:
    """A head, what was chosen on the way, and the development people's out-of-fold UAR by strength."""

    head: Head
    strength: float
    ridge: float
    uar_by_strength: tuple[tuple[float, float], ...]


def fit(bursts: Bursts) -> Trained:
    """The heads from development people only. `bursts` may hold everybody: held-out people are dropped here."""
    bursts = bursts.take(~held_out(bursts.person))
    mean, scale = bursts.vectors.mean(axis=0), np.maximum(bursts.vectors.std(axis=0), 1e-6)
    some, truth = labelled(bursts)
    z = ((some.vectors - mean) / scale).astype(np.float64)
    tried = {strength: cross_logits(z, truth, some.person, strength) for strength in STRENGTHS}
    weight = balanced_weight(truth, len(STATES))
    strength = min(tried, key=lambda s: log_loss(softmax(tried[s] / fit_temperature(tried[s], truth)), truth, weight))
    temperature = fit_temperature(tried[strength], truth)
    state_weight, state_bias = fit_linear(z, truth, strength)
    arousal = _fit_arousal(bursts, mean, scale)

    def f32(value: npt.ArrayLike) -> F32:
        return np.atleast_1d(np.asarray(value, np.float32))

    head = Head(
        mean=f32(mean),
        scale=f32(scale),
        state_weight=f32(state_weight),
        state_bias=f32(state_bias),
        temperature=f32(temperature),
        prior=f32(np.full(len(STATES), 1 / len(STATES))),
        arousal_weight=f32(arousal[0]),
        arousal_bias=f32(arousal[1]),
        arousal_sd=f32(arousal[2]),
    )
    return Trained(head, strength, arousal[3], tuple((s, uar(p, truth)) for s, p in tried.items()))


def arousal_target(category: Strings) -> F64:
    """Arousal of the prompted words in -1..1, NaN where a word has no place on the circle."""
    degrees = np.array([AROUSAL_OF.get(str(name), np.nan) for name in category], np.float64)
    return np.sin(np.deg2rad(degrees))


def _fit_arousal(bursts: Bursts, mean: F32, scale: F32) -> tuple[F64, float, float, float]:
    """Ridge weight, bias, sd of the residuals on people not trained on, and the strength chosen."""
    from sklearn.linear_model import Ridge

    y = arousal_target(bursts.category)
    rows = np.isfinite(y)
    x = ((bursts.vectors[rows] - mean) / scale).astype(np.float64)
    y, person = y[rows], bursts.person[rows]
    errors: dict[float, F64] = {}
    for alpha in RIDGES:
        error = np.zeros(len(y))
        for train_rows, test_rows in folds(person):
            model = Ridge(alpha=alpha).fit(x[train_rows], y[train_rows])
            error[test_rows] = y[test_rows] - model.predict(x[test_rows])
        errors[alpha] = error
    alpha = min(errors, key=lambda a: float(np.mean(errors[a] ** 2)))
    model = Ridge(alpha=alpha).fit(x, y)
    return model.coef_, float(model.intercept_), float(errors[alpha].std()), alpha


def train(
    data: Path,
    out: Path,
    voice: WhisperVoice,
    *,
    cache: Path | None = None,
    progress: Progress = lambda done, total: None,
) -> Trained:
    """Train both heads and write them to `out` (safetensors).

    Args:
        data: the folder of clips; voice: an open `voice.whisper`.
        cache: where the embeddings of this (public) training set may lie between runs; None keeps them in RAM.

    Raises MienError `train.no-data`, `train.bad-audio`, `install.missing-extra` via the command.
    """
    bursts = cached(data, voice, cache, progress)
    trained = fit(bursts)
    out.parent.mkdir(parents=True, exist_ok=True)
    spec = WhisperVoice.spec
    weights = spec.weights.sha256 if spec.weights else ""
    trained.head.write(
        out,
        {
            "format": "mien.voice-head/1",
            "states": ",".join(STATES),
            "embedding": f"{spec.name}@{spec.version}+{weights[:8]}",
            "labels": "prompted, self-recorded vocal bursts; not felt emotion",
        },
    )
    return trained


def cached(data: Path, voice: WhisperVoice, cache: Path | None, progress: Progress) -> Bursts:
    """The embeddings of `data`, from `cache` where it exists."""
    if cache is not None and cache.is_file():
        return Bursts.load(cache)
    bursts = embed(data, voice, progress)
    if cache is not None:
        bursts.save(cache)
    return bursts
