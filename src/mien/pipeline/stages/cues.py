"""Which prompted expression each vocal segment sounds like, or why that is not said."""

from __future__ import annotations

import numpy as np

from mien.core import Clip, Dist, Embeddings, Observation
from mien.pipeline.rows import observe
from mien.pipeline.stack import Stack

TARGET, POLARITY = "voice.cues", "voice.polarity"
UNCERTAIN, UNMEASURABLE = "too-uncertain", "sound-not-measurable"


def cues_of(clip: Clip, segments: list[Observation], embedded: Embeddings, stack: Stack) -> list[Observation]:
    """Per vocal segment the categories of the head in the slot `voice_cues` and, where it knows them, their polarity:
    which prompt people were given when they sounded like this. An answer below the head's threshold is withheld and
    its place says `too-uncertain`; polarity is withheld wherever the categories are."""
    adapter = stack.get("voice_cues")
    asked = {TARGET: adapter.taxonomy} | ({POLARITY: "polarity"} if "polarity" in adapter.head.taxonomies else {})
    records: list[Observation] = []
    for target, taxonomy in asked.items():
        answer = adapter.of(taxonomy, embedded)
        withheld = adapter.withheld(taxonomy, embedded)
        for segment, probs, held in zip(segments, answer.probs, withheld, strict=True):
            measured = bool(np.isfinite(probs).all())
            dist: Dist = tuple(zip(answer.labels, map(float, probs), strict=True))
            records.append(
                observe(
                    clip,
                    target,
                    segment.span,
                    stack.label("voice_cues"),
                    quality=segment.quality,
                    dist=() if held else dist,
                    reason=(UNCERTAIN if measured else UNMEASURABLE) if held else None,
                )
            )
    return records
