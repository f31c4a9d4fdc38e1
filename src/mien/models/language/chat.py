"""One dialogue for every text runtime: ask, force an answer out of too long a thought, have a wrong one mended.

A runtime gives one function, from a `Turn` to what it `Said`. What goes wrong with one question ends in its own `Reply`
(`Failed` says how); only what would go wrong with all of them (a bad schema, no key, a refused endpoint) is an error.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Self

from mien.core import Ask, Asks, Message, Replies, Reply
from mien.core.texts import Status
from mien.models.language.reading import CLOSE, OPEN, check_schema, read

FORCED = "language.forced-answer"
AT_ONCE = "Answer at once, without thinking first."
AGAIN = "That answer was not of the schema ({}). Answer again, with JSON of the schema and nothing else."


class Failed(Exception):  # noqa: N818 - never leaves this room
    """One question got no usable answer; `reason` is a stable code, with details after a colon."""

    def __init__(self, reason: str, status: Status = "failed", calls: int = 1) -> None:
        super().__init__(reason)
        self.reason, self.calls = reason, calls
        self.status: Status = status


@dataclass(frozen=True, slots=True)
class Turn:
    """One call of a runtime. prefill: how its answer begins; the runtime goes on from there."""

    messages: tuple[Message, ...]
    schema: dict[str, Any] | None
    max_tokens: int
    temperature: float
    seed: int
    think: bool
    prefill: str = ""


@dataclass(frozen=True, slots=True)
class Said:
    """What a runtime wrote after the prefill. Where it gives thinking apart, `text` has it before a `</think>`."""

    text: str
    cut: bool = False
    input_tokens: int | None = None
    output_tokens: int | None = None
    calls: int = 1


Say = Callable[[Turn], Said]


@dataclass(frozen=True, slots=True)
class Manner:
    """How a runtime is talked to.

    Attributes:
        goes_on: it can be given the beginning of its answer. answer_tokens: what a forced answer may take, beyond
            `Ask.max_tokens`. repairs: calls to mend an answer that is not of its schema. parallel: questions at a time.
        schema_in_prompt: it cannot hold an answer to a schema itself.
    """

    goes_on: bool = False
    answer_tokens: int = 256
    repairs: int = 1
    parallel: int = 1
    schema_in_prompt: bool = False


class Talker:
    """Answers questions through one `Say`. Order is kept; nothing is remembered between questions."""

    def __init__(self, say: Say, manner: Manner) -> None:
        self._say, self._manner = say, manner

    def run(self, batch: Asks) -> Replies:
        """Raises MienError `language.bad-schema`, and what concerns the runtime and not one question."""
        for ask in batch.rows:
            if ask.schema is not None:
                check_schema(ask.schema)
        if self._manner.parallel < 2 or len(batch) < 2:
            return Replies(tuple(self._one(ask) for ask in batch.rows))
        pool = ThreadPoolExecutor(min(self._manner.parallel, len(batch)), "mien-ask")
        try:
            return Replies(tuple(pool.map(self._one, batch.rows)))
        finally:
            pool.shutdown(cancel_futures=True)

    def close(self) -> None:
        """Nothing is held."""

    @classmethod
    def standing_in(cls, manner: Manner | None = None) -> Self:
        return cls(stand_in, manner or Manner())

    def _one(self, ask: Ask) -> Reply:
        return converse(ask, self._say, self._manner)


def converse(ask: Ask, say: Say, manner: Manner) -> Reply:
    """The reply to one question, in at most two calls and `manner.repairs` more (a call may try several times).

    A thinking model that did not come to its answer gets its thought closed and is asked to go on from there (budget
    forcing: Muennighoff et al., 2025, "s1"), or, where the runtime cannot, is asked again without thinking. An answer
    got in this way is `ok` with the reason `language.forced-answer`.
    """
    messages = _with_schema(ask.messages, ask.schema) if manner.schema_in_prompt else ask.messages
    limit = min(ask.max_tokens, ask.think_tokens or ask.max_tokens) if ask.think else ask.max_tokens
    first = Turn(messages, ask.schema, limit, ask.temperature, ask.seed, ask.think)
    try:
        said = say(first)
    except Failed as failed:
        return Reply("", failed.status, reason=failed.reason, tries=failed.calls)
    reply = _read(ask, said)
    if reply.status == "truncated" and ask.think:
        room = max(manner.answer_tokens, ask.max_tokens - limit)
        reply = _forced(ask, replace(first, max_tokens=room, think=False), reply, say, manner)
    for _ in range(manner.repairs):
        if reply.status != "invalid":
            break
        turns = (*messages, Message("assistant", reply.text), Message("user", AGAIN.format(reply.reason)))
        mend = replace(first, messages=turns, think=False, max_tokens=max(manner.answer_tokens, ask.max_tokens - limit))
        mended = _next(replace(ask, think=False), mend, reply, say)
        reply = mended if mended.status in ("ok", "invalid") else replace(reply, tries=mended.tries)
    return reply


def _forced(ask: Ask, turn: Turn, before: Reply, say: Say, manner: Manner) -> Reply:
    thought = before.thinking or before.text
    if manner.goes_on:
        closed = f"{OPEN}\n{thought}\n{CLOSE}\n\n"
        reply = _next(ask, replace(turn, prefill=closed), before, say)
        if reply.status != "failed":
            return _said_so(reply)
        before = replace(before, tries=reply.tries)
    *head, last = turn.messages
    nudged = (*head, replace(last, text=f"{last.text}\n\n{AT_ONCE}"))
    reply = _next(replace(ask, think=False), replace(turn, messages=nudged), before, say)
    if reply.status == "failed":
        return replace(before, tries=reply.tries)
    return _said_so(replace(reply, thinking=before.thinking))


def _said_so(reply: Reply) -> Reply:
    return replace(reply, reason=FORCED) if reply.status == "ok" else reply


def _next(ask: Ask, turn: Turn, before: Reply, say: Say) -> Reply:
    """The reply to a further call, with the calls and tokens of those before it."""
    try:
        said = say(turn)
    except Failed as failed:
        return Reply("", failed.status, reason=failed.reason, tries=before.tries + failed.calls)
    reply = _read(ask, replace(said, text=turn.prefill + said.text))
    return replace(
        reply,
        thinking=reply.thinking or before.thinking,
        input_tokens=_sum(before.input_tokens, said.input_tokens),
        output_tokens=_sum(before.output_tokens, said.output_tokens),
        tries=before.tries + said.calls,
    )


def _read(ask: Ask, said: Said) -> Reply:
    counts = {"input_tokens": said.input_tokens, "output_tokens": said.output_tokens}
    return replace(read(ask, said.text, cut=said.cut, **counts), tries=said.calls)


def _sum(a: int | None, b: int | None) -> int | None:
    return None if a is None or b is None else a + b


def _with_schema(messages: tuple[Message, ...], schema: dict[str, Any] | None) -> tuple[Message, ...]:
    if schema is None:
        return messages
    *head, last = messages
    words = f"Answer with JSON of this schema and nothing else:\n{json.dumps(schema, ensure_ascii=False)}"
    return (*head, replace(last, text=f"{last.text}\n\n{words}"))


# ---------------------------------------------------------------- a stand-in


def stand_in(turn: Turn) -> Said:
    """A model made of one hash: no weights, the same answer everywhere; of the schema where there is one."""
    last = turn.messages[-1]
    seen = last.frames.pixels.tobytes() if last.frames is not None else b""
    seed = int.from_bytes(hashlib.sha256(last.text.encode() + seen).digest()[:6], "big")
    answer = f"answer {seed % 9973}" if turn.schema is None else json.dumps(_example(turn.schema, seed))
    return Said(f"thought {seed % 997}{CLOSE}{answer}" if turn.think else answer, False, len(last.text), len(answer))


def _example(schema: dict[str, Any], seed: int) -> Any:
    """A value of the small part of JSON Schema that mien's own questions use."""
    if "enum" in schema:
        return schema["enum"][seed % len(schema["enum"])]
    kinds = schema.get("type", "object")
    low, high = schema.get("minimum", 0), schema.get("maximum", 99)
    made: dict[str, Callable[[], Any]] = {
        "object": lambda: {n: _example(s, seed // (i + 1)) for i, (n, s) in enumerate(schema["properties"].items())},
        "array": lambda: [_example(schema.get("items", {"type": "string"}), seed)] * schema.get("minItems", 1),
        "boolean": lambda: bool(seed % 2),
        "integer": lambda: low + seed % max(1, int(high - low)),
        "number": lambda: low + seed % max(1, int(high - low)),
        "null": lambda: None,
        "string": lambda: f"w{seed % 9973}"[: schema.get("maxLength", 9)],
    }
    return made[kinds[0] if isinstance(kinds, list) else kinds]()
