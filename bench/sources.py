"""Whose sound it is: simulated scenes with a known source; real footage as it is and under the sound of another clip.

Simulated, because no public recording at hand says who of several people in view made each sound: mouths that follow a
sound, move by themselves, always move, or are hidden. Partner in the same run: equal shares, and the largest plain
correlation. The real footage has one face or a crowd, and shows only whether the answers are sensible.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mien.core import US, Curve, Observation, Span
from mien.signals.synchrony import UNKNOWN, Mover, SyncRules, sources

DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data"
F64 = npt.NDArray[np.float64]
HOP_US = 50_000
FIT, TEST = range(1_000, 1_200), range(5_000, 5_600)  # seeds: no scene fits and tests


@dataclass(frozen=True, slots=True)
class Scene:
    """What is seen and heard, and who made each event ("unknown": nobody in view)."""

    above: Curve
    events: tuple[Span, ...]
    makers: tuple[str, ...]
    movers: tuple[Mover, ...]


def main(args: list[str]) -> list[str]:
    lines = [] if args == ["real"] else [*fitted(), *simulated()]
    return lines if args == ["simulated"] else [*lines, *real()]


def scene(seed: int, fps: float = 5.0, lag_s: float = 0.1) -> Scene:
    """One to three people and one to four sounds, each made by one of them or by somebody out of view, equally likely.

    A maker's mouth opens with the loudness, up to `lag_s` early or late; one in ten sounds is made with closed lips.
    """
    draw = np.random.default_rng(seed)
    length_s = draw.uniform(6, 25)
    names = [f"face-{i}" for i in range(draw.integers(1, 4))]
    rows = np.arange(round(length_s * US / HOP_US)) * HOP_US / US
    events, makers, voices = list[Span](), list[str](), dict.fromkeys(names, np.zeros(len(rows)))
    at = draw.uniform(0.5, 2)
    level = np.zeros(len(rows))
    while at < length_s - 1 and len(events) < 4:
        end = min(at + draw.choice([draw.uniform(0.4, 1), draw.uniform(1, 4)]), length_s - 0.3)
        loud = _loudness(draw, rows, at, end)
        maker = str(draw.choice([*names, UNKNOWN]))
        level = np.maximum(level, draw.uniform(12, 30) * loud)
        if maker != UNKNOWN and draw.random() > 0.1:
            voices[maker] = voices[maker] + draw.uniform(0.06, 0.3) * loud
        events.append(Span(round(at * US), round(end * US)))
        makers.append(maker)
        at = end + draw.uniform(0.4, 4)
    level = np.clip(level + draw.normal(0, 1, len(rows)), 0, 30).astype(np.float32)[:, None]
    movers = tuple(_mover(draw, name, rows, voices[name], fps, lag_s) for name in names)
    return Scene(Curve(level, ("above",), 0, HOP_US), tuple(events), tuple(makers), movers)


def _loudness(draw: np.random.Generator, rows: F64, start: float, end: float) -> F64:
    """0..1: a plain burst, or one that beats at 2-6 Hz with beats of unequal strength."""
    inside = (rows >= start) & (rows < end)
    shape = np.minimum(1, np.minimum(rows - start, end - rows) / 0.1)
    if draw.random() < 0.6:
        beat = draw.uniform(2, 6)
        strength = draw.uniform(0.4, 1, round((end - start) * beat) + 2)
        phase = (rows - start) * beat
        shape = (
            shape * (0.5 - 0.5 * np.cos(2 * np.pi * phase)) * strength[np.clip(phase, 0, len(strength) - 1).astype(int)]
        )
    return np.where(inside, shape, 0.0)


def _mover(draw: np.random.Generator, name: str, rows: F64, voice: F64, fps: float, lag_s: float) -> Mover:
    t = np.arange(draw.uniform(0, 1 / fps), rows[-1], 1 / fps)
    late = draw.uniform(-lag_s, lag_s)
    mouth = np.interp(t - late, rows, voice) * draw.uniform(0.6, 1.4, len(t))
    kind = draw.choice(["still", "sometimes", "always"], p=[0.45, 0.35, 0.2])
    if kind == "sometimes":
        for at in draw.uniform(0, rows[-1], draw.poisson(0.12 * rows[-1])):
            mouth = mouth + draw.uniform(0.04, 0.2) * np.exp(-(((t - at) / draw.uniform(0.2, 0.8)) ** 2))
    if kind == "always":
        mouth = mouth + np.abs(np.interp(t, rows, np.convolve(draw.normal(0, 0.3, len(rows)), np.ones(4) / 4, "same")))
    mouth = 0.5 + mouth + draw.normal(0, 0.008, len(t))
    if draw.random() < 0.1:
        mouth = np.full(len(t), np.nan)
    elif draw.random() < 0.15:
        at = draw.uniform(0, rows[-1])
        mouth = np.where((t > at) & (t < at + draw.uniform(1, 6)), np.nan, mouth)
    body = np.abs(draw.normal(0, 1, len(t))) + draw.uniform(0, 1.5) * np.interp(t, rows, voice) / 0.3
    return Mover(name, np.round(t * US).astype(np.int64), mouth, body)


# ---------------------------------------------------------------- simulated


def answers(seeds: range, rules: SyncRules, **given: float) -> Iterator[tuple[dict[str, float], str]]:
    """(shares, who it was) of every event."""
    for seed in seeds:
        made = scene(seed, **given)
        for span, maker in zip(made.events, made.makers, strict=True):
            yield dict(sources(span, made.above, made.movers, made.events, rules).shares), maker


def fitted() -> list[str]:
    """Exponents and the share of makers whose mouth moves, by log-loss on scenes that test nothing."""
    losses = {
        (speaks, mouth, body): log_loss(list(answers(FIT, SyncRules(speaks=speaks, mouth=mouth, body=body))))
        for speaks in (0.85, 0.9, 0.95)
        for mouth in (0.25, 0.35, 0.5)
        for body in (0.75, 0.9)
    }
    best = min(losses, key=lambda k: losses[k])
    rules = SyncRules()
    mine = log_loss(list(answers(FIT, rules)))
    return [
        f"Fitted on {len(FIT)} scenes: speaks {best[0]}, mouth {best[1]}, body {best[2]} "
        f"(log-loss {losses[best]:.3f}); shipped: {rules.speaks}, {rules.mouth}, {rules.body} ({mine:.3f})"
    ]


def simulated() -> list[str]:
    lines: list[str] = []
    conditions: dict[str, dict[str, float]] = {
        "5 frames/s": {},
        "12.5 frames/s": {"fps": 12.5},
        "lags up to 200 ms": {"lag_s": 0.2},
    }
    for name, given in conditions.items():
        held = list(answers(TEST, SyncRules(), **given))
        equal = [({k: 1 / len(shares) for k in shares}, who) for shares, who in held]
        gaps = reliability(held)
        lines.append(
            f"- {name}, {len(held)} events: right {right(held):.2f} (equal shares {right(equal):.2f}, largest plain "
            f"correlation {plain(given):.2f}), log-loss {log_loss(held):.3f} (equal shares {log_loss(equal):.3f}), "
            f"expected calibration error {gaps[0]:.3f}, largest gap of a bin {gaps[1]:.3f}"
        )
    others = list(answers_with_another_sound(TEST))
    own = np.mean([shares[UNKNOWN] for shares, who in answers(TEST, SyncRules()) if who != UNKNOWN])
    lines.append(
        f"- mean mass of unknown: {own:.2f} for sounds made in view, {np.mean([s[UNKNOWN] for s in others]):.2f} for "
        f"those of another scene (equal shares {np.mean([1 / len(s) for s in others]):.2f})"
    )
    return lines


def answers_with_another_sound(seeds: range) -> Iterator[dict[str, float]]:
    for seed in seeds:
        seen, heard = scene(seed), scene(seed + 100_000)
        last = min(m.t_us[-1] for m in seen.movers)
        for span in heard.events:
            if span.end_us < last:
                yield dict(sources(span, heard.above, seen.movers, heard.events).shares)


def plain(given: dict[str, float]) -> float:
    """How often the track with the largest correlation made it ("unknown" below 0.3)."""
    hits: list[bool] = []
    for seed in TEST:
        made = scene(seed, **given)
        for span, maker in zip(made.events, made.makers, strict=True):
            score = {UNKNOWN: 0.3}
            for mover in made.movers:
                near = (mover.t_us >= span.start_us - US) & (mover.t_us < span.end_us + US) & np.isfinite(mover.mouth)
                sound = made.above.values[np.clip(mover.t_us[near] // HOP_US, 0, len(made.above) - 1), 0]
                if near.sum() > 3 and sound.std() and mover.mouth[near].std():
                    score[mover.id] = float(np.corrcoef(mover.mouth[near], sound)[0, 1])
            hits.append(max(score, key=lambda k: score[k]) == maker)
    return float(np.mean(hits))


def log_loss(held: list[tuple[dict[str, float], str]]) -> float:
    return float(np.mean([-np.log(shares[who]) for shares, who in held]))


def right(held: list[tuple[dict[str, float], str]]) -> float:
    """Share of events whose likeliest source made it; a tie counts as its share."""
    return float(
        np.mean(
            [(shares[who] == (top := max(shares.values()))) / list(shares.values()).count(top) for shares, who in held]
        )
    )


def reliability(held: list[tuple[dict[str, float], str]], bins: int = 8) -> tuple[float, float]:
    """(expected calibration error, largest gap of a bin) over every share given, in bins of equal size."""
    p = np.array([v for shares, _ in held for v in shares.values()])
    hit = np.array([k == who for shares, who in held for k in shares])
    parts = np.array_split(np.argsort(p, kind="stable"), bins)
    gaps = [abs(p[part].mean() - hit[part].mean()) for part in parts]
    return float(np.mean(gaps)), float(max(gaps))


# ---------------------------------------------------------------- real footage


def real() -> list[str]:
    """Every event of the real clips with its shares, then the same pictures under the sound of another clip."""
    import tempfile

    from mien.models.weights import resolve, select
    from mien.testing.composite import LAUGHING_FROM_S, with_sound

    def sample(name: str) -> Path:
        (entry,) = select([f"sample.{name}"])
        return resolve(entry.weights).only

    video, laugh, speech = (sample(f"demo-{n}") for n in ("video", "laugh", "speech"))
    clips = DATA / "video_faces"
    lines = ["Real footage (event in s: mass of unknown, then each track's mouth and share):"]
    with tempfile.TemporaryDirectory() as held:
        out = Path(held)
        made = {
            "laughter under the laughing part of demo-video": with_sound(video, laugh, LAUGHING_FROM_S, out / "a.mp4"),
            "the same under its crying part": with_sound(video, laugh, (3.6,), out / "b.mp4"),
            "read speech under demo-video": with_sound(video, speech, (1.0,), out / "c.mp4"),
            "single_face.mp4": clips / "single_face.mp4",
            "single_face.mp4 under the laughter": with_sound(clips / "single_face.mp4", laugh, (0.2,), out / "d.mp4"),
            "face_noface.mov": clips / "face_noface.mov",
            "no_face.mp4": clips / "no_face.mp4",
            "short_hamilton_clip.mp4": clips / "short_hamilton_clip.mp4",
            "short_hamilton_clip.mp4 under read speech": with_sound(
                clips / "short_hamilton_clip.mp4", speech, (0.0,), out / "e.mp4"
            ),
        }
        for name, path in made.items():
            lines += [f"- {name}", *(f"  - {line}" for line in told(path))]
    return lines


def told(path: Path, **config: Any) -> list[str]:
    import mien

    with mien.analyse(path, **config) as result:
        lines: list[str] = []
        for clip in result.clips:
            rows: list[Observation] = clip.observations
            sync = {(o.track_id, o.span): o for o in rows if o.target == "voice.synchrony"}
            for row in sorted((o for o in rows if o.target == "voice.source"), key=lambda o: o.span):
                shares = dict(row.dist)
                named = [
                    f"{k[:4]}…{k[-3:]} {o.dist[0][0] if (o := sync.get((k, row.span))) else ''} {p:.2f}"
                    for k, p in shares.items()
                    if k != UNKNOWN
                ]
                at = f"{row.span.start_us / US:.2f}-{row.span.end_us / US:.2f}"
                lines.append(f"{at}: unknown {shares[UNKNOWN]:.2f}" + "".join(f"; {n}" for n in named))
        return lines or ["no vocal event"]
