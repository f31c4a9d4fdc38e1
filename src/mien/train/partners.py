"""Other ways to join sources, learnt on the same rows: what fusion is held against."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from mien.core import missing_extra
from mien.fusion.pool import softmax
from mien.train.calibrating import Recipe, fit
from mien.train.votes import Rows

F64 = npt.NDArray[np.float64]
Predict = Callable[[Rows], F64]
Learn = Callable[[Rows], Predict]


def shares_of(x: F64) -> F64:
    """Votes `[n k]` with half a vote for every class, probabilities with a thousandth; rows sum to 1, NaN stays."""
    total = x.sum(axis=1, keepdims=True)
    pseudo = 0.5 if np.nanmax(total, initial=0.0) > 1.5 else 1e-3
    return (x + pseudo) / (total + pseudo * x.shape[1])


def alone(source: str) -> Learn:
    """One source as it is, flat where it is missing."""
    return lambda train: lambda rows: _filled(shares_of(rows.sources[source]), 1 / len(rows.states))


def mean(train: Rows) -> Predict:
    """The mean of the sources that are there."""

    def predict(rows: Rows) -> F64:
        p = np.stack([shares_of(x) for x in rows.sources.values()])
        there = np.isfinite(p)
        return _normal(np.where(there, p, 0).sum(axis=0) / np.maximum(there.sum(axis=0), 1) + 1e-12)

    return predict


def product(train: Rows) -> Predict:
    """The product of the sources that are there, prior and all."""
    return lambda rows: softmax(
        np.sum([np.log(_filled(shares_of(x), 1 / len(rows.states))) for x in rows.sources.values()], axis=0)
    )


def weights(train: Rows) -> Predict:
    """The prior-corrected pool with one weight (and one concentration) per source."""
    held = fit(train.sources, train.truth, Recipe("weight", 0.0))
    return lambda rows: held(rows.sources)


def stacking(train: Rows) -> Predict:
    """Multinomial logistic regression on the logarithms of all sources together (scikit-learn, C = 1); a source that is
    missing is filled with its mean. Raises MienError `install.missing-extra`."""
    try:
        from sklearn.linear_model import LogisticRegression
    except ImportError:
        raise missing_extra("scikit-learn", "train") from None

    fill = {n: np.nanmean(np.log(shares_of(x)), axis=0) for n, x in train.sources.items()}

    def features(rows: Rows) -> F64:
        logs = [np.log(shares_of(rows.sources[n])) for n in fill]
        return np.hstack([np.where(np.isfinite(x), x, fill[n]) for n, x in zip(fill, logs, strict=True)])

    row, state = np.nonzero(train.truth)
    model = LogisticRegression(C=1.0, max_iter=1000, tol=1e-4)
    model.fit(features(train)[row], state, sample_weight=train.truth[row, state])

    def predict(rows: Rows) -> F64:
        p = np.full((len(rows), len(rows.states)), 1e-6)
        p[:, model.classes_] = np.maximum(model.predict_proba(features(rows)), 1e-6)
        return _normal(p)

    return predict


def dempster_shafer(train: Rows) -> Predict:
    """Dempster's normalised rule on discounted sources (Shafer 1976); its pignistic probabilities. One discount per
    source, of the least log-loss."""
    from scipy.optimize import minimize

    names = sorted(train.sources)

    def joined(rows: Rows, trust: F64) -> F64:
        mass, open_ = np.zeros((len(rows), len(rows.states))), np.ones((len(rows), 1))
        for name, worth in zip(names, trust, strict=True):
            p = shares_of(rows.sources[name])
            there = np.isfinite(p).all(axis=1, keepdims=True)
            new, rest = np.where(there, worth * p, 0.0), np.where(there, 1 - worth, 1.0)
            mass, open_ = mass * new + mass * rest + open_ * new, open_ * rest
            scale = mass.sum(axis=1, keepdims=True) + open_
            mass, open_ = mass / scale, open_ / scale
        return _normal(mass + open_ / mass.shape[1] + 1e-9)

    def loss(z: F64) -> float:
        return float(-(train.truth * np.log(joined(train, 1 / (1 + np.exp(-z))))).sum(axis=1).mean())

    found = minimize(loss, np.full(len(names), 1.0), method="L-BFGS-B", bounds=[(-6, 6)] * len(names))
    trust = 1 / (1 + np.exp(-found.x))
    return lambda rows: joined(rows, trust)


def partners(sources: Mapping[str, F64]) -> dict[str, Learn]:
    """Every partner by the name it has in tables."""
    return {
        **{f"{name} alone": alone(name) for name in sources},
        "mean of probabilities": mean,
        "product": product,
        "pool, one weight a source": weights,
        "logistic stacking": stacking,
        "Dempster-Shafer, normalised": dempster_shafer,
    }


def _normal(p: F64) -> F64:
    return p / p.sum(axis=1, keepdims=True)


def _filled(p: F64, value: float) -> F64:
    return np.where(np.isfinite(p), p, value)
