"""Calibration of one source: what it says → a distribution over the states, from votes, shares or scores."""

from __future__ import annotations

from typing import Annotated, Self

import numpy as np
import numpy.typing as npt
from annotated_types import Ge, Gt
from pydantic import model_validator

from mien.core import Strict
from mien.fusion.evidence import FLOOR, SourceEvidence

F64 = npt.NDArray[np.float64]
Row = tuple[float, ...]


class Calibration(Strict):
    """p(c | x) ∝ π(c) exp(W φ(x) + b)_c with φ = log s − log ρ and s = (x + a ρ) / (Σx + a).

    Dirichlet calibration (Kull et al., NeurIPS 2019); one temperature T is W = I / T, b = 0 (Guo et al., ICML 2017).
    The source's log-likelihood ratio W φ + b is a function of this source alone: what it adds to the pool stays exact,
    and so does taking it away.

    Args:
        matrix: W `[k c]`, states × the source's own classes. bias: b `[k]`, empty: 0.
        train_prior: π `[k]`, shares of the states in the labels it was fitted on. toward: ρ `[c]`, the source's own
            mean answer there.
        concentration: a ≥ 0; s is the posterior mean of votes x under Dirichlet(a ρ). Few votes stay near ρ, so they
            say little.

    Raises:
        ValueError: shapes do not fit, or a prior is not a distribution above 0.
    """

    matrix: tuple[Row, ...]
    train_prior: tuple[Annotated[float, Gt(0)], ...]
    toward: tuple[Annotated[float, Gt(0)], ...]
    bias: Row = ()
    concentration: Annotated[float, Ge(0)] = 0.0

    @model_validator(mode="after")
    def _shapes(self) -> Self:
        k, c = len(self.train_prior), len(self.toward)
        if len(self.matrix) != k or {len(row) for row in self.matrix} != {c}:
            raise ValueError(f"matrix must have {k} rows of {c}: states × the source's classes")
        if self.bias and len(self.bias) != k:
            raise ValueError(f"bias must have {k} entries, one per state, but got {len(self.bias)}")
        for name, values in (("train_prior", self.train_prior), ("toward", self.toward)):
            if abs(sum(values) - 1) > 1e-6:
                raise ValueError(f"{name} must sum to 1, but sums to {sum(values)}")
        if not np.isfinite([*np.ravel(self.matrix), *self.bias]).all():
            raise ValueError("matrix and bias must be finite")
        return self

    @classmethod
    def of_temperature(cls, states: int, temperature: float) -> Self:
        """Every log-odds divided by one temperature; nothing else changes."""
        flat = (1 / states,) * states
        rows = tuple(tuple(float(v) for v in row) for row in np.eye(states) / temperature)
        return cls(matrix=rows, train_prior=flat, toward=flat)

    def ratios(self, given: F64) -> F64:
        """log p − log π up to a constant: float64 `[n c]` votes, shares or scores ≥ 0 → `[n k]`; NaN rows stay NaN.

        Raises:
            ValueError: another number of classes, or a value below 0.
        """
        s = smoothed(given, np.array(self.toward), self.concentration)
        out = (np.log(np.maximum(s, FLOOR)) - np.log(self.toward)) @ np.array(self.matrix).T
        return out + np.array(self.bias) if self.bias else out

    def __call__(self, given: F64) -> F64:
        """float64 `[n c]` → p(c | x) `[n k]`, rows sum to 1; NaN rows stay NaN."""
        logits = self.ratios(given) + np.log(self.train_prior)
        e = np.exp(logits - logits.max(axis=1, keepdims=True))
        return e / e.sum(axis=1, keepdims=True)


def smoothed(given: F64, toward: F64, concentration: float) -> F64:
    """(x + a ρ) / (Σx + a) `[n c]`: posterior mean under Dirichlet(a ρ). A row without any vote is ρ where a > 0."""
    x = np.asarray(given, np.float64)
    if x.ndim != 2 or x.shape[1] != len(toward):
        raise ValueError(f"a source's answers must be [n {len(toward)}], but got {list(x.shape)}")
    if np.any(x < 0):
        raise ValueError("a source's answers must not be negative")
    with np.errstate(invalid="ignore"):
        return (x + concentration * toward) / (x.sum(axis=1, keepdims=True) + concentration)


def calibrated(calibrations: dict[str, Calibration], source: SourceEvidence) -> SourceEvidence:
    """The source after its own calibration, if it has one; its weight, evidence and note stay.

    A source of weight 0 is given back as it came: missing stays missing to the last bit.

    Raises:
        ValueError: the calibration was fitted for another number of states.
    """
    held = calibrations.get(source.name)
    if held is None or source.weight == 0:
        return source
    if len(held.train_prior) != len(source.dist):
        raise ValueError(
            f"the calibration of {source.name!r} knows {len(held.train_prior)} states, not {len(source.dist)}"
        )
    dist = tuple(float(p) for p in held(np.array([source.dist]))[0])
    return SourceEvidence(source.name, dist, held.train_prior, source.weight, source.evidence_ids, source.note)
