"""The deployment context: nothing runs without one, and `care` waits for a person before any affect model."""

from __future__ import annotations

from mien.core import Context

CONTEXTS: dict[Context, str] = {
    "care": "support for carers: only enrolled, consenting people are analysed for affect; media never leaves",
    "research": "your own or consented recordings: all stages run; exports check consent",
    "studio": "datasets and LoRAs for media generation: all stages run; care and research media are refused",
}

MISSING_CONTEXT = "a project needs a context:\n" + "\n".join(f"  {name:<9}{text}" for name, text in CONTEXTS.items())

WAITING_CODE = "waiting-for-person"
WAITING_MESSAGE = (
    "affect stages wait until a person is enrolled: a pseudonym, consent with scope and expiry (and assent where the "
    "person can give it), who recorded it, and which track on which recording is theirs, assigned by a person; "
    "movement, sound and facial-geometry observables run meanwhile"
)


def affect_allowed(context: Context, subject_enrolled: bool) -> bool:
    """Whether affect models may run on a track (DESIGN §7): in `care` only for an enrolled, consenting person."""
    return context != "care" or subject_enrolled
