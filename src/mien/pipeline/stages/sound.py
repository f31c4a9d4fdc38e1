"""The sound passes over one clip: observables (`sound`), then what the voice suggests (`voice`)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mien.core import SAMPLE_RATE_HZ, US, Clip, Curve, Observation, Sound, Span
from mien.pipeline.rows import columns, observe, table
from mien.pipeline.stack import Stack
from mien.pipeline.stages.cues import cues_of
from mien.signals.acoustics import describe
from mien.signals.envelope import roughness, shape
from mien.signals.quality import clipped_share, loudness_lufs, snr_db
from mien.signals.steadiness import steadiness
from mien.signals.timbre import timbre
from mien.signals.vocal import VocalSegment, passages, spoken, vocal_segments
from mien.signals.vocal_events import VocalEvent, vocal_events

RULE, QUALITY, EVENTS = "rule.vocal-segments@2", "rule.sound-quality@1", "rule.vocal-events@1"
PITCH = ("f0_hz", "voicing")
COLOUR = ("spread_hz", "slope_db_per_octave")  # MFCC come close to a print of the voice: used, never stored
EDGE_US = 300_000  # attack and decay lie partly outside what counts as vocal
ROUGH_ABOVE_HZ = 160.0  # a lower pitch beats within the band of roughness itself
STEP_US = 50_000
CLIP_US, LEAST_CONTEXT_US = 2_000_000, 300_000
KEPT = ("energy_dbfs", "centroid_hz", "flatness", "harmonicity_db")


def sound_pass(clip: Clip, sound: Sound, stack: Stack) -> tuple[list[Any], dict[str, Any]]:
    """Speech probability, pitch, and what the sound is like on a 50 ms grid; the vocal segments and events, and the
    quality of the recording, as observations."""
    acoustics, colour, rough = describe(sound), timbre(sound), roughness(sound)
    vad: Curve | None = stack.get("vad").run(sound) if stack.has("vad") else None
    pitch: Curve | None = stack.get("pitch").run(sound) if stack.has("pitch") else None
    t_us = np.arange(-(-clip.span.start_us // STEP_US) * STEP_US, clip.span.end_us, STEP_US)
    data: dict[str, Any] = {"t_us": t_us}
    named = (acoustics, KEPT), (colour, COLOUR), (rough, rough.names), (vad, ("speech",)), (pitch, PITCH)
    for curve, names in named:
        for name in names:
            data[name] = _sampled(curve, name, t_us)
    records = _quality(clip, sound, vad, stack)
    if vad is not None and pitch is not None:
        segments = vocal_segments(acoustics, vad, pitch, timbre=colour)
        for segment in segments:
            records += _segment(clip, segment, acoustics, pitch, rough, stack)
        if segments:
            for event in vocal_events(acoustics, segments, vad, pitch, steady=steadiness(sound)):
                records += _event(clip, event, stack)
    return records, {f"sound/{clip.id}": table(data)}


def _quality(clip: Clip, sound: Sound, vad: Curve | None, stack: Stack) -> list[Any]:
    """Loudness, clipping and, where speech has pauses, the ratio of speech to noise of the whole clip."""
    loud, snr = loudness_lufs(sound), math.nan if vad is None else snr_db(sound, vad)
    snr = math.nan if math.isinf(snr) else snr
    rows = [
        observe(
            clip, "sound.loudness", clip.span, QUALITY, value=loud if math.isfinite(loud) else math.nan, unit="LUFS",
            reason=None if math.isfinite(loud) else "silence",
        ),
        observe(clip, "sound.clipped", clip.span, QUALITY, value=clipped_share(sound), unit="share"),
    ]  # fmt: skip
    if vad is not None:
        why = None if math.isfinite(snr) else "no-speech-with-pauses"
        by = f"{QUALITY}+{stack.label('vad')}"
        rows.append(observe(clip, "sound.snr", clip.span, by, value=snr, unit="dB", reason=why))
    return rows


def _event(clip: Clip, event: VocalEvent, stack: Stack) -> list[Observation]:
    """Onset to offset with what it may be, and its loudest 50 ms."""
    by = f"{EVENTS}+{stack.label('vad')}"
    return [
        observe(
            clip, "vocal.event", event.span, by, value=event.snr_db, unit="dB", dist=event.kinds, quality=event.quality,
        ),
        observe(clip, "vocal.peak", event.peak, by, value=event.peak_dbfs, unit="dBFS"),
    ]  # fmt: skip


def _segment(
    clip: Clip, segment: VocalSegment, acoustics: Curve, pitch: Curve, rough: Curve, stack: Stack
) -> list[Observation]:
    span: Span = segment.span
    f0 = _within(pitch, "f0_hz", span)
    level = _within(acoustics, "energy_dbfs", span)
    roughs = _within(rough, "roughness", span)
    at = rough.t0_us + np.arange(len(rough)) * rough.hop_us
    sung = _at(pitch, "f0_hz", at[(at >= span.start_us) & (at < span.end_us)]) > ROUGH_ABOVE_HZ
    roughs = roughs[np.isfinite(roughs) & sung].astype(np.float64)
    voiced = f0[np.isfinite(f0)]
    share = round(segment.speech if math.isnan(segment.talk) else segment.talk, 6)
    made = shape(acoustics, Span(max(0, span.start_us - EDGE_US), span.end_us + EDGE_US))
    n = len(level)
    rows = [
        observe(
            clip,
            "vocal.kind",
            span,
            f"{RULE}+{stack.label('vad')}",
            quality=segment.quality,
            dist=(("speech", share), ("voice", round(1 - share, 6))),
            n=n,
        ),
        observe(
            clip,
            "vocal.f0_hz",
            span,
            stack.label("pitch"),
            unit="Hz",
            n=len(voiced),
            quality=segment.voiced,
            value=float(np.median(voiced)) if len(voiced) else float("nan"),
            sd=float(np.std(voiced, dtype=np.float64)) if len(voiced) > 1 else None,
            reason=None if len(voiced) else "unvoiced",
        ),
        observe(
            clip,
            "vocal.level_dbfs",
            span,
            "rule.acoustics@1",
            unit="dBFS",
            n=n,
            value=float(10 * np.log10(np.mean(10 ** (level.astype(np.float64) / 10)))),
        ),
    ]
    figures = {
        "vocal.roughness": (float(np.median(roughs)) if len(roughs) else math.nan, "0..1", "rule.envelope@1"),
        "vocal.attack": (made.attack_s, "s", "rule.envelope@1"),
        "vocal.decay": (made.decay_s, "s", "rule.envelope@1"),
        "vocal.beat": (made.modulation_hz, "Hz", "rule.envelope@1"),
        "vocal.articulation": (segment.articulation, "mfcc distance", "rule.timbre@1"),
    }
    rows.append(
        observe(clip, "vocal.detected_speech", span, stack.label("vad"), value=segment.speech, unit="share", n=n)
    )
    return rows + [
        observe(clip, target, span, by, value=value, unit=unit, n=n) for target, (value, unit, by) in figures.items()
    ]


def voice_pass(clip: Clip, sound: Sound, segments: list[Observation], stack: Stack) -> tuple[list[Any], dict[str, Any]]:
    """What the voice suggests per vocal segment: states, arousal, prompted expressions. Embeddings die in here."""
    records: list[Any] = []
    if not segments:
        return records, {}
    pieces = [_piece(sound, o.span) for o in segments]
    embedded = stack.get("voice_embedding").run(pieces)
    try:
        states = stack.get("voice_affect").run(embedded)
        arousal = stack.get("voice_arousal").run(embedded) if stack.has("voice_arousal") else None
        records += cues_of(clip, segments, embedded, stack) if stack.has("voice_cues") else []
    finally:
        embedded.vectors.fill(0)
    for i, segment in enumerate(segments):
        probs = states.probs[i]
        measured = bool(np.isfinite(probs).all())
        records.append(
            observe(
                clip,
                "voice.state",
                segment.span,
                stack.label("voice_affect"),
                quality=segment.quality,
                dist=tuple(zip(states.labels, map(float, probs), strict=True)) if measured else (),
                reason=None if measured else "sound-not-measurable",
            )
        )
        if arousal is not None:
            records.append(
                observe(
                    clip,
                    "voice.arousal",
                    segment.span,
                    stack.label("voice_arousal"),
                    quality=segment.quality,
                    value=float(arousal.value[i]),
                    sd=float(arousal.sd[i]),
                    unit="-1..1",
                )
            )
    return records, {}


def words_pass(
    clip: Clip, sound: Sound, segments: list[Observation], grid: Any, stack: Stack
) -> tuple[list[Any], dict[str, Any]]:
    """Words with times, from passages of speech only. One observation per word; its score is how sure the model is."""
    heard = [
        VocalSegment(o.span, "speech" if dict(o.dist)["speech"] >= 0.5 else "voice", o.quality or 0.0, 0.0, 0.0, 0.0)
        for o in segments
    ]
    spans = passages(heard)
    if not spans:
        return [], {}
    words = stack.get("words").run([_cut(sound, span.start_us, span.end_us) for span in spans])
    held = columns(grid, ("t_us", "speech"))
    vad = Curve(held["speech"].astype(np.float32)[:, None], ("speech",), int(held["t_us"][0]), STEP_US)
    words = spoken(words, vad)
    rows = [
        observe(
            clip, "word", Span(int(a), int(b)), stack.label("words"), value=float(score), unit="0..1",
            dist=((text, 1.0),),
        )
        for (a, b), score, text in zip(words.span_us, words.score, words.text, strict=True)
    ]  # fmt: skip
    return rows, {}


def segments_of(observations: list[Observation]) -> list[Observation]:
    """The vocal segments among a clip's observations, in order of time."""
    return sorted((o for o in observations if o.target == "vocal.kind"), key=lambda o: o.span.start_us)


