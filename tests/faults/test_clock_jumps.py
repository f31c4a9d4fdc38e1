"""A wall clock that jumps changes the times in the record and nothing else."""

from __future__ import annotations

import contextlib
import datetime
import itertools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import scripted_media

from mien.core import Run
from mien.evaluate.sides import runs_of
from mien.pipeline import Project
from mien.pipeline.config import Stack, load
from mien.store import Store, canonical_dump

START = datetime.datetime(2026, 11, 22, 12, tzinfo=datetime.UTC)
HOUR, YEARS = datetime.timedelta(hours=1), datetime.timedelta(days=3653)
OFF = dict.fromkeys(Stack.model_fields, "off")
# Of each of four runs: how far the clock is off when it begins, and once it has been asked a few times.
JUMPS = {
    "steady": ((0 * HOUR, 0 * HOUR),) * 4,
    "an hour on and back": ((0 * HOUR, 0 * HOUR), (HOUR, HOUR), (0 * HOUR, 0 * HOUR), (-HOUR, -HOUR)),
    "ten years on, then mended": ((0 * HOUR, 0 * HOUR), (YEARS, YEARS), (0 * HOUR, 0 * HOUR), (0 * HOUR, 0 * HOUR)),
    "back during every run": ((0 * HOUR, -HOUR), (0 * HOUR, -HOUR), (0 * HOUR, -HOUR), (0 * HOUR, -HOUR)),
    "standing still": (),
}


@pytest.fixture
def media(monkeypatch: pytest.MonkeyPatch) -> None:
    from mien.media import Decoder

    for module in list(sys.modules.values()):
        if getattr(module, "Decoder", None) is Decoder and module.__name__.startswith(("mien.pip", "mien.media.scan")):
            monkeypatch.setattr(module, "Decoder", scripted_media.ScriptedDecoder)


def clock(jumps: tuple[tuple[datetime.timedelta, datetime.timedelta], ...]) -> Callable[[int], Callable[[], str]]:
    """`utc_now` for the n-th run: every question takes 7 ms."""

    def of_run(number: int) -> Callable[[], str]:
        asked = itertools.count()

        def now() -> str:
            n = next(asked)
            if not jumps:
                return START.isoformat(timespec="milliseconds")
            at = START + datetime.timedelta(minutes=number, milliseconds=7 * n) + jumps[number][n > 4]
            return at.isoformat(timespec="milliseconds")

        return now

    return of_run


def history(folder: Path, monkeypatch: pytest.MonkeyPatch, of_run: Callable[[int], Callable[[], str]]) -> Any:
    """Four runs, each under another rate of frames; what the project then says, without times."""
    root, clip = folder / "project", folder / "clip.mp4"
    folder.mkdir()
    clip.write_bytes(b"scripted")
    Project.init(root, "research").close()
    rates = (4.0, 2.0, 1.0, 4.0)
    asked = [m for n, m in sys.modules.items() if n.startswith("mien.") and hasattr(m, "utc_now")]
    for number, fps in enumerate(rates):
        for module in asked:
            monkeypatch.setattr(module, "utc_now", of_run(number))
        project = Project.open(root)
        settings = {"analysis": {"fps": fps, "max_clip_s": 2.0}, "stack": OFF, "history": {"runs": 2}}
        project.config, _ = load(root, {**settings, "run": {"runner": "inline", "workers": 1}})
        assert not project.run([clip]).failures
        project.close()
    with contextlib.closing(Project.open(root)) as project:
        listed = runs_of(project)
        views = {r.number: _view(project.store, r.run.id) for r in listed if r.readable}
        return canonical_dump(project.store), [(r.number, r.results, r.readable) for r in listed], views


def _view(store: Store, run_id: str) -> list[tuple[str, str, str]]:
    return sorted((h.unit, h.stage, h.key) for h in store.as_of(run_id).ledger.values() if h.stage != "input")


@pytest.mark.usefixtures("media")
def test_a_clock_that_jumps_changes_only_times(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steady = history(tmp_path / "reference", monkeypatch, clock(JUMPS["steady"]))
    assert [(n, readable) for n, _, readable in steady[1]] == [(1, False), (2, True), (3, True), (4, True)]
    assert len({str(view) for view in steady[2].values()}) == 3
    for name, jumps in list(JUMPS.items())[1:]:
        assert history(tmp_path / name, monkeypatch, clock(jumps)) == steady, name


@pytest.mark.usefixtures("media")
def test_runs_named_by_the_clock_alone_would_be_confused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the test above would pass whatever the store does."""
    steady = history(tmp_path / "reference", monkeypatch, clock(JUMPS["steady"]))
    monkeypatch.setattr(Store, "next_run_id", lambda self, now: f"run-{now}")
    name = "ten years on, then mended"
    assert history(tmp_path / name, monkeypatch, clock(JUMPS[name])) != steady


def test_the_ids_of_runs_go_up_and_the_times_are_the_clock_s(tmp_path: Path) -> None:
    with Store(tmp_path, write=True) as store:
        ids: list[str] = []
        for now in ("2026-03-01T10:00:00.000+00:00", "2036-03-01T10:00:00.000+00:00", "2026-03-01T10:00:01.000+00:00"):
            ids.append(store.next_run_id(now))
            store.put([Run(ids[-1], now, None, "run", "1", "research", "c")], unit=ids[-1], stage="run")
        assert ids == sorted(ids)
        assert ids[2] == "run-2036-03-01T10:00:00.001+00:00"
        assert [r.started_utc for r in store.all(Run)][2] == "2026-03-01T10:00:01.000+00:00"
