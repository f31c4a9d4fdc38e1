"""Fusion: real votes on voice and face joined to foretell votes on both, and sanity checks on planted truth.

Votes (CREMA-D): people are actors, five groups of them; everything that is fitted or chosen sees four. The checks on
planted streams measure the arithmetic, not the world: their truth is of our making.
"""

from __future__ import annotations

import csv
import os
from collections import defaultdict
from pathlib import Path

import numpy as np

from mien.fusion import FusionConfig, assess_rows, pool_rows
from mien.fusion.conformal import ConformalSets, adapted, scores, sets, threshold
from mien.train.fusion import OURS, choose, compare, soft_ece
from mien.train.votes import Rows, folds

STATES = ("anger", "disgust", "fear", "happiness", "neutral", "sadness")
DATA = Path(os.environ.get("MIEN_SHARED_DATA", Path(__file__).parents[2] / "shared" / "data"))
KNOWN = {"mean of probabilities": 1.086, "product": 1.067, "pool, one weight a source": 0.976}


def main(args: list[str]) -> list[str]:
    lines = ["### Sanity checks on planted truth", "", *planted(), "", "### Votes of CREMA-D", ""]
    return [*lines, *votes(crema(DATA))]


def crema(folder: Path) -> Rows:
    """Votes on voice alone and face alone as sources, shares of the votes on both as labels; person: the actor."""
    by: dict[str, dict[str, list[int]]] = defaultdict(dict)
    with (folder / "votes_cremad" / "tabulatedVotes.csv").open() as f:
        for row in csv.DictReader(f):
            by[row["fileName"]][row[""][0]] = [int(row[c]) for c in "ADFHNS"]
    names = sorted(n for n, d in by.items() if len(d) == 3 and all(sum(v) for v in d.values()))
    counts = np.array([[by[n][k] for k in "123"] for n in names], np.float64)
    return Rows(
        STATES,
        np.array([n[:4] for n in names]),
        counts[:, 2] / counts[:, 2].sum(axis=1, keepdims=True),
        {"voice": counts[:, 0], "face": counts[:, 1]},
        np.array([""] * len(names)),
        np.full((len(names), 2), np.nan),
    )


def votes(rows: Rows) -> list[str]:
    found, posterior = compare(rows)
    told = [
        f"{len(rows)} clips, {len(rows.people)} actors, {len(folds(rows.person))} groups of actors; truth: the share "
        "of votes of those who heard and saw. Log-loss in nats, 95 % intervals by bootstrap over actors; the least "
        f"that any answer can reach is {entropy_of(rows.truth):.3f}.",
        "",
        "| way to join the sources | log-loss | more than ours | ECE |",
        "|---" * 4 + "|",
    ]
    for x in found:
        apart = "" if x.name == OURS else f"{x.more_than_ours[0]:+.3f} … {x.more_than_ours[1]:+.3f}"
        told.append(
            f"| {x.name} | {x.log_loss:.3f} ({x.interval[0]:.3f} … {x.interval[1]:.3f}) | {apart} | {x.ece:.3f} |"
        )
    known = ", ".join(f"{name} {value}" for name, value in KNOWN.items())
    told += [
        "",
        f"Stated before: {known}, logistic stacking 0.930.",
        "",
        *deleted(rows),
        "",
        *certified(rows, posterior),
    ]
    return [*told, "", *control(rows)]


def entropy_of(p: np.ndarray) -> float:
    return float(-(p * np.log(np.maximum(p, 1e-300))).sum(axis=1).mean())


def deleted(rows: Rows) -> list[str]:
    """Deletions with fitted calibrations: the pool without a source against the pool of the rest, bit by bit."""
    from mien.train.calibrating import fit

    train, test = folds(rows.person)[0]
    recipe = choose(rows.take(train))
    held = fit(rows.take(train).sources, rows.truth[train], recipe)
    some = rows.take(test)
    dists = np.stack([held.calibrations[n](some.sources[n]) for n in some.sources], axis=1)
    trained = np.stack([held.calibrations[n].train_prior for n in some.sources])
    prior = np.asarray(trained[0])
    on = np.ones((len(some), len(some.sources)))
    whole, added = pool_rows(prior, dists, trained, on)
    same = worst = 0.0
    for m in range(dists.shape[1]):
        gone = on.copy()
        gone[:, m] = 0
        broken = dists.copy()
        broken[:, m] = np.nan
        rest = [i for i in range(dists.shape[1]) if i != m]
        left, _ = pool_rows(prior, broken, trained, gone)
        alone, _ = pool_rows(prior, dists[:, rest], trained[rest], on[:, rest])
        same += float((left == alone).all(axis=1).mean()) / dists.shape[1]
        log = np.log(whole) - added[:, m]
        log = np.exp(log - log.max(axis=1, keepdims=True))
        worst = max(worst, float(np.abs(log / log.sum(axis=1, keepdims=True) - left).max()))
    return [
        f"Deletions with the fitted matrices ({recipe.kind}, penalty {recipe.penalty:g}), {len(some)} clips of other "
        f"actors: the pool with a source missing equals the pool of the rest bit by bit in {100 * same:.0f} % of rows; "
        f"taking a source's log-odds from the posterior gives it within {worst:.0e}."
    ]


