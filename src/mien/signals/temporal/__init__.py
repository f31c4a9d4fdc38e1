"""Episodes of a signal: onset, escalation, peak, resolution and offset, each with its time and how sure that is.

A maximum is an episode when it stands out by `on` standard deviations of the quiet cells, both over the quiet and over
the valleys beside it (topographic prominence), and by the smallest change that counts; it ends where the curve has come
back to `off` of them (two thresholds: Schmitt 1938). The quiet is the lower fifth of what was measured, so that an
episode may fill most of a clip. It must also stand out by `on` of what lies outside of all episodes: of its upper
spread, and of how far it would wander in the time that the episode took to rise or fall (`quiet.outstanding`). How
often noise makes one, by its kind: `python -m bench captions` plants and counts.

Onset and offset are where the flank, from its lower to its upper crossing, meets the quiet when drawn on as a straight
line (the attack of Peeters 2004, continued to its foot): exact for steps and ramps, late by a tenth of the rise for a
raised cosine. Their sd is the noise over the slope of the flank, with half a cell and what gaps hide.
"""

from mien.signals.temporal.finding import episodes, leading
from mien.signals.temporal.quiet import quiet_of, trend
from mien.signals.temporal.records import PHASES, Edge, Episode, Phase, TemporalRules

__all__ = [
    "PHASES", "Edge", "Episode", "Phase", "TemporalRules", "episodes", "leading", "quiet_of", "trend",
]  # fmt: skip
