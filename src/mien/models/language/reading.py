"""From what a model of language wrote to a `Reply`: thinking apart, the answer parsed and held to its schema."""

from __future__ import annotations

import json
from typing import Any

from mien.core import Ask, MienError, Reply

OPEN, CLOSE = "<think>", "</think>"


def split(text: str, thinks: bool) -> tuple[str, str] | None:
    """(thinking, answer), split at the last `</think>`; None where a thinking model never came to its answer.

    Chat templates of thinking models write the opening `<think>` into the prompt, so the answer may hold only the
    closing one. A model that was not asked to think, and did not, has no thinking.
    """
    if CLOSE in text:
        thinking, answer = text.rsplit(CLOSE, 1)
        return thinking.removeprefix(OPEN).strip(), answer.strip()
    return None if thinks or text.lstrip().startswith(OPEN) else ("", text.strip())


def parsed(answer: str) -> Any:
    """The JSON value of an answer, inside a code fence or bare.

    Raises:
        ValueError: it is not JSON.
    """
    text = answer.strip()
    if text.startswith("```"):
        text = text.removeprefix("```json").removeprefix("```").rsplit("```", 1)[0]
    return json.loads(text, parse_constant=_no_constant)


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def check_schema(schema: dict[str, Any]) -> None:
    """Raises MienError `language.bad-schema` when `schema` is not a JSON Schema."""
    import jsonschema

    try:
        jsonschema.Draft202012Validator.check_schema(schema)
    except jsonschema.SchemaError as error:
        raise MienError("language.bad-schema", f"the schema is not valid: {error.message}", "mend it") from error


def read(
    ask: Ask, text: str, *, cut: bool = False, input_tokens: int | None = None, output_tokens: int | None = None
) -> Reply:
    """The reply that `text` amounts to.

    Args:
        cut: the runtime stopped at its length limit.

    Returns:
        status `truncated` (reasons `language.no-answer`, `language.cut`), `invalid` (`language.not-json`,
        `language.not-of-schema`, with what was wrong first) or `ok`. The text is kept in every case.
    """
    import jsonschema

    counts: dict[str, Any] = {"input_tokens": input_tokens, "output_tokens": output_tokens}
    parts = split(text, ask.think)
    if parts is None:
        return Reply("", "truncated", text.removeprefix(OPEN).strip(), reason="language.no-answer", **counts)
    thinking, answer = parts
    if cut:
        return Reply(answer, "truncated", thinking, reason="language.cut", **counts)
    if ask.schema is None:
        return Reply(answer, "ok", thinking, **counts)
    try:
        value = parsed(answer)
    except ValueError:
        return Reply(answer, "invalid", thinking, reason="language.not-json", **counts)
    wrong = next(iter(jsonschema.Draft202012Validator(ask.schema).iter_errors(value)), None)
    if wrong is not None:
        where = "/".join(str(part) for part in wrong.absolute_path)
        reason = f"language.not-of-schema: {where or 'the answer'}: {wrong.message}"[:300]
        return Reply(answer, "invalid", thinking, reason=reason, **counts)
    return Reply(answer, "ok", thinking, value, **counts)
