"""What goes into models of language, with or without pictures, and what they answer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from mien.core.batches import Frames

Role = Literal["system", "user", "assistant"]
# ok: a whole answer. truncated: it ended before the answer did (no `</think>`, or the length ran out). invalid: not of
# the schema that was asked for. refused: the model or its server declined. failed: no answer came.
Status = Literal["ok", "truncated", "invalid", "refused", "failed"]


@dataclass(frozen=True, slots=True)
class Message:
    """One turn. `frames` come before the text, at their true times (`frames.t_us`), as one video; a single frame is a
    picture."""

    role: Role
    text: str
    frames: Frames | None = None


@dataclass(frozen=True, slots=True)
class Ask:
    """One question to a model of language.

    schema: JSON Schema the answer must be of, or None for free text. think: let a thinking model think first.
    max_tokens: of the whole answer; think_tokens: of the thinking alone (0: no limit of its own). seed and temperature
    as the runtime has them; temperature 0 is greedy.
    """

    messages: tuple[Message, ...]
    schema: dict[str, Any] | None = None
    think: bool = False
    max_tokens: int = 512
    think_tokens: int = 0
    temperature: float = 0.0
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to one `Ask`.

    text: after the last `</think>`; thinking: before it (kept for debugging, never evidence); value: the parsed answer
    where a schema was asked for and met; reason: why the status is not ok, a stable code; tokens as the runtime counts
    them, None where it does not; tries: how many calls it took.
    """

    text: str
    status: Status
    thinking: str = ""
    value: Any = None
    reason: str = ""
    input_tokens: int | None = None
    output_tokens: int | None = None
    tries: int = 1


@dataclass(frozen=True, slots=True)
class Asks:
    """Questions in order."""

    rows: tuple[Ask, ...] = field(default=())

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True, slots=True)
class Replies:
    """Answers in the order of the questions."""

    rows: tuple[Reply, ...] = field(default=())

    def __len__(self) -> int:
        return len(self.rows)
