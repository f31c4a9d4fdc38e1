"""From prior to posterior in steps: what each source multiplies by, and what is held after it."""

from __future__ import annotations

import math
from collections.abc import Sequence

from mien.core import Assessment, Contribution, Dist
from mien.export.report import words
from mien.export.report.views import Step

HEARD = "voice"


def ordered(parts: Sequence[Contribution]) -> list[Contribution]:
    """Those with weight, what is seen before what is heard: the picture is the context of the sound."""
    return sorted((c for c in parts if c.weight > 0 and c.dist), key=lambda c: c.source == HEARD)


def steps(a: Assessment) -> tuple[Step, ...]:
    """Prior, then for each source its weighted likelihood and what is held after it; the last is the posterior.

    A likelihood is drawn as the distribution ∝ exp(added log-odds) = (p_m / π_m,train)^λ: what is held is multiplied by
    it, state by state, and normalised. The order of the sources changes the steps between, never the posterior.
    """
    held = list(a.prior)
    found = [Step("prior", "Before: prior", "", a.prior)]
    parts = ordered(a.contributions)
    for n, c in enumerate(parts, 1):
        odds = dict(c.log_odds)
        found.append(
            Step(
                "likelihood", c.source, f"λ {words.number(c.weight)}", _share([(s, odds.get(s, 0.0)) for s, _ in held])
            )
        )
        if n < len(parts):
            held = list(_share([(s, math.log(p) + odds.get(s, 0.0)) for s, p in held]))
            found.append(Step("held", f"After the {c.source}", "", tuple(held)))
    found.append(Step("posterior", "After: posterior", "" if parts else "no source had weight", a.posterior))
    return tuple(found)


def alone(a: Assessment, c: Contribution) -> Dist:
    """What one source would say by itself at full weight: ∝ prior · p_m / π_m,train."""
    odds = dict(c.log_odds)
    return _share([(s, math.log(p) + odds.get(s, 0.0) / c.weight) for s, p in a.prior])


def added(parts: Sequence[Contribution], states: Sequence[str]) -> Dist:
    """The log-odds that several sources added together, per state."""
    return tuple((s, math.fsum(dict(c.log_odds).get(s, 0.0) for c in parts)) for s in states)


def _share(logs: Sequence[tuple[str, float]]) -> Dist:
    top = max(x for _, x in logs)
    total = math.fsum(math.exp(x - top) for _, x in logs)
    return tuple((s, math.exp(x - top) / total) for s, x in logs)
