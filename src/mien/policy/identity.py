"""The identity window: off until somebody asks for it, refused in `care` until somebody answers for it.

It compares faces by a recognition network for one short window, so it is biometric processing even though nothing is
kept. Nobody is ever recognised: two tracks of one window get one number, and that is all.
"""

from __future__ import annotations

from typing import Annotated

from annotated_types import Gt, Le
from pydantic import Field

from mien.core import Context, MienError, Strict

REFUSED = "policy.identity-refused"
LONGEST_WINDOW_S = 300.0


class IdentityTerms(Strict):
    """The table `[identity]` of `mien.toml`."""

    enabled: bool = Field(False, description="rejoin face tracks by an embedding that lives in memory only")
    allow_in_care: bool = Field(False, description="also in care; needs an approver")
    approver: str = Field("", description="who answers for it in care; recorded in the log")
    window_s: Annotated[float, Gt(0), Le(LONGEST_WINDOW_S)] = Field(
        120.0, description="embeddings are wiped after this much media"
    )


def identity_permit(context: Context, terms: IdentityTerms) -> str | None:
    """Whether face tracks may be rejoined (DESIGN §7): None when nobody asked, else the sentence for the log.

    Raises:
        MienError: `policy.identity-refused` in `care` without an explicit permission and its approver.
    """
    if not terms.enabled:
        return None
    span = f"embeddings live in memory for at most {terms.window_s:g} s of media and are wiped"
    if context != "care":
        return f"identity window on, as configured: {span}"
    approver = terms.approver.strip()
    if not terms.allow_in_care:
        raise MienError(
            REFUSED,
            "faces are not compared by identity in care",
            "set identity.enabled = false; the tracker needs none. If it is needed and approved, set "
            "identity.allow_in_care = true and identity.approver to the name of who answers for it",
        )
    if not approver:
        raise MienError(
            REFUSED,
            "identity.allow_in_care is set, but nobody's name stands beside it",
            "set identity.approver to the name of who answers for it, or identity.enabled = false",
        )
    return f"identity window on in care, approved by {approver}: {span}"
