"""Labels: round trip, validation line by line, history, and places that outlive cutters and trackers."""

import csv
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from planted import SOUND, VIDEO, project

from mien.core import US, MienError, Span, Verdict
from mien.export.selection.labelled import WHERE, Label, Labels, Place, labels_of, put_labels
from mien.export.tables.labels import COLUMNS, Imported, export_labels, import_labels
from mien.pipeline import Project

FACE = (0.25, 0.25, 0.5, 0.75)
MONDAY, TUESDAY = "2026-03-02T08:00:00.000+00:00", "2026-03-03T08:00:00.000+00:00"


@pytest.fixture
def planted(tmp_path):
    made = project(tmp_path / "p")
    yield made
    made.close()


def read(path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def write(path, rows, delimiter=",") -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        out = csv.DictWriter(file, list(rows[0]), delimiter=delimiter)
        out.writeheader()
        out.writerows(rows)


def fill(rows, target, value, start="0.000000"):
    """Fill in the first line of a target from a start on."""
    row = next(r for r in rows if r["target"] == target and r["start s"] == start)
    row["your value"] = value
    return row


def verdicts(made: Project) -> list[Verdict]:
    return made.store.all(Verdict, "target <> ?", (WHERE,))


def test_the_file_is_for_people_and_holds_what_the_models_say(planted, tmp_path):
    assert export_labels(planted, tmp_path / "l.csv") == len(read(tmp_path / "l.csv"))
    rows = read(tmp_path / "l.csv")
    assert tuple(rows[0]) == COLUMNS
    look = next(r for r in rows if r["target"] == "expression")
    assert (look["source"], look["start s"], look["end s"]) == ("talk, one.mp4", "0.000000", "2.000000")
    assert (look["track"], look["value now"], look["your value"]) == ("face 1", "happiness", "")
    assert look["place"] == "0.25 0.25 0.5 0.75"
    assert {r["target"] for r in rows} == {"subject", "expression", "valence.derived", "state", "vocal.kind"}
    assert {r["source"] for r in rows} == {"talk, one.mp4", "'=cmd.wav"}
    with pytest.raises(MienError, match=r"export\.exists"):
        export_labels(planted, tmp_path / "l.csv")


def test_a_round_trip_adds_each_label_once_and_keeps_who_and_when(planted, tmp_path):
    path = tmp_path / "l.csv"
    export_labels(planted, path)
    rows = read(path)
    fill(rows, "expression", "ANGER")
    fill(rows, "state", "distress")
    fill(rows, "subject", "P-07")
    fill(rows, "valence.derived", "-0,3")
    fill(rows, "vocal.kind", "unclear", "1.000000")
    write(path, rows)
    assert import_labels(planted, path, "Dr. A", MONDAY) == Imported(5, 0, len(rows) - 5, ())
    held = {v.target: v for v in verdicts(planted)}
    assert {t: v.value for t, v in held.items()} == {
        "expression": "anger", "state": "distress", "subject": "P-07", "valence.derived": "-0.3",
        "vocal.kind": "unclear",
    }  # fmt: skip
    assert {(v.by, v.at_utc) for v in held.values()} == {("Dr. A", MONDAY)}
    assert import_labels(planted, path, "Dr. A", TUESDAY) == Imported(0, 5, len(rows) - 5, ())
    export_labels(planted, path, force=True)
    again = read(path)
    assert sum(bool(r["your value"]) for r in again) == 5
    assert import_labels(planted, path, "B") == Imported(0, 5, len(rows) - 5, ())
    assert len(verdicts(planted)) == 5


def test_bad_lines_are_named_and_the_others_taken(planted, tmp_path):
    path = tmp_path / "l.csv"
    export_labels(planted, path)
    rows = read(path)
    good = dict(fill(rows, "expression", "anger"))
    bad = {
        "anegr": ("expression", "did you mean 'anger'"), "2": ("valence.derived", "must lie in -1..1"),
        "much": ("valence.derived", "must be a number"), "Anna Lee": ("subject", "one word"),
        "joy": ("state", "is no value of state"), "=1+1": ("expression", "is no value"),
        "nan": ("valence.derived", "number"),
    }  # fmt: skip
    lines = [good]
    for value, (target, _) in bad.items():
        lines.append(dict(next(r for r in rows if r["target"] == target), **{"your value": value}))
    lines.append(good | {"sha256": "c" * 64})
    lines.append(good | {"start s": "7.9", "end s": "7.95", "place": "0.9 0.9 0.95 0.95"})
    lines.append(good | {"target": "expresion"})
    lines.append(good | {"start s": "3", "end s": "1"})
    lines.append(dict(good))
    write(path, lines)
    found = import_labels(planted, path, "A")
    assert (found.new, found.unchanged) == (1, 0)
    assert [b.line for b in found.bad] == list(range(3, 3 + len(bad) + 5))
    said = {b.line: b.message for b in found.bad}
    for line, (_, words) in enumerate(bad.values(), 3):
        assert words in said[line]
    last = 3 + len(bad)
    assert "sha256" in said[last]
    assert "no expression was observed" in said[last + 1]
    assert "did you mean 'expression'" in said[last + 2]
    assert "end after it starts" in said[last + 3]
    assert "repeats line 2" in said[last + 4]
    assert len(verdicts(planted)) == 1


def test_a_file_written_by_hand_with_semicolons_is_understood(planted, tmp_path):
    rows = [
        {"source": "talk, one.mp4", "start s": "0,1", "end s": "1,9", "track": "face 1", "target": "expression",
         "your value": "anger"},
        {"source": "=cmd.wav", "start s": "1", "end s": "2", "track": "", "target": "vocal.kind",
         "your value": "voice"},
        {"source": "talk one.mp4", "start s": "0", "end s": "2", "track": "", "target": "expression",
         "your value": "anger"},
    ]  # fmt: skip
    write(tmp_path / "l.csv", rows, ";")
    found = import_labels(planted, tmp_path / "l.csv", "A")
    assert found.new == 2
    assert "did you mean 'talk, one.mp4'" in found.bad[0].message
    labels = labels_of(planted.store)
    window = Place(VIDEO, Span(0, 2_000_000), FACE)
    assert labels.newest(window.key, "expression").value == "anger", "kept on the row it was looked up as"


@pytest.mark.parametrize(
    ("data", "code"),
    [(b"source,start s,end s,target\n", "labels.no-column"), (b"\xff\xfe\x00", "labels.not-csv"),
     (b"", "labels.no-column"), (b"source,start s,end s,target,your valeu\n", "your valeu")],
)  # fmt: skip
def test_files_that_are_none_are_refused_whole(planted, tmp_path, data, code):
    (tmp_path / "l.csv").write_bytes(data)
    with pytest.raises(MienError) as error:
        import_labels(planted, tmp_path / "l.csv", "A")
    assert code in str(error.value)
    for name in ("", "  ", "x" * 99):
        with pytest.raises(MienError, match=r"input\.no-name"):
            import_labels(planted, tmp_path / "l.csv", name)


def test_history_is_kept_the_newest_counts_and_none_withdraws(planted, tmp_path):
    path = tmp_path / "l.csv"
    for value, at in (("anger", MONDAY), ("neutral", TUESDAY), ("happiness", MONDAY), ("(none)", MONDAY)):
        export_labels(planted, path, force=True)
        rows = read(path)
        fill(rows, "expression", value)
        write(path, rows)
        assert import_labels(planted, path, "A", at).new == 1
    assert [v.value for v, _ in labels_of(planted.store).history()] == ["anger", "neutral", "happiness", ""]
    assert len({v.at_utc for v in verdicts(planted)}) == 4, "a clock that stands or goes back overwrites nothing"
    assert labels_of(planted.store).of(Place(VIDEO, Span(0, 2_000_000), FACE), "expression") is None


def labelled(*rows: tuple[Span, tuple[float, float, float, float] | None, str, str]) -> Labels:
    found = []
    for span, box, value, at in rows:
        place = Place("s", Span(span.start_us * US, span.end_us * US), box)
        found.append(Verdict(place.key, WHERE, json.dumps(["s", place.span.start_us, place.span.end_us, box]), "A", at))
        found.append(Verdict(place.key, "state", value, "A", at))
    return Labels(found)


def value_of(labels: Labels, span: Span, box=FACE) -> str | None:
    """Spans of these tests are in seconds."""
    found = labels.of(Place("s", Span(span.start_us * US, span.end_us * US), box), "state")
    return found.value if found else None


def test_labels_are_found_again_by_time_and_place():
    labels = labelled((Span(0, 20), FACE, "calm", "1"), (Span(20, 40), FACE, "distress", "1"))
    assert value_of(labels, Span(0, 20)) == "calm"
    assert value_of(labels, Span(2, 9)) == "calm", "a piece of it"
    assert value_of(labels, Span(14, 34)) == "distress", "mostly there"
    assert value_of(labels, Span(0, 80)) is None, "less than half was ever labelled with one value"
    assert value_of(labels, Span(0, 20), (0.26, 0.24, 0.52, 0.74)) == "calm", "a tracker that boxes a little otherwise"
    assert value_of(labels, Span(0, 20), (0.6, 0.25, 0.85, 0.75)) is None, "another person"
    assert value_of(labels, Span(0, 20), None) is None, "the recording is nobody"


def test_two_people_side_by_side_keep_their_own():
    other = (0.35, 0.25, 0.6, 0.75)
    labels = labelled((Span(0, 20), FACE, "calm", "1"), (Span(0, 20), other, "distress", "2"))
    assert value_of(labels, Span(0, 20), FACE) == "calm"
    assert value_of(labels, Span(0, 20), other) == "distress"
    assert value_of(labels, Span(1, 19), (0.26, 0.25, 0.51, 0.75)) == "calm"


def test_a_newer_label_of_another_cut_wins_where_it_lies():
    labels = labelled((Span(0, 40), FACE, "calm", "1"), (Span(0, 10), FACE, "distress", "2"))
    assert value_of(labels, Span(0, 10)) == "distress"
    assert value_of(labels, Span(10, 40)) == "calm"
    assert value_of(labels, Span(0, 40)) == "calm", "the newer one covers a quarter"
    gone = labelled((Span(0, 40), FACE, "calm", "1"), (Span(0, 40), FACE, "", "2"))
    assert value_of(gone, Span(0, 40)) is None
    assert value_of(gone, Span(5, 9)) is None


SAID = st.tuples(st.integers(0, 50), st.integers(1, 30), st.sampled_from(["calm", "distress", ""]))


@given(st.lists(SAID, max_size=6), st.integers(0, 50), st.integers(1, 30))
def test_the_label_in_force_is_what_most_instants_say(rows, start, length):
    """Against the plain reading of the rule: the newest label of every instant, then the value of at least half."""
    held = [(Span(a, a + n), FACE, value, f"{i:02}") for i, (a, n, value) in enumerate(rows)]
    newest = {}
    for span, box, value, at in held:
        newest[span, box] = (span, value, at)
    span = Span(start, start + length)
    instants = []
    for t in range(span.start_us, span.end_us):
        over = [(at, value) for s, value, at in newest.values() if s.contains(t)]
        instants.append(max(over)[1] if over else "")
    found = value_of(labelled(*held), span)
    if found is not None:
        assert instants.count(found) >= len(instants) / 2
    else:
        assert all(instants.count(v) <= len(instants) / 2 for v in set(instants) - {""})


def test_labels_keyed_elsewhere_are_found_by_their_key(planted):
    whole = Place(VIDEO, Span(0, 8_000_000), None)
    planted.close()
    from mien.store import Store

    with Store(planted.root, write=True) as store:
        store.put([Verdict(whole.key, "emotion", "joy", "import", MONDAY)], unit="item-a", stage="input")
    again = Project.open(planted.root)
    assert labels_of(again.store).of(whole, "emotion").value == "joy"
    again.close()


def test_rows_survive_another_cutting_of_the_same_recording(tmp_path):
    """Labelled under two clips of 4 s, found again under one of 8 s, and the file of then still fits."""
    short = project(tmp_path / "short")
    path = tmp_path / "l.csv"
    export_labels(short, path)
    rows = read(path)
    for start in ("0.000000", "4.000000"):
        fill(rows, "expression", "anger", start)
        fill(rows, "subject", "P-07", start)
    write(path, rows)
    assert import_labels(short, path, "A", MONDAY).new == 4
    long = project(tmp_path / "long", clips=(Span(0, 8_000_000),))
    taken = [Label(w, v.target, v.value, v.by, v.at_utc) for v, w in labels_of(short.store).history() if w]
    put_labels(long, labels_of(long.store), taken)
    export_labels(long, tmp_path / "new.csv")
    said = [(r["target"], r["start s"], r["your value"]) for r in read(tmp_path / "new.csv") if r["your value"]]
    assert said == [
        ("subject", "0.000000", "P-07"),
        ("expression", "0.000000", "anger"),
        ("expression", "4.000000", "anger"),
    ]
    fresh = project(tmp_path / "fresh", clips=(Span(0, 8_000_000),))
    found = import_labels(fresh, path, "A", MONDAY)
    assert (found.new, found.bad) == (4, ()), "the file that was written under the old cutting"
    for made in (short, long, fresh):
        made.close()


def test_sounds_are_labelled_without_a_place(planted):
    where = Place(SOUND, Span(1_000_000, 1_940_000), None)
    put_labels(planted, labels_of(planted.store), [Label(where, "vocal.kind", "voice", "A", MONDAY)])
    assert labels_of(planted.store).of(Place(SOUND, Span(900_000, 2_000_000), None), "vocal.kind").value == "voice"
