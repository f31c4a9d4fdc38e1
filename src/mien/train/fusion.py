"""`mien train fusion`: calibrations, priors, places of states and conformal sets from labelled rows, people kept apart.

Figures are of people whom nothing was fitted or chosen on; what is written is then fitted on all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mien.core import MienError
from mien.fusion import ConformalSets, FusionConfig, Made, Prototype, SourceWeights
from mien.fusion.conformal import ladder, most_certain, scores, threshold
from mien.train.calibrating import Fit, Recipe, fit
from mien.train.partners import partners
from mien.train.votes import Rows, folds, place

F64 = npt.NDArray[np.float64]
OURS = "calibrated pool"
RECIPES = (Recipe("weight", 0.0), Recipe("vector", 0.001), Recipe("matrix", 0.001), Recipe("matrix", 0.01))
INNER = 3
LEVEL = 0.9
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Line:
    """One way to join the sources, on people it was not fitted on: log-loss in nats with its 95 % interval, what it
    loses against ours (paired), and calibration error. Intervals by bootstrap over people."""

    name: str
    log_loss: float
    interval: tuple[float, float]
    more_than_ours: tuple[float, float]
    ece: float


@dataclass(frozen=True, slots=True)
class Trained:
    """What was learnt, and how it did. out_of_fold `[n k]`: the posterior of every row without its person."""

    config: FusionConfig
    recipe: Recipe
    lines: tuple[Line, ...]
    out_of_fold: F64
    note: str = ""


def losses(probs: F64, truth: F64) -> F64:
    """−Σ truth log p `[n]`, nats."""
    return -(truth * np.log(np.maximum(probs, 1e-12))).sum(axis=1)


def soft_ece(probs: F64, truth: F64, bins: int = 15) -> float:
    """Expected calibration error of the likeliest state in equal-width bins (Guo et al., 2017); the share of labels
    that name it counts as how often it was right."""
    top, guess = probs.max(axis=1), probs.argmax(axis=1)
    gap = truth[np.arange(len(truth)), guess] - top
    index = np.minimum((top * bins).astype(np.int64), bins - 1)
    return float(np.abs(np.bincount(index, gap, bins)).sum() / len(top))


def choose(rows: Rows, recipes: Sequence[Recipe] = RECIPES) -> Recipe:
    """The recipe of the least log-loss on people left out of its fit: three groups of people."""
    people = rows.people
    if len(people) < INNER or len(recipes) == 1:
        return recipes[0]
    cost = np.zeros(len(recipes))
    for i in range(INNER):
        test = np.isin(rows.person, people[i::INNER])
        train, rest = rows.take(~test), rows.take(test)
        for j, recipe in enumerate(recipes):
            cost[j] += losses(fit(train.sources, train.truth, recipe)(rest.sources), rest.truth).sum()
    return recipes[int(cost.argmin())]


def cross(rows: Rows, learn: Callable[[Rows], Callable[[Rows], F64]], tell: Callable[[], None] | None = None) -> F64:
    """Every row by what other people taught, `[n k]`."""
    out = np.empty_like(rows.truth)
    for train, test in folds(rows.person):
        out[test] = learn(rows.take(train))(rows.take(test))
        if tell:
            tell()
    return out


def ours(rows: Rows, recipes: Sequence[Recipe] = RECIPES) -> Callable[[Rows], F64]:
    """The calibrated pool; its recipe is chosen on the people of `rows` alone."""
    held = fit(rows.sources, rows.truth, choose(rows, recipes))
    return lambda other: held(other.sources)


def compare(rows: Rows, progress: Progress = lambda done, total: None) -> tuple[tuple[Line, ...], F64]:
    """All partners and the calibrated pool on the same folds; the pool's posteriors."""
    ways = {OURS: ours, **partners(rows.sources)}
    done, total = 0, len(ways) * len(folds(rows.person))

    def tell() -> None:
        nonlocal done
        done += 1
        progress(done, total)

    answers = {name: cross(rows, learn, tell) for name, learn in ways.items()}
    each = {name: losses(p, rows.truth) for name, p in answers.items()}
    draws = _draws(rows.person)
    lines = tuple(
        Line(
            name,
            float(each[name].mean()),
            _ends(draws(each[name])),
            _ends(draws(each[name] - each[OURS])),
            soft_ece(p, rows.truth),
        )
        for name, p in answers.items()
    )
    return lines, answers[OURS]


def _draws(person: npt.NDArray[np.str_], rounds: int = 2000) -> Callable[[F64], F64]:
    """Bootstrap over people: means of a value per row in `rounds` draws."""
    names, who = np.unique(person, return_inverse=True)
    picked = np.random.default_rng(0).integers(0, len(names), (rounds, len(names)))
    count = np.bincount(who).astype(np.float64)

    def means(values: F64) -> F64:
        return np.bincount(who, values)[picked].sum(axis=1) / count[picked].sum(axis=1)

    return means


def _ends(values: F64) -> tuple[float, float]:
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


