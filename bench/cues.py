"""Vocal cue heads on people they have not met: beside pooled states and logistic regression, in the same folds.

Needs the shared data (`../shared/data`). Embeddings of the public training set are kept in mien's cache folder.
`python -m bench cues --train` also writes the shipped heads and their card.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench import cues_other
from mien.core import Device, Embeddings, Sound
from mien.models.sound import affect, cues
from mien.models.sound.cues import FINEST, CueHead, VoiceCues, grouped
from mien.models.sound.whisper import WhisperVoice
from mien.models.weights import cache_dir, open_adapter
from mien.train.cues import Trained, calibrated, known, train, truth_of
from mien.train.cues_card import card, figures
from mien.train.cues_data import PARQUET, Cues, embed, folds, held_out
from mien.train.cues_heads import Recipe, fit
from mien.train.cues_run import PROMPTED, Embedding
from mien.train.measures import auc, balanced_weight, ece, uar
from mien.train.voice import TAXONOMIES, fit_arousal

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data"
BURSTS = DATA / "vocal_bursts_emogator"
CARD = ROOT / "docs" / "cards" / "voice-cues.md"
F64 = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
ROUNDS = 1000
WANTED = ("polarity AUC", "12 UAR", "30 UAR", "tenth-percentile person AUC")


class Plain:
    """The baseline's embedding: mean and sd over all states of the last layer, 768 numbers."""

    name = "last layer, pooled"

    def __init__(self, voice: WhisperVoice) -> None:
        self._voice = voice

    def __call__(self, sounds: Sequence[Sound]) -> list[npt.NDArray[np.float32]]:
        last = [self._voice.states(sound).values[-1] for sound in sounds]
        return [np.concatenate([s.mean(axis=0), s.std(axis=0)]) if len(s) else np.full(768, np.nan) for s in last]


def main(args: list[str]) -> list[str]:
    voice = open_adapter("voice.whisper", None, Device(threads=2))
    assert isinstance(voice, WhisperVoice)
    rich, plain = Embedding(voice, attentive=False), Plain(voice)
    kept = cache_dir() / "train"
    mark = rich.name.split("+")[1]
    ours = embed(BURSTS, PARQUET, rich, cache=kept / f"cues-{mark}.npz", progress=_progress)
    base = embed(BURSTS, PARQUET, plain, cache=kept / f"plain-{mark}.npz", progress=_progress)
    assert (ours.person == base.person).all()
    assert (ours.label == base.label).all()
    trained, arousal, spent = heads(ours, rich.name, kept / f"cues-apart-{mark}.npz", "--train" in args)
    lines = [
        f"{len(ours)} clips of {len(np.unique(ours.person))} people. Training from the embeddings (five folds, final "
        f"head, arousal) took {spent:.0f} s of processor time. Intervals: 95 %, cluster bootstrap over people.", "",
    ]  # fmt: skip
    apart = held_out(base.person)
    lines += beside(trained, base.take(~apart), base.take(apart))
    lines += ["", *calibration(trained), "", *controls(trained, voice)]
    lines += ["", *cues_other.lines(voice, trained.head, arousal)]
    return lines


def heads(ours: Cues, embedding: str, path: Path, again: bool) -> tuple[Trained, affect.Arousal, float]:
    """The shipped heads with the out-of-fold answers of their training (`path`), or all of it anew; and the processor
    time that training took, in seconds."""
    apart = held_out(ours.person)
    if not again and path.is_file():
        with np.load(path) as held:
            logs, spent = held["logs"], float(held["spent"])
        head, measured = CueHead.read(cues.PATH), ours.take(apart)
        trained = Trained(head, Recipe(), ours.take(~apart), logs, measured, head.log_probs(measured.vectors))
        return trained, affect.Arousal.read(affect.PATH), spent
    started = time.process_time()
    trained = train(ours, TAXONOMIES, Recipe(), embedding)
    arousal = fit_arousal(trained.development)
    spent = time.process_time() - started
    trained.head.write(cues.PATH, {"about": PROMPTED})
    arousal.write(affect.PATH, {"about": PROMPTED, "embedding": embedding})
    CARD.write_text(card(trained, "Card: voice-cues", PROMPTED, "mien train cues vocal_bursts_emogator"))
    np.savez(path, logs=trained.apart, spent=spent)
    return trained, arousal, spent


# ---------------------------------------------------------------- beside the baseline


def beside(trained: Trained, development: Cues, apart: Cues) -> list[str]:
    """Ours and the baseline on the same rows: five folds over development people, then the people kept apart."""
    lines = ["| people | figure | pooled + logistic | ours | difference (95 %) |", "|---|---|---|---|---|"]
    rows = (
        ("five folds", trained.development, trained.apart, _baseline(development, None)),
        ("kept apart", trained.measured, trained.measured_logs, _baseline(development, apart)),
    )
    labels = trained.head.labels
    for people, held, logs, plain in rows:
        scores = {
            "ours": {name: grouped(logs, labels, TAXONOMIES[name]) for name in ("twelve", "polarity")}
            | {FINEST: np.exp(logs)},
            "plain": plain,
        }
        found = _compared(held, labels, scores)
        for figure in WANTED:
            a, b, low, high = found[figure]
            lines.append(
                f"| {len(np.unique(held.person))} people, {people} | {figure} | {a:.3f} | {b:.3f} | {b - a:+.3f} "
                f"({low:+.3f} to {high:+.3f}) |"
            )
    return lines


