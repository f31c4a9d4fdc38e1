"""The record as it stood when a run ended, whatever later runs replaced, and however they ended."""

import random
import signal
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from history_makers import CLIPS, SHA, STAGES, cut, result, run_id
from hypothesis import given, settings
from hypothesis import strategies as st

from mien.core import Clip, MienError, Observation, Span, Track
from mien.store import StageResult, Store, canonical_dump, history
from mien.store.rows import to_row


def values(view) -> dict[tuple[str, str], float]:
    return {
        (clip.id, stage): o.value
        for clip in view.clips(SHA)
        for stage, o in view.records(clip.id)[Observation]
    }  # fmt: skip


STEPS = st.lists(
    st.tuples(st.booleans(), st.sampled_from(CLIPS), st.sampled_from(STAGES), st.none() | st.integers(1, 9)),
    max_size=12,
)


@settings(max_examples=60, deadline=None)
@given(STEPS)
def test_every_run_reads_as_the_record_stood_when_it_ended(steps):
    """Against a plain dictionary that is copied at the end of each run."""
    with Store(None) as store:
        cut(store, 0)
        now: dict[tuple[str, str], float] = {}
        ended, run = [dict(now)], 0
        for next_run, unit, stage, value in steps:
            if next_run:
                run += 1
                ended.append({})
            store.commit(result(unit, stage, value), run_id=run_id(run), at_utc="t")
            now.pop((unit, stage), None)
            if value is not None:
                now[unit, stage] = value
            ended[run] = dict(now)
        for n, then in enumerate(ended):
            assert values(store.as_of(run_id(n))) == then
        assert values(store.as_of()) == now
        assert {(o.clip_id, o.target): o.value for o in store.all(Observation)} == now  # history is never current


def test_history_changes_neither_the_dump_nor_what_is_current():
    with Store(None) as store, Store(None) as fresh:
        for held, runs in ((store, (1, 2, 3)), (fresh, (3,))):
            cut(held, runs[0])
            for run in runs:
                held.commit(result("clip-a", "one", run), run_id=run_id(run), at_utc="t")
        assert store.history_size()[0] == 2
        assert store.history_size()[1] > 0
        assert canonical_dump(store) == canonical_dump(fresh)


def test_clips_that_a_new_cutting_has_no_longer_are_read_as_they_were():
    with Store(None) as store:
        cut(store, 1)
        for unit in CLIPS:
            store.commit(result(unit, "one", 0.5), run_id=run_id(1), at_utc="t")
        store.withdraw_unit("clip-b", run_id=run_id(2))
        cut(store, 2, ("clip-a", "clip-c"))
        store.commit(result("clip-c", "one", 0.7), run_id=run_id(2), at_utc="t")
        assert values(store.as_of(run_id(1))) == {("clip-a", "one"): 0.5, ("clip-b", "one"): 0.5}
        assert values(store.as_of(run_id(2))) == {("clip-a", "one"): 0.5, ("clip-c", "one"): 0.7}
        assert [c.id for c in store.all(Clip)] == ["clip-a", "clip-c"]


def test_only_the_last_runs_are_kept_and_older_ones_say_so():
    with Store(None) as store:
        cut(store, 0)
        for run in range(5):
            store.commit(result("clip-a", "one", run), run_id=run_id(run), at_utc="t")
            store.prune_history(2)
        assert store.history_size()[0] == 2
        assert [store.readable(run_id(n)) for n in range(5)] == [False, False, True, True, True]
        assert [values(store.as_of(run_id(n))) for n in (2, 3, 4)] == [{("clip-a", "one"): n} for n in (2, 3, 4)]
        store.prune_history(0)
        assert store.history_size() == (0, 0)
        assert [store.readable(run_id(n)) for n in range(5)] == [False] * 4 + [True]


@pytest.mark.parametrize(("dropped", "left"), [("clip-a", 1), (SHA, 0)])
def test_erasing_a_unit_or_a_source_erases_its_history(tmp_path, dropped, left):
    with Store(tmp_path, write=True) as store:
        cut(store, 1)
        for run in (1, 2):
            for unit in CLIPS:
                store.commit(result(unit, "one", run / 10), run_id=run_id(run), at_utc="t")
        store.drop_unit(dropped)
        _, rows = store.query("SELECT count(*) FROM past")
        assert rows == [(left,)]


def test_a_commit_that_fails_leaves_no_history(tmp_path):
    with Store(tmp_path, write=True) as store:
        cut(store, 1)
        store.commit(result("clip-a", "one", 0.5), run_id=run_id(1), at_utc="t")
        with pytest.raises(TypeError):
            store.commit(StageResult("clip-a", "one", "k2", [object()]), run_id=run_id(2), at_utc="t")
        assert store.history_size() == (0, 0)
        assert values(store.as_of(run_id(1))) == {("clip-a", "one"): 0.5}


def test_a_stage_that_is_switched_off_or_fails_is_still_there_for_the_run_that_made_it():
    with Store(None) as store:
        cut(store, 1)
        for stage in STAGES:
            store.commit(result("clip-a", stage, 0.5), run_id=run_id(1), at_utc="t")
        store.commit(StageResult("clip-a", "one", "absent", state="off"), run_id=run_id(2), at_utc="t")
        store.fail("clip-a", "two", "k", MienError("x.y", "no"), run_id=run_id(2), at_utc="t")
        assert values(store.as_of(run_id(1))) == dict.fromkeys((("clip-a", "one"), ("clip-a", "two")), 0.5)
        assert values(store.as_of(run_id(2))) == {}


