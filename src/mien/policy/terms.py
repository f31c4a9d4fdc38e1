"""What licences permit, as data. SPDX ids, and names of our own (`LicenseRef-…`) for what SPDX has not.

Read as terms of *data* (recordings, labels, weights). Not legal advice: where a text leaves room, the closed reading
stands here. Sources: the texts of the Creative Commons 4.0 suite, ODC, CDLA, the OSI licences.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Terms:
    """Terms of one licence.

    Attributes:
        commercial: commercial use is permitted.
        share: copies may be handed on.
        publish: they may be handed on to the public (research licences bind each reader to an agreement).
        share_alike: "" or the family under which derived works must be published.
        attribution: makers must be named.
        derivatives: what was made of it may be handed on (a cut clip is a derivative).
        train: models may be trained on it.
        outputs_bound: the terms bind what a program or model computes, too.
        research_only: for research only.
        known: False: nobody here knows the terms.
    """

    commercial: bool = True
    share: bool = True
    publish: bool = True
    share_alike: str = ""
    attribution: bool = True
    derivatives: bool = True
    train: bool = True
    outputs_bound: bool = False
    research_only: bool = False
    known: bool = True


UNKNOWN = "LicenseRef-mien-unknown"
NONE = "LicenseRef-mien-nothing"  # there is nothing that could have terms: rules, no training data
OWN = "LicenseRef-mien-own"
ALL_RIGHTS_RESERVED = "LicenseRef-mien-all-rights-reserved"
NON_COMMERCIAL = "LicenseRef-mien-non-commercial"
RESEARCH_ONLY = "LicenseRef-mien-research-only"
NO_REDISTRIBUTION = "LicenseRef-mien-no-redistribution"
AUDEERING = "LicenseRef-audEERING-research"
FLUX_DEV = "LicenseRef-FLUX-1-dev-non-commercial"
OPEN_RAIL = "LicenseRef-OpenRAIL-M"

_PERMISSIVE = (
    "MIT", "MIT-0", "ISC", "BSD-2-Clause", "BSD-3-Clause", "BSD-3-Clause-Clear", "Apache-2.0", "Zlib", "BSL-1.0",
    "PSF-2.0", "Python-2.0", "ODC-By-1.0", "CDLA-Permissive-1.0", "CDLA-Permissive-2.0", "AFL-3.0", "ECL-2.0",
)  # fmt: skip
_PUBLIC = ("CC0-1.0", "Unlicense", "0BSD", "PDDL-1.0", "CC-PDDC", "WTFPL")
_COPYLEFT = {
    "GPL-2.0-only": "GPL-2.0", "GPL-2.0-or-later": "GPL-2.0+", "GPL-3.0-only": "GPL-3.0",
    "GPL-3.0-or-later": "GPL-3.0+", "AGPL-3.0-only": "AGPL-3.0", "AGPL-3.0-or-later": "AGPL-3.0+",
    "LGPL-2.1-only": "LGPL-2.1", "LGPL-2.1-or-later": "LGPL-2.1+", "LGPL-3.0-only": "LGPL-3.0",
    "LGPL-3.0-or-later": "LGPL-3.0+", "MPL-2.0": "MPL-2.0", "EUPL-1.2": "EUPL-1.2", "ODbL-1.0": "ODbL-1.0",
    "CDLA-Sharing-1.0": "CDLA-Sharing-1.0", "GFDL-1.3-only": "GFDL-1.3", "GFDL-1.3-or-later": "GFDL-1.3",
}  # fmt: skip
# Later versions of a CC share-alike licence may take what an earlier one (from 2.0 on) licensed: one family.
_CC_VERSIONS = ("2.0", "2.5", "3.0", "4.0")


def _creative_commons() -> dict[str, Terms]:
    made: dict[str, Terms] = {}
    for version in _CC_VERSIONS:
        for kind in ("BY", "BY-SA", "BY-NC", "BY-ND", "BY-NC-SA", "BY-NC-ND"):
            parts = kind.split("-")
            alike = f"CC-{kind}" if "SA" in parts else ""
            made[f"CC-{kind}-{version}"] = Terms(
                commercial="NC" not in parts, share_alike=alike, derivatives="ND" not in parts
            )
    return made


_SHUT = Terms(commercial=False, share=False, publish=False, derivatives=False)
TERMS: dict[str, Terms] = {
    **dict.fromkeys(_PERMISSIVE, Terms()),
    **dict.fromkeys(_PUBLIC, Terms(attribution=False)),
    **{name: Terms(share_alike=family) for name, family in _COPYLEFT.items()},
    **_creative_commons(),
    NONE: Terms(attribution=False),
    OWN: Terms(attribution=False),
    ALL_RIGHTS_RESERVED: Terms(commercial=False, share=False, publish=False, derivatives=False, train=False),
    NON_COMMERCIAL: Terms(commercial=False, publish=False),
    RESEARCH_ONLY: Terms(commercial=False, publish=False, research_only=True),
    NO_REDISTRIBUTION: _SHUT,
    "C-UDA-1.0": Terms(),
    # openSMILE's licence covers what it computes (see its adapter).
    AUDEERING: Terms(commercial=False, publish=False, research_only=True, outputs_bound=True),
    # Outputs are no derivatives of the model and may be used, but not to train a model that competes with it.
    FLUX_DEV: Terms(commercial=False, train=False),
    OPEN_RAIL: Terms(),
    UNKNOWN: Terms(known=False, publish=False),
}