def _baseline(development: Cues, apart: Cues | None) -> dict[str, F64]:
    """Logistic regression fitted for each question by itself; probabilities `[n k]`, NaN for rows of other questions.

    On the development people in the folds of ours, or on the people kept apart.
    """
    labels = tuple(sorted(set(development.label.tolist())))
    asked = {FINEST: {name: name for name in labels}} | {name: TAXONOMIES[name] for name in ("twelve", "polarity")}
    held = development if apart is None else apart
    every = np.arange(len(development))
    splits = folds(development.person) if apart is None else [(every, np.arange(len(held)))]
    x, y = development.vectors, held.vectors
    out: dict[str, F64] = {}
    for name, groups in asked.items():
        names = tuple(dict.fromkeys(groups.values()))
        mine = np.isin(development.label, list(groups))
        out[name] = np.full((len(held), len(names)), np.nan)
        for rest, test in splits:
            rows = rest[mine[rest]]
            truth = np.array([names.index(groups[str(label)]) for label in development.label[rows]])
            head = fit(x[rows], truth, names, {}, Recipe(kind="logistic"), "")
            wanted = test[np.isin(held.label[test], list(groups))]
            out[name][wanted] = np.exp(head.log_probs(y[wanted]))
    return out


def _compared(held: Cues, labels: tuple[str, ...], scores: dict[str, dict[str, F64]]) -> dict[str, Any]:
    """Figure → baseline, ours, and the interval of the difference; people are drawn with replacement."""
    people, person = np.unique(held.person, return_inverse=True)
    truth = truth_of(held, labels)
    hits: dict[str, dict[str, F64]] = {"12 UAR": {}, "30 UAR": {}}
    for figure, taxonomy in (("12 UAR", "twelve"), ("30 UAR", FINEST)):
        groups = TAXONOMIES.get(taxonomy) or {x: x for x in labels}
        rows, target = known(truth, labels, groups)
        k = len(set(groups.values()))
        for who, answer in scores.items():
            right = (answer[taxonomy][rows].argmax(axis=1) == target).astype(float)
            table = np.zeros((len(people), k, 2))
            np.add.at(table, (person[rows], target), np.stack([right, np.ones(len(right))], axis=1))
            hits[figure][who] = table
    rows, target = known(truth, labels, TAXONOMIES["polarity"])
    positive = target == list(dict.fromkeys(TAXONOMIES["polarity"].values())).index("positive")
    mine = [np.flatnonzero(person[rows] == i) for i in range(len(people))]
    values = {
        who: np.log(answer["polarity"][rows][:, 1] + 1e-12) - np.log(answer["polarity"][rows][:, 0] + 1e-12)
        for who, answer in scores.items()
    }
    each = {who: np.array([auc(v[r], positive[r]) for r in mine]) for who, v in values.items()}

    def measured(draw: Ints) -> dict[str, dict[str, float]]:
        chosen = np.concatenate([mine[i] for i in draw])
        out: dict[str, dict[str, float]] = {
            "polarity AUC": {who: auc(v[chosen], positive[chosen]) for who, v in values.items()},
            "tenth-percentile person AUC": {who: float(np.nanquantile(v[draw], 0.1)) for who, v in each.items()},
        }
        for figure, tables in hits.items():
            summed = {who: table[draw].sum(axis=0) for who, table in tables.items()}
            out[figure] = {who: float(np.mean(s[:, 0] / np.maximum(s[:, 1], 1))) for who, s in summed.items()}
        return out

    point = measured(np.arange(len(people)))
    draw = np.random.default_rng(0)
    drawn = [measured(draw.integers(0, len(people), len(people))) for _ in range(ROUNDS)]
    found: dict[str, Any] = {}
    for figure in WANTED:
        low, high = np.quantile([d[figure]["ours"] - d[figure]["plain"] for d in drawn], [0.025, 0.975])
        found[figure] = (point[figure]["plain"], point[figure]["ours"], low, high)
    return found


# ---------------------------------------------------------------- calibration, controls


