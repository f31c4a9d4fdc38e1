"""What may be done with data, and how permissions are put together: a meet-semilattice, so that adding an ingredient
never adds a use, and neither order nor repetition changes anything."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Annotated, Literal, Self

from annotated_types import MaxLen
from pydantic import Field, model_validator

from mien.core import MienError, Strict

Use = Literal["view", "train", "share", "publish"]
"""`view`: look at it within the project; `train`: train a model on it; `share`: hand it to another team as a trainer's
folder; `publish`: a release for the public."""
USES: tuple[Use, ...] = ("view", "train", "share", "publish")
EVERY: frozenset[Use] = frozenset(USES)


class OwnTerms(Strict):
    """Terms of a licence that only this project knows (`[policy.licences."its name"]`)."""

    uses: tuple[Use, ...] = Field(description="what it permits")
    conditions: tuple[str, ...] = Field((), description="such as attribution, non-commercial, share-alike:NAME")


class PolicyTerms(Strict):
    """The table `[policy]` of `mien.toml`."""

    unknown_licence: Literal["warn", "refuse"] = Field(
        "warn", description="unknown terms never publish; warn: train and share with a note, refuse: view alone"
    )
    training_data_terms: Literal["warn", "bind", "ignore"] = Field(
        "warn", description="what terms of a model's training data mean for its answers: a note, a bar, nothing"
    )
    redact: Literal["faces-without-consent", "all-faces", "none"] = Field(
        "faces-without-consent", description="which faces are made unrecognisable in pictures that leave"
    )
    coarse_time: Literal["day", "month"] = Field("day", description="how exactly what leaves says when it was made")
    licences: Annotated[dict[str, OwnTerms], MaxLen(200)] = Field({}, description="terms of licences of your own")

    @model_validator(mode="after")
    def _only_new(self) -> Self:
        from mien.policy.reading import named

        for name in self.licences:
            if named(name) is not None:
                raise ValueError(f"{name!r} has terms of its own, which no setting changes")
        return self


@dataclass(frozen=True, slots=True, order=True)
class Reason:
    """Why uses are closed, or what has to be known. `what`: the ingredient; `bars`: the uses it closes (none: a note);
    `code` is stable."""

    code: str
    what: str
    text: str
    bars: tuple[Use, ...] = ()


@dataclass(frozen=True, slots=True)
class Way:
    """One way of taking all licences (an `OR` has several): what it permits, on which conditions."""

    uses: frozenset[Use]
    conditions: frozenset[str] = frozenset()

    def __and__(self, other: Way) -> Way:
        return Way(self.uses & other.uses, self.conditions | other.conditions)

    def covers(self, other: Way) -> bool:
        """Whether nobody would choose `other` instead."""
        return self.uses >= other.uses and self.conditions <= other.conditions

    @property
    def kinds(self) -> frozenset[str]:
        """The licences under which derived works must be published."""
        return frozenset(c for c in self.conditions if c.startswith("share-alike:"))

    @property
    def allowed(self) -> frozenset[Use]:
        """Uses without those that the conditions forbid together: two share-alike licences cannot both be the licence
        of one release, and one that permits commerce cannot carry what forbids it."""
        limited = bool(self.conditions & {"non-commercial", "research-only"})
        torn = len(self.kinds) > 1 or any(limited and "-NC" not in kind for kind in self.kinds)
        return self.uses - {"publish"} if torn else self.uses


@dataclass(frozen=True, slots=True)
class Permission:
    """What is permitted, on which conditions, and why not more. Combined with `&`.

    Attributes:
        ways: an antichain of ways (none of them covers another); empty: nothing is permitted.
        reasons: everything that was said on the way.
        notices: what has to be told beside the data ("emotion model: MIT"), and binds nobody.
    """

    ways: frozenset[Way] = frozenset({Way(EVERY)})
    reasons: frozenset[Reason] = frozenset()
    notices: frozenset[str] = frozenset()

    def __and__(self, other: Permission) -> Permission:
        return Permission(
            _antichain(a & b for a in self.ways for b in other.ways),
            self.reasons | other.reasons,
            self.notices | other.notices,
        )

    def __or__(self, other: Permission) -> Permission:
        """The licensee's choice. Reasons are those of uses that stay closed."""
        ways = _antichain((*self.ways, *other.ways))
        open_ = frozenset[Use]().union(*(w.uses for w in ways))
        reasons = frozenset(r for r in self.reasons | other.reasons if not r.bars or not open_.issuperset(r.bars))
        return Permission(ways, reasons, self.notices | other.notices)

    @property
    def uses(self) -> frozenset[Use]:
        return frozenset[Use]().union(*(w.allowed for w in self.ways))

    def allows(self, use: Use) -> bool:
        return any(use in w.allowed for w in self.ways)

    def conditions(self, use: Use) -> tuple[str, ...]:
        """What must be kept to for a use: of the way with the fewest conditions; empty where it is not permitted."""
        found = [sorted(w.conditions) for w in self.ways if use in w.allowed]
        return tuple(min(found, key=lambda c: (len(c), c))) if found else ()

    def why_not(self, use: Use) -> tuple[Reason, ...]:
        """The reasons why a use is closed, in a stable order; empty where it is open."""
        if self.allows(use):
            return ()
        said = tuple(sorted(r for r in self.reasons if use in r.bars))
        return said or (Reason("licence.mixed", "", MIXED, (use,)),)

    @property
    def notes(self) -> tuple[Reason, ...]:
        """What somebody should know, and what closes nothing."""
        return tuple(sorted(r for r in self.reasons if not r.bars))


