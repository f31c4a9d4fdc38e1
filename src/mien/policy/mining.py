"""What a file itself says about training and data mining, and what follows: a refusal in it is honoured.

Read: CAWG training-and-data-mining assertions (`cawg.training-mining` 1.1, and the older `c2pa.training-mining` of C2PA
1.x) and the PLUS property `plus:DataMining` of IPTC Photo Metadata 2023.1 in XMP. A refusal counts whether or not the
manifest's signature holds; a permission in a file opens nothing that anything else closes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import cast

from mien.policy.uses import FREE, Permission, Reason, Use, barred, together

PREFIX = "mining."
UNREAD = "mining.unread"
LABELS = ("cawg.training-mining", "c2pa.training-mining")
ENTRIES = {
    "ai_training": "training of AI models",
    "ai_generative_training": "training of generative models",
    "ai_inference": "use as input of AI models, whose answers these rows are",
    "data_mining": "text and data mining",
}
_SHUT: tuple[Use, ...] = ("train", "share", "publish")
_PLUS = {
    "DMI-PROHIBITED": ("data_mining", "notAllowed"),
    "DMI-PROHIBITED-AIMLTRAINING": ("ai_training", "notAllowed"),
    "DMI-PROHIBITED-GENAIMLTRAINING": ("ai_generative_training", "notAllowed"),
    "DMI-PROHIBITED-EXCEPTSEARCHENGINEINDEXING": ("data_mining", "notAllowed"),
    "DMI-PROHIBITED-SEECONSTRAINT": ("data_mining", "constrained"),
    "DMI-PROHIBITED-SEEEMBEDDEDRIGHTSEXPR": ("data_mining", "constrained"),
    "DMI-PROHIBITED-SEELINKEDRIGHTSEXPR": ("data_mining", "constrained"),
}
_DMI = re.compile(rb"DMI-PROHIBITED[A-Z-]*")


def entries_of(assertions: Iterable[tuple[str, object]]) -> dict[str, str]:
    """Entry → use of all training-and-mining assertions, the strictest of several.

    Args:
        assertions: (label, data) as a C2PA reader gives them; labels may carry a version or an instance
            (`cawg.training-mining__1`).

    Returns:
        `notAllowed`, `allowed`, or `constrained: …` with its terms. What cannot be understood is `notAllowed`.
    """
    found: dict[str, str] = {}
    for label, data in assertions:
        if not label.split("__")[0].startswith(LABELS):
            continue
        entries = cast("Mapping[str, object]", data).get("entries") if isinstance(data, Mapping) else None
        if not isinstance(entries, Mapping):
            entries = dict.fromkeys(ENTRIES, "notAllowed")
        for name, entry in cast("Mapping[str, object]", entries).items():
            key = str(name).rsplit(".", 1)[-1]
            found[key] = strictest(found.get(key), _use(entry))
    return found


def _use(entry: object) -> str:
    held = cast("Mapping[str, object]", entry) if isinstance(entry, Mapping) else {"use": entry}
    use = str(held.get("use", ""))
    if use == "constrained":
        terms = " ".join(str(held.get("constraint_info") or held.get("constraints_info") or "").split())
        return f"constrained: {terms[:300]}" if terms else "constrained"
    return "allowed" if use == "allowed" else "notAllowed"


def plus_of(packet: bytes) -> dict[str, str]:
    """Entry → use of the PLUS data-mining values within bytes that may hold XMP."""
    found: dict[str, str] = {}
    for match in _DMI.finditer(packet):
        entry, use = _PLUS.get(match[0].decode(), ("data_mining", "notAllowed"))
        found[entry] = strictest(found.get(entry), use)
    return found


def strictest(a: str | None, b: str | None) -> str:
    """The stricter of two uses: refused, constrained without terms, with terms, allowed."""
    return max((x for x in (a, b) if x is not None), key=lambda use: (_rank(use), use), default="allowed")


def _rank(use: str) -> int:
    if use == "allowed":
        return 0
    if use.startswith("constrained:"):
        return 1
    return 2 if use == "constrained" else 3


def permission(what: str, said: Iterable[tuple[str, str]]) -> Permission:
    """What a file lets be done.

    Args:
        said: (key, value) of attributes `mining.*`: an entry and its use, or `mining.unread`: a manifest that nobody
            read.
    """
    made: list[Permission] = []
    for key, value in sorted(set(said)):
        if not key.startswith(PREFIX):
            continue
        if key == UNREAD:
            words = "it carries content credentials that were not read: " + value
            made.append(barred(Reason("mining.unread", what, words, ("publish",))))
            continue
        name = key.removeprefix(PREFIX)
        doing, rank = ENTRIES.get(name, name), _rank(value)
        if rank == 1:
            words = f"it permits {doing} on terms that a person has to read: {value.partition(': ')[2]}"
            made.append(barred(Reason("mining.constrained", what, words, ("publish",))))
        elif rank > 1:
            made.append(barred(Reason("mining.not-allowed", what, f"the file does not permit {doing}", _SHUT)))
    return together(made) if made else FREE