def calibration(trained: Trained) -> list[str]:
    """ECE over the folds and on the people kept apart, abstention and three states."""
    lines = [
        *_calibration_errors(trained),
        "",
        f"**{len(np.unique(trained.measured.person))} people kept apart**, temperatures from the folds:",
    ]
    for name in trained.head.taxonomies:
        f = figures(trained, name)
        lines.append(
            f"- {name} ({len(f.names)}): UAR {f.uar:.3f} (person tenth percentile {f.tenth:.3f}, worst {f.worst:.3f}), "
            f"ECE {f.ece:.3f}, log-loss {f.log_loss:.3f}; answers {f.answered:.0%}, of which {f.wrong:.3f} wrong (at "
            f"most {trained.head.taxonomies[name].error:.2f} wanted)"
        )
    logs, labels = trained.measured_logs, trained.head.labels
    rows, target = known(truth_of(trained.measured, labels), labels, TAXONOMIES["polarity"])
    adapter, batch = VoiceCues(trained.head, VoiceCues.Config()), Embeddings(trained.measured.vectors[rows])
    given = ~adapter.withheld("polarity", batch)
    wrong = adapter.of("polarity", batch).probs.argmax(axis=1) != target
    lines.append(
        f"- polarity as a run gives it, withheld wherever the twelve are: answers {given.mean():.0%}, of which "
        f"{wrong[given].mean():.3f} wrong"
    )
    how = trained.head.taxonomies["state"]
    states = grouped(logs[rows], labels, how.groups, how.temperature)
    names = how.names
    score = np.log(states[:, names.index("pleasure")]) - np.log(states[:, names.index("distress")])
    person = trained.measured.person[rows]
    each = np.array([auc(score[person == p], target[person == p] == 1) for p in np.unique(person)])
    lines.append(
        f"- polarity read off the three states (log p(pleasure) - log p(distress)): AUC {auc(score, target == 1):.3f}, "
        f"tenth-percentile person {np.nanquantile(each, 0.1):.3f}"
    )
    return lines


def _calibration_errors(trained: Trained) -> list[str]:
    """ECE of each taxonomy, beside what a perfectly calibrated head would show on as many clips.

    Over the folds the temperature, too, is fitted without the people it is used on. ECE counts chance gaps of small
    bins as errors, so it is above zero for a perfect head: labels are drawn from the head's own probabilities.
    """
    labels, held = trained.head.labels, trained.development
    truth = truth_of(held, labels)
    lines = [
        "| taxonomy | people | clips | ECE | ECE of a perfectly calibrated head, median (95 % of draws below) |",
        "|---|---|---|---|---|",
    ]
    for name, how in trained.head.taxonomies.items():
        rows, target = known(truth, labels, how.groups)
        probs = np.zeros((len(held), len(how.names)))
        for rest, test in folds(held.person):
            fitted = calibrated(trained.apart[rest], truth[rest], labels, {name: how.groups})[name]
            probs[test] = grouped(trained.apart[test], labels, how.groups, fitted.temperature)
        apart_rows, apart_target = known(truth_of(trained.measured, labels), labels, how.groups)
        apart = grouped(trained.measured_logs[apart_rows], labels, how.groups, how.temperature)
        for people, p, t in ((held.person, probs[rows], target), (trained.measured.person, apart, apart_target)):
            median, high = _perfect(p, balanced_weight(t, p.shape[1]))
            lines.append(
                f"| {name} | {len(np.unique(people))}, {'five folds' if p is not apart else 'kept apart'} | {len(p)} | "
                f"{ece(p, t, balanced_weight(t, p.shape[1])):.3f} | {median:.3f} ({high:.3f}) |"
            )
    return lines


def _perfect(probs: F64, weight: F64, draws: int = 300) -> tuple[float, float]:
    """Median and 95th percentile of the ECE when the labels are drawn from the probabilities themselves."""
    draw, edges = np.random.default_rng(0), np.cumsum(probs, axis=1)[:, :-1]
    found = [ece(probs, (draw.random((len(probs), 1)) > edges).sum(axis=1), weight) for _ in range(draws)]
    return float(np.median(found)), float(np.quantile(found, 0.95))


def controls(trained: Trained, voice: WhisperVoice) -> list[str]:
    """Shuffled labels, and clips in another order and company."""
    held, labels = trained.development, trained.head.labels
    rest, test = folds(held.person)[0]
    mixed = Cues(held.x, np.random.default_rng(0).permutation(held.label), held.person)
    some = mixed.take(rest)
    head = fit(some.vectors, truth_of(some, labels), labels, TAXONOMIES, Recipe(members=1, epochs=5), "")
    logs, truth = head.log_probs(mixed.take(test).vectors), truth_of(mixed.take(test), labels)
    rows, target = known(truth, labels, TAXONOMIES["polarity"])
    probs = grouped(logs[rows], labels, TAXONOMIES["polarity"])
    sounds = cues_other.voices(DATA)[:12]
    there = voice.run(sounds).vectors
    back = voice.run(sounds[::-1]).vectors[::-1]
    alone = np.concatenate([voice.run([sound]).vectors for sound in sounds])
    return [
        f"Shuffled labels (one fold): 30 UAR {uar(np.exp(logs), truth):.3f} (chance {1 / 30:.3f}), polarity AUC "
        f"{auc(probs[:, 1], target == 1):.3f}. Twelve voices embedded together, in reverse and one by one: largest "
        f"difference {max(np.abs(there - back).max(), np.abs(there - alone).max()):.1e}.",
    ]


def _progress(done: int, total: int) -> None:
    print(f"\r{done}/{total} clips", end="" if done < total else "\n", file=sys.stderr)
