"""CSV and Parquet: the same rows, units and versions in the metadata, null where not measured, the same bytes."""

import csv
import json

import pyarrow.parquet as pq
import pytest
from planted import SOUND, VIDEO, project

from mien.core import MienError
from mien.export.tables import FORMATS, export_tables
from mien.export.tables.delimited import guarded, unguarded
from mien.export.tables.schema import SCHEMA_VERSION, TABLES
from mien.pipeline import Project


@pytest.fixture
def planted(tmp_path):
    with_rows = project(tmp_path / "p")
    yield with_rows
    with_rows.close()


def rows_of(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_every_table_is_there_with_its_columns_units_and_version(planted, tmp_path):
    export_tables(planted, "parquet", tmp_path / "out")
    for name, columns in TABLES.items():
        schema = pq.read_schema(tmp_path / "out" / f"{name}.parquet")
        assert schema.names == [c.name for c in columns]
        assert schema.metadata[b"schema_version"] == str(SCHEMA_VERSION).encode()
        for column in columns:
            assert schema.field(column.name).metadata[b"unit"] == column.unit.encode()
    assert pq.read_schema(tmp_path / "out" / "clips.parquet").field("start_us").metadata[b"unit"] == b"us"


def test_csv_and_parquet_say_the_same(planted, tmp_path):
    export_tables(planted, "parquet", tmp_path / "a")
    export_tables(planted, "csv", tmp_path / "b")
    for name in TABLES:
        dense = pq.read_table(tmp_path / "a" / f"{name}.parquet").to_pylist()
        text = rows_of(tmp_path / "b" / f"{name}.csv")
        assert len(dense) == len(text)
        for a, b in zip(dense, text, strict=True):
            for key, value in a.items():
                told = unguarded(b[key])
                if value is None:
                    assert told == ""
                elif isinstance(value, bool):
                    assert told == str(value).lower()
                elif isinstance(value, float):
                    assert float(told) == pytest.approx(value, rel=1e-6)
                else:
                    assert told == str(value)


def test_not_measured_is_null_and_never_zero(planted, tmp_path):
    export_tables(planted, "csv", tmp_path / "out")
    signals = rows_of(tmp_path / "out" / "signals.csv")
    assert [(s["value"], s["gap"]) for s in signals][:3] == [("0.1", "false"), ("", "true"), ("0.3", "false")]
    assert {s["sd"] for s in signals} == {""}
    assert {s["unit"] for s in signals} == {"-1..1"}
    assert {s["who"] for s in signals} == {"face 1"}


def test_distributions_states_and_evidence_come_out(planted, tmp_path):
    export_tables(planted, "parquet", tmp_path / "out")
    read = lambda name: pq.read_table(tmp_path / "out" / f"{name}.parquet").to_pylist()  # noqa: E731
    look = next(r for r in read("observations") if r["target"] == "expression")
    assert (look["top"], look["top_p"], look["value"]) == ("happiness", 0.5, None)
    assert json.loads(look["dist"]) == {"anger": 0.2, "happiness": 0.5, "neutral": 0.3}
    state = read("assessments")[0]
    assert (state["state"], state["p"], state["abstained"]) == ("pleasure", 0.7, False)
    claims = {r["claim_id"]: r for r in read("claims")}
    ids = {r["observation_id"] for r in read("observations")}
    assert all(set((c["evidence"] or "").split()) <= ids for c in claims.values())
    assert {s["sha256"] for s in read("sources")} == {VIDEO, SOUND}
    assert not any("/media/" in json.dumps(r) for name in TABLES for r in read(name)), "no path of the machine leaves"
    (model,) = [m for m in read("models") if m["name"] == "expression.minixception"]
    assert model["licence_weights"] == "MIT"


def test_the_same_rows_give_the_same_bytes_in_another_folder(planted, tmp_path):
    again = project(tmp_path / "elsewhere" / "p")
    for name in FORMATS:
        export_tables(planted, name, tmp_path / "a" / name)
        export_tables(again, name, tmp_path / "b" / name)
        for file in sorted((tmp_path / "a" / name).iterdir()):
            assert file.read_bytes() == (tmp_path / "b" / name / file.name).read_bytes(), file.name
    again.close()


@pytest.mark.parametrize("text", ["=1+1", "+1 @home", "@SUM(A1)", "-cmd|' /C calc'!A0", "\t=x", "\r=x"])
def test_formulas_are_disarmed_and_come_back(text):
    assert guarded(text) == "'" + text
    assert unguarded(guarded(text)) == text


@pytest.mark.parametrize("text", ["-0.25", "-1..1", "+3", "plain", "", "it's", "'quoted'"])
def test_numbers_and_plain_text_are_left_alone(text):
    assert guarded(text) == text
    assert unguarded(text) == text


def test_no_cell_of_a_csv_export_can_run_as_a_formula(planted, tmp_path):
    export_tables(planted, "csv", tmp_path / "out")
    for path in (tmp_path / "out").glob("*.csv"):
        for row in rows_of(path):
            for cell in row.values():
                assert guarded(cell) == cell, path.name
    assert {r["value"] for r in rows_of(tmp_path / "out" / "attributes.csv")} == {"'+1 @home"}
    assert "'=cmd.wav" in {r["source"] for r in rows_of(tmp_path / "out" / "sources.csv")}


def test_pandas_and_duckdb_read_the_tables(planted, tmp_path):
    import pandas as pd

    export_tables(planted, "csv", tmp_path / "c")
    export_tables(planted, "parquet", tmp_path / "q")
    frame = pd.read_csv(tmp_path / "c" / "signals.csv")
    assert frame["value"].mean() == pytest.approx(0.8 / 3, rel=1e-6)
    assert len(pd.read_parquet(tmp_path / "q" / "signals.parquet")) == len(frame) == 8
    duckdb = pytest.importorskip("duckdb", reason="DuckDB is not installed")
    held = duckdb.read_parquet(str(tmp_path / "q" / "observations.parquet"))
    counted = held.aggregate("target, count(*)", "target").fetchall()
    assert dict(counted)["expression"] == 4


def test_an_empty_project_says_so_and_a_wrong_format_is_named(tmp_path):
    empty = Project.init(tmp_path / "p", "research")
    with pytest.raises(MienError, match=r"export\.nothing"):
        export_tables(empty, "csv", tmp_path / "out")
    with pytest.raises(MienError, match=r"input\.unknown-format"):
        export_tables(empty, "xml")
    assert not (tmp_path / "out").exists()
    empty.close()


def test_one_clip_at_a_time_is_read_and_progress_is_told(planted, tmp_path):
    told = []
    export_tables(planted, "csv", tmp_path / "out", progress=lambda done, total, name: told.append((done, total)))
    assert told == [(0, 3), (1, 3), (2, 3), (3, 3)]
