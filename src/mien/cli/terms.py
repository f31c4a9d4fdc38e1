"""Terms that a user has to accept: shown, asked for where somebody can answer, else refused with the exact flag."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from mien.cli.talk import say
from mien.core import MienError, Weights
from mien.models import weights as room


def settle(models: Iterable[Weights], accepted: Iterable[str] | None, command: str) -> None:
    """See that the terms of all these models are accepted: before, by name, or by an answer at the terminal.

    Args:
        accepted: names given with `--accept-licence`. command: what to say again with the flag.

    Raises:
        MienError: `licence.not-accepted`.
    """
    names = set(accepted or ())
    for weights in (open_ := [w for w in models if not room.is_accepted(w)]):
        say(f"{weights.model} has terms to accept ({weights.licences.accept}): {room.licence_words(weights)}")
        if weights.licences.accept in names:
            room.accept(weights)
    left = [w for w in open_ if not room.is_accepted(w)]
    if left and sys.stdin.isatty():
        for name in dict.fromkeys(w.licences.accept for w in left):
            concerned = [w for w in left if w.licences.accept == name]
            say(f"to use {', '.join(w.model for w in concerned)} you must accept these terms; type {name!r} to do so:")
            if sys.stdin.readline().strip() == name:
                for weights in concerned:
                    room.accept(weights)
        left = [w for w in left if not room.is_accepted(w)]
    if left:
        flags = " ".join(f"--accept-licence {name}" for name in dict.fromkeys(w.licences.accept for w in left))
        raise MienError(
            "licence.not-accepted",
            f"the terms of {', '.join(w.model for w in left)} are not accepted; nothing was done",
            f"{command} {flags}",
        )
