"""The identity window: face tracks of one person, broken by a turn or a door, get one number again; opt-in.

A recognition embedding lives only inside one window, only in one block of memory, and is written over when the window
ends, when an error passes through and when Python exits. What leaves is which track numbers belong together.

`del` clears nothing: freed memory stays readable until somebody else happens to write there. So nothing here makes a
copy of an embedding: no fancy indexing, no matrix product (BLAS packs its operands into buffers of its own), only
operations on rows in place.
"""

from __future__ import annotations

import ctypes
import mmap
import sys
import weakref
from collections.abc import Callable
from typing import Annotated, Protocol, Self

import numpy as np
import numpy.typing as npt
from annotated_types import Ge, Gt, Le

from mien.core import US, Boxes, Faces, Strict

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

WIDTH = 1024
WIPE_ON_FORK = 18  # MADV_WIPEONFORK, which `mmap` does not name
SET_DUMPABLE = 4  # PR_SET_DUMPABLE


class Arena:
    """A fixed block of memory of our own: whole pages, `rows` float32 `[n width]`, zero at first and after `wipe`.

    Best effort, each where the system offers it: locked against swapping (`locked` says whether), left out of core
    dumps (which are switched off for this process, too), zero in children made by fork.

    Args:
        hide: also forbid processes of the same user to read this one's memory (PR_SET_DUMPABLE 0, Linux). Not the
            default: it takes away debuggers and a process's own view of parts of /proc, and stays for good.
    """

    def __init__(self, n: int, width: int = WIDTH, *, hide: bool = False) -> None:
        size = -(-n * width * 4 // mmap.PAGESIZE) * mmap.PAGESIZE
        private = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if sys.platform != "win32" else {}
        block = mmap.mmap(-1, size, **private)
        whole = np.frombuffer(block, np.uint8)
        self.rows: F32 = whole[: n * width * 4].view(np.float32).reshape(n, width)
        self.locked = _shield(block, whole.ctypes.data, size, hide)
        self._finish = weakref.finalize(self, whole.fill, 0)  # also when Python exits

    def wipe(self) -> None:
        """Write zeros over everything."""
        self.rows.fill(0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.wipe()


def _shield(block: mmap.mmap, address: int, size: int, hide: bool) -> bool:
    """Keep the block from swap, core dumps and forked children; whether it is locked."""
    if sys.platform == "win32":
        return False
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, hard))
    libc = ctypes.CDLL(None)
    if sys.platform == "linux":
        for advice in (mmap.MADV_DONTDUMP, WIPE_ON_FORK):
            try:
                block.madvise(advice)
            except OSError:  # an older kernel
                continue
        if hide:
            libc.prctl(SET_DUMPABLE, 0, 0, 0, 0)
    return libc.mlock(ctypes.c_void_p(address), ctypes.c_size_t(size)) == 0


class WindowConfig(Strict):
    """When two tracks are one person. Figures: `python -m bench identity`.

    window_s: s of media until the embeddings are wiped. threshold: least mean cosine between the pictures of two
    tracks, and within each. margin: how much better than its rivals a pair must fit. every_s: a track is looked at this
    often. most: tracks one window has room for; further ones stay alone.
    """

    window_s: Annotated[float, Gt(0), Le(300)] = 120.0
    threshold: Annotated[float, Gt(0), Le(1)] = 0.7
    margin: Annotated[float, Ge(0), Le(1)] = 0.05
    every_s: Annotated[float, Ge(0)] = 1.0
    most: Annotated[int, Ge(2), Le(4096)] = 256


