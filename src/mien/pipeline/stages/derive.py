"""The derived stages of one clip: signals on one clock, valence and arousal, the voice's evidence, claims."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mien.core import Assessment, Clip, MienError, Observation, Signal, Span, Track, content_id
from mien.fusion import FusionConfig, SourceEvidence
from mien.pipeline.config import Config
from mien.pipeline.rows import columns, table
from mien.pipeline.stack import Stack
from mien.pipeline.stages.boxes import track_id
from mien.reason import Ledger, event_rows, is_affect, reason
from mien.reason.events import RULE as EVENTS
from mien.signals import descriptors
from mien.signals.kalman import ou_filter
from mien.store import Store

Array = npt.NDArray[Any]
Answer = tuple[list[Any], dict[str, Any]]
GRID_US = 200_000
OU = "rule.ou-kalman@1"
NEAR_SPEECH_US = 1_500_000
FULL_VOICE_US = 600_000  # a vocal sound this long within a window counts fully

HEAD = ("yaw", "pitch", "roll")
TWO_READINGS = "says that there are two readings, not that the pool is wrong"
SOUND_SIGNALS = {"loudness": ("energy_dbfs", "dBFS"), "pitch": ("f0_hz", "Hz"), "speech": ("speech", "0..1")}


@dataclass(frozen=True, slots=True)
class View:
    """What the derived stages read of one clip."""

    clip: Clip
    tracks: list[Track]
    observations: list[Observation]
    store: Store
    stack: Stack
    config: Config

    def held(self, stage: str) -> Any:
        return self.store.table(f"{stage}/{self.clip.id}")

    def of(self, target: str, track: str | None = None) -> list[Observation]:
        return [o for o in self.observations if o.target == target and (track is None or o.track_id == track)]


def signal(
    view: View,
    name: str,
    unit: str,
    t0_us: int,
    step_us: int,
    columns_: dict[str, Array],
    adapter: str,
    track: str | None = None,
    slots: tuple[str, ...] = (),
    note: str = "",
    weak: bool = False,
) -> tuple[Signal, str, Any]:
    """A curve on the clip's clock, the name of its array, and the array."""
    value = columns_["value"]
    n = len(value)
    array = f"signal-{name}/{view.clip.id}" + (f".{track[-6:]}" if track else "")
    measured = [m for slot in slots if view.stack.has(slot) for m in view.stack.spec(slot).measured]
    accuracy = "; ".join([note] * bool(note) + [m.figure for m in measured])
    covered = ~columns_["gap"] if "gap" in columns_ else np.isfinite(value)
    signal = Signal(
        content_id("signal", view.clip.id, track, name, adapter),
        view.clip.id,
        track,
        name,
        unit,
        t0_us,
        step_us,
        n,
        round(float(covered.mean()), 6) if n else 0.0,
        array,
        adapter,
        accuracy,
        weak or any(m.weak for m in measured),
    )
    data = {"t_us": t0_us + step_us * np.arange(n, dtype=np.int64), **columns_}
    return signal, array, table(data)


def signals_stage(view: View) -> Answer:
    """Observable signals: motion energy, loudness, pitch, speech probability, facial geometry per face."""
    made: list[tuple[Signal, str, Any]] = []
    motion = columns(view.held("motion"), ("t_us", "energy"))
    if len(motion["t_us"]):
        grid = gridded(view.clip.span, motion["t_us"], motion["energy"])
        made.append(signal(view, "motion_energy", "1/s", *grid, "rule.motion@1"))
    sound = view.held("sound")
    if sound is not None and sound.num_rows:
        held = columns(sound, ("t_us", "energy_dbfs", "f0_hz", "speech"))
        step = int(held["t_us"][1] - held["t_us"][0]) if len(held["t_us"]) > 1 else 50_000
        for name, (column, unit) in SOUND_SIGNALS.items():
            slot = {"pitch": "pitch", "speech": "vad"}.get(name)
            label = view.stack.label(slot) if slot else "rule.acoustics@1"
            cells = {"value": held[column], "sd": np.full(len(held["t_us"]), np.nan, np.float32)}
            made.append(
                signal(view, name, unit, int(held["t_us"][0]), step, cells, label, slots=(slot,) if slot else ())
            )
    landmarks = view.held("landmarks")
    if landmarks is not None and landmarks.num_rows:
        held = columns(landmarks, ("t_us", "track", *descriptors.UNITS, *HEAD))
        for track in face_tracks(view):
            mine = held["track"] == _index(view, track)
            curves = {f"face.{n}": (n, u) for n, u in descriptors.UNITS.items()} | {
                f"head.{n}": (n, "deg") for n in HEAD
            }
            for name, (column, unit) in curves.items():
                grid = gridded(track.span, held["t_us"][mine], held[column][mine])
                made.append(signal(view, name, unit, *grid, view.stack.label("landmarks"), track.id, ("landmarks",)))
    return [s for s, *_ in made], {name: data for _, name, data in made}


