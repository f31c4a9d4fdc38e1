"""The card of a head of vocal cues: what it is trained on, how it does on other people, for whom it does worst."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mien.models.sound.cues import FINEST, grouped
from mien.train.cues import Trained, known, truth_of
from mien.train.measures import balanced_weight, ece, log_loss, people_interval, recalls, uar

LEAST_OF_PERSON = 4  # clips; the recall of fewer says nothing


@dataclass(frozen=True, slots=True)
class Figures:
    """One taxonomy on people that nothing was fitted on.

    Attributes:
        uar, low, high: unweighted average recall, and the 95 % interval of its mean over people (bootstrap).
        tenth, worst: recall of the tenth-percentile and of the worst person (NaN where nobody has four clips).
        ece, log_loss: of rows weighted so that classes count equally.
        answered, wrong: share of clips whose answer is not withheld, and share of those answers that is wrong.
        groups: (column, value, clips, people, uar) of the groups that the data names.
    """

    taxonomy: str
    names: tuple[str, ...]
    clips: int
    people: int
    uar: float
    low: float
    high: float
    tenth: float
    worst: float
    ece: float
    log_loss: float
    answered: float
    wrong: float
    recall: tuple[float, ...]
    groups: tuple[tuple[str, str, int, int, float], ...]


def figures(trained: Trained, taxonomy: str) -> Figures:
    """What a taxonomy's answers are worth on `trained.measured`."""
    head, cues = trained.head, trained.measured
    how = head.taxonomies[taxonomy]
    rows, truth = known(truth_of(cues, head.labels), head.labels, how.groups)
    probs = grouped(trained.measured_logs[rows], head.labels, how.groups, how.temperature)
    person = cues.person[rows]
    weight = balanced_weight(truth, len(how.names))
    people = [np.flatnonzero(person == p) for p in np.unique(person)]
    each = np.array([uar(probs[r], truth[r]) for r in people if len(r) >= LEAST_OF_PERSON] or [np.nan])
    low, high = people_interval(each)
    given = probs.max(axis=1) >= how.threshold
    missed = probs.argmax(axis=1) != truth
    broken = tuple(
        (column, str(value), int(r.sum()), len(np.unique(person[r])), uar(probs[r], truth[r]))
        for column, values in cues.groups.items()
        for value in np.unique(values[rows])
        for r in [values[rows] == value]
    )
    return Figures(
        taxonomy, how.names, int(rows.sum()), len(people), uar(probs, truth), low, high,
        float(np.quantile(each, 0.1)), float(each.min()), ece(probs, truth, weight), log_loss(probs, truth, weight),
        float(np.average(given, weights=weight)),
        float(np.average(missed[given], weights=weight[given])) if given.any() else float("nan"),
        tuple(map(float, recalls(probs, truth))), broken,
    )  # fmt: skip


def card(trained: Trained, title: str, about: str, command: str) -> str:
    """The card as Markdown. `about`: what the labels are and are not, in the maker's words."""
    head, recipe = trained.head, trained.recipe
    people = len(np.unique(trained.development.person))
    how = (
        f"figures out of fold over {people} people, too few to keep some for the end"
        if trained.out_of_fold
        else f"fitted on {people} people, measured on {len(np.unique(trained.measured.person))} others"
    )
    made = {
        "logistic": f"logistic regression (C = {recipe.strength:g})",
        "mlp": f"{recipe.members} networks with one hidden layer of {recipe.hidden}, log-probabilities averaged",
        "attentive": f"{recipe.members} networks with {recipe.queries} heads of attention over time and one hidden "
        f"layer of {recipe.hidden}, log-probabilities averaged",
    }[head.kind]
    clips = len(trained.development) + (0 if trained.out_of_fold else len(trained.measured))
    lines = [
        f"# {title}", "", about, "",
        f"- made by `{command}`: {made}, on `{head.embedding}`",
        f"- {clips} clips, {len(head.labels)} labels; {how}",
        "- temperatures and thresholds are fitted on answers of heads that had not met the person",
        "- an answer is withheld below the threshold: from there on, the stated share was wrong on such people",
    ]  # fmt: skip
    for taxonomy in head.taxonomies:
        lines += ["", *_section(figures(trained, taxonomy), head.taxonomies[taxonomy].error)]
    return "\n".join(lines) + "\n"


def _section(f: Figures, error: float) -> list[str]:
    chance = 1 / len(f.names)
    title = "the labels" if f.taxonomy == FINEST else f.taxonomy
    recall = ", ".join(f"{name} {r:.2f}" for name, r in zip(f.names, f.recall, strict=True))
    rows = [
        ("unweighted average recall", f"{f.uar:.3f} (chance {chance:.3f}; mean over people {f.low:.3f}-{f.high:.3f})"),
        ("tenth-percentile and worst person", f"{f.tenth:.3f}, {f.worst:.3f}"),
        (f"log-loss (guessing: {np.log(len(f.names)):.3f}), calibration error", f"{f.log_loss:.3f}, {f.ece:.3f}"),
        (f"answered; wrong of those (at most {error:.2f} wanted)", f"{f.answered:.0%}; {f.wrong:.3f}"),
    ]
    lines = [f"## {title[0].upper()}{title[1:]}: {len(f.names)} names, {f.clips} clips of {f.people} people", ""]
    lines += ["| | |", "|---|---|", *(f"| {what} | {value} |" for what, value in rows), "", f"Recall: {recall}."]
    return lines + _groups(f.groups)


def _groups(found: Sequence[tuple[str, str, int, int, float]]) -> list[str]:
    if not found:
        return []
    head = ["", "| group | clips | people | recall |", "|---|---|---|---|"]
    return head + [f"| {column} {value} | {n} | {people} | {r:.3f} |" for column, value, n, people, r in found]
