"""Which parts of a clip's picture and sound must not be recognised: `policy.redaction` asked of the record."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from mien.core import Observation, Span, Track
from mien.export.selection.people import People
from mien.export.selection.scope import ClipRows, Scope
from mien.pipeline.stages.boxes import BOX, track_id
from mien.policy.consent import State
from mien.policy.redaction import Box, Boxes, Region, redactions

NOBODYS = "untracked"
_KINDS = {"faces": "face", "objects": "object"}


def redactions_of(scope: Scope, rows: ClipRows) -> tuple[Region, ...]:
    """The regions of a clip that have to be covered for `scope.use`, by the consents in force and `[policy] redact`.

    Somebody who was assigned a place or a track there and whom no detector found is covered at that place. Boxes that
    belong to no track are covered, too, where somebody in view said no: they may be theirs. So is the sound
    of such a clip where a voice was heard.
    """
    source, clip, store = rows.part.source, rows.part.clip, scope.project.store
    tracks = [t for t in store.all(Track, "clip_id = ?", (clip.id,)) if t.kind != "object"]
    people: People = scope.asked
    said: dict[str, State] = {t.id: people.of_track(source, t, scope.use) for t in tracks}
    boxes = {name: held for kind in _KINDS for name, held in _boxes(scope, rows, kind)}
    found = {name for t in tracks for name in people.who(source.sha256, t)}
    refuses = "no" in said.values()
    for name in [n for n in boxes if n.startswith(NOBODYS)]:
        if refuses:
            tracks.append(Track(name, clip.id, "face", "face", clip.span, (0.0, 0.0, 1.0, 1.0), 1))
            said[name] = "no"
    voiced = bool(store.all(Observation, "clip_id = ? AND target = 'vocal.kind'", (clip.id,)))
    heard = {t for t, state in said.items() if state == "no"} if voiced else set[str]()
    places: list[tuple[Span, Box, State]] = [
        (a.span, a.zone, people.says(a.subject_id, scope.use))
        for a in people.marks.assigned(source.sha256, clip.span)
        if a.zone is not None and a.subject_id not in found
    ]
    return redactions(tracks, said, boxes, scope.project.config.policy, clip=clip.span, heard=heard, places=places)


def _boxes(scope: Scope, rows: ClipRows, kind: str) -> Iterator[tuple[str, Boxes]]:
    """Detections by track id; those of no track under a name of their own."""
    clip = rows.part.clip
    held: Any = scope.project.store.table(f"{kind}/{clip.id}")
    if held is None or not held.num_rows:
        return
    width, _, height = (held.schema.metadata or {}).get(b"frame_px", b"").decode().partition("x")
    if not (width.isdigit() and height.isdigit()):
        return  # without the frame's size a box says nothing: the whole picture is covered
    times, index = held["t_us"].to_numpy(), held["track"].to_numpy()
    box = np.stack([held[name].to_numpy() for name in BOX], axis=1) / np.array([*(int(width), int(height)) * 2])
    for i in np.unique(index).tolist():
        name = track_id(clip, _KINDS[kind], i) if i >= 0 else NOBODYS
        if i < 0 and kind != "faces":
            continue
        mine = index == i
        yield name, Boxes(times[mine].astype(np.int64), box[mine].astype(np.float32))