def conformal(rows: Rows, out_of_fold: F64, level: float | None) -> tuple[ConformalSets | None, str]:
    """Sets calibrated on people, and a sentence where there are none. level None: 0.9 where the people can certify it.

    Raises:
        MienError: `fusion.too-few-people` when a level was asked for that they cannot certify.
    """
    n = len(rows.people)
    if level is None and most_certain(n) < LEVEL:
        return None, f"{n} people certify at most {100 * most_certain(n):.1f} %: no conformal sets"
    wanted = LEVEL if level is None else level
    row, state = np.nonzero(rows.truth)
    held, weight = scores(out_of_fold)[row, state], rows.truth[row, state]
    limit = threshold(held, rows.person[row].tolist(), wanted, weight)
    rungs = ladder(held, rows.person[row].tolist(), weight)
    by_type: dict[str, float] = {}
    for kind in np.unique(rows.kind[rows.kind != ""]):
        mine = rows.kind[row] == kind
        if most_certain(len(np.unique(rows.person[row][mine]))) >= wanted:
            by_type[str(kind)] = threshold(held[mine], rows.person[row][mine].tolist(), wanted, weight[mine])
    sets = ConformalSets(level=wanted, people=n, threshold=limit, by_type=by_type, ladder=rungs, out_of_fold=True)
    return sets, ""


def prototypes(rows: Rows, base: FusionConfig) -> tuple[Prototype, ...]:
    """Places of the states: learnt where rows carry valence and arousal, else the project's, else an emotion word's.

    Raises:
        MienError: `train.no-prototype`.
    """
    known = {s.name: s for s in base.states}
    rated = np.isfinite(rows.plane).all(axis=1)
    out: list[Prototype] = []
    for c, name in enumerate(rows.states):
        w = rows.truth[rated, c]
        if w.sum() >= 5:
            x = rows.plane[rated]
            mean = w @ x / w.sum()
            cov = (w[:, None] * (x - mean)).T @ (x - mean) / w.sum()
            sd = np.maximum(np.sqrt(np.diag(cov)), 0.05)
            off = float(np.clip(cov[0, 1] / (sd[0] * sd[1]), -0.95, 0.95))
            v, a = (float(np.clip(m, -1, 1)) for m in mean)
            out.append(Prototype(name=name, valence=v, arousal=a, sd_valence=sd[0], sd_arousal=sd[1], correlation=off))
        elif name in known:
            out.append(known[name])
        elif (at := place(name)) is not None:
            out.append(Prototype(name=name, valence=at[0], arousal=at[1]))
        else:
            raise MienError(
                "train.no-prototype",
                f"the state {name!r} has no place in the plane of valence and arousal",
                "add columns valence and arousal (-1..1), or name it in mien.toml under fusion.states",
            )
    return tuple(out)


def train(
    rows: Rows,
    base: FusionConfig | None = None,
    *,
    level: float | None = None,
    progress: Progress = lambda done, total: None,
) -> Trained:
    """Learn a fusion configuration. `base`: what stays as it is (gate, thresholds, people).

    Raises:
        MienError: `train.too-few-people`, `train.no-prototype`, `fusion.too-few-people`, `install.missing-extra`.
    """
    base = base or FusionConfig()
    if len(rows.people) < INNER + 1:
        raise MienError(
            "train.too-few-people",
            f"the rows are of {len(rows.people)} people",
            f"{INNER + 1} are the least: some are fitted on, some chosen on, some measured on",
        )
    states = prototypes(rows, base)
    lines, out_of_fold = compare(rows, progress)
    sets, note = conformal(rows, out_of_fold, level)
    recipe = choose(rows)
    found = fit(rows.sources, rows.truth, recipe)
    config = FusionConfig(
        states=states,
        prior=tuple(float(p) for p in found.prior / found.prior.sum()),
        weights=_weights(found, base.weights),
        gate=base.gate,
        body=base.body,
        thresholds=base.thresholds,
        dynamics=base.dynamics,
        calibration=found.calibrations,
        conformal=sets,
        reliability=base.reliability,
        people=base.people,
        made=Made(
            rows=len(rows),
            people=len(rows.people),
            rows_sha256=rows.sha256,
            labels_sha256=base.made.labels_sha256,
            log_loss=lines[0].log_loss,
        ),
    )
    return Trained(config, recipe, lines, out_of_fold, note)


def _weights(held: Fit, base: SourceWeights) -> SourceWeights:
    """λ = 1 for what was calibrated: its matrix holds its worth. Face and body were fitted together, so no cap."""
    names = set(held.calibrations)
    values: dict[str, Any] = base.model_dump() | dict.fromkeys(names & {"face", "voice", "body"}, 1.0)
    values["others"] = dict(base.others) | dict.fromkeys(sorted(names - {"face", "voice", "body"}), 1.0)
    if {"face", "body"} <= names:
        values["face_and_body_cap"] = 2.0
    values["expected"] = tuple(n for n in sorted(names) if n != "body") or tuple(sorted(names))
    return SourceWeights(**values)
