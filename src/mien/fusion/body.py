"""The body as a source: how much it moves, as a weak and noisy word on arousal. It says nothing of valence."""

from __future__ import annotations

from typing import Annotated, Self

import numpy as np
import numpy.typing as npt
from annotated_types import Ge, Gt, Le
from pydantic import model_validator

from mien.core import Strict

F64 = npt.NDArray[np.float64]
UNKNOWN = 1e6
"""Variance of what was not measured: the plane is then as good as integrated over."""


class BodyEvidence(Strict):
    """Movement → arousal: `slow` and below reads as arousal `at_slow`, `fast` and above as `at_fast`, a straight line
    in the logarithm between, each with standard deviation `sd`.

    Speeds in trunk lengths/s (`body.motion_body`). That more and faster movement goes with activation is established
    for arms and gait (Pollick et al., Cognition 2001; Wallbott 1998); these figures are a stated default and no fit.
    Walking counts as movement, and freezing as none, hence the large `sd`. Posture and `tension` were never validated
    on people and stay out.
    """

    slow: Annotated[float, Gt(0)] = 0.1
    fast: Annotated[float, Gt(0)] = 1.5
    at_slow: Annotated[float, Ge(-1), Le(1)] = 0.0
    at_fast: Annotated[float, Ge(-1), Le(1)] = 0.8
    sd: Annotated[float, Gt(0)] = 0.5

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.slow >= self.fast:
            raise ValueError(f"slow must be below fast, but got {self.slow} and {self.fast}")
        return self

    def plane(self, motion: F64) -> tuple[F64, F64]:
        """Speeds `[m]` → mean `[m 2]` (valence 0, not measured; arousal) and covariance `[m 2 2]`; NaN stays NaN."""
        speed = np.asarray(motion, np.float64)
        with np.errstate(divide="ignore"):
            along = np.log(speed / self.slow) / np.log(self.fast / self.slow)
        arousal = self.at_slow + (self.at_fast - self.at_slow) * np.clip(along, 0, 1)
        mean = np.stack([np.where(np.isnan(speed), np.nan, 0.0), arousal], axis=1)
        return mean, np.tile(np.diag([UNKNOWN, self.sd**2]), (len(speed), 1, 1))