class IdentityWindow:
    """Which tracks of one window show the same person.

    A track belongs to the window it was first seen in; tracks of different windows, and tracks that are in view at the
    same time, are never joined. Per track only the sum of its unit vectors is held: the mean cosine between all
    pictures of two tracks is the product of their sums over their counts, which is what average linkage needs.

    Args:
        width: of an embedding. on_wipe: called after a window with faces was wiped, e.g. `FaceRes.forget`.
    """

    def __init__(
        self, config: WindowConfig | None = None, *, width: int = WIDTH, on_wipe: Callable[[], None] | None = None,
        hide: bool = False,
    ) -> None:  # fmt: skip
        self.config = config or WindowConfig()
        self._on_wipe = on_wipe
        self._arena = Arena(self.config.most + 1, width, hide=hide)
        self._joined: dict[int, int] = {}
        self._old: set[int] = set()  # tracks of earlier windows
        self._clear()

    def _clear(self) -> None:
        self._start_us: int | None = None
        self._place: dict[int, int] = {}  # track → row
        self._count: list[int] = []  # pictures per row
        self._span: list[tuple[int, int]] = []  # first and last time in view, per row
        self._looked: dict[int, int] = {}  # track → when an embedding was last asked for

    @property
    def memory(self) -> tuple[int, int]:
        """First address of the block that holds embeddings, and its length in bytes."""
        return self._arena.rows.ctypes.data, self._arena.rows.nbytes

    @property
    def room(self) -> F32:
        """The row `[1 width]` of the block to have an embedding written into, for `add`."""
        return self._arena.rows[-1:]

    def see(self, track: I64, t_us: I64) -> list[int]:
        """Take note that these tracks are in view (time rising; -1: not tracked), and say which rows want an embedding.

        A row beyond the window's end closes the window first. Every tracked face of every frame must pass here: who is
        seen together is never joined.
        """
        due: list[int] = []
        for row, (index, t) in enumerate(zip(track.tolist(), t_us.tolist(), strict=True)):
            if self._start_us is not None and t - self._start_us >= self.config.window_s * US:
                self._end()
            if self._start_us is None:
                self._start_us, due = t, []  # rows of the window before come too late
            if index < 0 or index in self._old:
                continue
            at = self._place.get(index)
            if at is None:
                if len(self._place) == self.config.most:
                    continue
                at = self._place[index] = len(self._place)
                self._count.append(0)
                self._span.append((t, t))
            self._span[at] = (self._span[at][0], t)
            if index not in self._looked or t - self._looked[index] >= self.config.every_s * US:
                self._looked[index] = t
                due.append(row)
        return due

    def add(self, track: I64, t_us: I64, vectors: F32) -> None:
        """Take embeddings float32 `[n 1024]`; they are zero afterwards. Rows that are not finite, or zero, are skipped.

        A track that `see` has not been told of at this time is told now.
        """
        try:
            for row, index in enumerate(track.tolist()):
                at = self._place.get(index)
                if at is None or t_us[row] > self._span[at][1]:
                    self.see(track[row : row + 1], t_us[row : row + 1])
                    at = self._place.get(index)
                unit, length = vectors[row], float(np.sqrt(np.dot(vectors[row], vectors[row])))
                if at is None or not 0 < length < np.inf:
                    continue
                np.multiply(unit, np.float32(1 / length), out=unit)
                np.add(self._arena.rows[at], unit, out=self._arena.rows[at])
                self._count[at] += 1
        finally:
            vectors.fill(0)

    def close(self) -> dict[int, int]:
        """Decide, wipe, and say which tracks are one: later track → its earliest. May be called again."""
        self._end()
        joined, self._joined = self._joined, {}
        self._old.clear()
        return joined

    def wipe(self) -> None:
        """Forget all without deciding."""
        used = bool(self._looked)
        self._arena.wipe()
        self._clear()
        if used and self._on_wipe:
            self._on_wipe()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.wipe()

    def _end(self) -> None:
        try:
            self._decide()
        finally:
            self._old |= self._place.keys()
            self.wipe()

    def _decide(self) -> None:
        n, rows, count = len(self._place), self._arena.rows, np.maximum(self._count, 1)
        cosine = np.zeros((n, n))
        for a in range(n):
            for b in range(a, n):
                cosine[a, b] = cosine[b, a] = float(np.dot(rows[a], rows[b])) / (count[a] * count[b])
        # A track whose own pictures do not agree holds two people, or no face: it is joined with nobody.
        own = np.where(count > 1, (np.diagonal(cosine) * count - 1) / np.maximum(count - 1, 1), 1.0)
        alone = (np.array(self._count, np.int64) == 0) | (own < self.config.threshold)
        first, last = np.array(self._span, np.int64).reshape(n, 2).T
        together = (first[:, None] <= last[None]) & (first[None] <= last[:, None])
        group = link(cosine, count, together | alone[:, None] | alone[None], self.config.threshold, self.config.margin)
        names = sorted(self._place, key=self._place.__getitem__)
        self._joined |= {names[at]: names[to] for at, to in enumerate(group) if at != to}


