"""Planted results of runs, for the tests of history; also run by the child that is killed."""

from mien.core import Clip, Observation, Span
from mien.store import StageResult, Store

SHA = "a" * 64
CLIPS = ("clip-a", "clip-b")
STAGES = ("one", "two")


def run_id(n: int) -> str:
    return f"run-2026-01-01T00:00:{n:02d}.000+00:00"


def result(unit: str, stage: str, value: float | None, key: str = "") -> StageResult:
    seen = Observation(
        f"obs-{unit}-{stage}", unit, None, Span(0, 10), stage, value, None, "", (("a", value or 0),), 1.0, 1, "m@1"
    )
    return StageResult(unit, stage, key or f"{stage}-{value}", [] if value is None else [seen], ms=1.0)


def cut(store: Store, run: int, names=CLIPS) -> None:
    clips = [Clip(name, SHA, Span(10 * i, 10 * i + 10), "start", "end", "x") for i, name in enumerate(names)]
    store.commit(StageResult(SHA, "clips", str(names), clips), run_id=run_id(run), at_utc="t")
