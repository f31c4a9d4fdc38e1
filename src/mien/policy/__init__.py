"""Policy as code, pure: deployment context, display rules, wording.

What may enter: decisions over plain values, each with its reason. No I/O; no switch that turns a rule off.
"""

from mien.policy.context import CONTEXTS, MISSING_CONTEXT, WAITING_CODE, WAITING_MESSAGE, affect_allowed
from mien.policy.display import ADULT_YEARS, EXPLICIT_LIMIT, Display, may_show
from mien.policy.wording import forbidden_words

__all__ = [
    "ADULT_YEARS", "CONTEXTS", "EXPLICIT_LIMIT", "MISSING_CONTEXT", "WAITING_CODE", "WAITING_MESSAGE", "Display",
    "affect_allowed", "forbidden_words", "may_show",
]  # fmt: skip
