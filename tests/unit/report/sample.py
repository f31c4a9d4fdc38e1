"""A synthetic project for the report's tests: two people, gaps, a conflict, an open question, damage and a wait."""

from __future__ import annotations

from dataclasses import replace

from report_makers import FACE, PRIOR, VOICE, assessment, curve, dist, jpeg, observation, seconds

from mien.core import (
    US,
    Claim,
    Clip,
    Context,
    Contribution,
    Failure,
    Licences,
    Measured,
    Run,
    Source,
    Trace,
    Track,
    clip_id,
    content_id,
)
from mien.export.report import ClipView, Event, ModelView, Picture, Project, ReportData, Waiting


def clip_view(source: Source, start_s: float, seed: int, *, length_s: float = 40.0, pictures: bool = True) -> ClipView:
    """Forty seconds: voice says distress while the face says pleasure at 12 s, no face from 20 s to 26 s."""
    span = seconds(start_s, start_s + length_s)
    clip = Clip(clip_id(source.sha256, span, "scenes@1"), source.sha256, span, "shot cut", "shot cut", "scenes@1")
    k, at = clip.id, lambda a, b: seconds(start_s + a, start_s + b)
    a, b = content_id("track", k, 1), content_id("track", k, 2)
    tracks = (
        Track(a, k, "person", "person", at(0, 40), (0.1, 0.1, 0.5, 0.9), 198),
        Track(b, k, "person", "person", at(8, 33), (0.5, 0.2, 0.9, 0.9), 121),
        Track(content_id("track", k, 3), k, "object", "chair", at(0, 40), (0.6, 0.5, 0.8, 0.9), 200),
    )
    good, poor = "CCC 0.61 on 1,500 held-out frames", "CCC 0.18 on 1,500 held-out frames"
    hole = ((0.5, 0.65),)
    signals = (
        curve(k, a, "valence", "−1..1", span, 10, seed, 0.05, 0.55, good, holes=hole),
        curve(k, a, "arousal", "−1..1", span, 10, seed + 1, 0.1, 0.4, poor, weak=True, holes=hole),
        curve(k, b, "valence", "−1..1", at(8, 33), 10, seed + 2, -0.1, 0.3, good, holes=((0.3, 0.4), (0.8, 1.0))),
        curve(k, b, "arousal", "−1..1", at(8, 33), 10, seed + 3, 0.2, 0.3, poor, weak=True),
        curve(k, a, "motion_energy", "share of frame", span, 10, seed + 4, 0.3, 0.25),
        curve(k, None, "f0", "Hz", span, 50, seed + 5, 240, 90, "pitch error 4 %", holes=((0, 0.2), (0.72, 0.9))),
        curve(k, None, "loudness", "dB", span, 50, seed + 6, -32, 14),
        curve(k, a, "conflict", "nats", span, 4, seed + 7, 0.25, 0.22, holes=hole),
    )
    observations = [
        observation(
            k, a, at(4, 6), "expression", None, None, "", FACE, (("happy", 0.71), ("neutral", 0.2), ("sad", 0.09))
        ),
        observation(
            k, a, at(11, 14), "expression", None, None, "", FACE, (("happy", 0.58), ("fear", 0.22), ("sad", 0.2))
        ),
        observation(k, a, at(11, 14), "valence", 0.38, 0.17, "", FACE),
        observation(k, None, at(11.4, 13.2), "voice_polarity", -0.62, 0.21, "", VOICE),
        observation(k, None, at(11.4, 13.2), "pitch_rise", 84.0, 12.0, "Hz", "acoustics@1"),
        observation(k, a, at(20, 26), "valence", None, None, "", FACE, reason="face.not-found"),
        observation(
            k, b, at(15, 19), "expression", None, None, "", FACE, (("neutral", 0.66), ("sad", 0.2), ("happy", 0.14))
        ),
        observation(k, a, at(28, 33), "motion_burst", 0.61, 0.08, "share of frame", "motion@1"),
        observation(k, None, at(34, 36), "voice_polarity", -0.2, 0.4, "", VOICE),
    ]
    ids = {(o.target, round(o.span.start_us / US - start_s)): o.id for o in observations}
    events = tuple(
        Event(content_id("event", k, kind, i), kind, text, at(s, e), track)
        for i, (kind, text, s, e, track) in enumerate(
            (
                ("vocal_segment", "groan", 11.4, 13.2, None),
                ("vocal_segment", "laugh", 4.1, 6.4, None),
                ("vocal_segment", "voice, unknown source", 34.0, 36.2, None),
                ("movement", "rocking", 28.0, 33.0, a),
                ("movement", "hand to ear", 30.5, 31.6, a),
                ("presence", "in view", 8.0, 17.5, b),
                ("presence", "in view", 20.0, 33.0, b),
            )
        )
    )
    face = Contribution(
        "face",
        0.35,
        dist(0.12, 0.55, 0.12, 0.14, 0.07),
        dist(-0.2, 0.61, 0.02, -0.3, -0.1),
        (ids["expression", 11], ids["valence", 11]),
        "gated by high arousal",
    )
    voice = Contribution(
        "voice",
        0.6,
        dist(0.68, 0.08, 0.15, 0.04, 0.05),
        dist(0.92, -0.4, 0.1, -0.8, -0.2),
        (ids["voice_polarity", 11], events[0].id),
    )
    silent = Contribution("body", 0.0, (), (), (), "no pose was found")
    happy = Contribution(
        "face", 0.8, dist(0.04, 0.78, 0.05, 0.1, 0.03), dist(-0.9, 1.1, -0.2, -0.1, -0.2), (ids["expression", 4],)
    )
    flat = Contribution("face", 0.5, dist(0.2, 0.2, 0.15, 0.3, 0.15), dist(0, 0, 0, 0, 0), (ids["expression", 15],))
    assessments = (
        assessment(k, a, at(4, 7), dist(0.05, 0.74, 0.05, 0.12, 0.04), (happy, silent), 0.5, 0.0, 0.3),
        assessment(
            k,
            a,
            at(11, 14),
            dist(0.44, 0.3, 0.12, 0.09, 0.05),
            (face, voice, silent),
            0.62,
            0.41,
            0.12,
            True,
            "conflict",
        ),
        assessment(k, b, at(15, 19), dist(0.2, 0.19, 0.16, 0.31, 0.14), (flat,), 1.55, 0.0, 0.4, True, "ambiguous"),
        assessment(k, a, at(20, 26), PRIOR, (silent,), 0.0, 0.0, 1.0, True, "little evidence"),
        assessment(k, a, at(28, 33), dist(0.5, 0.06, 0.3, 0.09, 0.05), (voice, silent), 0.9, 0.05, 0.35),
    )
    trace = Trace(
        content_id("trace", k),
        k,
        "ledger@1",
        "Signals consistent with pleasure early on; at 12 s voice and face point to different states: left open.",
        ("body pose (no model installed)", "a baseline for these people"),
    )
    said = (
        (
            "observation",
            "The voice has a groan with falling polarity and a pitch rise of 84 Hz.",
            at(11.4, 13.2),
            a,
            (ids["voice_polarity", 11], ids["pitch_rise", 11], events[0].id),
        ),
        (
            "inference",
            "Two sources disagree: the voice is consistent with distress, the face with pleasure.",
            at(11, 14),
            a,
            (ids["expression", 11], ids["valence", 11], ids["voice_polarity", 11], assessments[1].id),
        ),
        ("alternative", "Strong effort would also be consistent with both.", at(11, 14), a, (ids["pitch_rise", 11],)),
        (
            "observation",
            "Rocking with a burst of movement over 5 s.",
            at(28, 33),
            a,
            (ids["motion_burst", 28], events[3].id),
        ),
        (
            "uncertainty",
            "No face was found from 20 s to 26 s: nothing is said about that time.",
            at(20, 26),
            a,
            (ids["valence", 20],),
        ),
        ("observation", "The second person's expression stays near neutral.", at(15, 19), b, (ids["expression", 15],)),
        (
            "recommendation",
            "Consider looking at this with someone who knows the person.",
            at(11, 14),
            a,
            (assessments[1].id, "obs-gone"),
        ),
    )
    claims = tuple(
        Claim(content_id("claim", trace.id, n), trace.id, kind, "", text, where, who, evidence)  # type: ignore[arg-type]
        for n, (kind, text, where, who, evidence) in enumerate(said)
    )
    shots = tuple(
        Picture(round((start_s + s) * US), jpeg(seed + i), "face blurred")
        for i, s in enumerate((1, 5, 12.3, 16, 24, 30, 38))
    )
    return ClipView(
        clip,
        source,
        tracks,
        tuple(observations),
        signals,
        events,
        assessments,
        trace,
        claims,
        shots if pictures else (),
        None if pictures else "reports of a care project hold no pictures",
    )