def affect_stage(view: View) -> Answer:
    """Valence and arousal of each face: an Ornstein-Uhlenbeck/Kalman filter on the grid; in gaps the sd grows."""
    answers = view.held("expression")
    if answers is None or "valence" not in answers.column_names:  # no face was tracked
        return [], {}
    held = columns(answers, ("t_us", "track", "valence", "arousal", "var_valence", "var_arousal", "cov"))
    made: list[tuple[Signal, str, Any]] = []
    for track in face_tracks(view):
        mine = held["track"] == _index(view, track)
        if not mine.any():
            continue
        measured = bool(view.of("valence", track.id))
        mean = np.stack([held["valence"][mine], held["arousal"][mine]], axis=1).astype(np.float64)
        cov = np.empty((len(mean), 2, 2))
        cov[:, 0, 0], cov[:, 1, 1] = held["var_valence"][mine], held["var_arousal"][mine]
        cov[:, 0, 1] = cov[:, 1, 0] = held["cov"][mine]
        grid = _grid(track.span)
        out = ou_filter(held["t_us"][mine], mean, cov, t0_us=int(grid[0]), step_us=GRID_US, cells=len(grid))
        for k, name in enumerate(("valence", "arousal")):
            cells = {
                "value": out.mean[:, k].astype(np.float32),
                "sd": np.sqrt(out.cov[:, k, k]).astype(np.float32),
                "cov": out.cov[:, 0, 1].astype(np.float32),
                "gap": out.gap,
            }
            made.append(
                signal(
                    view,
                    name,
                    "-1..1",
                    out.t0_us,
                    GRID_US,
                    cells,
                    f"{OU}+{view.stack.label('expression')}",
                    track.id,
                    ("expression",),
                    "" if measured else "derived from the expression classes, not measured",
                )
            )
        if "disagreement" in answers.column_names:
            apart = columns(answers, ("disagreement",))["disagreement"][mine]
            cells_at = gridded(track.span, held["t_us"][mine], apart)
            label = view.stack.label("expression")
            made.append(signal(view, "expression_disagreement", "nat", *cells_at, label, track.id, note=TWO_READINGS))
    return [s for s, *_ in made], {name: data for _, name, data in made}


def voice_evidence(
    view: View, config: FusionConfig, window: Span, track: Track | None, sharing: int
) -> SourceEvidence | None:
    """The voice's evidence in a window; None where nothing was heard that the head knows.

    A face gets as much of the voice's weight as it is likely to have made the sound (`voice.source`); the rest stays
    with other tracks and with "unknown". Where no face was ever tracked, the voice stands for the recording.
    """
    heard = [o for o in view.of("voice.state") if o.dist and o.span.overlap_us(window)]
    if not heard:
        return None
    prior = dict(view.stack.get("voice_affect").prior)
    if set(config.names) != set(prior):
        raise MienError(
            "fusion.unknown-state",
            f"the voice head knows {', '.join(prior)}, but fusion.states names {', '.join(config.names)}",
            "name the same states, use a head that knows them, or set stack.voice_affect to 'off'",
        )
    # To speech the head mostly says "pleasure", even to neutral reading (docs/log.md): it counts only as far as there
    # is doubt that there are words.
    talk = _talk(view)
    overlap = np.array([o.span.overlap_us(window) for o in heard], np.float64)
    wordless = np.array([1 - talk.get(o.span, 0.0) for o in heard])
    worth = overlap * wordless * np.array([o.quality or 0.0 for o in heard])
    whose = [_share(view, track, o.span, window, sharing) for o in heard]
    mine = worth * np.array([p for p, _ in whose])
    if not mine.any():
        return None
    dist = mine @ np.array([[dict(o.dist)[s] for s in config.names] for o in heard])
    share = float(mine.sum() / worth.sum())
    weight = config.weights.voice * min(1.0, float(worth.sum()) / FULL_VOICE_US) * share
    notes: list[str] = []
    if float(wordless @ overlap) < 0.5 * float(overlap.sum()):
        notes.append("mostly speech-like, which the head was not trained on")
    if track:
        why = "mouth and sound compared" if any(rows for _, rows in whose) else f"not compared, {sharing} faces in view"
        notes.append(f"from this face with p = {share:.2f} ({why}): weight × {share:.2f}")
    return SourceEvidence(
        "voice",
        tuple(float(p) for p in dist / dist.sum()),
        tuple(prior[s] for s in config.names),
        weight,
        tuple(dict.fromkeys(i for o, (_, rows) in zip(heard, whose, strict=True) for i in (o.id, *rows))),
        "; ".join(notes),
    )


