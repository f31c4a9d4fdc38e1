"""Body signals and pose events: what body points show, in lengths of the own trunk. Observables, no emotion words.

What may enter: pure geometry over time of one person's points, or of people and objects. docs/body.md defines each.
"""

from mien.signals.body.config import BodyConfig
from mien.signals.body.events import events, limits
from mien.signals.body.interaction import Interaction, InteractionConfig, ObjectTrack, PersonTrack, interactions
from mien.signals.body.posture import NAMES, UNITS, WEAK, Posture, posture
from mien.signals.body.records import KINDS, BodyEvent, BodyKind
from mien.signals.body.series import BodySeries

__all__ = [
    "KINDS", "NAMES", "UNITS", "WEAK", "BodyConfig", "BodyEvent", "BodyKind", "BodySeries", "Interaction",
    "InteractionConfig", "ObjectTrack", "PersonTrack", "Posture", "events", "interactions", "limits", "posture",
]  # fmt: skip
