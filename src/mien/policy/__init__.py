"""Policy as code, pure: context and flow, consent, licences, mining, quarantine, redaction, identity, wording.

What may enter: decisions over plain values, each with its reason. No I/O; no switch that turns a rule off.
"""

from mien.policy.context import CONTEXTS, MISSING_CONTEXT, WAITING_CODE, WAITING_MESSAGE, affect_allowed
from mien.policy.quarantine import ADULT_YEARS, EXPLICIT_LIMIT, SENTENCES, Quarantine, quarantine, quarantine_of
from mien.policy.wording import emotion_words, forbidden_words

__all__ = [
    "ADULT_YEARS", "CONTEXTS", "EXPLICIT_LIMIT", "MISSING_CONTEXT", "SENTENCES", "WAITING_CODE", "WAITING_MESSAGE",
    "Quarantine", "affect_allowed", "emotion_words", "forbidden_words", "quarantine", "quarantine_of",
]  # fmt: skip