def source(name: str = "living-room_2026-03-14.mp4", context: Context = "research", **other: object) -> Source:
    film = Source(
        content_id("s", name)[2:].ljust(64, "0"),
        f"/films/{name}",
        "video",
        81_000_000,
        80 * US,
        1280,
        720,
        25.0,
        48_000,
        2,
        context,
        "CC BY 4.0",
        "recorded 2026-03-01",
        coverage=1.0,
    )
    return replace(film, **other)  # type: ignore[arg-type]


def sample(context: Context = "research", clips: int = 2, length_s: float = 40.0) -> ReportData:
    """The whole sample project."""
    film = source(context=context)
    torn = source("garden, windy.mov", context, coverage=0.62, state="degraded", code="media.truncated", consent=None)
    gone = source(
        "broken.avi",
        context,
        coverage=0.0,
        state="rejected",
        code="media.no-stream",
        duration_us=0,
        width_px=None,
        height_px=None,
        fps=None,
        audio_rate_hz=None,
        licence=None,
    )
    face = Licences("Apache-2.0", "Apache-2.0", "AffectNet: research only")
    models = (
        ModelView(
            "face.expression",
            "coarse emotion",
            FACE,
            face,
            (Measured("7-class accuracy 0.65", "AffectNet-7 (authors' figure)", "not re-run here"),),
        ),
        ModelView(
            "voice.affect",
            "vocal affect",
            VOICE,
            Licences("Apache-2.0", "Apache-2.0", "CC BY 4.0"),
            (Measured("AUC 0.71, by speaker", "EmoGator hold-out", "python -m bench voice", weak=True),),
            weak=True,
        ),
        ModelView("motion", "body", "motion@1+rule.0c0c0c0c", Licences("Apache-2.0", "none", "none")),
    )
    failures = (
        Failure(
            "broken.avi",
            "probe",
            "media.no-stream",
            "the file has no video and no audio stream",
            "check that the copy is complete, then run 'mien retry'",
            2,
            False,
            "2026-03-14T10:02:11Z",
        ),
        Failure(
            "garden, windy.mov",
            "decode",
            "media.truncated",
            "decoding stopped at 0:49.60 of 1:20.00",
            "the part before that was analysed",
            1,
            True,
            "2026-03-14T10:03:40Z",
        ),
    )
    waiting = (
        (
            Waiting(
                "affect",
                "No one is enrolled. Enrolment needs a pseudonym and a recorded consent with scope and expiry.",
            ),
        )
        if context == "care"
        else ()
    )
    run = Run("run-5d01", "2026-03-14T10:01:58Z", "2026-03-14T10:05:20Z", "mien run", "0.1.0", context, "ab" * 32)
    views = [clip_view(film, i * length_s, 7 * i, length_s=length_s, pictures=context != "care") for i in range(clips)]
    return ReportData(
        Project("Evening routine, pilot", context, "2026-03-14T09:55:00Z", "0.1.0"),
        (run,),
        (film, torn, gone),
        tuple(views),
        models,
        failures,
        waiting,
        (
            "Body pose was not analysed: no model for it is installed.",
            "Arousal is weak here: its measured agreement with people's ratings is low.",
        ),
    )