def _piece(sound: Sound, span: Span) -> Sound:
    """A vocal segment with the quiet around it, 2 s at least: the head was trained on whole clips of that kind, and on
    bare segments its recall falls from 0.72 to 0.53 (docs/log.md)."""
    around = max(LEAST_CONTEXT_US, (CLIP_US - span.duration_us) // 2)
    return _cut(sound, span.start_us - around, span.end_us + around)


def _cut(sound: Sound, start_us: int, end_us: int) -> Sound:
    first = max(0, round((start_us - sound.t0_us) * SAMPLE_RATE_HZ / US))
    last = round((end_us - sound.t0_us) * SAMPLE_RATE_HZ / US)
    return Sound(np.ascontiguousarray(sound.samples[first:last]), sound.t0_us + first * US // SAMPLE_RATE_HZ)


def _column(curve: Curve, name: str) -> np.ndarray[Any, Any]:
    return curve.values[:, curve.names.index(name)]


def _within(curve: Curve, name: str, span: Span) -> np.ndarray[Any, Any]:
    t = curve.t0_us + np.arange(len(curve)) * curve.hop_us
    return _column(curve, name)[(t >= span.start_us) & (t < span.end_us)]


def _at(curve: Curve, name: str, t_us: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The row of a curve that covers each time, float32; NaN outside."""
    out = np.full(len(t_us), np.nan, np.float32)
    row = (t_us - curve.t0_us) // curve.hop_us
    inside = (row >= 0) & (row < len(curve))
    out[inside] = _column(curve, name)[row[inside]]
    return out


def _sampled(curve: Curve | None, name: str, t_us: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The row of a curve that covers the middle of each grid cell; NaN outside."""
    if curve is None or not len(curve):
        return np.full(len(t_us), np.nan, np.float32)
    return _at(curve, name, t_us + STEP_US // 2)


def stored_sound(held: Any) -> dict[str, np.ndarray[Any, Any]]:
    """The stored 50 ms grid of a clip."""
    return columns(held, ("t_us", *KEPT, "speech", "f0_hz", "voicing"))
