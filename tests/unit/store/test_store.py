import dataclasses
import math
import sqlite3

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mien.core import (
    Assessment,
    Clip,
    Contribution,
    Embeddings,
    Failure,
    MienError,
    Observation,
    Setting,
    Source,
    Span,
    Track,
)
from mien.store import StageResult, Store, canonical_dump
from mien.store.rows import TABLES, columns, from_row, to_row

WHEN = {"run_id": "run-1", "at_utc": "2026-01-01T00:00:00"}


def observation(n: int = 0, unit: str = "clip-a", value: float | None = 0.5) -> Observation:
    return Observation(
        f"obs-{n:08d}", unit, None, Span(0, 10), "x", value, 0.1, "1", (("a", 0.25), ("b", 0.75)), 1.0, 3, "m@1"
    )


def table(n: int = 4) -> pa.Table:
    return pa.table({"t_us": np.arange(n, dtype=np.int64), "value": np.linspace(0, 1, n, dtype=np.float32)})


TEXT = st.text(max_size=20)
UNIT_FLOAT = st.floats(0, 1)
DISTS = st.lists(st.tuples(TEXT, UNIT_FLOAT), max_size=3).map(tuple)
SPANS = st.tuples(st.integers(0, 10**12), st.integers(0, 10**9)).map(lambda p: Span(p[0], p[0] + p[1]))
CONTRIBUTIONS = st.builds(Contribution, TEXT, UNIT_FLOAT, DISTS, DISTS, st.lists(TEXT, max_size=2).map(tuple), TEXT)
RECORDS = st.one_of(
    st.builds(
        Observation,
        TEXT,
        TEXT,
        st.none() | TEXT,
        SPANS,
        TEXT,
        st.none() | UNIT_FLOAT,
        st.none() | UNIT_FLOAT,
        TEXT,
        DISTS,
        st.none() | UNIT_FLOAT,
        st.integers(0, 99),
        TEXT,
        st.none() | TEXT,
    ),
    st.builds(
        Assessment,
        TEXT,
        TEXT,
        st.none() | TEXT,
        SPANS,
        DISTS,
        DISTS,
        st.lists(CONTRIBUTIONS, max_size=2).map(tuple),
        UNIT_FLOAT,
        UNIT_FLOAT,
        UNIT_FLOAT,
        st.booleans(),
        TEXT,
        TEXT,
    ),
    st.builds(
        Track,
        TEXT,
        TEXT,
        st.just("face"),
        TEXT,
        SPANS,
        st.tuples(UNIT_FLOAT, UNIT_FLOAT, UNIT_FLOAT, UNIT_FLOAT),
        st.integers(0, 99),
    ),
)


@given(RECORDS)
def test_a_record_comes_back_as_it_was(record):
    name, row = to_row(record)
    assert name == TABLES[type(record)]
    assert from_row(type(record), row) == record


def test_setting_and_unknown_entropy_come_back():
    source = Source(
        "s" * 64, "a.mp4", "video", 9, 1, 2, 3, 25.0, None, None, "research", setting=Setting(place="kitchen")
    )
    assert from_row(Source, to_row(source)[1]) == source
    row = to_row(Assessment("a", "c", None, Span(0, 1), (), (), (), math.nan, 0.0, 1.0, True, "little evidence", "f"))[
        1
    ]
    assert math.isnan(from_row(Assessment, {**row, "ambiguity": None}).ambiguity)


def test_every_record_class_has_a_table_with_a_column_for_each_field():
    with Store(None) as store:
        for record, name in TABLES.items():
            names, _ = store.query(f"SELECT * FROM {name}")  # noqa: S608 - a table of ours
            wanted = {c for f, _, kind in columns(record) for c in (("start_us", "end_us") if kind == "span" else (f,))}
            assert wanted <= set(names)
            assert all(dataclasses.fields(record))


@pytest.fixture
def in_files(monkeypatch):
    """Every array becomes a file, as large ones do."""
    monkeypatch.setattr("mien.store.arrays.PACKED_BYTES", 0)


def packed(store: Store) -> list[str]:
    return [row[0] for row in store.query("SELECT name FROM packed ORDER BY name")[1]]


@pytest.mark.parametrize(("on_disk", "limit"), [(True, 0), (True, 65_536), (False, 65_536)])
def test_commit_replaces_exactly_what_the_stage_owned(tmp_path, monkeypatch, on_disk, limit):
    monkeypatch.setattr("mien.store.arrays.PACKED_BYTES", limit)
    with Store(tmp_path if on_disk else None, write=on_disk) as store:
        store.commit(
            StageResult("clip-a", "one", "k1", [observation(1), observation(2)], {"one/clip-a": table()}), **WHEN
        )
        store.commit(StageResult("clip-a", "two", "k2", [observation(3)], {"two/clip-a": table(2)}), **WHEN)
        store.commit(StageResult("clip-a", "one", "k3", [observation(4)], {"one/clip-a": table(7)}), **WHEN)
        assert {o.id for o in store.all(Observation)} == {"obs-00000003", "obs-00000004"}
        assert store.table("one/clip-a").num_rows == 7
        assert store.table("two/clip-a").num_rows == 2
        assert store.stage("clip-a", "one").key == "k3"
        assert store.stage("clip-a", "one").attempt == 2
        if on_disk:
            assert len(list((tmp_path / "arrays").rglob("*.parquet"))) == (0 if limit else 2)
            assert packed(store) == (["one/clip-a", "two/clip-a"] if limit else [])
            store.drop_unit("clip-a")
            assert packed(store) == []
            assert not list((tmp_path / "arrays").rglob("*.parquet"))


