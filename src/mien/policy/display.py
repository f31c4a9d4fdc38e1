"""What may be shown. Nothing that shows people is displayed before the explicit-content and age rules passed it.

Age is an interval and never lets anything through on its own (the age model's error is of the order of years): it only
makes the explicit-content rule absolute. There is no parameter that relaxes these rules.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from mien.core import Context

# Its authors read Open NSFW scores below 0.2 as safe and above 0.8 as explicit; everything from 0.2 on is withheld.
EXPLICIT_LIMIT = 0.2
# An age interval that reaches below this counts as an apparent minor (DESIGN §7).
ADULT_YEARS = 25.0


@dataclass(frozen=True, slots=True)
class Display:
    """The decision: may it be shown, must it be quarantined, may it ever be released; and why."""

    show: bool
    quarantine: bool
    permanent: bool
    reason: str


def may_show(
    context: Context,
    explicit_score: float | None,
    ages: Sequence[tuple[float, float]],
    people_without_age: int,
) -> Display:
    """Decide for one frame or clip.

    Args:
        context: in `care`, pictures are never shown in reports (DESIGN §7).
        explicit_score: the highest score in 0..1, or None/NaN where the gate did not run.
        ages: (lower, upper) bound in years of every person whose age was estimated.
        people_without_age: people in view whose age is unknown.
    """
    if explicit_score is None or math.isnan(explicit_score):
        return Display(False, False, False, "the explicit-content gate has not run")
    if explicit_score >= EXPLICIT_LIMIT:
        # Nobody seen is "age unknown" too: explicit content without a known adult is permanently barred.
        adults = bool(ages) and people_without_age == 0 and all(lower >= ADULT_YEARS for lower, _ in ages)
        if adults:
            return Display(False, True, False, f"explicit-content score {explicit_score:.2f}: quarantined")
        return Display(
            False, True, True,
            f"explicit-content score {explicit_score:.2f} with an apparent or possible minor, or age unknown: "
            "never shown, exported or trained on",
        )  # fmt: skip
    if context == "care":
        return Display(False, False, False, "reports in care hold no pictures of people")
    return Display(True, False, False, "passed the explicit-content gate")