def link(similar: F64, weight: I64, apart: Bools, threshold: float, margin: float) -> list[int]:
    """Average linkage (Sokal & Michener, 1958) that leaves the doubtful alone: for each item the first of its group.

    Args:
        similar: `[n n]`, symmetric. weight: `[n]`, pictures per item. apart: `[n n]`, pairs never to share a group.
        threshold: least similarity of a pair. margin: a pair is doubtful, and not joined, when one of the two fits a
            third nearly as well (less than `margin` below) that cannot be the same person as the other.
    """
    similar, pictures, apart = similar.copy(), weight.astype(np.float64), apart.copy()
    n = len(pictures)
    np.fill_diagonal(apart, True)
    barred, group = apart.copy(), list(range(n))
    while n:
        score = np.where(barred, -np.inf, similar)
        a, b = sorted(divmod(int(score.argmax()), n))
        best = score[a, b]
        if best < threshold:
            break
        if _doubtful(a, b, similar, apart, best - margin, threshold) or _doubtful(
            b, a, similar, apart, best - margin, threshold
        ):
            barred[a, b] = barred[b, a] = True
            continue
        share = pictures[a] / (pictures[a] + pictures[b])
        similar[a] = similar[:, a] = share * similar[a] + (1 - share) * similar[b]
        pictures[a] += pictures[b]
        for table in (apart, barred):
            table[a] = table[:, a] = table[a] | table[b]
            table[b] = table[:, b] = True
        group = [a if g == b else g for g in group]
    return group


def _doubtful(a: int, b: int, similar: F64, apart: Bools, near: float, threshold: float) -> bool:
    """Whether `a` fits a third nearly as well as `b`, and that third and `b` are two people."""
    rivals = ~apart[a] & (similar[a] > near)
    rivals[b] = False
    return bool((rivals & (apart[b] | (similar[b] < threshold))).any())


class Embeds(Protocol):
    """A model that writes embeddings into memory of the caller and can be told to forget (`identity.faceres`)."""

    @property
    def width(self) -> int: ...
    def embed(self, batch: Faces, out: F32) -> None: ...
    def forget(self) -> None: ...


class Rejoin:
    """The window at work on one clip: `feed` every batch of tracked faces, `close` at the clip's end.

    In a `with` block everything is wiped on the way out, whatever happens.
    """

    def __init__(self, model: Embeds, config: WindowConfig | None = None, *, hide: bool = False) -> None:
        self._model = model
        self._window = IdentityWindow(config, width=model.width, on_wipe=model.forget, hide=hide)

    def feed(self, faces: Faces, track: I64) -> None:
        """Faces of one batch of frames and the track of each (-1: not tracked), in the order of the boxes."""
        boxes: Boxes = faces.boxes
        t_us = faces.frames.t_us[boxes.frame]
        for row in self._window.see(track, t_us):
            one = np.array([row])
            self._model.embed(Faces(faces.frames, boxes.take(one)), self._window.room)
            self._window.add(track[one], t_us[one], self._window.room)

    def close(self) -> dict[int, int]:
        """Later track → earliest track of the same person, within each window; all embeddings are gone."""
        return self._window.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._window.wipe()


def renumber(track: I64, joined: dict[int, int]) -> I64:
    """Track numbers int64 `[n]` after joining."""
    return np.array([joined.get(index, index) for index in track.tolist()], np.int64)
