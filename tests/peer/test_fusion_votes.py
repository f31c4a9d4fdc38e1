"""Two-source fusion on real judgements: CREMA-D clips judged by voice alone and by face alone, against both.

The pool with two weights, fitted on other actors, must predict the votes of those who heard *and* saw better than the
mean and the product of the two (log-loss in nats per vote).
"""

import csv
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import minimize

from mien.fusion import SourceEvidence, pool

pytestmark = pytest.mark.peer
PSEUDO = 3.0  # votes added to each clip: half a vote per class


@pytest.fixture(scope="module")
def votes(shared_data: Path) -> tuple[np.ndarray, np.ndarray]:
    """Counts float64 [clip, (voice, face, both), 6] and the actor of each clip."""
    by: dict[str, dict[str, list[int]]] = defaultdict(dict)
    with (shared_data / "votes_cremad" / "tabulatedVotes.csv").open() as f:
        for row in csv.DictReader(f):
            by[row["fileName"]][row[""][0]] = [int(row[c]) for c in "ADFHNS"]
    names = sorted(n for n, d in by.items() if len(d) == 3 and all(sum(v) for v in d.values()))
    return np.array([[by[n][k] for k in "123"] for n in names], float), np.array([int(n[:4]) for n in names])


def _loss(truth: np.ndarray, p: np.ndarray) -> float:
    return float(-(truth * np.log(p)).sum(axis=1).mean())


def _shrunk(counts: np.ndarray, toward: np.ndarray) -> np.ndarray:
    return (counts + PSEUDO * toward) / (counts.sum(axis=1, keepdims=True) + PSEUDO)


def _weighted(prior: np.ndarray, ratios: list[np.ndarray], weights: np.ndarray) -> np.ndarray:
    logs = np.log(prior) + sum(w * r for w, r in zip(weights, ratios, strict=True))
    p = np.exp(logs - logs.max(axis=1, keepdims=True))
    return p / p.sum(axis=1, keepdims=True)


def test_two_weights_beat_mean_and_product(votes: tuple[np.ndarray, np.ndarray]) -> None:
    counts, actor = votes
    assert counts.shape[0] > 7000
    truth = counts[:, 2] / counts[:, 2].sum(axis=1, keepdims=True)
    actors = np.unique(actor)
    assert len(actors) == 91

    fused, weights = np.empty_like(truth), []
    for fold in range(5):
        test = np.isin(actor, actors[fold::5])
        shares = counts[~test].sum(axis=0) / counts[~test].sum(axis=(0, 2))[:, None]
        dists = [_shrunk(counts[:, m], shares[m]) for m in range(2)]
        ratios = [np.log(d) - np.log(s) for d, s in zip(dists, shares[:2], strict=True)]

        def loss(w: np.ndarray, train=~test, ratios=ratios, shares=shares) -> float:
            return _loss(truth[train], _weighted(shares[2], [r[train] for r in ratios], w))

        w = minimize(loss, np.array([0.5, 0.5]), bounds=[(0, 2)] * 2).x
        weights.append(w)
        for i in np.flatnonzero(test):  # the held-out clips go through the room's own pool
            sources = [
                SourceEvidence(name, tuple(d[i].tolist()), tuple(s.tolist()), float(v))
                for name, d, s, v in zip(("voice", "face"), dists, shares[:2], w, strict=True)
            ]
            fused[i] = [p for _, p in pool(tuple("ADFHNS"), tuple(shares[2].tolist()), sources).posterior]

    voice, face = (_shrunk(counts[:, m], np.full(6, 1 / 6)) for m in range(2))
    product = voice * face
    product /= product.sum(axis=1, keepdims=True)
    figures = {"pool": _loss(truth, fused), "mean": _loss(truth, (voice + face) / 2), "product": _loss(truth, product)}
    print(figures, "weights (voice, face)", np.mean(weights, axis=0).round(3))
    assert figures["mean"] == pytest.approx(1.086, abs=0.002)
    assert figures["product"] == pytest.approx(1.067, abs=0.002)
    assert figures["pool"] <= 0.98
    # with the clips of the voice shuffled its evidence is gone, and the loss must say so
    rng = np.random.default_rng(0)
    shares = counts.sum(axis=0) / counts.sum(axis=(0, 2))[:, None]
    ratios = [np.log(_shrunk(counts[:, m], shares[m])) - np.log(shares[m]) for m in range(2)]
    ratios[0] = ratios[0][rng.permutation(len(counts))]
    assert _loss(truth, _weighted(shares[2], ratios, np.mean(weights, axis=0))) > figures["pool"] + 0.1


def test_matrices_beat_stacking_and_are_calibrated(shared_data: Path) -> None:
    """A matrix per source (which keeps contributions and deletions exact), always on actors it was not fitted on."""
    from bench.fusion import crema
    from mien.train.calibrating import Recipe, fit
    from mien.train.fusion import losses, soft_ece
    from mien.train.votes import folds

    rows = crema(shared_data)
    fused, mixed = np.empty_like(rows.truth), np.empty_like(rows.truth)
    rng = np.random.default_rng(0)
    for train, test in folds(rows.person):
        assert not set(rows.person[train]) & set(rows.person[test])
        some = rows.take(test)
        held = fit(rows.take(train).sources, rows.truth[train], Recipe("matrix", 0.01))
        fused[test] = held(some.sources)
        mixed[test] = held({**some.sources, "voice": some.sources["voice"][rng.permutation(len(test))]})
    print(losses(fused, rows.truth).mean(), soft_ece(fused, rows.truth))
    assert losses(fused, rows.truth).mean() <= 0.930
    assert soft_ece(fused, rows.truth) <= 0.02
    assert losses(mixed, rows.truth).mean() > losses(fused, rows.truth).mean() + 0.1