MIXED = "its licences cannot be published together: their share-alike or non-commercial terms contradict each other"
FREE = Permission()


def barred(reason: Reason) -> Permission:
    """The permission of an ingredient that closes `reason.bars`."""
    return Permission(frozenset({Way(EVERY - frozenset(reason.bars))}), frozenset({reason}))


def together(permissions: Iterable[Permission]) -> Permission:
    """What is permitted for all of them at once."""
    held = list(permissions)
    ways = reduce(lambda a, b: _antichain(x & y for x in a for y in b), {p.ways for p in held}, FREE.ways)
    none: tuple[frozenset[Reason], frozenset[str]] = (frozenset(), frozenset())
    return Permission(ways, none[0].union(*(p.reasons for p in held)), none[1].union(*(p.notices for p in held)))


@dataclass(frozen=True, slots=True)
class Group:
    """Records that may be used together. `kind`: the share-alike licence that binds them, "" for none."""

    kind: str
    members: tuple[str, ...]
    permission: Permission


def groups_of(records: Mapping[str, Permission], use: Use = "publish") -> tuple[tuple[Group, ...], tuple[str, ...]]:
    """Part records into sets that may be used together: as few as their share-alike terms allow, the same for every
    order of the records.

    Args:
        records: key → what is permitted for it alone.

    Returns:
        The groups, by kind; and the keys of records that are not permitted even alone (`why_not` says why).
    """
    alone = {key: p for key, p in sorted(records.items()) if p.allows(use)}
    refused = tuple(sorted(set(records) - set(alone)))
    whole = together(alone.values())
    if not alone:
        return (), refused
    if whole.allows(use):
        return (Group(_kind(whole, use), tuple(alone), whole),), refused
    parts: dict[str, list[str]] = {}
    for key, permission in alone.items():
        parts.setdefault(_kind(permission, use), []).append(key)
    made = [Group(kind, tuple(keys), together(alone[k] for k in keys)) for kind, keys in sorted(parts.items())]
    return tuple(made), refused


def _kind(permission: Permission, use: Use) -> str:
    """The share-alike kind of the way with the fewest conditions."""
    return next((c for c in permission.conditions(use) if c.startswith("share-alike:")), "")


def _antichain(ways: Iterable[Way]) -> frozenset[Way]:
    every = set(ways)
    return frozenset(w for w in every if not any(o != w and o.covers(w) for o in every))


def checked(use: str) -> Use:
    """Raises MienError `policy.unknown-use`."""
    for known in USES:
        if use == known:
            return known
    raise MienError("policy.unknown-use", f"there is no use {use!r}", f"one of {', '.join(USES)}")
