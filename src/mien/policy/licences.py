"""The licence algebra: code × weights × training data × recording → permitted uses and conditions, each with a reason.

What each ingredient binds:

- a *recording* binds what is made of it, by all its terms;
- *weights* bind their answers only where their terms say so (`outputs_bound`); else their terms ride along as a notice.
  Unknown terms might say so, hence they never publish;
- the *code* likewise;
- whether terms of *training data* bind a model's answers is disputed, so it is a setting: `training_data_terms`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Literal

from mien.core import Licences
from mien.policy.reading import compound, expression, named, remarked
from mien.policy.terms import NONE, TERMS, UNKNOWN, Terms
from mien.policy.uses import EVERY, FREE, USES, Permission, PolicyTerms, Reason, Use, Way, together

Role = Literal["recording", "code", "weights", "training-data"]
DEFAULTS = PolicyTerms()  # pyright: ignore[reportCallIssue]


@dataclass(frozen=True, slots=True, order=True)
class Ingredient:
    """Something with a licence. `what`: its name for people; `licence`: SPDX or words; None: nobody stated any."""

    role: Role
    what: str
    licence: str | None


def ingredients_of(model: str, licences: Licences) -> tuple[Ingredient, ...]:
    """The three licences of a model."""
    return (
        Ingredient("code", model, licences.code),
        Ingredient("weights", model, licences.weights),
        Ingredient("training-data", model, licences.training_data),
    )


def permitted(ingredients: Iterable[Ingredient], settings: PolicyTerms = DEFAULTS) -> Permission:
    """What may be done with what all these ingredients made: the licences' part of the answer.

    Monotone, commutative, associative, idempotent: `Permission` is a meet-semilattice.
    """
    return together(
        _one(i, settings) for i in sorted(set(ingredients), key=lambda i: (i.role, i.what, i.licence or ""))
    )


def _one(ingredient: Ingredient, settings: PolicyTerms) -> Permission:
    """The permission of one ingredient, by its role."""
    text = (ingredient.licence or "").strip()
    notices = frozenset({f"{ingredient.what}: {ingredient.role}: {text or 'not stated'}"})
    if ingredient.role == "training-data" and settings.training_data_terms != "bind":
        if settings.training_data_terms == "ignore":
            return FREE
        stated = _read(Ingredient("recording", ingredient.what, text), settings)
        said = [r for r in stated.reasons if r.bars] or [_nc(ingredient.what)] * _limited(stated)
        notes = frozenset(Reason("licence.training-data", ingredient.what, f"trained on: {text}") for _ in said[:1])
        return Permission(FREE.ways, notes, notices)
    found = _read(ingredient, settings)
    return Permission(found.ways, found.reasons, notices)


def _limited(permission: Permission) -> bool:
    return all({"non-commercial", "research-only"} & w.conditions for w in permission.ways)


def _nc(what: str) -> Reason:
    return Reason("licence.non-commercial", what, "non-commercial use only")


def _read(ingredient: Ingredient, settings: PolicyTerms) -> Permission:
    """Uses and conditions that the words of a licence give."""
    text = (ingredient.licence or "").strip()
    own = settings.licences.get(text)
    if own is not None:
        conditions = frozenset(_shaped(c) for c in own.conditions) if _binds(ingredient.role) else frozenset[str]()
        uses = frozenset[Use](("view", *own.uses))
        way = Way(uses, conditions)
        return Permission(frozenset({way}), _why(ingredient.what, text, uses, "licence.own-terms", "it permits"))
    plain, doubt = (text, False) if named(text) or compound(text) else remarked(text)
    whole = named(plain)

    def leaf(name: str) -> Permission:
        return _leaf(ingredient, name, text, settings)

    found = leaf(whole) if whole else expression(plain, leaf, lambda a, b: a & b, _choice)
    return found & leaf(UNKNOWN) if doubt else found


def _choice(choices: Sequence[tuple[bool, Permission]]) -> Permission:
    """The licensee's choice among licences; one that nobody knows is never the better one."""
    known = [p for unknown, p in choices if not unknown] or [p for _, p in choices]
    return reduce(lambda a, b: a | b, known)


def _leaf(ingredient: Ingredient, name: str, text: str, settings: PolicyTerms) -> Permission:
    """One licence in one role."""
    terms, what = TERMS[name], ingredient.what
    if not terms.known:
        return _unknown(what, text, settings)
    bound = _binds(ingredient.role) or terms.outputs_bound
    if name == NONE:
        return FREE
    if not bound:
        strange = not terms.commercial or (terms.share_alike != "" and ingredient.role == "weights")
        words = f"{_short(text)}: terms of the {ingredient.role}; they ride along with what it answers"
        return Permission(FREE.ways, frozenset({Reason("licence.rides-along", what, words)} if strange else ()))
    reasons: list[Reason] = []
    if not terms.train:
        reasons.append(
            Reason("licence.no-training", what, f"{_short(text)}: no model may be trained on it", ("train",))
        )
    if not terms.share:
        words = f"{_short(text)}: it may not be handed on"
        reasons.append(Reason("licence.no-sharing", what, words, ("share", "publish")))
    elif not terms.publish:
        words = f"{_short(text)}: it may be handed on under the same terms, and not published"
        reasons.append(Reason("licence.no-publishing", what, words, ("publish",)))
    if terms.share and not terms.derivatives:
        words = f"{_short(text)}: nothing made of it may be handed on"
        reasons.append(Reason("licence.no-derivatives", what, words, ("share", "publish")))
    shut = {use for r in reasons for use in r.bars}
    return Permission(frozenset({Way(EVERY - shut, _conditions(terms))}), frozenset(reasons))


def _conditions(terms: Terms) -> frozenset[str]:
    said = {
        "attribution": terms.attribution,
        "non-commercial": not terms.commercial,
        "research-only": terms.research_only,
        f"share-alike:{terms.share_alike}": bool(terms.share_alike),
    }
    return frozenset(name for name, holds in said.items() if holds)


def _unknown(what: str, text: str, settings: PolicyTerms) -> Permission:
    """Nobody knows the terms: never for the public, and for others only with a note, if the project lets it."""
    words = f"its terms are not known: {_short(text)}" if text else "no licence is stated"
    bars: tuple[Use, ...] = ("publish",) if settings.unknown_licence == "warn" else ("train", "share", "publish")
    way = Way(EVERY - frozenset(bars))
    return Permission(frozenset({way}), frozenset({Reason("licence.unknown", what, words, bars)}))


def _why(what: str, text: str, uses: frozenset[Use], code: str, words: str) -> frozenset[Reason]:
    shut: tuple[Use, ...] = tuple(u for u in USES if u not in uses)
    listed = ", ".join(u for u in USES if u in uses)
    return frozenset({Reason(code, what, f"{_short(text)}: {words} {listed}", shut)}) if shut else frozenset()


def _shaped(condition: str) -> str:
    return condition.strip().replace("share-alike: ", "share-alike:")


def _binds(role: Role) -> bool:
    return role in ("recording", "training-data")


def _short(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:79]}…"
