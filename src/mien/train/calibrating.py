"""Fitting the calibrations of all sources together, so that their pool has the least log-loss."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from mien.fusion import Calibration, smoothed
from mien.fusion.evidence import FLOOR
from mien.fusion.pool import softmax

F64 = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Kind = Literal["weight", "vector", "matrix"]
TOLERANCE = 1e-7  # relative gain in log-loss at which the search ends


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a calibration may be. kind: W = λ I without bias (one weight, or temperature 1/λ); W diagonal; W full.
    penalty: on the mean square of what is not on W's diagonal and of b (off-diagonal and intercept regularisation, Kull
    et al., NeurIPS 2019)."""

    kind: Kind = "matrix"
    penalty: float = 0.001


@dataclass(frozen=True, slots=True)
class Fit:
    """prior `[k]`: shares of the states among the labels. calibrations by source."""

    prior: F64
    calibrations: dict[str, Calibration]

    def __call__(self, votes: Mapping[str, F64]) -> F64:
        """The pool of all sources at λ = 1, `[n k]`; a row that is NaN is missing and adds exactly 0."""
        total = np.log(self.prior)
        for name in sorted(self.calibrations):
            ratios = self.calibrations[name].ratios(votes[name])
            total = total + np.where(np.isfinite(ratios), ratios, 0.0)
        return softmax(total)


def fit(votes: Mapping[str, F64], truth: F64, recipe: Recipe, weight: F64 | None = None) -> Fit:
    """Maximum penalised likelihood of all W, b and concentrations at once (L-BFGS; multinomial logistic regression
    in which each source keeps a term of its own).

    Args:
        votes: name → `[n c]` votes, shares or scores ≥ 0; NaN rows are missing. truth: `[n k]` distribution per row.
        weight: `[n]`, 1 each if not given.

    Raises:
        ValueError: shapes do not fit; "weight" and "vector" need c = k.
    """
    from scipy.optimize import minimize

    n, k = truth.shape
    w = np.ones(n) if weight is None else np.asarray(weight, np.float64)
    w = w / w.sum()
    prior = (w @ truth + 1e-6) / (1 + 1e-6 * k)
    terms = [_Term(name, np.asarray(votes[name], np.float64), k, recipe, w) for name in sorted(votes)]
    at = np.cumsum([0, *(t.size for t in terms)])

    def loss(theta: F64) -> tuple[float, F64]:
        logits = np.tile(np.log(prior), (n, 1))
        cost, slopes = 0.0, []
        held = [t.forward(theta[a:b]) for t, a, b in zip(terms, at, at[1:], strict=False)]
        for term, (ratios, _) in zip(terms, held, strict=True):
            logits[term.there] += ratios
        p = softmax(logits)
        cost -= float(w @ (truth * np.log(np.maximum(p, FLOOR))).sum(axis=1))
        error = (p - truth) * w[:, None]
        for term, a, b, (_, cache) in zip(terms, at, at[1:], held, strict=False):
            slope, penalty = term.backward(theta[a:b], error[term.there], cache)
            cost += penalty
            slopes.append(slope)
        return cost, np.concatenate(slopes)

    start = np.concatenate([t.start() for t in terms])
    bounds = [b for t in terms for b in t.bounds()]
    found = minimize(
        loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 400, "ftol": TOLERANCE}
    )
    return Fit(
        prior,
        {t.name: t.calibration(found.x[a:b], prior) for t, a, b in zip(terms, at, at[1:], strict=False)},
    )


