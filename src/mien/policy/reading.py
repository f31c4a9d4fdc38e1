"""Free words about a licence, read: SPDX expressions by the kept library `license-expression`, phrases by a table.

What is not surely understood is unknown. Prose beside an id counts as unknown terms, too, where it could limit it.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar

from mien.policy.terms import (
    ALL_RIGHTS_RESERVED,
    AUDEERING,
    FLUX_DEV,
    NO_REDISTRIBUTION,
    NON_COMMERCIAL,
    NONE,
    OPEN_RAIL,
    OWN,
    RESEARCH_ONLY,
    TERMS,
    UNKNOWN,
)

if TYPE_CHECKING:
    from collections.abc import Callable

R = TypeVar("R")
LONGEST = 500
_BY_LOW = {name.lower(): name for name in TERMS}
_PHRASES = {
    "none": NONE, "none: rules": NONE, "nothing": NONE, "own": OWN, "own recording": OWN, "own recordings": OWN,
    "all rights reserved": ALL_RIGHTS_RESERVED, "proprietary": ALL_RIGHTS_RESERVED, "copyright": ALL_RIGHTS_RESERVED,
    "non-commercial": NON_COMMERCIAL, "noncommercial": NON_COMMERCIAL, "non commercial": NON_COMMERCIAL,
    "research": RESEARCH_ONLY, "research only": RESEARCH_ONLY, "research-only": RESEARCH_ONLY,
    "for research only": RESEARCH_ONLY, "academic": RESEARCH_ONLY, "academic use only": RESEARCH_ONLY,
    "non-commercial research": RESEARCH_ONLY, "no redistribution": NO_REDISTRIBUTION, "eula": NO_REDISTRIBUTION,
    "public domain": "CC-PDDC", "cc0": "CC0-1.0", "bsd": "BSD-3-Clause", "apache 2.0": "Apache-2.0",
    "apache license 2.0": "Apache-2.0", "audeering research license": AUDEERING, "flux-1-dev-non-commercial-license":
    FLUX_DEV, "flux.1 [dev] non-commercial license": FLUX_DEV, "openrail": OPEN_RAIL, "openrail++": OPEN_RAIL,
    "creativeml-openrail-m": OPEN_RAIL, "bigscience-openrail-m": OPEN_RAIL,
}  # fmt: skip
# Words in a remark that may limit what stands before it.
_LIMITS = re.compile(
    r"\b(?:non|not|no|but|only|else|except\w*|unless|terms|commercial\w*|noncommercial\w*|research\w*|academic\w*|"
    r"agreement|restrict\w*|verified|unknown|proprietary|mixed)\b",
    re.IGNORECASE,
)
_CC = re.compile(r"(?:cc|creative commons)[ -](by(?:[ -](?:nc|nd|sa)){0,2})(?:[ -]v?(\d\.\d))?", re.IGNORECASE)
_CC_URL = re.compile(
    r"https?://creativecommons\.org/(?:licenses/(by(?:-n[cd]|-sa){0,2})/(\d\.\d)|publicdomain/(zero|mark)/1\.0)"
    r"(?:/(?:deed|legalcode)?(?:\.[a-z]{2})?)?/?",
    re.IGNORECASE,
)
_REMARK = re.compile(r"(?<=\S)\s*\(([^()]*)\)\s*$")
_BY_FILE = re.compile(r"^(\S+) by the LICEN[SC]E\b(.*)$", re.DOTALL)


def named(text: str) -> str | None:
    """The one licence that a text names without any remark; None where it is an expression, prose or unknown."""
    plain = " ".join(text.split())
    low = plain.lower()
    if low in _PHRASES:
        return _PHRASES[low]
    if found := _CC.fullmatch(plain):
        kind = "-".join(sorted(found[1].upper().replace(" ", "-").split("-"), key=("BY", "NC", "ND", "SA").index))
        name = f"CC-{kind}-{found[2]}"
        return name if name in TERMS else None  # without its version nobody can say which text holds
    if found := _CC_URL.fullmatch(plain):
        if found[3]:
            return "CC0-1.0" if found[3].lower() == "zero" else "CC-PDDC"
        name = f"CC-{found[1].upper()}-{found[2]}"
        return name if name in TERMS else None
    return _BY_LOW.get(low)


@lru_cache(maxsize=4096)
def remarked(text: str) -> tuple[str, bool]:
    """(what is left without remarks, whether a remark could limit it): `MIT (of the package)` → (`MIT`, False)."""
    plain, limited = " ".join(text.split()), False
    while found := _REMARK.search(plain):
        plain, limited = plain[: found.start()], limited or _LIMITS.search(found[1]) is not None
    if found := _BY_FILE.match(plain):
        plain, limited = found[1], limited or _LIMITS.search(found[2]) is not None
    return plain.strip(), limited


@lru_cache(maxsize=1)
def _spdx() -> Any:
    import license_expression  # pyright: ignore[reportMissingTypeStubs]

    return license_expression.get_spdx_licensing()  # pyright: ignore[reportUnknownMemberType]


def expression(
    text: str, leaf: Callable[[str], R], both: Callable[[R, R], R], either: Callable[[list[tuple[bool, R]]], R]
) -> R:
    """Fold the SPDX expression that a text holds.

    Args:
        leaf: the value of a licence id; `UNKNOWN` for one that `TERMS` has not.
        both: of `AND`. either: of `OR`, given (whether an unknown licence is in it, value) of each choice.

    A licence `WITH` an exception has the licence's own terms: exceptions only ever permit more. An exception that SPDX
    does not know is unknown.
    """
    tree = _tree(text)

    def fold(node: Any) -> tuple[bool, R]:
        name = type(node).__name__
        if name in ("AND", "OR"):
            parts = [fold(part) for part in node.args]
            if name == "OR":
                return all(unknown for unknown, _ in parts), either(parts)
            value = parts[0][1]
            for _, more in parts[1:]:
                value = both(value, more)
            return any(unknown for unknown, _ in parts), value
        found = _known(node)
        return found == UNKNOWN, leaf(found)

    return leaf(UNKNOWN) if tree is None else fold(tree)[1]


def compound(text: str) -> bool:
    """Whether a text is an SPDX expression of several licences, known or not."""
    tree = _tree(text)
    return tree is not None and len(tree.get_literals()) > 1


@lru_cache(maxsize=4096)
def _tree(text: str) -> Any:
    """The parsed expression, or None: no expression, or one too long to judge."""
    if not text or len(text) > LONGEST:
        return None
    try:
        tree = _spdx().parse(text)
    except Exception:  # noqa: BLE001 - its errors share no class; whatever it cannot read is unknown
        return None
    # "or" of prose is no licensee's choice: every word of such a text would have to be a licence.
    prose = re.search(r"\bor\b", text) is not None and any(_known(s) == UNKNOWN for s in tree.get_literals())
    return None if prose else tree


def _known(node: Any) -> str:
    if type(node).__name__ == "LicenseWithExceptionSymbol":
        known = node.exception_symbol.is_exception and node.exception_symbol.key in _spdx().known_symbols
        return _known(node.license_symbol) if known else UNKNOWN
    key = str(node.key)
    return key if key in TERMS else named(key) or UNKNOWN
