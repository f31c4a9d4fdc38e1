"""What a project may set about fusion: states and their place in the valence/arousal plane, weights, thresholds."""

from __future__ import annotations

from typing import Annotated, Self

from annotated_types import Ge, Gt, Le, Lt
from pydantic import Field, model_validator

from mien.core import Strict
from mien.fusion.body import BodyEvidence
from mien.fusion.calibrate import Calibration
from mien.fusion.conformal import ConformalSets
from mien.fusion.dynamics import Dynamics
from mien.fusion.reliability import Confirmed, Reliability

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
    Body shares its frames with the face, hence the common cap; its weight is a stated default. others: further sources
    by name; one that is not named weighs nothing.
    """

    face: Share = 0.95
    voice: Share = 0.57
    body: Share = 0.35
    face_and_body_cap: Annotated[float, Gt(0)] = 1.3
    expected: tuple[str, ...] = ("face", "voice")
    others: dict[str, Share] = Field(default={})

    @model_validator(mode="after")
    def _known(self) -> Self:
        by = self.by_name
        if set(self.expected) - set(by) or not self.expected:
            raise ValueError(f"expected must name sources among {', '.join(by)}, but got {list(self.expected)}")
        if set(self.others) & {"face", "voice", "body"}:
            raise ValueError("others must not name face, voice or body: they have keys of their own")
        if self.total == 0:
            raise ValueError("at least one expected source must have a weight above 0")
        return self

    @property
    def by_name(self) -> dict[str, float]:
        """λ of every source that has one."""
        return {"face": self.face, "voice": self.voice, "body": self.body, **self.others}

    @property
    def total(self) -> float:
        """λ_max: the summed weight when every expected source is there at full quality."""
        total = sum(self.by_name[name] for name in dict.fromkeys(self.expected))
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


class Made(Strict):
    """What a `fusion.toml` was learnt from: counts and digests, no names. All empty: nothing was learnt."""

    rows: Annotated[int, Ge(0)] = 0
    people: Annotated[int, Ge(0)] = 0
    rows_sha256: str = ""
    labels_sha256: str = ""
    log_loss: Annotated[float, Ge(0)] | None = None


class FusionConfig(Strict):
    """Everything fusion needs to know. `prior` empty: uniform over the states.

    calibration: of each source, by name. conformal: none: no sets. people: confirmations by pseudonym and source.
    """

    states: Annotated[tuple[Prototype, ...], Field(min_length=2)] = DEFAULT_STATES
    prior: tuple[Annotated[float, Gt(0)], ...] = ()
    weights: SourceWeights = SourceWeights()
    gate: Gate = Gate()
    body: BodyEvidence = BodyEvidence()
    thresholds: Thresholds = Thresholds()
    dynamics: Dynamics = Dynamics()
    calibration: dict[str, Calibration] = Field(default={})
    conformal: ConformalSets | None = None
    reliability: Reliability = Reliability()
    people: dict[str, dict[str, Confirmed]] = Field(default={})
    made: Made = Made()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(set(self.names)) != len(self.names):
            raise ValueError(f"state names must differ, but got {list(self.names)}")
        if self.prior and len(self.prior) != len(self.states):
            raise ValueError(f"prior must have {len(self.states)} entries, one per state, but got {len(self.prior)}")
        if self.prior and abs(sum(self.prior) - 1) > 1e-6:
            raise ValueError(f"prior must sum to 1, but sums to {sum(self.prior)}")
        for name, held in self.calibration.items():
            if len(held.train_prior) != len(self.states):
                raise ValueError(f"calibration.{name} must answer for {len(self.states)} states")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(s.name for s in self.states)

    @property
    def prior_or_uniform(self) -> tuple[float, ...]:
        return self.prior or (1 / len(self.states),) * len(self.states)
