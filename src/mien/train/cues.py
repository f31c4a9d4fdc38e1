"""`mien train cues DATA`: a head that says what kind of vocal sound this is, for any labels, people kept apart.

People are never shared between fitting and measuring. Where there are 100 or more, about 15 % of them (by a hash of
their name) are only looked at for the final figures; with fewer, all figures are out of fold. Temperatures and the
thresholds of abstention come from folds: from answers of heads that had not met the person.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from mien.core import MienError
from mien.models.sound.cues import FINEST, Answering, CueHead, grouped
from mien.train import cues_data
from mien.train.cues_data import Cues, folds, held_out
from mien.train.cues_heads import Inputs, Recipe, fit
from mien.train.measures import balanced_weight, log_loss

F64 = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Groups = Mapping[str, Mapping[str, str]]

LEAST_PEOPLE = 8
STRENGTHS = (1e-4, 3e-4, 1e-3, 3e-3)
WRONG = 1 / 3  # of the answers given at most so many may be wrong on people not trained on
WRONG_OF_TWO = 0.1  # where there are two names, and guessing is right half the time


@dataclass(frozen=True, slots=True)
class Trained:
    """A calibrated head; `apart` are log-probabilities `[n c]` of the development clips, each from a head that had not
    met its person; `measured` and `measured_logs` the clips that the figures are made on, and theirs."""

    head: CueHead
    recipe: Recipe
    development: Cues
    apart: F64
    measured: Cues
    measured_logs: F64

    @property
    def out_of_fold(self) -> bool:
        """Whether the figures are out of fold, because people were too few to keep some for the end."""
        return self.measured is self.development


def train(cues: Cues, taxonomies: Groups, recipe: Recipe, embedding: str, seed: int = 0) -> Trained:
    """Fit, choose, calibrate and measure.

    Args:
        taxonomies: name → label → group, coarser than the labels and answered beside them.
        embedding: the adapter whose answers `cues` holds, `NAME@version+weights`.

    Raises:
        MienError: `train.too-few-people`, `train.unknown-label`, and as `cues_heads.fit`.
    """
    people = len(np.unique(cues.person))
    if people < LEAST_PEOPLE:
        raise MienError(
            "train.too-few-people",
            f"a head needs clips of {LEAST_PEOPLE} people, but got {people}",
            "label more people: a voice that is trained on says nothing of others",
        )
    labels = tuple(sorted(set(cues.label.tolist())))
    for name, groups in taxonomies.items():
        if unknown := sorted(set(groups) - set(labels)):
            raise MienError(
                "train.unknown-label", f"taxonomy {name!r} names {unknown[0]!r}, which no clip has", "mend it"
            )
    kept = held_out(cues.person) if people >= cues_data.LEAST_APART else np.zeros(len(cues), np.bool_)
    development = cues.take(~kept)
    chosen, apart = _chosen(development, labels, taxonomies, recipe, embedding, seed)
    head = _fitted(development, labels, taxonomies, chosen, embedding, seed)
    head = replace(head, taxonomies=calibrated(apart, truth_of(development, labels), labels, taxonomies))
    if not kept.any():
        return Trained(head, chosen, development, apart, development, apart)
    measured = cues.take(kept)
    return Trained(head, chosen, development, apart, measured, head.log_probs(inputs(measured)))


def inputs(cues: Cues) -> Inputs:
    """What a head takes: vectors `[n d]`, or the list of states."""
    return cues.x if cues.x and cues.x[0].ndim > 1 else cues.vectors


def truth_of(cues: Cues, labels: Sequence[str]) -> Ints:
    place = {label: i for i, label in enumerate(labels)}
    return np.array([place[str(name)] for name in cues.label], np.int64)


def apart_logs(
    cues: Cues, labels: tuple[str, ...], taxonomies: Groups, recipe: Recipe, embedding: str = "", seed: int = 0
) -> F64:
    """Log-probabilities of every clip from a head that has not met its person, `[n c]`."""
    x, truth = inputs(cues), truth_of(cues, labels)
    out = np.zeros((len(cues), len(labels)))
    few = len(np.unique(cues.person)) < cues_data.LEAST_APART
    for rest, test in folds(cues.person, truth if few else None):
        head = fit(_rows(x, rest), truth[rest], labels, taxonomies, recipe, embedding, seed)
        out[test] = head.log_probs(_rows(x, test))
    return out


def calibrated(apart: F64, truth: Ints, labels: tuple[str, ...], taxonomies: Groups) -> dict[str, Answering]:
    """Temperature and threshold of each taxonomy, from log-probabilities by heads that had not met the people."""
    every = {FINEST: {label: label for label in labels}, **taxonomies}
    return {name: _answering(apart, truth, labels, dict(groups)) for name, groups in every.items()}


def known(truth: Ints, labels: Sequence[str], groups: Mapping[str, str]) -> tuple[npt.NDArray[np.bool_], Ints]:
    """Which rows a taxonomy knows `[n]`, and the index of their group `[m]`."""
    names = list(dict.fromkeys(groups.values()))
    index = np.array([names.index(groups[label]) if label in groups else -1 for label in labels])[truth]
    return index >= 0, index[index >= 0].astype(np.int64)


def _answering(apart: F64, truth: Ints, labels: tuple[str, ...], groups: dict[str, str]) -> Answering:
    from scipy.optimize import minimize_scalar

    rows, target = known(truth, labels, groups)
    names = len(set(groups.values()))
    weight = balanced_weight(target, names)

    def loss(log_temperature: float) -> float:
        return log_loss(grouped(apart[rows], labels, groups, float(np.exp(log_temperature))), target, weight)

    found: Any = minimize_scalar(loss, bounds=(-2.5, 2.5), method="bounded")
    temperature = round(float(np.exp(found.x)), 4)
    probs = grouped(apart[rows], labels, groups, temperature)
    wrong = WRONG_OF_TWO if names == 2 else WRONG
    return Answering(groups, temperature, threshold(probs, target, weight, wrong), wrong)


def threshold(probs: F64, target: Ints, weight: F64, wrong: float) -> float:
    """The lowest highest-probability at which at most the share `wrong` of the answers from there on is wrong; above 1
    (no answer at all) where there is none."""
    top = probs.max(axis=1)
    order = np.argsort(-top, kind="stable")
    last_of_ties = np.append(np.diff(top[order]) != 0, True)
    missed = np.cumsum(weight[order] * (probs.argmax(axis=1) != target)[order]) / np.cumsum(weight[order])
    good = np.flatnonzero((missed <= wrong) & last_of_ties)
    return float(top[order][good[-1]]) if len(good) else 1.01


def _chosen(
    cues: Cues, labels: tuple[str, ...], taxonomies: Groups, recipe: Recipe, embedding: str, seed: int
) -> tuple[Recipe, F64]:
    """The recipe, its strength chosen where it is a logistic regression, and its out-of-fold log-probabilities."""
    tried = [replace(recipe, strength=s) for s in STRENGTHS] if recipe.kind == "logistic" else [recipe]
    truth = truth_of(cues, labels)
    weight = balanced_weight(truth, len(labels))
    found = [(one, apart_logs(cues, labels, taxonomies, one, embedding, seed)) for one in tried]

    def loss(logs: F64) -> float:
        how = calibrated(logs, truth, labels, {})[FINEST]
        return log_loss(grouped(logs, labels, how.groups, how.temperature), truth, weight)

    return min(found, key=lambda pair: loss(pair[1])) if len(found) > 1 else found[0]


def _fitted(
    cues: Cues, labels: tuple[str, ...], taxonomies: Groups, recipe: Recipe, embedding: str, seed: int
) -> CueHead:
    return fit(inputs(cues), truth_of(cues, labels), labels, taxonomies, recipe, embedding, seed)


def _rows(x: Inputs, rows: npt.NDArray[np.intp]) -> Inputs:
    return x[rows] if isinstance(x, np.ndarray) else [x[int(i)] for i in rows]
