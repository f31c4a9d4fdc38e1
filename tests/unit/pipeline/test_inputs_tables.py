"""Rows of every kind of table, their types, their roles, and tables that are broken."""

import csv
import datetime
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mien.core import MienError
from mien.pipeline.inputs import Columns, Entry, Inputs, Refused, Vault, as_toml, discover, propose
from mien.pipeline.inputs.tables import MAX_LINE, rows
from mien.pipeline.inputs.values import flat, infer, kind_of, parse, typed

ROWS = [
    {"file": "a b.jpg", "age": 31, "score": 0.5, "ok": True, "day": "2024-02-29", "said": "grüß dich, 你好"},
    {"file": "ü.jpg", "age": 7, "score": 2.0, "ok": False, "day": "2024-03-01", "said": 'a "quoted", one'},
    {"file": "", "age": None, "score": None, "ok": None, "day": "", "said": "words alone"},
]
TYPES = {"age": "int", "score": "float", "ok": "bool", "day": "time", "said": "text"}


def write(path, kind):
    if kind in ("csv", "tsv", "semicolon"):
        delimiter = {"csv": ",", "tsv": "\t", "semicolon": ";"}[kind]
        with path.open("w", encoding="utf-8-sig" if kind == "semicolon" else "utf-8", newline="") as file:
            out = csv.DictWriter(file, list(ROWS[0]), delimiter=delimiter)
            out.writeheader()
            out.writerows(ROWS)
    elif kind == "jsonl":
        path.write_text("\n".join(json.dumps(r) for r in ROWS), encoding="utf-8")
    elif kind == "json":
        path.write_text(json.dumps(ROWS, indent=1, ensure_ascii=False), encoding="utf-8")
    else:
        days = [datetime.date.fromisoformat(r["day"]) if r["day"] else None for r in ROWS]
        pq.write_table(pa.table({k: [r[k] for r in ROWS] for k in ROWS[0]} | {"day": days}), path)
    return path


def found(path, *, inputs=Inputs(), vault=Vault(None, "research")):  # noqa: B008 - both are frozen or empty
    return list(discover([path], inputs, vault))


def items(path, **more):
    return [e for e in found(path, **more) if isinstance(e, Entry)]


def codes(path, **more):
    return [e.error.code for e in found(path, **more) if isinstance(e, Refused)]


def attributes(entry):
    return {a.key: (a.type, a.value) for a in entry.attributes}


@pytest.mark.parametrize(
    ("kind", "end"),
    [
        ("csv", "csv"),
        ("semicolon", "csv"),
        ("tsv", "tsv"),
        ("jsonl", "jsonl"),
        ("json", "json"),
        ("parquet", "parquet"),
    ],
)
def test_every_kind_of_table_says_the_same(tmp_path, kind, end):
    entries = items(write(tmp_path / f"t.{end}", kind))
    assert [e.item.row for e in entries] == ["a b.jpg", "ü.jpg", "row 3"]
    assert [[m.name for m in e.media] for e in entries] == [["a b.jpg"], ["ü.jpg"], []]
    assert all(m.parent == tmp_path for e in entries for m in e.media)
    first, _, alone = (attributes(e) for e in entries)
    said = {k: v for k, v in first.items() if k != "file"}
    assert {k: t for k, (t, _) in said.items()} == TYPES
    assert {k: v for k, (_, v) in said.items()} == {
        "age": "31", "score": "0.5", "ok": "true", "day": "2024-02-29", "said": "grüß dich, 你好",
    }  # fmt: skip
    assert alone == {"said": ("text", "words alone")}  # an empty cell is no attribute
    assert attributes(entries[1])["said"][1] == 'a "quoted", one'


