"""The narrator: it sees frames, the ledger and the posterior, explains, and marks what a person should look at."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

from mien.core import Ask, Claim, Message, Reply, Trace, content_id
from mien.reason.engine import NO_AFFECT, NO_READING
from mien.reason.ledger import Ledger, observables
from mien.reason.vlm.claims import Withheld, clock_us, read_claims
from mien.reason.vlm.prompts import (
    CLAIMS,
    CLOCK,
    LONGEST_REMARK,
    MOST_REMARKS,
    NO_ORDERS,
    Shown,
    about,
    assessed,
    claim_schema,
    closed,
    evidence,
    forms,
    joined,
    missing,
    quoted_data,
)
from mien.reason.vlm.quoting import neutral

AttemptStatus = Literal["ok", "unparsed", "truncated", "refused", "no-answer"]
STATUSES: dict[str, AttemptStatus] = {
    "ok": "ok", "truncated": "truncated", "invalid": "unparsed", "refused": "refused", "failed": "no-answer",
}  # fmt: skip
RULES = f"""You explain what sensors and models measured of people in one clip, for those who look after them.
{NO_ORDERS}
{CLAIMS}
Say what the assessments read, every reading with what spoke against it, every conflict, every second state that is
well possible, what is not known; then what was observed. The numbers are decided: report them, do not correct them."""
REMARKS = """remarks: what you see in the pictures and no row tells, each with its time. They are marked "seen by the
model, not measured", and cannot be cited. review: true where a person should look at this clip; it is never taken to
mean that nobody has to. review_why: one sentence."""
CONCLUSION = "conclusion: the number of the claim (from 0) that is your conclusion, a reading; -1 where there is none."


@dataclass(frozen=True, slots=True)
class Remark:
    """Seen by the model, not measured: no evidence, no number, never cited. `t_us`: time on the clip's clock."""

    t_us: int
    text: str


@dataclass(frozen=True, slots=True)
class Narration:
    """What one answer amounts to.

    trace: None unless the answer could be read. errors: what in it could not; a repair quotes them. review: it asks for
    a person to look (False never means that nobody needs to). left_out: remarks with forbidden words.
    """

    status: AttemptStatus
    reason: str
    trace: Trace | None = None
    claims: tuple[Claim, ...] = ()
    remarks: tuple[Remark, ...] = ()
    left_out: int = 0
    review: bool = False
    review_why: str = ""
    errors: tuple[str, ...] = ()


def attempt_status(reply: Reply) -> AttemptStatus:
    return STATUSES[reply.status]


def narrator_engine(fingerprint: str) -> str:
    """The engine's name in traces and audits."""
    return f"vlm:{fingerprint}"


def narrator_ask(
    ledger: Ledger, shown: Shown, *, budget: int = 3000, observables_only: bool = False, **how: Any
) -> Ask:
    """The question. budget: tokens of the evidence; how: `think`, `max_tokens`, `think_tokens`, `temperature`, `seed`.

    observables_only: no readings, no inference about feeling, no pictures and no remarks.
    """
    if observables_only:
        ledger, shown = observables(ledger), replace(shown, frames=None)
    remarks = not observables_only and shown.frames is not None
    fields: dict[str, Any] = {
        "claims": {"type": "array", "items": claim_schema(ledger)},
        "conclusion": {"type": "integer", "minimum": -1},
        "review": {"type": "boolean"},
        "review_why": {"type": "string"},
    }
    if remarks:
        one = closed({"at": {"type": "string", "pattern": CLOCK}, "text": {"type": "string"}})
        fields["remarks"] = {"type": "array", "items": one, "maxItems": MOST_REMARKS}
    told = REMARKS if remarks else REMARKS[REMARKS.index("review:") :]
    system = joined(RULES, CONCLUSION, told, forms(affect=not observables_only))
    user = joined(
        about(ledger),
        evidence(ledger, budget),
        "" if observables_only else assessed(ledger),
        missing(ledger),
        quoted_data(shown, ledger.observations),
        "Answer with one JSON object of the fields claims, conclusion, review, review_why"
        + (", remarks." if remarks else "."),
    )
    return Ask((Message("system", system), Message("user", user, shown.frames)), closed(fields), **how)


def repair_of(ask: Ask, reply: Reply, errors: tuple[str, ...]) -> Ask:
    """The one further question after an answer whose claims could not all be read: the same, with what was wrong."""
    wrong = "\n".join(f"- {neutral(e, 200)}" for e in errors[:10])
    again = (
        f"Parts of that answer cannot be read:\n{wrong}\nAnswer again, whole, with one JSON object of the same fields."
    )
    return replace(ask, messages=(*ask.messages, Message("assistant", reply.text), Message("user", again)))


def narration(
    ledger: Ledger,
    reply: Reply,
    engine: str,
    sample: int = 0,
    *,
    observables_only: bool = False,
    withheld: Withheld = lambda _: (),
    forbidden: Withheld = lambda _: (),
) -> Narration:
    """What an answer amounts to.

    Args:
        withheld: phrases that may not be kept at all (words for feelings, in observables-only mode).
        forbidden: phrases that claim too much; a remark with one is left out, a claim with one is the audit's matter.
    """
    status = attempt_status(reply)
    if status != "ok" or not isinstance(reply.value, dict):
        return Narration(status if status != "ok" else "unparsed", reply.reason or "language.no-answer")
    held = observables(ledger) if observables_only else ledger
    value = reply.value
    trace_id = content_id("trace", held.clip.id, engine, sample, sorted(a.id for a in held.assessments), reply.text)
    parsed = read_claims(value["claims"], held, trace_id, withheld)
    errors, at = list(parsed.errors), value["conclusion"]
    if at >= len(parsed.claims):
        errors.append(f"conclusion: there is no claim {at}")
    if 0 <= at < len(parsed.claims):
        conclusion = parsed.claims[at].text
    else:
        conclusion = NO_READING if held.assessments else NO_AFFECT
    seen = [Remark(clock_us(r["at"]), neutral(r["text"], LONGEST_REMARK)) for r in value.get("remarks", ())]
    kept = [] if observables_only else [r for r in seen if r.text and not forbidden(r.text) and not withheld(r.text)]
    why = neutral(value["review_why"], LONGEST_REMARK)
    return Narration(
        "ok",
        reply.reason,
        Trace(trace_id, held.clip.id, engine, conclusion, held.missing),
        parsed.claims,
        tuple(kept),
        len(seen) - len(kept),
        bool(value["review"]),
        "" if withheld(why) or forbidden(why) else why,
        tuple(errors),
    )