def certified(rows: Rows, posterior: np.ndarray) -> list[str]:
    """Conformal sets: thresholds from half of the actors, coverage and size on the other half, many times."""
    rng, told = np.random.default_rng(0), []
    held, people = scores(posterior), rows.people
    for level in (0.8, 0.9, 0.95):
        cover, size, per = [], [], []
        for _ in range(50):
            half = np.isin(rows.person, rng.permutation(people)[: len(people) // 2])
            row, state = np.nonzero(rows.truth[half])
            limit = threshold(
                held[half][row, state], rows.person[half][row].tolist(), level, rows.truth[half][row, state]
            )
            rule = ConformalSets(level=level, people=len(people) // 2, threshold=limit)
            inside = sets(rule, posterior[~half])
            hit = (rows.truth[~half] * inside).sum(axis=1)
            each = [hit[rows.person[~half] == p].mean() for p in np.unique(rows.person[~half])]
            cover.append(np.mean(each))
            per.append(np.quantile(each, 0.1))
            size.append(inside.sum(axis=1).mean())
        told.append(
            f"| {level} | {np.mean(cover):.3f} | {np.mean(per):.3f} | {np.mean(size):.2f} | "
            f"{level} … {level + 2 / (len(people) // 2 + 1):.3f} |"
        )
    return [
        "Conformal sets over actors, 45 to calibrate on and 46 to measure on, 50 halvings, scores out of fold:",
        "",
        "| level | coverage of a vote | of the 10th-percentile actor | states in a set | bound, were sets ever empty |",
        "|---" * 5 + "|",
        *told,
    ]


def control(rows: Rows) -> list[str]:
    """With the voice of another clip its worth must be gone."""
    from mien.train.fusion import cross, losses, ours

    rng = np.random.default_rng(0)
    mixed = {**rows.sources, "voice": rows.sources["voice"][rng.permutation(len(rows))]}
    shuffled = Rows(rows.states, rows.person, rows.truth, mixed, rows.kind, rows.plane)
    p = cross(shuffled, ours)
    return [f"Control: with the voices of other clips the calibrated pool has {losses(p, rows.truth).mean():.3f}."]


# ---------------------------------------------------------------- planted truth


def planted(seed: int = 0) -> list[str]:
    """Arithmetic on worlds whose answer is known."""
    error, identity = posterior_error(seed)
    flagged, false = conflicts(seed)
    coverage, bound = coverage_of_people(seed)
    drift, drift_bound = drifting(seed)
    return [
        f"- known posterior, 20,000 rows, 3 sources with training priors of their own: largest error {error:.0e}",
        f"- H(mix) = ambiguity + conflict: largest difference {identity:.0e} nats",
        f"- planted conflicts flagged {flagged:.4f}, agreement flagged {false:.4f} (20,000 rows each)",
        f"- conformal coverage of rows of new simulated people {coverage:.4f} (stated {bound[0]:.3f} … {bound[1]:.3f})",
        f"- adaptive sets under drift: misses {drift[0]:.4f} for 0.1 (bound ± {drift_bound:.4f}); without adapting "
        f"{drift[1]:.4f}",
    ]


def posterior_error(seed: int, n: int = 20_000, k: int = 4, m: int = 3) -> tuple[float, float]:
    rng = np.random.default_rng(seed)
    prior = rng.dirichlet(np.full(k, 3.0))
    trained = rng.dirichlet(np.full(k, 3.0), m) * 0.9 + 0.1 / k
    likelihood = rng.dirichlet(np.ones(8), (m, k))
    state = rng.choice(k, n, p=prior)
    truth, dists = np.tile(prior, (n, 1)), np.empty((n, m, k))
    for j in range(m):
        symbol = (rng.random(n)[:, None] > likelihood[j, state].cumsum(axis=1)).sum(axis=1).clip(0, 7)
        seen = likelihood[j][:, symbol].T
        truth *= seen
        dists[:, j] = trained[j] * seen
    truth /= truth.sum(axis=1, keepdims=True)
    dists /= dists.sum(axis=2, keepdims=True)
    got, _ = pool_rows(prior, dists, trained, np.ones((n, m)))
    config = FusionConfig()
    three = rng.dirichlet(np.full(3, 0.4), (n, 3))
    rows = assess_rows(config, ("face", "voice", "body"), three, np.full((3, 3), 1 / 3), rng.random((n, 3)))
    identity = np.abs(rows.total - rows.ambiguity - rows.conflict).max()
    return float(np.abs(got - truth).max()), float(identity)


def conflicts(seed: int, n: int = 20_000) -> tuple[float, float]:
    """Two sources of the default weights that read one planted state, or two different ones (Dirichlet noise)."""
    rng, shares = np.random.default_rng(seed), []
    for agree in (False, True):
        state = rng.integers(0, 3, n)
        other = state if agree else (state + rng.integers(1, 3, n)) % 3
        face, voice = (rng.gamma(2.0 + 16 * np.eye(3)[s]) for s in (state, other))
        dists = np.stack([face / face.sum(1, keepdims=True), voice / voice.sum(1, keepdims=True)], axis=1)
        rows = assess_rows(
            FusionConfig(), ("face", "voice"), dists, np.full((2, 3), 1 / 3), np.tile([0.95, 0.57], (n, 1))
        )
        shares.append(float((rows.reason == "conflict").mean()))
    return shares[0], shares[1]


def people(rng: np.random.Generator, count: int, each: int = 30, k: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Simulated people: rows of one person share a bias the model does not know. Posterior `[count each k]`, truth."""
    bias = rng.normal(0, 1.2, (count, 1, k))
    logits = rng.normal(0, 2, (count, each, k))
    real = np.exp(logits + bias)
    real /= real.sum(axis=-1, keepdims=True)
    said = np.exp(logits)
    truth = (rng.random((count, each, 1)) > real.cumsum(axis=-1)).sum(axis=-1).clip(0, k - 1)
    return said / said.sum(axis=-1, keepdims=True), truth


def coverage_of_people(
    seed: int, level: float = 0.9, n: int = 30, worlds: int = 400
) -> tuple[float, tuple[float, float]]:
    """Mean coverage of a new person's rows over many worlds of n calibration people, and the stated bound."""
    rng, hits = np.random.default_rng(seed), []
    for _ in range(worlds):
        p, y = people(rng, n + 20)
        u = rng.random(p.shape[:2])
        s = scores(p.reshape(-1, p.shape[2]), u=u.ravel())[np.arange(y.size), y.ravel()].reshape(y.shape)
        limit = threshold(s[:n].ravel(), np.repeat(np.arange(n), p.shape[1]).tolist(), level)
        hits.append(float((s[n:] <= limit).mean()))
    return float(np.mean(hits)), (level, level + 2 / (n + 1))


def drifting(seed: int, steps: int = 5000, gamma: float = 0.02) -> tuple[tuple[float, float], float]:
    """Share of misses with and without adapting while the model grows ever more wrong; Gibbs & Candès' bound."""
    rng = np.random.default_rng(seed)
    p, y = people(rng, 200)
    calibration = np.sort(scores(p.reshape(-1, 4))[np.arange(y.size), y.ravel()])
    alpha, missed, fixed = 0.1, 0, 0
    for t in range(steps):
        logits = rng.normal(0, 2, 4)
        real = np.exp(logits * (1 - 1.5 * t / steps))
        truth = rng.choice(4, p=real / real.sum())
        said = np.exp(logits)
        s = scores((said / said.sum())[None])[0]
        limit = np.inf if alpha <= 0 else -np.inf if alpha >= 1 else np.quantile(calibration, 1 - alpha)
        miss = bool(s[truth] > limit)
        missed, fixed = missed + miss, fixed + bool(s[truth] > np.quantile(calibration, 0.9))
        alpha = adapted(alpha, miss, 0.1, gamma)
    return (missed / steps, fixed / steps), (0.9 + gamma) / (gamma * steps)


__all__ = ["crema", "main", "planted", "soft_ece"]