def test_a_small_array_lies_in_the_database_and_a_large_one_beside_it(tmp_path):
    """What is read is what was committed, also where an array grows out of the database and back."""
    large = pa.table({"v": np.random.default_rng(0).normal(size=20_000)})
    with Store(tmp_path, write=True) as store:
        for i, given in enumerate((table(3), large, table(5))):
            store.commit(StageResult("clip-a", "one", f"k{i}", [], {"one/clip-a": given}), **WHEN)
            assert store.table("one/clip-a").equals(given)
            assert len(packed(store)) + len(list((tmp_path / "arrays").rglob("*.parquet"))) == 1
            assert bool(packed(store)) == (given is not large)


def test_a_flipped_bit_in_a_packed_array_is_noticed(tmp_path):
    with Store(tmp_path, write=True) as store:
        store.commit(StageResult("clip-a", "one", "k1", [], {"one/clip-a": table()}), **WHEN)
    db = sqlite3.connect(tmp_path / "mien.db")
    (body,) = db.execute("SELECT body FROM packed").fetchone()
    for at in (0, 5, len(body) // 2, len(body) - 1):
        db.execute("UPDATE packed SET body=?", (body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :],))
        db.commit()
        with Store(tmp_path) as store:
            assert store.damaged() == [("clip-a", "one")]
    db.execute("DELETE FROM packed")
    db.commit()
    db.close()
    with Store(tmp_path) as store:
        assert store.damaged() == [("clip-a", "one")]


def test_a_project_of_version_4_keeps_its_files_until_a_stage_runs_again(tmp_path, monkeypatch):
    monkeypatch.setattr("mien.store.arrays.PACKED_BYTES", 0)
    with Store(tmp_path, write=True) as store:
        store.commit(StageResult("clip-a", "one", "k1", [observation(1)], {"one/clip-a": table()}), **WHEN)
        before = canonical_dump(store)
    db = sqlite3.connect(tmp_path / "mien.db")
    db.executescript("DROP TABLE packed; DROP INDEX arrays_owner; PRAGMA user_version=4;")
    db.close()
    monkeypatch.undo()
    with pytest.raises(MienError, match=r"store\.older"):
        Store(tmp_path)
    with Store(tmp_path, write=True) as store:
        assert canonical_dump(store) == before
        store.commit(StageResult("clip-a", "one", "k2", [observation(1)], {"one/clip-a": table()}), **WHEN)
        assert packed(store) == ["one/clip-a"]
        assert not list((tmp_path / "arrays").rglob("*.parquet"))


def test_a_commit_costs_the_same_among_many_clips(tmp_path):
    """No statement of a commit looks through the rows of other clips."""
    with Store(tmp_path, write=True) as store:
        store.commit(StageResult("clip-a", "one", "k1", [observation(1)], {"one/clip-a": table()}), **WHEN)
        said: list[str] = []
        store._db.set_trace_callback(said.append)
        store.commit(StageResult("clip-b", "one", "k1", [observation(2)], {"one/clip-b": table()}), **WHEN)
        store._db.set_trace_callback(None)
        told = [sql for sql in said if sql.startswith(("SELECT", "DELETE", "UPDATE"))]
        plans = [row["detail"] for sql in told for row in store._db.execute(f"EXPLAIN QUERY PLAN {sql}")]
        assert len(told) > 10
        assert [p for p in plans if p.startswith("SCAN")] == []


def test_a_failed_commit_leaves_the_old_result(tmp_path):
    with Store(tmp_path, write=True) as store:
        store.commit(StageResult("clip-a", "one", "k1", [observation(1)], {"one/clip-a": table()}), **WHEN)
        before = canonical_dump(store)
        with pytest.raises(TypeError):
            store.commit(StageResult("clip-a", "one", "k2", [observation(1), object()]), **WHEN)
        assert canonical_dump(store) == before


def test_unnamed_files_are_swept_and_named_ones_kept(tmp_path, in_files):
    with Store(tmp_path, write=True) as store:
        store.commit(StageResult("clip-a", "one", "k1", [], {"one/clip-a": table()}), **WHEN)
    (tmp_path / "arrays" / "one" / "stray.parquet").write_bytes(b"x")
    (tmp_path / "arrays" / "one" / "half.tmp").write_bytes(b"x")
    with Store(tmp_path, write=True) as store:
        assert [p.name for p in (tmp_path / "arrays").rglob("*") if p.is_file()] == ["clip-a.k1.parquet"]
        assert store.table("one/clip-a").num_rows == 4


