"""What is kept of what models of language answer: a row per attempt, opinions with and without, need for review."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from mien.core import Assessment, Clip, Dist, MienError, Observation, Reply, Span, content_id, digest
from mien.fusion import FusionConfig, SourceEvidence, calibrated
from mien.fusion.pool import pool
from mien.pipeline.rows import table
from mien.policy import quarantine_of
from mien.reason.deletion import pooled
from mien.reason.vlm import TARGET, Remark, narrator_engine, opinion_engine, window_dist
from mien.store import Store

if TYPE_CHECKING:
    import pyarrow as pa

STAGE = "reason."
LONGEST_THOUGHT = 20_000  # characters of thinking that are kept, for debugging; never evidence


@dataclass(frozen=True, slots=True)
class Attempt:
    """One sample of one question.

    status: ok, unparsed, truncated, refused, no-answer. review: it asks for a person to look. remarks: seen by the
    model, not measured. opinions: (track, span, shares) of a blind opinion. errors: what could not be read in it.
    """

    sample: int
    engine: str
    status: str
    reason: str
    trace_id: str
    tries: int
    review: bool
    review_why: str
    remarks: tuple[Remark, ...]
    opinions: tuple[tuple[str | None, Span, Dist], ...]
    errors: tuple[str, ...]
    thinking: str
    input_tokens: int | None
    output_tokens: int | None

    @classmethod
    def of(cls, sample: int, engine: str, reply: Reply, found: Any) -> Self:
        """From a reply and the `Narration` or `Opinion` it amounts to."""
        rows: tuple[Observation, ...] = getattr(found, "rows", ())
        trace = found.trace.id if found.trace else ""
        return cls(
            sample, engine, found.status, found.reason, trace, reply.tries, found.review,
            getattr(found, "review_why", ""), getattr(found, "remarks", ()),
            tuple((o.track_id, o.span, o.dist) for o in rows), found.errors, reply.thinking[:LONGEST_THOUGHT],
            reply.input_tokens, reply.output_tokens,
        )  # fmt: skip


class Opened:
    """A model that is opened when it is first asked, and closed if it was opened here."""

    def __init__(self, given: Any, make: Callable[[], Any]) -> None:
        self._given, self._make, self._made = given, make, None

    @property
    def model(self) -> Any:
        if self._given is not None:
            return self._given
        if self._made is None:
            self._made = self._make()
        return self._made

    def close(self) -> None:
        if self._made is not None:
            self._made.close()


def engine_of(role: str, fingerprint: str) -> str:
    return opinion_engine(fingerprint) if role == "opinion" else narrator_engine(fingerprint)


def stage_of(engine: str) -> str:
    """The stage that owns what an engine says: `reason.narrator.3f2a91c0`."""
    role = "narrator" if engine.startswith("vlm:") else "opinion"
    return f"{STAGE}{role}.{digest(engine)[:8]}"


def attempts_table(attempts: tuple[Attempt, ...]) -> pa.Table:
    """Attempts as a table of plain columns; lists are JSON."""
    return table(
        {
            "sample": [a.sample for a in attempts],
            "engine": [a.engine for a in attempts],
            "status": [a.status for a in attempts],
            "reason": [a.reason for a in attempts],
            "trace_id": [a.trace_id for a in attempts],
            "tries": [a.tries for a in attempts],
            "review": [a.review for a in attempts],
            "review_why": [a.review_why for a in attempts],
            "remarks": [json.dumps([[r.t_us, r.text] for r in a.remarks]) for a in attempts],
            "opinions": [json.dumps([[t, s.start_us, s.end_us, d] for t, s, d in a.opinions]) for a in attempts],
            "errors": [json.dumps(a.errors) for a in attempts],
            "thinking": [a.thinking.encode("utf-8", "replace").decode() for a in attempts],
            "input_tokens": [-1 if a.input_tokens is None else a.input_tokens for a in attempts],
            "output_tokens": [-1 if a.output_tokens is None else a.output_tokens for a in attempts],
        }
    )


def attempts(store: Store, clip_id: str | None = None) -> Iterator[tuple[str, Attempt]]:
    """(clip, attempt) of every attempt that a project keeps, failed ones too: the denominator of an auditable share."""
    for name in store.array_names():
        stage, _, clip = name.partition("/")
        if stage.startswith(STAGE) and clip_id in (None, clip) and (held := store.table(name)) is not None:
            for row in held.to_pylist():
                yield clip, _attempt(row)


def _attempt(row: dict[str, Any]) -> Attempt:
    remarks = tuple(Remark(t, text) for t, text in json.loads(row["remarks"]))
    said = tuple(
        (track, Span(start, end), tuple((s, p) for s, p in dist))
        for track, start, end, dist in json.loads(row["opinions"])
    )
    counts = [None if row[k] < 0 else row[k] for k in ("input_tokens", "output_tokens")]
    return Attempt(
        row["sample"], row["engine"], row["status"], row["reason"], row["trace_id"], row["tries"], row["review"],
        row["review_why"], remarks, said, tuple(json.loads(row["errors"])), row["thinking"], *counts,
    )  # fmt: skip


# ---------------------------------------------------------------- opinions beside the numbers


@dataclass(frozen=True, slots=True)
class BothWays:
    """An assessment without a blind opinion (as it is stored) and with it, at the weight that fusion gives it.

    weight: λ, 0 until it was learnt: then `with_opinion` is `without`, to the last bit. opinion: () where none was
    given on this window.
    """

    assessment_id: str
    track_id: str | None
    span: Span
    without: Dist
    opinion: Dist
    weight: float
    with_opinion: Dist


def opinions(store: Store, clip_id: str, engine: str) -> list[Observation]:
    """Blind opinions on a clip by one engine, as rows that a source of fusion can be made of."""
    made: list[Observation] = []
    for _, one in attempts(store, clip_id):
        for number, (track, span, dist) in enumerate(one.opinions if one.engine == engine else ()):
            ident = content_id("obs", clip_id, track, span, TARGET, engine, one.sample, number)
            made.append(Observation(ident, clip_id, track, span, TARGET, None, None, "", dist, None, 1, engine))
    return made


def opinion_source(
    config: FusionConfig, rows: list[Observation], track: str | None, window: Span
) -> SourceEvidence | None:
    """The opinion on a window as a source of fusion, λ from `weights.others`; None where there is none, or where the
    opinion is over other states."""
    dist, ids = window_dist(rows, track, window)
    if {s for s, _ in dist} != set(config.names):
        return None
    flat = (1 / len(config.names),) * len(config.names)
    shares = tuple(dict(dist)[s] for s in config.names)
    source = SourceEvidence(TARGET, shares, flat, config.weights.others.get(TARGET, 0.0), ids)
    return calibrated(config.calibration, source)


def both_ways(config: FusionConfig, assessment: Assessment, rows: list[Observation]) -> BothWays:
    """An assessment with and without an opinion. The stored one is never changed."""
    source = opinion_source(config, rows, assessment.track_id, assessment.span)
    place = (assessment.id, assessment.track_id, assessment.span, assessment.posterior)
    if source is None:
        return BothWays(*place, (), 0.0, assessment.posterior)
    said = tuple(zip(config.names, source.dist, strict=True))
    if source.weight == 0:
        return BothWays(*place, said, 0.0, assessment.posterior)
    (added,) = pool(config.names, config.prior_or_uniform, [source]).contributions
    return BothWays(*place, said, source.weight, pooled(assessment.prior, (*assessment.contributions, added)))


# ---------------------------------------------------------------- review


def needs_review(store: Store, context: Any, clip_id: str) -> tuple[bool, tuple[str, ...]]:
    """Whether a person should look at a clip, and why. What a model says is only ever added to what the rules say.

    Raises:
        MienError: `show.unknown` for no clip of this project.
    """
    if not store.all(Clip, "id = ?", (clip_id,)):
        raise MienError("show.unknown", f"there is no clip {clip_id!r}", 'ids: mien query "SELECT id FROM clips"')
    decision = quarantine_of(context, store.all(Observation, "clip_id = ?", (clip_id,)))
    why = [str(r) for r in decision.reasons] if decision.review else []
    conflicts = [a for a in store.all(Assessment, "clip_id = ?", (clip_id,)) if a.reason == "conflict"]
    why += [f"{len(conflicts)} window(s) in conflict"] if conflicts else []
    why += [f"{a.engine}: {a.review_why or 'asks for it'}" for _, a in attempts(store, clip_id) if a.review]
    return bool(why) or decision.review, tuple(dict.fromkeys(why))
