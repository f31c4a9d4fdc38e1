"""Several clips at once, so that a model gets their batches as one: worth it on a card, where a call costs the same.

Each clip is done on a thread of its own, and waits at every call of a model. Only when all wait is one call made: of
the model that most wait for, with their batches in the order of the clips. So what is batched with what follows from
the group alone and never from timing: the groups of a run are its batch plan.
"""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from collections import defaultdict
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from mien.core import Boxes, FacePeople, Faces, Frames, People, probe
from mien.pipeline.stack import Stack


@dataclasses.dataclass(slots=True)
class _Call:
    """One clip at the door of one model."""

    name: str
    model: Any
    batch: Any
    result: Any = None
    error: BaseException | None = None
    done: bool = False


class Meeting:
    """Where the threads of one group wait for each other."""

    def __init__(self, members: int) -> None:
        self._waiting: dict[int, _Call] = {}
        self._here = members
        self._changed = threading.Condition()
        self.batches: list[tuple[str, tuple[int, ...]]] = []
        """Which members each call was made for, in order."""

    def call(self, member: int, name: str, model: Any, batch: Any) -> Any:
        """What the model answers to this member's batch; raises what it raises."""
        call = _Call(name, model, batch)
        with self._changed:
            self._waiting[member] = call
            self._step()
            with probe.span("wait", "others"):
                self._changed.wait_for(lambda: call.done)
        if call.error is not None:
            raise call.error
        return call.result

    def leave(self) -> None:
        """A member has nothing more to ask."""
        with self._changed:
            self._here -= 1
            self._step()

    def _step(self) -> None:
        if not self._waiting or len(self._waiting) < self._here:
            return
        asked: dict[tuple[str, Any], list[int]] = defaultdict(list)
        for member, call in sorted(self._waiting.items()):
            asked[call.name, _kind(call.batch)].append(member)
        members = max(asked.items(), key=lambda item: (len(item[1]), -item[1][0]))[1]
        calls = [self._waiting.pop(m) for m in members]
        self.batches.append((calls[0].name, tuple(members)))
        with probe.span("stage", calls[0].name.partition("/")[0]):  # not that of the thread that happens to make it
            _make(calls)
        self._changed.notify_all()


def _make(calls: Sequence[_Call]) -> None:
    """One call for all; where that fails, one each, so that a bad clip is the only one to suffer."""
    if len(calls) > 1:
        with contextlib.suppress(Exception):  # each is asked by itself then, and raises its own
            for call, answer in zip(calls, asked_at_once(calls[0].model, [c.batch for c in calls]), strict=True):
                call.result, call.done = answer, True
            return
    for call in calls:
        try:
            call.result = call.model.run(call.batch)
        except BaseException as error:  # noqa: BLE001 - raised again on the thread of its clip
            call.error = error
        call.done = True


def _kind(batch: Any) -> Any:
    """Batches of one kind can be made one."""
    frames = batch if isinstance(batch, Frames) else getattr(batch, "frames", None)
    if isinstance(frames, Frames):
        return type(batch).__name__, frames.pixels.shape[1:]
    return type(batch).__name__ if isinstance(batch, list) else id(batch)


def asked_at_once(model: Any, batches: Sequence[Any]) -> list[Any]:
    """The answers to several batches of one kind (frames of one size), made in one call.

    Raises:
        TypeError: the batches, or what the model answers, cannot be taken apart by rows.
    """
    counts = [len(b) for b in batches]
    answer = model.run(_joined(batches))
    ends = np.cumsum([0, *counts])
    if isinstance(answer, Boxes):
        return [_boxes_of(answer, int(a), int(b)) for a, b in pairwise(ends)]
    if len(answer) != ends[-1]:
        raise TypeError(f"{type(answer).__name__} has {len(answer)} rows for {ends[-1]}")
    return [_rows_of(answer, int(a), int(b)) for a, b in pairwise(ends)]


def _joined(batches: Sequence[Any]) -> Any:
    first = batches[0]
    if isinstance(first, list):
        return [item for batch in batches for item in batch]
    if isinstance(first, Frames):
        return Frames(np.concatenate([b.pixels for b in batches]), np.concatenate([b.t_us for b in batches]))
    if isinstance(first, (Faces, People, FacePeople)):
        offsets = np.cumsum([0, *(len(b.frames) for b in batches)])
        boxes = [b.boxes for b in batches]
        joined = Boxes(
            np.concatenate([b.frame + k for b, k in zip(boxes, offsets, strict=False)]),
            np.concatenate([b.xyxy for b in boxes]),
            np.concatenate([b.score for b in boxes]),
            np.concatenate([b.label for b in boxes]),
            boxes[0].names,
            _points(boxes),
        )
        frames = _joined([b.frames for b in batches])
        if isinstance(first, FacePeople):
            return FacePeople(frames, joined, np.concatenate([b.body for b in batches]))
        return type(first)(frames, joined)
    raise TypeError(f"{type(first).__name__} cannot be joined")


def _points(boxes: Sequence[Boxes]) -> Any:
    held = [b.points for b in boxes if len(b)]
    if not held or not all(len(p) for p in held) or len({p.shape[1] for p in held}) > 1:
        if any(len(p) for p in held):
            raise TypeError("some boxes have points and some have none")
        return np.zeros((0, 0, 2), np.float32)
    return np.concatenate(held)


def _boxes_of(boxes: Boxes, first: int, last: int) -> Boxes:
    mine = boxes.take(np.flatnonzero((boxes.frame >= first) & (boxes.frame < last)))
    return dataclasses.replace(mine, frame=mine.frame - first)


def _rows_of(answer: Any, first: int, last: int) -> Any:
    n = len(answer)
    held = {f.name: getattr(answer, f.name) for f in dataclasses.fields(answer)}
    rows = {k: v[first:last] for k, v in held.items() if isinstance(v, np.ndarray) and v.ndim and len(v) == n}
    return dataclasses.replace(answer, **rows)


class Member:
    """A clip's view of the stack: calls of its models go through the meeting."""

    def __init__(self, stack: Stack, meeting: Meeting, index: int) -> None:
        self._stack, self._meeting, self._index = stack, meeting, index

    def get(self, slot: str) -> Any:
        model = self._stack.get(slot)
        # What tells people apart stays with the window it belongs to.
        return model if self._stack.spec(slot).biometric else _Met(model, slot, self._meeting, self._index)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stack, name)


class _Met:
    """An adapter that is asked together with others."""

    def __init__(self, model: Any, slot: str, meeting: Meeting, member: int) -> None:
        self._model, self._slot, self._meeting, self._member = model, slot, meeting, member

    def run(self, batch: Any) -> Any:
        return self._meeting.call(self._member, self._slot, self._model, batch)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)


def side_by_side(work: Sequence[Callable[[Any], Any]], stack: Stack) -> tuple[list[Any], Meeting]:
    """Do pieces of work, one per clip, each with its view of the stack; their results in order, and what was batched.

    No piece of work may raise.
    """
    meeting = Meeting(len(work))
    results: list[Any] = [None] * len(work)

    def one(index: int) -> None:
        try:
            results[index] = work[index](Member(stack, meeting, index))
        finally:
            meeting.leave()

    threads = [threading.Thread(target=one, args=(i,), name=f"mien-clip-{i}", daemon=True) for i in range(len(work))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results, meeting
