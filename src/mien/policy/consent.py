"""What people agreed to: the newest record counts, and every doubt closes. Pure; the caller gives the time.

Free words of a table's column ("no", "withdrawn", "expired 2025") stay the floor: whoever they refuse, no record opens.
Words that are nothing but scopes ("export, train") are read as scopes; other words agree to nothing in particular.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Literal

from mien.core import Consent, ConsentScope
from mien.policy.uses import USES, Permission, Reason, Use, barred, together

State = Literal["yes", "unknown", "no"]
"""`unknown`: nobody said anything that covers this use, and nobody refused."""
NEEDS: dict[Use, ConsentScope] = {"view": "analyse", "train": "train", "share": "export", "publish": "publish"}
_SCOPES: tuple[ConsentScope, ...] = ("analyse", "export", "train", "publish")
_REFUSED = re.compile(r"(no|none|false|0|refused?|declined|denied|withdrawn|revoked|expired)\b", re.IGNORECASE)


def refused(words: str | None) -> bool:
    """Whether a consent field says no. "Not stated" is not a refusal: it is named in the notice instead."""
    return words is not None and _REFUSED.match(words.strip()) is not None


def stated(words: str | None) -> frozenset[ConsentScope] | None:
    """The scopes that a consent field lists ("analyse, export"); None where it holds anything else."""
    parts = [p for p in re.split(r"[,;+\s]+", (words or "").strip().lower()) if p]
    if not parts or not set(parts) <= set(_SCOPES):
        return None
    return frozenset(s for s in _SCOPES if s in parts)


def moment(text: str) -> datetime | None:
    """A time of a record, UTC where it names no zone; a bare date is its beginning. None where it is no time."""
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def scopes_at(rows: Iterable[Consent], at: datetime) -> frozenset[ConsentScope] | None:
    """What the records of one person permit at a time; None where there is no record.

    The newest record that is in force counts. Records of one instant that differ count only where they agree. A record
    dated later than `at` (a clock that is wrong, or a plan) permits nothing yet, but what it takes back is gone at
    once. Times that cannot be read, an assent of "no" and an expiry that has come permit nothing: of a person who said
    no, the record of a guardian is not asked.
    """
    held = list(rows)
    if not held:
        return None
    dated = [(moment(r.at_utc), r) for r in held]
    past = [(t, r) for t, r in dated if t is not None and t <= at]
    newest = max((t for t, _ in past), default=None)
    counting = [r for t, r in dated if t is None or t > at or t == newest]
    granted = frozenset[ConsentScope](_SCOPES) if past else frozenset[ConsentScope]()
    for row in counting:
        granted &= _of(row, at)
    return granted


def _of(row: Consent, at: datetime) -> frozenset[ConsentScope]:
    if row.assent == "no" or moment(row.at_utc) is None:
        return frozenset()
    if row.expires_utc is not None:
        ends = moment(row.expires_utc)
        if ends is None or ends <= at:
            return frozenset()
    return frozenset(s for s in _SCOPES if s in row.scopes)


def state(use: Use, words: Sequence[str | None], rows: Iterable[Consent], at: datetime) -> State:
    """Whether one person (or whoever spoke for a recording) agreed to a use.

    Args:
        words: every consent field that speaks of them.
        rows: their records.
    """
    if any(refused(w) for w in words):
        return "no"
    scopes = scopes_at(rows, at)
    listed = [found for w in words if (found := stated(w)) is not None]
    if scopes is None and not listed:
        return "unknown"
    every = ([scopes] if scopes is not None else []) + listed
    return "yes" if all(NEEDS[use] in found for found in every) else "no"


def told(words: Sequence[str | None], rows: Iterable[Consent], at: datetime) -> str:
    """What is told of a person's consent where data go: scopes and their end, such as `export, train until 2027-06-30`.
    Free words stay where they are: `in words` says that there are some. "" where nobody said anything."""
    held = list(rows)
    scopes = scopes_at(held, at)
    listed = [found for w in words if (found := stated(w)) is not None]
    if any(refused(w) for w in words):
        return "refused"
    if scopes is None and not listed:
        return "in words" if any((w or "").strip() for w in words) else ""
    every = ([scopes] if scopes is not None else []) + listed
    names = ", ".join(s for s in _SCOPES if all(s in found for found in every)) or "nothing"
    newest = max(held, key=lambda r: r.at_utc, default=None)
    ends = moment(newest.expires_utc) if newest is not None and newest.expires_utc else None
    return f"{names} until {ends:%Y-%m-%d}" if ends is not None and ends > at else names


def permission(what: str, words: Sequence[str | None], rows: Iterable[Consent], at: datetime) -> Permission:
    """The consent's part of what is permitted with somebody's data. What nobody agreed to is never published; for the
    other uses it is named in the notice."""
    held = list(rows)
    made: list[Permission] = []
    for use in USES:
        found = state(use, words, held, at)
        if found == "no":
            made.append(barred(Reason(*_why_no(what, use, words, held, at), (use,))))
        elif found == "unknown" and use == "publish":
            made.append(barred(Reason("consent.not-stated", what, f"{what}: nobody agreed to publishing", (use,))))
    return together(made)


def _why_no(
    what: str, use: Use, words: Sequence[str | None], rows: list[Consent], at: datetime
) -> tuple[str, str, str]:
    said = next((w for w in words if refused(w)), None)
    if said is not None:
        return "consent.refused", what, f"the consent of {what} says no"  # not its words: reasons leave, too
    if any(r.assent == "no" for r in rows):
        return "consent.no-assent", what, f"{what}: the person said no"
    if rows and not scopes_at(rows, at):
        times = [t for r in rows if r.expires_utc and (t := moment(r.expires_utc)) is not None and t <= at]
        code = "consent.expired" if times else "consent.withdrawn"
        return code, what, f"{what}: consent {'has expired' if times else 'was withdrawn'}"
    return f"consent.no-{NEEDS[use]}", what, f"{what}: consent does not cover {NEEDS[use]!r}"