def _share(view: View, track: Track | None, span: Span, window: Span, sharing: int) -> tuple[float, tuple[str, ...]]:
    """How likely a track made a sound, and the rows in the window that say so; where none does, an equal share, with
    one more for somebody out of view."""
    if track is None:
        return 1.0, ()
    rows = [o for o in view.of("voice.source") if o.dist and o.span.overlap_us(span)]
    if not rows:
        return 1 / (sharing + 1), ()
    overlap = np.array([o.span.overlap_us(span) for o in rows], np.float64)
    p = np.array([dict(o.dist).get(track.id, 0.0) for o in rows])
    return float(overlap @ p / overlap.sum()), tuple(o.id for o in rows if o.span.overlap_us(window))


def _talk(view: View) -> dict[Span, float]:
    """How speech-like each vocal segment is. In and near speech the detector is believed as well: a drawn-out word
    between others is articulated little, and is no cry."""
    held = {o.span: dict(o.dist)["speech"] for o in view.of("vocal.kind")}
    share = {o.span: o.value or 0.0 for o in view.of("vocal.detected_speech")}
    spoken = [span for span, talk in held.items() if talk >= 0.5]

    def near(span: Span) -> bool:
        return any(
            o.start_us - NEAR_SPEECH_US < span.end_us and span.start_us < o.end_us + NEAR_SPEECH_US for o in spoken
        )

    return {span: max(talk, share.get(span, 0.0)) if near(span) else talk for span, talk in held.items()}


def claims_stage(view: View, assessments: list[Assessment], missing: tuple[str, ...]) -> Answer:
    """The ledger engine's claims over everything the clip's stages observed, and the events of signals they cite."""
    kept = [o for o in view.observations if not o.adapter.startswith(EVENTS)]  # an earlier run of this stage made those
    events = [e for s in view.store.all(Signal, "clip_id = ?", (view.clip.id,)) for e in _events(view, s)]
    ledger = Ledger(view.clip, tuple(view.tracks), (*kept, *events), tuple(assessments), missing)
    trace, claims = reason(ledger, observables_only=view.config.project.observables_only)
    return [trace, *events, *claims], {}


def _events(view: View, signal: Signal) -> list[Observation]:
    """The events of one signal. In `care` none of affect: rows of this stage may leave, those of affect may not."""
    if view.config.project.context == "care" and is_affect(signal.name):
        return []
    held = columns(view.store.table(signal.array), ("t_us", "value", "sd"))
    return event_rows(view.clip, signal, held["t_us"], held["value"], held["sd"])


# ---------------------------------------------------------------- grids


def face_tracks(view: View) -> list[Track]:
    return sorted((t for t in view.tracks if t.kind == "face"), key=lambda t: (t.span.start_us, t.id))


def _index(view: View, track: Track) -> int:
    """The tracker's number of a face track (ids are hashes of it)."""
    held = columns(view.held("faces"), ("track",))["track"]
    for index in np.unique(held[held >= 0]):
        if track_id(view.clip, "face", int(index)) == track.id:
            return int(index)
    raise KeyError(track.id)


def _grid(span: Span) -> Array:
    """Starts of the 200 ms cells (multiples from t = 0) that touch the span, int64 µs."""
    return np.arange(span.start_us // GRID_US, -(-span.end_us // GRID_US)) * GRID_US


def gridded(span: Span, t_us: Array, values: Array) -> tuple[int, int, dict[str, Array]]:
    """(t0, step, columns) with the mean and sd of the values in each cell; an empty cell is NaN."""
    grid = _grid(span)
    cell = t_us // GRID_US - grid[0] // GRID_US
    ok = (cell >= 0) & (cell < len(grid)) & np.isfinite(values)
    count = np.bincount(cell[ok], minlength=len(grid)).astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.bincount(cell[ok], values[ok], len(grid)) / count
        square = np.bincount(cell[ok], values[ok].astype(np.float64) ** 2, len(grid)) / count
        sd = np.sqrt(np.maximum(0, square - mean**2)) * np.where(count > 1, 1, np.nan)
    return int(grid[0]), GRID_US, {"value": mean.astype(np.float32), "sd": sd.astype(np.float32)}
