"""What a project may set about fusion: states and their place in the valence/arousal plane, weights, thresholds."""

from __future__ import annotations

from typing import Annotated, Self

from annotated_types import Ge, Gt, Le, Lt
from pydantic import Field, model_validator

from mien.core import Strict

Share = Annotated[float, Ge(0), Le(1)]
Unit = Annotated[float, Ge(-1), Le(1)]


class Prototype(Strict):
    """Where one state lies in the plane of valence and arousal (each -1..1): N(μ, Σ), Σ by two sd and a correlation."""

    name: Annotated[str, Field(min_length=1)]
    valence: Unit
    arousal: Unit
    sd_valence: Annotated[float, Gt(0)] = 0.3
    sd_arousal: Annotated[float, Gt(0)] = 0.3
    correlation: Annotated[float, Gt(-1), Lt(1)] = 0.0


# Means: Russell & Mehrabian 1977. Distress is the mean of their anger, fear, sadness and disgust, and its arousal sd is
# the spread of those four terms (0.35: quiet and loud distress both belong to it) joined with a spread of 0.3 inside
# each term. Pleasure is their "happy". Calm is the origin, where `signals.affect` puts a neutral face. The spread of
# 0.3 is an assumption, not a fit: fit it on local labels where there are any.
DEFAULT_STATES = (
    Prototype(name="distress", valence=-0.595, arousal=0.3175, sd_valence=0.30, sd_arousal=0.46),
    Prototype(name="pleasure", valence=0.81, arousal=0.51, sd_valence=0.30, sd_arousal=0.30),
    Prototype(name="calm", valence=0.0, arousal=0.0, sd_valence=0.30, sd_arousal=0.30),
)


class SourceWeights(Strict):
    """λ of each source when its quality is 1: how far its log-likelihood ratio may move the posterior.

    Defaults for face and voice are the two weights fitted on the votes of CREMA-D (voice-only and face-only judges
    against judges of both, 91 actors, held out by actor: voice 0.57, face 0.95; `tests/peer/test_fusion_votes.py`).
    Those are human judges of acted speech: a prior for the weights, no measurement of these models.
    Body shares its frames with the face, hence the common cap.
    """

    face: Share = 0.95
    voice: Share = 0.57
    body: Share = 0.35
    face_and_body_cap: Annotated[float, Gt(0)] = 1.3
    expected: tuple[str, ...] = ("face", "voice")

    @model_validator(mode="after")
    def _known(self) -> Self:
        unknown = set(self.expected) - {"face", "voice", "body"}
        if unknown or not self.expected:
            raise ValueError(f"expected must name sources among face, voice, body, but got {list(self.expected)}")
        if self.total == 0:
            raise ValueError("at least one expected source must have a weight above 0")
        return self

    @property
    def total(self) -> float:
        """λ_max: the summed weight when every expected source is there at full quality."""
        by = {"face": self.face, "voice": self.voice, "body": self.body}
        total = sum(by[name] for name in dict.fromkeys(self.expected))
        if {"face", "body"} <= set(self.expected):
            total -= max(0.0, self.face + self.body - self.face_and_body_cap)
        return total


class Gate(Strict):
    """How the face's weight falls with arousal: 1 up to `low`, then a half cosine down to `least` from `high` on.

    At peak intensity faces do not tell pleasure from pain (Aviezer, Trope & Todorov, Science 2012). `least` = 0.2 is a
    stated default, not a fit.
    """

    low: Unit = 0.45
    high: Unit = 0.85
    least: Share = 0.2

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"gate.low must be below gate.high, but got {self.low} and {self.high}")
        return self


class Thresholds(Strict):
    """When an assessment says "conflict", "little evidence" or "ambiguous" instead of a state.

    conflict: nats of weighted Jensen-Shannon divergence between readings (two equal, opposite sources: at most ln 2).
    commit: a reading takes part in a conflict when it gives at least this much to one state; a vague source conflicts
    with nothing. vacuity: missing share of the evidence. top: least posterior of the leading state.
    """

    conflict: Annotated[float, Gt(0)] = 0.10
    commit: Annotated[float, Gt(0), Le(1)] = 0.5
    vacuity: Share = 0.75
    top: Share = 0.5


class FusionConfig(Strict):
    """Everything fusion needs to know. `prior` empty: uniform over the states."""

    states: Annotated[tuple[Prototype, ...], Field(min_length=2)] = DEFAULT_STATES
    prior: tuple[Annotated[float, Gt(0)], ...] = ()
    weights: SourceWeights = SourceWeights()
    gate: Gate = Gate()
    thresholds: Thresholds = Thresholds()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(set(self.names)) != len(self.names):
            raise ValueError(f"state names must differ, but got {list(self.names)}")
        if self.prior and len(self.prior) != len(self.states):
            raise ValueError(f"prior must have {len(self.states)} entries, one per state, but got {len(self.prior)}")
        if self.prior and abs(sum(self.prior) - 1) > 1e-6:
            raise ValueError(f"prior must sum to 1, but sums to {sum(self.prior)}")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(s.name for s in self.states)

    @property
    def prior_or_uniform(self) -> tuple[float, ...]:
        return self.prior or (1 / len(self.states),) * len(self.states)