def test_two_writers_are_refused_and_a_reader_is_not(tmp_path):
    with Store(tmp_path, write=True):
        with pytest.raises(MienError, match="store.busy"):
            Store(tmp_path, write=True)
        with Store(tmp_path) as reader:
            assert reader.stages() == []


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM observations",
        "DROP TABLE clips",
        "ATTACH 'other.db' AS o",
        "PRAGMA journal_mode=DELETE",
        "UPDATE stages SET state='ok'",
        "CREATE TABLE t (x)",
        "VACUUM INTO 'copy.db'",
    ],
)
def test_questions_cannot_write(tmp_path, monkeypatch, sql):
    monkeypatch.chdir(tmp_path)
    with Store(tmp_path, write=True) as store, pytest.raises(MienError, match=r"query\.(not-read-only|bad-sql)"):
        store.query(sql)
    assert not (tmp_path / "other.db").exists()
    assert not (tmp_path / "copy.db").exists()


def test_questions_are_answered(tmp_path):
    with Store(tmp_path, write=True) as store:
        store.commit(StageResult("clip-a", "one", "k1", [observation(1), observation(2, value=None)]), **WHEN)
        names, rows = store.query("SELECT id, json_extract(dist, '$[1][1]') AS b, value FROM observations ORDER BY id")
        assert names == ["id", "b", "value"]
        assert rows == [("obs-00000001", 0.75, 0.5), ("obs-00000002", 0.75, None)]
        with pytest.raises(MienError, match="query.bad-sql"):
            store.query("SELEC 1")


def test_vectors_are_refused(tmp_path):
    vectors = np.zeros((3, 128), np.float32)
    wide = pa.table({f"v{i}": vectors[:, i] for i in range(128)})
    nested = pa.table({"v": pa.array(vectors.tolist())})
    raw = pa.table({"v": pa.array([v.tobytes() for v in vectors], pa.binary())})
    with Store(tmp_path, write=True) as store:
        for bad in (wide, nested, raw, Embeddings(vectors)):
            with pytest.raises(MienError, match="store.embedding-refused"):
                store.commit(StageResult("clip-a", "one", "k", [], {"one/clip-a": bad}), **WHEN)


def test_failures_count_attempts_and_go_when_it_works(tmp_path):
    with Store(tmp_path, write=True) as store:
        for _ in range(2):
            store.fail("clip-a", "one", "k1", MienError("x.y", "did not work", "try"), **WHEN)
        (failure,) = store.all(Failure)
        assert (failure.attempt, failure.code) == (2, "x.y")
        store.commit(StageResult("clip-a", "one", "k1", [observation(1)]), **WHEN)
        assert store.all(Failure) == []


def test_a_missing_or_damaged_array_is_named(tmp_path, in_files):
    with Store(tmp_path, write=True) as store:
        store.commit(StageResult("clip-a", "one", "k1", [], {"one/clip-a": table()}), **WHEN)
        (path,) = (tmp_path / "arrays").rglob("*.parquet")
        path.write_bytes(path.read_bytes()[:20])
        assert store.damaged() == [("clip-a", "one")]
        with pytest.raises(MienError, match="store.array-damaged"):
            store.table("one/clip-a")


def test_a_newer_or_foreign_database_is_refused(tmp_path):
    Store(tmp_path, write=True).close()
    db = sqlite3.connect(tmp_path / "mien.db")
    db.execute("UPDATE meta SET value='other' WHERE key='schema_sha256'")
    db.commit()
    with pytest.raises(MienError, match="store.schema-mismatch"):
        Store(tmp_path, write=True)
    db.execute("PRAGMA user_version=99")
    db.commit()
    db.close()
    with pytest.raises(MienError, match="store.newer"):
        Store(tmp_path, write=True)


def test_the_canonical_dump_sees_results_and_not_attempts(tmp_path):
    def made(name: str, value: float, attempts: int, at: str) -> str:
        (tmp_path / name).mkdir()
        with Store(tmp_path / name, write=True) as store:
            for _ in range(attempts):
                store.commit(
                    StageResult("clip-a", "one", "k1", [observation(1, value=value)], {"one/clip-a": table()}),
                    run_id=at,
                    at_utc=at,
                )
            return canonical_dump(store)

    assert made("a", 0.5, 1, "now") == made("b", 0.5, 3, "later")
    assert made("c", 0.5, 1, "now") != made("d", 0.500001, 1, "now")


def test_find_takes_whole_ids_and_unique_beginnings():
    with Store(None) as store:
        clip = Clip("clip-0123456789abcde", "s", Span(0, 1), "a", "b", "c")
        store.commit(
            StageResult("s", "clips", "k", [clip, dataclasses.replace(clip, id="clip-0123999999abcde")]), **WHEN
        )
        assert store.find("clip-0123456789abcde") == ("clips", clip)
        assert store.find("clip-01234") == ("clips", clip)
        assert store.find("clip-0123") is None
        assert store.find("nothing-here") is None