class _Term:
    """One source's part of the logits: W φ + b with s = (x + a ρ) / (Σx + a), φ = log s − log ρ.

    Parameters: log a, then W (one λ, a diagonal or all), then b.
    """

    def __init__(self, name: str, x: F64, k: int, recipe: Recipe, weight: F64) -> None:
        self.name, self.k, self.c = name, k, x.shape[1]
        self.there: Bools = np.asarray(np.isfinite(x).all(axis=1))
        self.kind, self.penalty = recipe.kind, recipe.penalty
        if self.kind != "matrix" and self.c != k:
            raise ValueError(f"{name} has {self.c} classes for {k} states: kind {self.kind!r} needs as many")
        self.x = x[self.there]
        total = self.x.sum(axis=1, keepdims=True)
        share = weight[self.there] @ (self.x / np.maximum(total, FLOOR)) + 1e-4 / self.c
        self.toward, self.total = share / share.sum(), total
        self.typical = max(float(total.mean()), 1e-3) if len(self.x) else 1.0
        self.n_matrix = 1 if self.kind == "weight" else k if self.kind == "vector" else k * self.c
        self.size = 1 + self.n_matrix + (0 if self.kind == "weight" else k)

    def start(self) -> F64:
        matrix = {"weight": np.full(1, 0.7), "vector": np.full(self.k, 0.7)}.get(self.kind)
        matrix = (0.7 * np.eye(self.k, self.c)).ravel() if matrix is None else matrix
        return np.concatenate([[np.log(0.5 * self.typical)], matrix, np.zeros(self.size - 1 - self.n_matrix)])

    def bounds(self) -> list[tuple[float | None, float | None]]:
        ends = (float(np.log(0.002 * self.typical)), float(np.log(6 * self.typical)))
        least = 0.0 if self.kind == "weight" else None
        free = self.size - 1 - self.n_matrix
        return [ends, *((least, None) for _ in range(self.n_matrix)), *((None, None) for _ in range(free))]

    def parts(self, theta: F64) -> tuple[float, F64, F64]:
        m, bias = theta[1 : 1 + self.n_matrix], theta[1 + self.n_matrix :]
        match self.kind:
            case "weight":
                matrix = m[0] * np.eye(self.k)
            case "vector":
                matrix = np.diag(m)
            case _:
                matrix = m.reshape(self.k, self.c)
        return float(np.exp(theta[0])), matrix, bias if len(bias) else np.zeros(self.k)

    def forward(self, theta: F64) -> tuple[F64, tuple[F64, F64]]:
        """Ratios of the rows that are there, and what the way back needs."""
        a, matrix, bias = self.parts(theta)
        s = smoothed(self.x, self.toward, a)
        logs = np.log(np.maximum(s, FLOOR)) - np.log(self.toward)
        return logs @ matrix.T + bias, (s, logs)

    def backward(self, theta: F64, error: F64, cache: tuple[F64, F64]) -> tuple[F64, float]:
        """Slope of loss and penalty, and the penalty. error: `[n k]` of the rows that are there."""
        a, matrix, bias = self.parts(theta)
        s, logs = cache
        to_a = ((error @ matrix) * (self.toward - s) / np.maximum(s, FLOOR) / (self.total + a)).sum()
        of_matrix = error.T @ logs
        off = matrix * (1 - np.eye(self.k, self.c)) if self.kind == "matrix" else np.zeros_like(matrix)
        of_matrix = of_matrix + 2 * self.penalty * off / off.size
        of_bias = error.sum(axis=0) + 2 * self.penalty * bias / self.k
        slope = {"weight": [np.trace(of_matrix)], "vector": np.diag(of_matrix)}.get(self.kind, of_matrix.ravel())
        parts = [[a * to_a], slope] + ([] if self.kind == "weight" else [of_bias])
        return np.concatenate(parts), self.penalty * float((off**2).mean() + (bias**2).mean())

    def calibration(self, theta: F64, prior: F64) -> Calibration:
        a, matrix, bias = self.parts(theta)
        return Calibration(
            matrix=_rows(matrix),
            bias=() if self.kind == "weight" else tuple(float(v) for v in bias),
            train_prior=tuple(float(v) for v in prior / prior.sum()),
            toward=tuple(float(v) for v in self.toward),
            concentration=a,
        )


def _rows(values: F64) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(float(v) for v in row) for row in values)