def test_ids_are_stable_and_do_not_depend_on_order_or_other_cells(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("file,mood\na.jpg,glad\nb.jpg,sad\n")
    before = {e.item.row: e.item.id for e in items(path)}
    path.write_text("mood,file\nsad,b.jpg\nmerry,a.jpg\n")
    assert {e.item.row: e.item.id for e in items(path)} == before
    path.write_text("id,words\nx1,hello\nx2,good-bye\n")
    before = {e.item.row: e.item.id for e in items(path)}
    assert set(before) == {"x1", "x2"}
    path.write_text("id,words\nx2,good-bye\n")
    assert {e.item.row: e.item.id for e in items(path)} == {"x2": before["x2"]}


def test_one_row_may_name_several_media_and_two_rows_the_same(tmp_path):
    path = tmp_path / "t.jsonl"
    path.write_text('{"image": "a.jpg", "audio": "a.wav"}\n{"image": "a.jpg", "audio": null}\n{"image": "a.jpg"}\n')
    entries = items(path)
    assert [[m.name for m in e.media] for e in entries] == [["a.jpg", "a.wav"], ["a.jpg"], ["a.jpg"]]
    assert len({e.item.id for e in entries}) == 3


def test_paths_may_point_anywhere_on_this_machine_and_nowhere_else(tmp_path):
    path = tmp_path / "in" / "t.csv"
    path.parent.mkdir()
    lines = ["../up.jpg", str(tmp_path / "abs.jpg"), "https://example.org/x.jpg", "s3://b/x.jpg", "file:///x.jpg"]
    path.write_text("file\n" + "\n".join(lines) + '\nx\0.jpg\n"10:30 take:1.jpg"\n')
    entries = items(path)
    assert [[m.name for m in e.media] for e in entries] == [
        ["up.jpg"],
        ["abs.jpg"],
        [],
        [],
        [],
        [],
        ["10:30 take:1.jpg"],
    ]
    assert entries[0].media[0].parent == entries[1].media[0].parent == tmp_path
    assert [[p.code for p in e.problems] for e in entries[2:6]] == [["input.url"]] * 3 + [["input.bad-path"]]
    assert codes("https://example.org/t.csv") == ["input.url"]


def test_broken_rows_are_told_and_the_others_stay(tmp_path):
    path = tmp_path / "t.csv"
    long = "x" * 200_000
    path.write_bytes(
        b"id,a,b\n1,x,y\n2,short\n3,one,two,three\n4,\xff,y\n5,nul\0here,y\n6,"
        + long.encode() + b",y\n7,last,y,,\n\n8," + b"z" * (MAX_LINE + 9) + b",y\n9,fine,y\n"
    )  # fmt: skip
    held = {e.item.row: attributes(e) for e in items(path)}
    assert set(held) == {"1", "2", "5", "7", "9"}
    assert "b" not in held["2"]
    assert held["5"]["a"] == ("text", "nul\N{REPLACEMENT CHARACTER}here")
    assert codes(path) == ["input.ragged-row", "input.not-utf8", "input.field-too-long", "input.line-too-long"]
    path.write_text('a,b\n1,"open\n2,x\n')
    assert codes(path) == ["input.bad-row"]
    path.write_text('{"a": 1}\n{"a": \n[1]\n{"a": 2}\n' + '{"a":' * 50_000 + "\n")
    path = path.rename(tmp_path / "t.jsonl")
    assert [e.item.row for e in items(path)] == ["row 1", "row 4"]
    assert codes(path) == ["input.bad-json"] * 3


@pytest.mark.parametrize(
    ("name", "data", "code"),
    [
        ("e.csv", b"", "input.empty-table"),
        ("h.csv", b"a,b\n", "input.empty-table"),
        ("e.jsonl", b"\n\n", "input.empty-table"),
        ("e.json", b"[]", "input.empty-table"),
        ("o.json", b'{"a": 1}', "input.bad-json"),
        ("t.json", b'[{"a": 1}, {"a": ', "input.bad-json"),
        ("u.json", b'[{"a": 1}', "input.bad-json"),
        ("d.json", b"[" * 100_000, "input.bad-json"),
        ("b.json", b'[{"a": "\xff"}]', "input.damaged"),
        ("x.parquet", b"PAR1 no table PAR1", "input.damaged"),
        ("e.parquet", b"", "input.damaged"),
        ("w.csv", ",".join(f"c{i}" for i in range(1001)).encode() + b"\n1\n", "input.too-many-keys"),
    ],
)
def test_a_table_that_cannot_be_read_has_a_code(tmp_path, name, data, code):
    (tmp_path / name).write_bytes(data)
    assert codes(tmp_path / name)[-1:] == [code]


def test_a_long_json_list_is_read_through_a_window(tmp_path):
    path = tmp_path / "t.json"
    many = [{"n": i, "text": "ä" * (i % 700)} for i in range(5000)]
    path.write_text(json.dumps(many, ensure_ascii=False), encoding="utf-8")
    assert [r.cells for r in rows(path)] == many


def test_excel_files_of_utf16_and_with_a_named_delimiter(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("sep=;\na;b\n1;2,5\n", encoding="utf-8")
    assert attributes(items(path)[0]) == {"a": ("int", "1"), "b": ("text", "2,5")}
    path.write_text("name\tn\nJosé\t1\n", encoding="utf-16")
    assert attributes(items(path)[0]) == {"name": ("text", "José"), "n": ("int", "1")}
    path.write_text("a,,a\n1,2,3\n")
    assert set(attributes(items(path)[0])) == {"a", "column 2", "a 3"}


def test_a_column_has_a_type_and_what_does_not_parse_stays_text(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("n,code,mixed\n" + "1,007,1\n" * 30 + "n/a,008,x\n")
    kinds = [attributes(e) for e in items(path)]
    assert kinds[0] == {"n": ("int", "1"), "code": ("text", "007"), "mixed": ("int", "1")}
    assert kinds[-1]["n"] == ("text", "n/a")
    path.write_text("mixed\n1\nx\n")
    assert [attributes(e)["mixed"][0] for e in items(path)] == ["text", "text"]


SCALARS = st.one_of(
    st.booleans(),
    st.integers(-(10**17), 10**17),
    st.floats(allow_nan=False, allow_infinity=False),
    st.dates(),
    st.datetimes(timezones=st.none() | st.just(datetime.UTC)),
)


@given(st.lists(SCALARS, min_size=1, max_size=5))
def test_a_typed_value_comes_back_from_its_text(values):
    for value in values:
        kind, text = typed(value, "text") or ("", "")
        back = {
            "bool": lambda t: t == "true",
            "int": int,
            "float": float,
            "time": lambda t, v=value: type(v).fromisoformat(t),
        }[kind](text)
        assert back == value
        assert type(back) is type(value)
        assert kind_of(text, native=False) == kind
        assert parse(text, kind) == text


@given(st.lists(st.text(max_size=12)), st.sampled_from(["text", "int", "float", "bool", "time"]))
def test_any_text_has_a_type_and_fits_into_the_record(values, column):
    assert infer(values, native=False) in ("text", "int", "float", "bool", "time")
    for value in values:
        made = typed(value, column)
        assert (made is None) == (not value.strip())
        if made:
            assert made[1].encode()
            assert "\0" not in made[1]
            if made[0] == "text":
                assert made[1] == value.replace("\0", "\N{REPLACEMENT CHARACTER}")


def test_nested_objects_become_dotted_keys():
    assert flat({"a": {"b": {"c": 1}, "d": [1, {"e": 2}]}, "f": {}}) == {"a.b.c": 1, "a.d": [1, {"e": 2}], "f": {}}
    assert typed([1, b"x", datetime.time(1)], "text") == ("text", '[1, null, "01:00:00"]')
    assert typed(float("nan"), "float") is None


# ------------------------------------------------------------ roles


def test_a_mapping_fills_the_roles(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("f,person,lic,room,mood,secret\na.jpg,Anna K,CC0,kitchen,glad,x\n")
    columns = {"subject": "person", "licence": "lic", "setting.place": "room", "labels": "mood", "ignore": ["secret"]}
    (entry,) = items(path, inputs=Inputs.model_validate({"columns": {**columns, "media": ["f"]}}))
    assert entry.subject == "Anna K"
    assert entry.labels == (("mood", "glad"),)
    assert attributes(entry) == {
        "licence": ("text", "CC0"), "setting.place": ("text", "kitchen"), "mood": ("text", "glad"),
    }  # fmt: skip
    nested = Inputs.model_validate({"columns": {"setting": {"place": "room"}}})
    assert attributes(items(path, inputs=nested)[0])["setting.place"][1] == "kitchen"


def test_a_missing_column_is_named_with_a_suggestion(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("file,person_id\na.jpg,7\n")
    (refused,) = found(path, inputs=Inputs.model_validate({"columns": {"subject": "persn_id"}}))
    assert isinstance(refused, Refused)
    assert refused.error.code == "input.no-column"
    assert "did you mean 'person_id'" in refused.error.hint
    own = Inputs.model_validate({"columns": {"subject": "persn_id"}, "tables": {"t*.csv": {"subject": "person_id"}}})
    assert items(path, inputs=own)[0].subject == "7"
    for wrong in ({"subjct": "x"}, {"subject": "a", "labels": ["a"]}, {"setting.plaze": "x"}):
        with pytest.raises(ValueError, match=r"subjct|kept|plaze"):
            Columns.model_validate(wrong)


def test_a_person_column_is_hidden_even_without_a_mapping(tmp_path):
    path = tmp_path / "t.jsonl"
    path.write_text('{"participant_id": "Anna", "n": 1}\n')
    assert (items(path)[0].subject, attributes(items(path)[0])) == ("Anna", {"n": ("int", "1")})
    path.write_text('{"subject": {"name": "Anna", "age": 5}, "n": 1}\n')
    (entry,) = items(path)
    assert "Anna" not in repr(attributes(entry))
    assert "Anna" not in repr(entry)


def test_a_proposal_names_roles_and_reasons_and_is_valid_toml(tmp_path):
    import tomllib

    path = tmp_path / "t.csv"
    lines = [
        f"u{i},take {i}.wav,P{i % 3},CC0,yes,{('kitchen', 'hall')[i % 2]},{('calm', 'cry')[i % 2]},{'xy'[i % 2]},A"
        for i in range(12)
    ]
    path.write_text("id,clip,person_id,license,consent,room,emotion,odd,name\n" + "\n".join(lines) + "\n")
    proposals = propose(path)
    said = {p.column: (p.role, p.sure) for p in proposals}
    assert said == {
        "id": ("id", True),
        "clip": ("media", True),
        "person_id": ("subject", True),
        "license": ("licence", True),
        "consent": ("consent", True),
        "room": ("setting.place", True),
        "emotion": ("labels", True),
        "odd": ("labels", False),
        "name": ("ignore", True),
    }
    assert all(p.why for p in proposals)
    text = as_toml(proposals, 'odd "name\n.csv')
    columns = Columns.model_validate(tomllib.loads(text)["inputs"]["columns"])
    assert (columns.subject, columns.labels, columns.setting.place) == ("person_id", ("emotion",), "room")
    assert '# labels = ["odd"]' in text
    assert items(path, inputs=Inputs(columns=columns))[0].subject == "P0"
    with pytest.raises(MienError, match="input.not-a-table"):
        propose(tmp_path / "x.mp4")
    with pytest.raises(MienError, match="input.not-found"):
        propose(tmp_path / "x.csv")
