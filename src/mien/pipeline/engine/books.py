"""What a run writes into the ledger, and what it tells of it: nothing is told before it is durable."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import Any

from mien.core import Clip, MienError
from mien.pipeline.events import Event, Listener
from mien.pipeline.plan import Stage
from mien.pipeline.stale import ABSENT
from mien.policy import WAITING_CODE, WAITING_MESSAGE
from mien.store import StageResult, Store


def utc_now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")


class Books:
    """The ledger of one run. done, failed, waiting: how many stages ended so in this run."""

    def __init__(self, store: Store, run_id: str, listener: Listener) -> None:
        self._store, self._run_id, self._tell = store, run_id, listener
        self.done = self.failed = self.waiting = 0

    def commit(self, result: StageResult) -> None:
        self._store.commit(result, run_id=self._run_id, at_utc=utc_now())
        self.done += result.state == "ok"
        self._tell(Event("stage", result.unit, result.stage, text=result.state, ms=result.ms))

    def fail(
        self, unit: str, stage: str, key: str, error: MienError, *, name: str = "", keep: Sequence[Any] = ()
    ) -> None:
        self._store.fail(unit, stage, key, error, keep, run_id=self._run_id, at_utc=utc_now())
        self.failed += 1
        self._tell(Event("failed", unit, stage, text=f"{name + ': ' if name else ''}{error}", code=error.code))

    def wait(self, clip: Clip, stage: Stage, key: str) -> None:
        self._store.commit(
            StageResult(clip.id, stage.name, key, state=WAITING_CODE, code=WAITING_CODE, note=WAITING_MESSAGE),
            run_id=self._run_id,
            at_utc=utc_now(),
        )
        self.waiting += 1
        self._tell(Event("waiting", clip.id, stage.name, text=WAITING_MESSAGE))

    def withdraw(self, clip: Clip, stage: Stage) -> None:
        """A stage that no longer applies (its slot is off) keeps no results."""
        held = self._store.stage(clip.id, stage.name)
        if held is not None and held.state != "off":
            self.commit(StageResult(clip.id, stage.name, ABSENT, state="off"))
