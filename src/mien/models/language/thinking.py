"""Holding a thinking model to its budget: when it is spent, the thought is closed and the answer begins."""

from __future__ import annotations

from collections.abc import Sequence

CLOSING = "\n</think>\n\n"  # as the chat templates of thinking models write it


def forced(written: Sequence[int], budget: int, closing: Sequence[int], close: int) -> int | None:
    """The token that must come next, or None where the model is free.

    Args:
        written: tokens so far. budget: of the thinking; 0 means no limit. closing: the tokens that end a thought;
        close: the one among them that is `</think>`.
    """
    if not budget or close in written[:budget]:
        return None
    place = len(written) - budget
    return closing[place] if 0 <= place < len(closing) else None


def kept(thinking: Sequence[int], max_tokens: int) -> list[int]:
    """What is kept of a thought that ran out of room: its first half budget, so that the other half can answer."""
    return list(thinking[: max_tokens // 2])
