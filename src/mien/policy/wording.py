"""Careful wording: signals are consistent with states; nobody *is* anything."""

from __future__ import annotations

import re

_STATES = (
    "angry|sad|happy|afraid|fearful|scared|disgusted|surprised|distressed|pleased|calm|upset|anxious|agitated|depressed"
)
_FORBIDDEN = re.compile(
    rf"\b(?:is|are|was|were|feels?|felt|seems?|looks?|being)\s+(?:\w+ly\s+|very\s+|so\s+)?(?:{_STATES})\b"
    r"|\b(?:proves?|diagnos\w+|certainly|definitely|detects? emotions?)\b",
    re.IGNORECASE,
)


def forbidden_words(text: str) -> list[str]:
    """The phrases of a sentence that claim more than signals can carry ("is angry", "proves"); empty when fine."""
    return [match.group(0) for match in _FORBIDDEN.finditer(text)]
