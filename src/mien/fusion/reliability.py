"""How far a source can be trusted for one person: moved by confirmations of caregivers, shrunk to the population."""

from __future__ import annotations

from typing import Annotated, Self

from annotated_types import Ge, Gt, Le
from pydantic import Field, model_validator

from mien.core import Strict

Count = Annotated[int, Ge(0)]


class Confirmed(Strict):
    """How often a person's label stood where the source had answered, and how often both named the same state."""

    windows: Count
    right: Count

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.right > self.windows:
            raise ValueError(f"right must be at most windows, but got {self.right} of {self.windows}")
        return self


class Reliability(Strict):
    """population: share of confirmed windows that each source reads rightly in everybody; a source that is not named
    is not moved. strength: n₀, confirmations that weigh as much as the population."""

    population: dict[str, Annotated[float, Gt(0), Le(1)]] = Field(default={})
    strength: Annotated[float, Gt(0)] = 20.0


def reliability(rule: Reliability, source: str, held: Confirmed | None) -> float:
    """r / r_pop with r = (right + n₀ r_pop) / (n + n₀), at most 1: the factor on the source's weight for this person.

    Empirical-Bayes shrinkage of a rate (Efron & Morris 1975). λ was set for the population, so a person of whom nothing
    is known has factor 1 exactly; confirmations may take weight away, and give back no more than was there.
    """
    population = rule.population.get(source)
    if population is None or held is None or held.windows == 0:
        return 1.0
    shrunk = (held.right + rule.strength * population) / (held.windows + rule.strength)
    return min(1.0, shrunk / population)
