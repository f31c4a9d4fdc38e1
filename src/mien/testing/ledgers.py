"""Invented evidence: rows and assessments of a clip that nobody filmed, consistent with each other, from a seed.

Every assessment is the log-linear pool of its own contributions, so that what is read from it can be recomputed.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, replace

from mien.core import US, Assessment, Clip, Contribution, Dist, Observation, Span, Track, content_id

STATES = ("distress", "pleasure", "calm")
WINDOW_US = 2 * US
MOVES = (("body.hand_at_ear", "left", 1.0), ("body.rocking", "trunk", 0.8), ("body.reaching", "right", 1.0))


@dataclass(frozen=True, slots=True)
class Invented:
    """What a ledger is made of."""

    clip: Clip
    tracks: tuple[Track, ...]
    observations: tuple[Observation, ...]
    assessments: tuple[Assessment, ...]
    missing: tuple[str, ...] = ("body: posture and movement were not looked at",)


def invented(seed: int, faces: int = 2, windows: int = 12) -> Invented:
    """A clip with some faces, wordless sounds, movements and events; states come and go in stretches of a few windows.

    Raises:
        ValueError: fewer than one face or window.
    """
    if faces < 1 or windows < 1:
        raise ValueError(f"an invented clip needs a face and a window, but got {faces} and {windows}")
    maker = _Maker(seed, windows)
    for number in range(faces):
        maker.face(number, faces)
    maker.sounds()
    return Invented(maker.clip, tuple(maker.tracks), tuple(maker.rows), tuple(maker.assessments))


def shuffled(given: Invented, donor: Invented, seed: int) -> Invented:
    """The same ids over other contents: each row holds what another row of the ledger held, each assessment what one of
    the donor's did, and its evidence is drawn anew from the rows of its own track."""
    chance = random.Random(seed)
    order = chance.sample(given.observations, len(given.observations))
    rows = tuple(replace(o, id=i.id) for i, o in zip(given.observations, order, strict=True))
    ids = [o.id for o in given.observations]
    assessed: list[Assessment] = []
    others = list(donor.assessments) or list(given.assessments)
    for a in given.assessments:
        b = chance.choice(others)
        held = tuple(replace(c, evidence_ids=tuple(chance.sample(ids, min(3, len(ids))))) for c in b.contributions)
        assessed.append(replace(b, id=a.id, clip_id=a.clip_id, track_id=a.track_id, span=a.span, contributions=held))
    return replace(given, observations=rows, assessments=tuple(assessed))


