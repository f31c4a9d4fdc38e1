"""Whose sound it is: how well the mouths and bodies in view move with it, against the same tracks at other times.

That sound and picture of a speaker change together locates him (Hershey & Movellan, "Audio vision", 1999). But a mouth
that always moves says little when it moves with a sound, and a hidden one says nothing at all. So each track is
compared with itself: how often its mouth moves where nobody is heard, and how well it would have gone with this sound
had it been shifted in time (a permutation test over circular shifts). What no track accounts for stays with "unknown":
somebody or something out of view.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mien.core import US, Curve, Dist, Span
from mien.signals.vocal import F64, Mask, noise_floor_dbfs, stretches

I64 = npt.NDArray[np.int64]
UNKNOWN = "unknown"
RANGE_DB = 30.0  # how far the envelope is followed above its floor


@dataclass(frozen=True, slots=True)
class SyncRules:
    """Lengths in iod (inter-ocular distances, about 63 mm), times in s.

    moved_iod: an opening that changes or rises by less is still. speaks: share of events whose maker's mouth moves (a
    hum does not). mouth, body: exponents a of p^(a-1), the density of the permutation test's p where the track is the
    source: 1 says nothing, 0 would be certain (Sellke, Bayarri & Berger, 2001). elsewhere: weight of "unknown" before
    anything is seen; every track in view has 1. `python -m bench sources` fits `mouth` and `body` on simulated scenes.
    """

    moved_iod: float = 0.05
    speaks: float = 0.9
    mouth: float = 0.35
    body: float = 0.75
    elsewhere: float = 1.0
    around_s: float = 1.0
    lag_s: float = 0.15
    before_s: float = 0.25
    after_s: float = 0.15
    window_s: float = 2.0
    hidden: float = 0.5
    most_shifts: int = 200


@dataclass(frozen=True, slots=True)
class Mover:
    """One candidate. t_us int64 `[n]`, rising; mouth float `[n]`: its opening in iod; body float `[n]`: how much the
    body moves, any unit. NaN: not seen. A body without a face has a mouth of NaN throughout."""

    id: str
    t_us: I64
    mouth: F64
    body: F64


@dataclass(frozen=True, slots=True)
class Heard:
    """The likelihood ratio of one track, "it made the sound" against "it did not", and what it stands on.

    mouth: "moved", "still" or "hidden". p: of the permutation test on the mouth; shifts: how many it compares with;
    usual: how often this mouth moves where nobody is heard.
    """

    id: str
    ratio: float
    mouth: str
    p: float
    shifts: int
    usual: float
    body_p: float


@dataclass(frozen=True, slots=True)
class Sources:
    """shares: posterior over the tracks in view and "unknown", which sums to 1; seen: share of the tracks in view whose
    mouth could be seen, 0..1 (NaN when nobody is in view)."""

    shares: Dist
    seen: float
    heard: tuple[Heard, ...]


_DEFAULT = SyncRules()


def above_floor(envelope: Curve, window_s: float = 10.0) -> Curve:
    """The first column of a curve in dBFS as dB above its noise floor, within 0..30: ("above",)."""
    level = np.nan_to_num(envelope.values[:, 0].astype(np.float64), nan=-120.0)
    floor = noise_floor_dbfs(level, max(10, round(window_s * US / envelope.hop_us)))
    above = np.clip(level - np.maximum(floor, level.max(initial=-120.0) - 2 * RANGE_DB), 0, RANGE_DB)
    return Curve(above.astype(np.float32)[:, None], ("above",), envelope.t0_us, envelope.hop_us)


def sources(
    event: Span, above: Curve, movers: Sequence[Mover], active: Sequence[Span], rules: SyncRules = _DEFAULT
) -> Sources:
    """Who made the sound of one event.

    One source is assumed; two who laugh together share. Tracks that are out of view during the event take no part.

    Args:
        above: from `above_floor`, hop 50 ms or less. movers: the tracks of the clip. active: every vocal event of the
            clip, this one included: how a mouth moves while nobody is heard is measured outside of them.
    """
    heard = [_heard(event, above, m, active, rules) for m in movers if _in_view(m, event)]
    weights = np.array([*(h.ratio for h in heard), rules.elsewhere])
    shares = weights / weights.sum()
    names = [*(h.id for h in heard), UNKNOWN]
    seen = float(np.mean([h.mouth != "hidden" for h in heard])) if heard else math.nan
    return Sources(tuple((n, float(p)) for n, p in zip(names, shares, strict=True)), seen, tuple(heard))


def _in_view(mover: Mover, event: Span) -> bool:
    return bool(((mover.t_us >= event.start_us) & (mover.t_us < event.end_us)).any()) or (
        # an event may fall between two frames
        len(mover.t_us) > 1 and mover.t_us[0] <= event.start_us and event.end_us <= mover.t_us[-1]
    )


def _heard(event: Span, above: Curve, mover: Mover, active: Sequence[Span], rules: SyncRules) -> Heard:
    t_us, mouth, body = _even(mover)
    step_s = (t_us[1] - t_us[0]) / US if len(t_us) > 1 else 1.0
    during = _rows(t_us, event, rules.before_s, rules.after_s)
    around = _rows(t_us, event, rules.around_s, rules.around_s)
    shifts = _shifts(len(t_us), step_s, rules)
    sound = _lagged(above, t_us[around], step_s, rules)

    body_p, n = _rank(_agreement(sound, body, around, shifts, 0.0), np.ones(len(shifts), bool))
    ratio = _evidence(body_p, n, rules.body)
    low = float(np.nanquantile(mouth, 0.1)) if np.isfinite(mouth).any() else math.nan
    moved = _moved(mouth, during, np.concatenate([[0], shifts]), low, rules)
    if not len(during) or np.isnan(moved[0]):
        return Heard(mover.id, ratio, "hidden", math.nan, 0, math.nan, body_p)
    usual = _usual(mouth, low, t_us, active, min(len(during), max(2, round(rules.window_s / step_s))), rules)
    if not moved[0]:
        return Heard(mover.id, ratio * (1 - rules.speaks) / (1 - usual), "still", math.nan, 0, usual, body_p)
    p, n = _rank(_agreement(sound, mouth, around, shifts, rules.moved_iod / 4), moved[1:] == 1)
    ratio *= rules.speaks / usual * _evidence(p, n, rules.mouth)
    return Heard(mover.id, ratio, "moved", p, n, usual, body_p)


def _even(mover: Mover) -> tuple[I64, F64, F64]:
    """The mover on even rows at its median step; rows without a frame are NaN."""
    if len(mover.t_us) < 2:
        return mover.t_us, mover.mouth, mover.body
    step = max(1, int(np.median(np.diff(mover.t_us))))
    t_us = np.arange(mover.t_us[0], mover.t_us[-1] + step // 2, step, dtype=np.int64)
    at = np.clip(np.searchsorted(mover.t_us, t_us - step // 2), 0, len(mover.t_us) - 1)
    near = np.abs(mover.t_us[at] - t_us) <= step // 2
    return t_us, np.where(near, mover.mouth[at], np.nan), np.where(near, mover.body[at], np.nan)


def _rows(t_us: I64, event: Span, before_s: float, after_s: float) -> npt.NDArray[np.intp]:
    return np.flatnonzero((t_us >= event.start_us - before_s * US) & (t_us < event.end_us + after_s * US))


def _shifts(n: int, step_s: float, rules: SyncRules) -> npt.NDArray[np.intp]:
    """Circular shifts that no tolerated lag could explain, thinned to a bearable number."""
    least = math.ceil(2 * rules.lag_s / step_s) + 1
    shifts = np.arange(least, n - least + 1)
    return shifts[:: max(1, -(-len(shifts) // rules.most_shifts))]


def _lagged(above: Curve, t_us: I64, step_s: float, rules: SyncRules) -> F64:
    """The sound at each row, averaged over a row's length, for each tolerated lag: `[lags rows]`."""
    from scipy.ndimage import uniform_filter1d

    level = above.values[:, 0].astype(np.float64)
    if not len(level):
        return np.zeros((1, len(t_us)))
    level = uniform_filter1d(level, max(1, round(step_s * US / above.hop_us / 2)), mode="nearest")
    lags = np.arange(-rules.lag_s, rules.lag_s + 1e-9, above.hop_us / US) * US
    rows = (t_us[None, :] + lags[:, None] - above.t0_us) // above.hop_us
    return level[np.clip(rows.astype(np.int64), 0, len(level) - 1)]


