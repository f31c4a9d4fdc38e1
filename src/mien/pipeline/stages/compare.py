"""What only the whole project can tell of a clip: whether it is unlike the others, and whether it is a copy of one."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mien.core import Clip, digest
from mien.pipeline.rows import columns, observe
from mien.signals.neighbours import anomalies, near_duplicates, scaled
from mien.store import StageResult, Store

STAGE, RULE = "compare", "rule.neighbours@1"


def compared(store: Store) -> list[StageResult]:
    """Results of the `compare` stage for every clip of the project; none when nothing has changed since the last run.

    Observations: `scene.anomaly` (rank 0..1 within the project; a reason where it is too small) and `copy.of` (the
    first clip of a group of near-duplicates).
    """
    key, order, current = standing(store)
    if current:
        return []
    known = {c.id: c for c in store.all(Clip)}
    clips = [known[i] for i in order]
    hashes = [[None if h is None else int(h, 16) for h in _hashes(store, c)] for c in clips]
    sources = [c.source_sha for c in clips]
    copies = near_duplicates(hashes, sources)
    vectors = [columns(store.table(f"scene/{c.id}"), ("value",))["value"] for c in clips]
    width = max((len(v) for v in vectors), default=0)
    stacked = np.stack([v if len(v) == width and width else np.full(max(width, 1), np.nan) for v in vectors])
    strange = anomalies(scaled(stacked, "unit"), sources, copies.group)
    results: list[StageResult] = []
    for i, clip in enumerate(clips):
        found = strange[i]
        records: list[Any] = [
            observe(
                clip, "scene.anomaly", clip.span, RULE, unit="rank 0..1", n=len(clips),
                value=math.nan if found.percentile is None else found.percentile, reason=found.reason,
            )
        ]  # fmt: skip
        if copies.group[i] != i:
            first = clips[copies.group[i]].id
            records.append(observe(clip, "copy.of", clip.span, RULE, dist=((first, 1.0),)))
        results.append(StageResult(clip.id, STAGE, key, records))
    return results


def standing(store: Store) -> tuple[str, list[str], bool]:
    """The key of a comparison of the clips as they are now, those clips in order, and whether it is done already."""
    _, rows = store.query(
        "SELECT c.id, s.key, t.key FROM clips c "
        "JOIN stages s ON s.unit = c.id AND s.stage = 'scene' AND s.state = 'ok' "
        "LEFT JOIN stages t ON t.unit = c.id AND t.stage = 'compare' "
        "ORDER BY c.source_sha, c.start_us, c.end_us, c.id"
    )
    key = digest(STAGE, RULE, [(clip, scene) for clip, scene, _ in rows])
    return key, [clip for clip, _, _ in rows], all(held == key for _, _, held in rows)


def _hashes(store: Store, clip: Clip) -> list[str | None]:
    held = store.table(f"hashes/{clip.id}")
    return [] if held is None else held["hash"].to_pylist()