class _Maker:
    def __init__(self, seed: int, windows: int) -> None:
        self.chance = random.Random(seed)
        self.windows = [Span(i * WINDOW_US, (i + 1) * WINDOW_US) for i in range(windows)]
        span = Span(0, windows * WINDOW_US)
        self.clip = Clip(content_id("clip", "invented", seed), f"invented-{seed}", span, "start", "end", "none")
        self.tracks: list[Track] = []
        self.rows: list[Observation] = []
        self.assessments: list[Assessment] = []
        self.voices: dict[Span, str] = {}
        self.heard = [s for s in self.windows if self.chance.random() < 0.4]
        for s in self.heard:
            dist = self.dist(self.chance.choice(STATES), 0.6)
            self.voices[s] = self.row(None, self.part(s), "voice.state", dist=dist)

    def row(self, track: str | None, span: Span, target: str, value: float | None = None, **more: object) -> str:
        row = Observation(
            content_id("obs", self.clip.id, track, span, target), self.clip.id, track, span, target, value, None, "",
            (), 0.9, 10, "invented@1",
        )  # fmt: skip
        self.rows.append(replace(row, **more))  # pyright: ignore[reportArgumentType]
        return row.id

    def part(self, span: Span) -> Span:
        """A stretch inside a window."""
        start = span.start_us + self.chance.randrange(0, 8) * US // 10
        return Span(start, start + self.chance.randrange(5, 12) * US // 10)

    def dist(self, state: str, sure: float) -> Dist:
        raw = {s: self.chance.uniform(0.1, 0.4) + (3 * sure if s == state else 0.0) for s in STATES}
        total = sum(raw.values())
        return tuple((s, round(v / total, 6)) for s, v in raw.items())

    def face(self, number: int, faces: int) -> None:
        place = (number / faces, 0.2, (number + 0.8) / faces, 0.6)
        span = self.clip.span
        track = Track(content_id("track", self.clip.id, number), self.clip.id, "face", "face", span, place, 100)
        self.tracks.append(track)
        self.row(track.id, span, "presence", round(self.chance.uniform(0.6, 1.0), 3))
        state = self.chance.choice(STATES)
        for window in self.windows:
            if self.chance.random() < 0.3:
                state = self.chance.choice(STATES)
            self.assess(track.id, window, state)
        for name, size in (("valence", 0.5), ("face.mouth_corner_raise", 0.2), ("head.yaw", 25.0)):
            start = self.chance.randrange(0, span.end_us - 4 * US, US // 5)
            where = Span(start, start + self.chance.randrange(5, 20) * US // 10)
            change = round(size * self.chance.uniform(0.8, 1.5) * self.chance.choice((-1, 1)), 3)
            self.row(track.id, where, f"{'rise' if change > 0 else 'fall'}.{name}", change)
        for target, label, value in MOVES:
            if self.chance.random() < 0.6:
                where = self.part(self.chance.choice(self.windows))
                self.row(track.id, where, target, value, dist=((label, 1.0),))

    def assess(self, track: str, window: Span, state: str) -> None:
        ids = tuple(self.row(track, window, t, 0.1) for t in ("valence.derived", "arousal.derived"))
        own = self.dist(state, self.chance.uniform(0.1, 1.0))
        ids = (self.row(track, window, "expression", dist=own), *ids)
        self.row(track, window, "face.lip_gap", round(self.chance.uniform(0.0, 0.3), 3))
        held = [self.added("face", own, 0.9, ids)]
        if window in self.voices:
            voice = next(o for o in self.rows if o.id == self.voices[window])
            held.append(self.added("voice", voice.dist, 0.5, (voice.id,)))
        logs = {s: sum(dict(c.log_odds)[s] for c in held) for s in STATES}
        total = sum(math.exp(v) for v in logs.values())
        posterior = tuple((s, math.exp(v) / total) for s, v in logs.items())
        leads = {max(c.dist, key=lambda d: d[1])[0] for c in held if max(p for _, p in c.dist) > 0.7}
        reason = "conflict" if len(leads) > 1 else "ambiguous" if max(p for _, p in posterior) < 0.5 else ""
        self.assessments.append(
            Assessment(
                content_id("assess", self.clip.id, track, window), self.clip.id, track, window,
                tuple((s, 1 / 3) for s in STATES), posterior, tuple(held), 0.5, 0.3 if reason == "conflict" else 0.02,
                0.2, bool(reason), reason, "invented@1",
            )
        )  # fmt: skip

    @staticmethod
    def added(source: str, dist: Dist, weight: float, ids: tuple[str, ...]) -> Contribution:
        logs = [weight * math.log(3 * p) for _, p in dist]
        mean = sum(logs) / len(logs)
        odds = tuple((s, v - mean) for (s, _), v in zip(dist, logs, strict=True))
        return Contribution(source, weight, dist, odds, ids)

    def sounds(self) -> None:
        for s in self.heard:
            where = self.part(s)
            voice = round(self.chance.uniform(0.6, 0.95), 3)
            kind = (("speech", round(1 - voice, 3)), ("voice", voice))
            if self.chance.random() < 0.3:
                kind = (("speech", voice), ("voice", round(1 - voice, 3)))
            self.row(None, where, "vocal.kind", dist=kind)
            self.row(None, where, "vocal.level_dbfs", float(self.chance.randrange(-40, -8)))
            self.row(None, where, "vocal.f0_hz", float(self.chance.randrange(120, 480)))
        where = self.part(self.chance.choice(self.windows))
        self.row(None, where, "onset.loudness", round(self.chance.uniform(8, 30), 2))