def test_a_project_from_before_says_that_earlier_runs_were_not_kept(tmp_path, monkeypatch):
    monkeypatch.setattr("mien.store.schema.MIGRATIONS", {})  # its other tables are today's
    with Store(tmp_path, write=True) as store:
        cut(store, 1)
        store.commit(result("clip-a", "one", 0.1), run_id=run_id(2), at_utc="t")
    db = sqlite3.connect(tmp_path / "mien.db")
    db.executescript(
        "DROP TABLE past; DROP TABLE configs; DELETE FROM meta WHERE key='history_floor'; PRAGMA user_version=2;"
    )
    db.close()
    with Store(tmp_path, write=True) as store:
        assert [store.readable(run_id(n)) for n in (1, 2)] == [False, True]
        store.commit(result("clip-a", "one", 0.2), run_id=run_id(3), at_utc="t")
        assert values(store.as_of(run_id(2))) == {("clip-a", "one"): 0.1}


def test_a_replaced_row_of_an_older_mien_is_read_with_defaults(monkeypatch):
    """A field that records had not yet when the row was replaced has its default; all others are as they were."""
    track = Track("track-1", "clip-a", "face", "face", Span(0, 10), (0.1, 0.2, 0.3, 0.4), 5, "P1")
    plain = history.json.dumps
    without = [{k: v for k, v in to_row(track)[1].items() if k != "subject_id"} | {"_unit": "clip-a", "_stage": "one"}]
    with Store(None) as store:
        cut(store, 1)
        store.commit(StageResult("clip-a", "one", "k", [track], ms=1.0), run_id=run_id(1), at_utc="t")
        monkeypatch.setattr(history.json, "dumps", lambda _, **how: plain({"tracks": without}, **how))
        store.commit(StageResult("clip-a", "one", "k2", [], ms=1.0), run_id=run_id(2), at_utc="t")
        monkeypatch.undo()
        assert store.as_of(run_id(1)).records("clip-a")[Track] == [("one", replace(track, subject_id="unassigned"))]


CHILD = """
import sys
from pathlib import Path
from mien.store import Store
from history_makers import CLIPS, STAGES, cut, result, run_id
with Store(Path(sys.argv[1]), write=True) as store:
    first = int(sys.argv[2])
    if first == 0:
        cut(store, 0)
    for run in range(first, 60):
        for unit in CLIPS:
            for stage in STAGES:
                store.commit(result(unit, stage, run / 100), run_id=run_id(run), at_utc="t")
                print(run, unit, stage, flush=True)
        store.prune_history(5)
"""


def test_kill_9_between_runs_leaves_every_kept_run_readable(tmp_path):
    """Whatever was acknowledged reads back at its run: replaced rows move into history in the commit that replaces."""
    draw, first, kills = random.Random(7), 0, 0
    known: dict[tuple[str, str], list[int]] = {}
    while kills < 4:
        command = [sys.executable, "-c", CHILD, str(tmp_path), str(first)]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parent)
        assert child.stdout is not None
        stop_after = draw.randrange(3, 25)
        lines = [line for _, line in zip(range(stop_after), child.stdout, strict=False)]
        child.send_signal(signal.SIGKILL)
        lines += child.communicate()[0].splitlines()
        kills += 1
        for line in lines:
            if len(words := line.split()) == 3:
                known.setdefault((words[1], words[2]), []).append(int(words[0]))
        with Store(tmp_path) as store:
            assert store.integrity() == []
            last = max(n for runs in known.values() for n in runs)
            readable = [n for n in range(last + 1) if store.readable(run_id(n))]
            assert set(range(max(0, last - 4), last + 1)) <= set(readable)
            for n in readable:
                said = values(store.as_of(run_id(n)))
                for at, runs in known.items():
                    done = [r for r in runs if r <= n]
                    # a commit may have stood although its acknowledgement died with the process
                    assert said[at] in (max(done) / 100, n / 100), (n, at)
        first = last + 1
    assert len(known) == len(CLIPS) * len(STAGES)


def test_what_the_views_leave_alone(tmp_path):
    """A view reads; and records of tracks come back as they were."""
    track = Track("track-1", "clip-a", "face", "face", Span(0, 10), (0.1, 0.2, 0.3, 0.4), 5, "P1")
    with Store(tmp_path, write=True) as store:
        cut(store, 1)
        store.commit(StageResult("clip-a", "one", "k", [track], ms=2.5), run_id=run_id(1), at_utc="t")
        store.commit(StageResult("clip-a", "one", "k2", [], ms=1.5), run_id=run_id(2), at_utc="t")
    before = (tmp_path / "mien.db").read_bytes()
    with Store(tmp_path) as store:
        view = store.as_of(run_id(1))
        assert view.records("clip-a")[Track] == [("one", track)]
        assert (view.ledger["clip-a", "one"].ms, view.ledger["clip-a", "one"].key) == (2.5, "k")
        assert store.as_of(run_id(2)).ledger["clip-a", "one"].ms == 1.5
    assert (tmp_path / "mien.db").read_bytes() == before