def _agreement(sound: F64, curve: F64, rows: npt.NDArray[np.intp], shifts: npt.NDArray[np.intp], noise: float) -> F64:
    """Agreement of the rows as they are (first) and under each shift: float64 `[1 + shifts]`, NaN where too few are
    seen. It is the best correlation over the lags of the curve itself plus that of how much it changes."""
    change = np.fmax(np.abs(np.diff(curve, prepend=np.nan)), np.abs(np.diff(curve, append=np.nan)))
    moved = (rows[None, :] + np.concatenate([[0], shifts])[:, None]) % max(1, len(curve))
    return _best(sound, curve[moved], noise) + _best(sound, change[moved], noise)


def _best(sound: F64, seen: F64, noise: float) -> F64:
    """Highest correlation over lags `[s]` of `sound [l w]` and `seen [s w]`; `noise`: sd of what is no motion."""
    ok = np.isfinite(seen).astype(np.float64)
    x = np.nan_to_num(seen)
    n = ok.sum(axis=1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        var_x = (x**2).sum(1, keepdims=True) / n - (x.sum(1, keepdims=True) / n) ** 2
        mean_y = ok @ sound.T / n
        var_y = ok @ (sound**2).T / n - mean_y**2
        cov = x @ sound.T / n - x.sum(1, keepdims=True) / n * mean_y
        r = cov / np.sqrt(np.maximum(var_x, 0) + noise**2 + 1e-12) / np.sqrt(np.maximum(var_y, 0) + 1.0)
    return np.where(n[:, 0] >= max(3, seen.shape[1] / 2), r.max(axis=1, initial=-1.0), np.nan)


def _rank(score: F64, counts: Mask) -> tuple[float, int]:
    """p of the first score among the others that count (its rank from above), and how many those are."""
    others = score[1:][counts & np.isfinite(score[1:])]
    if not len(others) or np.isnan(score[0]):
        return math.nan, 0
    return (1 + float((others >= score[0] - 1e-9).sum())) / (1 + len(others)), len(others)


def _evidence(p: float, n: int, a: float) -> float:
    """p^(a-1), divided by its mean over the n + 1 values that p can have: 1 on average where nothing is to be found."""
    if not n or math.isnan(p):
        return 1.0
    return p ** (a - 1) / float(np.mean((np.arange(1, n + 2) / (n + 1)) ** (a - 1)))


def _moved(
    mouth: F64, rows: npt.NDArray[np.intp], shifts: npt.NDArray[np.intp], low: float, rules: SyncRules
) -> npt.NDArray[np.float64]:
    """1 where the mouth moves or is open in the rows under each shift, 0 where not, NaN where it is hidden."""
    if not len(rows):
        return np.full(len(shifts), np.nan)
    return _moves(mouth[(rows[None, :] + shifts[:, None]) % len(mouth)], low, rules)


def _moves(seen: F64, low: float, rules: SyncRules) -> F64:
    ok = np.isfinite(seen)
    filled = np.where(ok, seen, np.inf)
    top = np.where(ok, seen, -np.inf).max(axis=1)
    moved = (top - filled.min(axis=1) > rules.moved_iod) | (
        np.nan_to_num(np.where(ok, seen, low)).mean(1) > low + rules.moved_iod
    )
    enough = (ok.mean(axis=1) > rules.hidden) & (ok.sum(axis=1) > 1)  # one frame shows no motion
    return np.where(enough, moved, np.nan)


def _usual(mouth: F64, low: float, t_us: I64, active: Sequence[Span], width: int, rules: SyncRules) -> float:
    """How often the mouth moves in windows where nobody is heard; two windows of doubt keep it off 0 and 1."""
    quiet = np.isfinite(mouth)
    for span in active:
        quiet[_rows(t_us, span, rules.before_s, rules.after_s)] = False
    seen = [mouth[k : k + width] for a, b in stretches(quiet) for k in range(a, b - width + 1, width)]
    moved = _moves(np.stack(seen), low, rules) if seen else np.zeros(0)
    return (1.0 + float(np.nansum(moved))) / (2.0 + float(np.isfinite(moved).sum()))
