"""The `assess` stage of one clip: face, voice and body per face and window, and the states of each track over time."""

from __future__ import annotations

import dataclasses
import math
from itertools import groupby

import numpy as np

from mien.core import Assessment, Span, Track, content_id, digest
from mien.fusion import (
    FusionConfig,
    SourceEvidence,
    assess,
    body_evidence,
    calibrated,
    face_evidence,
    forward,
    reliability,
    smooth,
)
from mien.pipeline.people import Cast
from mien.pipeline.rows import columns, windows
from mien.pipeline.stages.boxes import BOX, track_id
from mien.pipeline.stages.derive import Answer, View, face_tracks, voice_evidence
from mien.pipeline.stages.sources import bodies_of

FUSION = "fusion@2"


def fingerprint(config: FusionConfig) -> str:
    """What made an assessment: the version and a digest of everything that is set or learnt about fusion."""
    return f"{FUSION}+{digest(config.model_dump(mode='json'))[:8]}"


def assess_stage(view: View, cast: Cast) -> Answer:
    """Fusion per face and window; where no face was ever tracked, the voice alone is assessed for the recording.

    In `care`, of the faces that may be looked at, and no others.
    """
    config, made = view.config.fusion, fingerprint(view.config.fusion)
    tracks: list[Track | None] = [t for t in face_tracks(view) if cast.affect is None or t.id in cast.affect]
    bodies = _bodies(view)
    records: list[Assessment] = []
    for track in tracks or [None]:
        span = track.span if track else view.clip.span
        who = cast.who.get(track.id, "") if track else cast.alone
        body = bodies.get(track.id) if track else None
        for window in windows(span, view.config.analysis.window_s):
            sources = _sources(view, config, track, body, window, sharing=len(tracks))
            records.append(_assessment(view, config, track, window, _trusted(config, who, sources), made))
    return over_time(config, records), {}


def _assessment(
    view: View, config: FusionConfig, track: Track | None, window: Span, sources: list[SourceEvidence], made: str
) -> Assessment:
    found = assess(config, [calibrated(config.calibration, s) for s in sources])
    who = track.id if track else None
    return Assessment(
        content_id("assess", view.clip.id, who, window, made, [s.evidence_ids for s in sources]),
        view.clip.id,
        who,
        window,
        found.prior,
        found.posterior,
        found.contributions,
        found.ambiguity,
        found.conflict,
        found.vacuity,
        found.abstained,
        found.reason,
        made,
        found.credible,
        config.conformal.level if config.conformal else None,
    )


def over_time(config: FusionConfig, records: list[Assessment]) -> list[Assessment]:
    """The same assessments with the filtered and smoothed states of their track; `posterior` stays as it was."""
    out: list[Assessment] = []
    for _, group in groupby(records, key=lambda a: a.track_id):
        rows = list(group)
        prior = np.array([p for _, p in rows[0].prior])
        ratios = np.log([[max(p, 1e-300) for _, p in a.posterior] for a in rows]) - np.log(prior)
        middle = np.array([(a.span.start_us + a.span.end_us) // 2 for a in rows], np.int64)
        online, offline = (step(ratios, middle, prior, config.dynamics) for step in (forward, smooth))
        for a, f, s in zip(rows, online, offline, strict=True):
            told = [tuple(zip(config.names, p.tolist(), strict=True)) for p in (f, s)]
            out.append(dataclasses.replace(a, filtered=told[0], smoothed=told[1]))
    return out


def _trusted(config: FusionConfig, who: str, sources: list[SourceEvidence]) -> list[SourceEvidence]:
    """The sources with what confirmations say of them for this person."""
    held = config.people.get(who, {})
    out: list[SourceEvidence] = []
    for s in sources:
        said = held.get(s.name)
        factor = reliability(config.reliability, s.name, said)
        if said is not None and factor < 1:
            note = f"right in {said.right} of {said.windows} confirmed windows of this person: weight × {factor:.2f}"
            s = s.weighing(s.weight * factor, note)  # noqa: PLW2901
        out.append(s)
    return out


# ---------------------------------------------------------------- sources


def _sources(
    view: View, config: FusionConfig, track: Track | None, body: str | None, window: Span, sharing: int
) -> list[SourceEvidence]:
    voice = voice_evidence(view, config, window, track, sharing)
    found = [_face(view, config, track, window), _body(view, config, body, window)] if track else []
    return [s for s in (*found, voice) if s is not None]


def _face(view: View, config: FusionConfig, track: Track, window: Span) -> SourceEvidence:
    suffix = f"{view.clip.id}.{track.id[-6:]}"
    cells = {
        name: columns(view.store.table(f"signal-{name}/{suffix}"), ("t_us", "value", "sd", "cov", "gap"))
        for name in ("valence", "arousal")
    }
    t = cells["valence"]["t_us"]
    rows = (t >= window.start_us) & (t < window.end_us)
    mean = np.stack([cells[k]["value"][rows] for k in ("valence", "arousal")], axis=1).astype(np.float64)
    cov = np.empty((len(mean), 2, 2))
    cov[:, 0, 0] = cells["valence"]["sd"][rows] ** 2
    cov[:, 1, 1] = cells["arousal"]["sd"][rows] ** 2
    cov[:, 0, 1] = cov[:, 1, 0] = cells["valence"]["cov"][rows]
    seen = [o for o in view.of("expression", track.id) if o.span.overlap_us(window)]
    evidence = seen + [
        o
        for name in ("valence", "arousal", "valence.derived", "arousal.derived")
        for o in view.of(name, track.id)
        if o.span.overlap_us(window)
    ]
    covered = float((~cells["valence"]["gap"][rows].astype(bool)).mean()) if rows.any() else 0.0
    quality = covered * (float(np.mean([o.quality or 0.0 for o in seen])) if seen else 0.0)
    # The gate reads the face's own arousal: that of the voice head is too weak to silence a face (docs/cards).
    arousal = float(mean[:, 1].mean()) if len(mean) else math.nan
    return face_evidence(
        config, mean, cov, quality=min(1.0, quality), arousal=arousal, evidence_ids=tuple(o.id for o in evidence)
    )


def _body(view: View, config: FusionConfig, body: str | None, window: Span) -> SourceEvidence | None:
    """The evidence of the body a face belongs to; None where there is none or it was not measured in the window."""
    seen = [o for o in view.of("body.motion_body", body) if o.span.overlap_us(window)] if body else []
    if not seen:
        return None
    overlap = np.array([o.span.overlap_us(window) for o in seen], np.float64)
    quality = float(overlap @ [o.quality or 0.0 for o in seen]) / window.duration_us
    speed = np.array([math.nan if o.value is None else o.value for o in seen])
    return body_evidence(config, speed, quality=min(1.0, quality), evidence_ids=tuple(o.id for o in seen))


def _bodies(view: View) -> dict[str, str]:
    """Person track of each face track, by where their boxes lie."""
    people = {t.id for t in view.tracks if t.kind == "person"}
    faces, found = view.held("faces"), view.held("objects")
    if not people or faces is None or found is None:
        return {}
    of_faces, boxes = (columns(held, ("t_us", "track", *BOX)) for held in (faces, found))
    names = {int(n): track_id(view.clip, "object", int(n)) for n in np.unique(boxes["track"])}
    is_person = np.isin(boxes["track"], [n for n, name in names.items() if name in people])
    owner = bodies_of(of_faces, {name: values[is_person] for name, values in boxes.items()})
    return {track_id(view.clip, "face", face): names[body] for face, body in owner.items()}
