"""The blind opinion: frames and a neutral list of events, no posterior, no prior, no label; it answers with shares.

It is one more source for fusion. Its λ is 0 until labels have taught its worth (`mien train fusion`), and what the
numbers say is given with it and without it, always.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mien.core import Ask, Claim, Dist, Message, Observation, Reply, Span, Trace, content_id
from mien.reason.engine import NO_AFFECT
from mien.reason.grammar import RECORDING
from mien.reason.ledger import Ledger, observables
from mien.reason.vlm.claims import Withheld, clock_us, read_claims
from mien.reason.vlm.narrator import AttemptStatus, attempt_status
from mien.reason.vlm.prompts import (
    CLAIMS,
    CLOCK,
    NO_ORDERS,
    Shown,
    about,
    claim_schema,
    closed,
    evidence,
    forms,
    joined,
    quoted_data,
)

TARGET = "blind_opinion"
BLIND = "vlm-blind:"
MOST_READINGS = 12
FLOOR = 0.01  # the least share a state is given: an opinion in round numbers is no proof that something cannot be
RULES = f"""You look at one clip and say how its signals are spread over some states, as shares between 0 and 1.
{NO_ORDERS}
readings: stretches of time, each of one person or of the recording, with a share for every state; shares of a stretch
add up to 1. Even shares are a good answer where you cannot tell. Cut the clip where the picture or the sound changes.
{CLAIMS}
claims: what you rest on, of rows of EVIDENCE. review: true where a person should look at this clip."""


@dataclass(frozen=True, slots=True)
class Opinion:
    """What one answer amounts to. rows: one per stretch, target `blind_opinion`, shares over the states."""

    status: AttemptStatus
    reason: str
    trace: Trace | None = None
    claims: tuple[Claim, ...] = ()
    rows: tuple[Observation, ...] = ()
    review: bool = False
    errors: tuple[str, ...] = ()


def opinion_engine(fingerprint: str) -> str:
    """The engine's name in traces and audits."""
    return f"{BLIND}{fingerprint}"


def is_blind(engine: str) -> bool:
    """Whether an engine never saw the posterior: its traces are audited against what it was shown."""
    return engine.startswith(BLIND)


def blind(ledger: Ledger) -> Ledger:
    """What may be shown: no assessment and no inference about feeling, an opinion among them."""
    return observables(ledger)


def opinion_ask(ledger: Ledger, states: Sequence[str], shown: Shown, *, budget: int = 3000, **how: Any) -> Ask:
    """The question. Nothing in it depends on an assessment, a prior or a label; states stand in alphabetical order.

    shown: its texts may only be what was heard or seen: names of files and columns can hold labels.
    """
    seen = blind(ledger)
    share = {"type": "number", "minimum": 0, "maximum": 1}
    time = {"type": "string", "pattern": CLOCK}
    who = [*dict.fromkeys(seen.names.values()), RECORDING]
    one = closed(
        {"who": {"enum": who}, "from": time, "to": time, "shares": closed(dict.fromkeys(sorted(states), share))}
    )
    fields = {
        "readings": {"type": "array", "items": one, "minItems": 1, "maxItems": MOST_READINGS},
        "claims": {"type": "array", "items": claim_schema(seen)},
        "review": {"type": "boolean"},
    }
    user = joined(
        about(seen),
        evidence(seen, budget),
        f"STATES (in alphabetical order): {', '.join(sorted(states))}",
        quoted_data(Shown(frames=shown.frames), seen.observations),
        "Answer with one JSON object of the fields readings, claims, review.",
    )
    system = joined(RULES, forms(affect=False))
    return Ask((Message("system", system), Message("user", user, shown.frames)), closed(fields), **how)


def opinion(
    ledger: Ledger,
    states: Sequence[str],
    reply: Reply,
    engine: str,
    sample: int = 0,
    *,
    withheld: Withheld = lambda _: (),
) -> Opinion:
    """What an answer amounts to. A stretch whose shares sum to 0 or lies outside the clip is left out, and said."""
    status = attempt_status(reply)
    if status != "ok" or not isinstance(reply.value, dict):
        return Opinion(status if status != "ok" else "unparsed", reply.reason or "language.no-answer")
    seen = blind(ledger)
    trace_id = content_id("trace", seen.clip.id, engine, sample, reply.text)
    parsed = read_claims(reply.value["claims"], seen, trace_id, withheld)
    tracks = {name: track for track, name in seen.names.items()} | {RECORDING: None}
    rows: list[Observation] = []
    errors = list(parsed.errors)
    for number, one in enumerate(reply.value["readings"]):
        start, end = (
            max(seen.clip.span.start_us, min(clock_us(one[k]), seen.clip.span.end_us)) for k in ("from", "to")
        )
        total = math.fsum(float(one["shares"][s]) for s in states)
        if end <= start or total <= 0:
            errors.append(f"reading {number}: it has no length within the clip, or its shares sum to 0")
            continue
        dist = _floored(tuple((s, float(one["shares"][s]) / total) for s in states))
        place = (seen.clip.id, tracks[one["who"]], Span(start, end))
        made = content_id("obs", *place, TARGET, engine, sample, number)
        rows.append(Observation(made, *place, TARGET, None, None, "", dist, None, 1, engine))
    if not rows:
        return Opinion("unparsed", "vlm.no-reading", errors=tuple(errors))
    trace = Trace(trace_id, seen.clip.id, engine, NO_AFFECT, seen.missing)
    return Opinion("ok", reply.reason, trace, parsed.claims, tuple(rows), bool(reply.value["review"]), tuple(errors))


def window_dist(rows: Sequence[Observation], track: str | None, window: Span) -> tuple[Dist, tuple[str, ...]]:
    """The opinion on one window: the mean of the stretches that overlap it, weighted by overlap; of all samples alike.

    A stretch of the recording counts for everybody where no stretch is of the track itself. ((), ()) without any.
    """
    here = [o for o in rows if o.target == TARGET and o.dist and o.span.overlap_us(window)]
    mine = [o for o in here if o.track_id == track] or [o for o in here if o.track_id is None]
    if not mine:
        return (), ()
    total = sum(o.span.overlap_us(window) for o in mine)
    held = {s: sum(dict(o.dist)[s] * o.span.overlap_us(window) for o in mine) / total for s, _ in mine[0].dist}
    return tuple(held.items()), tuple(o.id for o in mine)


def _floored(dist: Dist) -> Dist:
    raised = [(s, max(p, FLOOR)) for s, p in dist]
    total = math.fsum(p for _, p in raised)
    return tuple((s, p / total) for s, p in raised)
