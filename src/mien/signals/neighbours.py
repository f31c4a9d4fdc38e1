"""Which clips of a project are unlike the others, and which are the same pictures again.

Both compare clips with each other and say nothing of any person. An anomaly asks for a look, nothing more.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from mien.signals.quality import luma, shrunk

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
U8 = npt.NDArray[np.uint8]

ROWS, CELLS = 512, 2**23  # of the distance matrix at a time: memory does not grow with its size
POSITIONS = (0.1, 0.3, 0.5, 0.7, 0.9)  # of a clip's span: where its frames are taken for hashing
SIDE, LOW = 32, 8  # a hash is made of the 8 × 8 lowest frequencies of a 32 × 32 picture
FLAT_SD = 2 / 255  # a picture without structure has no hash
SAME_BITS = 10.0  # of 64: mean over the positions, chosen by `python -m bench quality`


# ---------------------------------------------------------------- unlike the others


@dataclass(frozen=True, slots=True)
class Anomaly:
    """How far one clip lies from the rest of its project.

    Attributes:
        distance: mean distance to the k nearest clips; NaN where there is a `reason`.
        percentile: share 0..1 of the other clips that lie nearer to their own neighbours; None with a `reason`.
        neighbours: indices of those k clips, nearest first.
        reason: "not-measured" (the clip has no vector), "too-few-clips" (in the project), "too-few-sources" (fewer than
            k clips are left without the clip's own source and duplicates), or None.
    """

    distance: float
    percentile: float | None
    neighbours: tuple[int, ...]
    reason: str | None


def anomalies(
    vectors: F32 | F64,
    sources: Sequence[Hashable] | None = None,
    duplicates: Sequence[Hashable] | None = None,
    *,
    k: int = 5,
    n_min: int = 20,
) -> tuple[Anomaly, ...]:
    """The anomaly score of every clip of a project.

    d_i = mean of the k smallest ‖x_i - x_j‖ over the other clips j (Ramaswamy et al., "Efficient algorithms for mining
    outliers from large data sets", 2000, rank by the k-th distance; the sum or mean over all k is Angiulli and
    Pizzuti, "Fast outlier detection in high dimensional spaces", 2002). Its percentile is the share of the other
    clips' d that lie below, ties counting half: every clip is judged by the same leave-one-out rule.

    Args:
        vectors: float `[n d]`, one row a clip, in comparable units (see `scaled`); a row with NaN is not measured.
        sources: of each clip. Clips of one source are never each other's neighbours: a long odd video would make
            itself normal. None: every clip counts for every other.
        duplicates: group of each clip (`Duplicates.group`); clips of one group are no neighbours either.
        k: neighbours. n_min: clips with a vector that a project needs (k + 1 at least) before anything is said.

    Deterministic; ties go to the clip that stands first.

    Raises:
        ValueError: lengths do not fit, or k or n_min is below 1.
    """
    n = len(vectors)
    if vectors.ndim != 2 or k < 1 or n_min < 1:
        raise ValueError(
            f"vectors must be [n d] with k and n_min at least 1, but got {list(vectors.shape)}, {k}, {n_min}"
        )
    apart = [_codes(groups, n) for groups in (sources, duplicates)]
    known = np.flatnonzero(np.isfinite(vectors).all(1))
    reason = [None if i else "not-measured" for i in np.isin(np.arange(n), known)]
    if len(known) < max(n_min, k + 1):
        return tuple(Anomaly(float("nan"), None, (), r or "too-few-clips") for r in reason)
    x = vectors[known].astype(np.float64)
    square = (x**2).sum(1)
    distance, nearest = np.full(n, np.nan), np.full((n, k), -1, np.int64)
    step = max(1, min(ROWS, CELLS // len(x)))
    for start in range(0, len(x), step):
        rows = slice(start, start + step)
        between = np.sqrt(np.maximum(square[rows, None] + square - 2 * x[rows] @ x.T, 0))
        for codes in apart:
            between[codes[known[rows], None] == codes[known]] = np.inf
        between[np.arange(len(between)), np.arange(start, start + len(between))] = np.inf
        order = _nearest(between, k)
        mean = np.take_along_axis(between, order, 1).mean(1)
        found = np.flatnonzero(np.isfinite(mean))
        distance[known[rows][found]] = mean[found]
        nearest[known[rows][found]] = known[order[found]]
    ranked = np.sort(distance[np.isfinite(distance)])
    out = []
    for i in range(n):
        if np.isnan(distance[i]):
            out.append(Anomaly(float("nan"), None, (), reason[i] or "too-few-sources"))
            continue
        below, upto = (int(np.searchsorted(ranked, distance[i], side)) for side in ("left", "right"))
        share = (below + 0.5 * (upto - below - 1)) / (len(ranked) - 1) if len(ranked) > 1 else 0.5
        out.append(Anomaly(float(distance[i]), share, tuple(int(j) for j in nearest[i]), None))
    return tuple(out)


def _nearest(between: F64, k: int) -> I64:
    """Columns of the k smallest values of each row, smallest first; of equal ones those that stand first. `[rows k]`"""
    furthest = np.partition(between, k - 1, axis=1)[:, k - 1]
    order = np.empty((len(between), k), np.int64)
    for i, row in enumerate(between):
        near = np.flatnonzero(row <= furthest[i])
        order[i] = near[np.argsort(row[near], kind="stable")[:k]]
    return order


def scaled(vectors: F32 | F64, how: Literal["unit", "standard", "whitened"], components: int = 16) -> F64:
    """Rows made comparable: of unit length; or columns of mean 0 and sd 1; or that, on `components` principal axes of
    sd 1 each. Columns that do not vary become 0; rows with NaN stay NaN and count for nothing.

    "unit" is what anomalies are measured with: with few clips, whitening gives each lone clip an axis of its own and
    makes every newcomer look odd (`python -m bench anomaly`).
    """
    x = vectors.astype(np.float64)
    if how == "unit":
        length = np.linalg.norm(x, axis=1, keepdims=True)
        return x / np.where(length > 0, length, 1)
    known = np.asarray(np.isfinite(x).all(1))
    x[~known] = np.nan
    if not known.any():
        return x
    sd = x[known].std(0)
    x = np.where(sd > 1e-9, (x - x[known].mean(0)) / np.where(sd > 1e-9, sd, 1), np.where(known[:, None], 0, np.nan))
    if how == "standard":
        return x
    _, singular, axes = np.linalg.svd(x[known], full_matrices=False)
    kept = min(components, int((singular > 1e-9 * max(1.0, float(singular[0]))).sum()))
    return x @ axes[:kept].T / (singular[:kept] / np.sqrt(known.sum()))


def _codes(groups: Sequence[Hashable] | None, n: int) -> I64:
    """Groups as numbers; None: everybody alone."""
    if groups is None:
        return np.arange(n)
    if len(groups) != n:
        raise ValueError(f"there must be one group a clip, {n}, but got {len(groups)}")
    number: dict[Hashable, int] = {}
    return np.array([number.setdefault(g, len(number)) for g in groups], np.int64)


# ---------------------------------------------------------------- the same again


@dataclass(frozen=True, slots=True)
class Duplicates:
    """pairs: (i, j, mean bits apart), i < j. group: of every clip the first clip of its group, itself when alone."""

    pairs: tuple[tuple[int, int, float], ...]
    group: tuple[int, ...]


def frame_hash(pixels: U8) -> int | None:
    """Perceptual hash of uint8 `[h w 3]`: 64 bits, or None for a picture without structure (black, one colour).

    Bit by bit, whether one of the 8 × 8 lowest frequencies of the DCT-II of the luma at 32 × 32 (without the row and
    column of frequency 0) lies above their median (pHash; Zauner, "Implementation and benchmarking of perceptual image
    hash functions", 2010). A change of gain, offset, size or coding moves few bits; mirroring and turning move half.
    """
    from scipy.fft import dctn

    small = shrunk(luma(pixels), SIDE, SIDE)
    if small.std() < FLAT_SD:
        return None
    low = np.asarray(dctn(small, norm="ortho"))[1 : LOW + 1, 1 : LOW + 1].ravel()
    return int("".join("1" if bit else "0" for bit in low > np.median(low)), 2)


def near_duplicates(
    hashes: Sequence[Sequence[int | None]],
    sources: Sequence[Hashable] | None = None,
    *,
    most_bits: float = SAME_BITS,
) -> Duplicates:
    """Clips that show the same pictures in the same order.

    Args:
        hashes: of each clip the `frame_hash` at `POSITIONS` of its span, in order (a still picture has one). A clip
            without any (sound only, or all black) is like no other.
        sources: of each clip; clips of one source are not compared, since one camera on one scene is not a copy.
        most_bits: largest mean number of differing bits over the positions that both clips have; at least half of
            the positions must be there in both, and clips with different numbers of positions are not compared.

    Two recordings of one unmoving scene by one fixed camera can be taken for copies: look before dropping any.
    """
    n = len(hashes)
    codes = _codes(sources, n)
    root = list(range(n))

    def first(i: int) -> int:
        while root[i] != i:
            root[i] = root[root[i]]
            i = root[i]
        return i

    pairs: list[tuple[int, int, float]] = []
    for length in sorted({len(h) for h in hashes} - {0}):
        rows = np.array([i for i, h in enumerate(hashes) if len(h) == length])
        bits = np.array([[h or 0 for h in hashes[i]] for i in rows], np.uint64)
        there = np.array([[h is not None for h in hashes[i]] for i in rows])
        for at, i in enumerate(rows[:-1]):
            both = there[at] & there[at + 1 :]
            shared = both.sum(1)
            apart = (np.bitwise_count(bits[at] ^ bits[at + 1 :]) * both).sum(1) / np.maximum(shared, 1)
            same = (2 * shared >= length) & (apart <= most_bits) & (codes[rows[at + 1 :]] != codes[i])
            for j in np.flatnonzero(same):
                other = int(rows[at + 1 + j])
                pairs.append((int(i), other, float(apart[j])))
                low, high = sorted((first(int(i)), first(other)))
                root[high] = low
    return Duplicates(tuple(sorted(pairs)), tuple(first(i) for i in range(n)))
