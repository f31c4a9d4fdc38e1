"""Optional stages on sound: what is heard, by a tagger's classes, and another package's descriptors of the voice."""

from __future__ import annotations

from typing import Any

import numpy as np

from mien.core import US, Clip, Curve, Sound, Span
from mien.pipeline.rows import observe, table
from mien.pipeline.stack import Stack

LEAST = 0.3  # a class counts as heard from here on; taggers are not calibrated, so the score is kept beside it
MOST = 10  # classes kept of each step


def events_pass(clip: Clip, sound: Sound, stack: Stack) -> tuple[list[Any], dict[str, Any]]:
    """Stretches in which a class is heard, one observation each (target `sound.event`); the likeliest classes of every
    step as a table. Steps overlap as the tagger's windows do; a stretch ends where its last window does."""
    curve: Curve = stack.get("sound_events").run(sound)
    label = stack.label("sound_events")
    t_us = curve.t0_us + np.arange(len(curve), dtype=np.int64) * curve.hop_us
    inside = (t_us + curve.hop_us > clip.span.start_us) & (t_us < clip.span.end_us)
    values, t_us = curve.values[inside], t_us[inside]
    records: list[Any] = []
    for k in np.flatnonzero((values >= LEAST).any(axis=0)):
        heard = np.concatenate([[False], values[:, k] >= LEAST, [False]])
        for first, last in np.flatnonzero(np.diff(heard)).reshape(-1, 2):
            start = max(clip.span.start_us, int(t_us[first]))
            span = Span(start, max(start + 1, min(clip.span.end_us, int(t_us[last - 1]) + curve.hop_us)))
            score = float(values[first:last, k].max())
            named = ((curve.names[int(k)], score),)
            # The class is part of what makes the row's id: two may be heard in the same stretch.
            records.append(
                observe(
                    clip, "sound.event", span, f"{label}+{curve.names[int(k)]}", value=score, unit="0..1", dist=named,
                    n=int(last - first),
                )
            )  # fmt: skip
    if not len(values):
        records.append(observe(clip, "sound.event", clip.span, label, n=0, reason="too-short"))
    order = np.argsort(-values, axis=1, kind="stable")[:, :MOST]
    data: dict[str, Any] = {
        "t_us": np.repeat(t_us, order.shape[1]),
        "event": [curve.names[int(k)] for row in order for k in row],
        "score": np.take_along_axis(values, order, axis=1).reshape(-1),
    }
    return records, {f"events/{clip.id}": table(data)}


def descriptors_pass(clip: Clip, sound: Sound, stack: Stack) -> tuple[list[Any], dict[str, Any]]:
    """Every descriptor of the package on its own clock, as a table: beside ours, for those who know them by name."""
    curve: Curve = stack.get("voice_descriptors").run(sound)
    t_us = curve.t0_us + np.arange(len(curve), dtype=np.int64) * curve.hop_us
    inside = (t_us >= clip.span.start_us) & (t_us < max(clip.span.end_us, clip.span.start_us + US // 1000))
    data: dict[str, Any] = {"t_us": t_us[inside]}
    data |= {name: curve.values[inside, k] for k, name in enumerate(curve.names)}
    return [], {f"descriptors/{clip.id}": table(data)}
