"""What stays behind: explicit and ungated clips, refusals, media of another context, affect in care, and why."""

import csv
import json

import pytest
from planted import project
from test_tables import rows_of

from mien.core import Consent, MienError, Span, Subject
from mien.export.selection.gate import refused
from mien.export.tables import FORMATS, export_tables
from mien.export.tables.labels import export_labels
from mien.store import Store


def everything(folder) -> str:
    files = [p for p in folder.rglob("*") if p.is_file() and p.suffix != ".parquet"]
    return "\n".join(p.read_text(encoding="utf-8") for p in files)


@pytest.mark.parametrize(
    ("score", "code"), [(None, "gate.not-run"), (float("nan"), "gate.not-run"), (0.9, "gate.quarantined")]
)
def test_clips_that_did_not_pass_the_gate_leave_in_no_format(tmp_path, score, code):
    planted = project(tmp_path / "p", explicit=score)
    for name in set(FORMATS) - {"coco"}:
        written = export_tables(planted, name, tmp_path / "out" / name)
        assert {w.code for w in written.withheld} == {code}
        assert len(written.withheld) == 2
    with pytest.raises(MienError, match=r"export\.nothing"):
        export_tables(planted, "coco", tmp_path / "out" / "coco")
    assert {r["source"] for r in rows_of(tmp_path / "out" / "csv" / "clips.csv")} == {"'=cmd.wav"}
    assert rows_of(tmp_path / "out" / "csv" / "tracks.csv") == []
    assert "happiness" not in everything(tmp_path / "out")
    assert code in (tmp_path / "out" / "csv" / "NOTICE.txt").read_text()
    export_labels(planted, tmp_path / "labels.csv")
    assert "expression" not in (tmp_path / "labels.csv").read_text()
    planted.close()


def test_explicit_with_a_possible_minor_is_named_as_permanent(tmp_path):
    planted = project(tmp_path / "p", explicit=0.9, age=26.0)
    written = export_tables(planted, "csv", tmp_path / "out", force=True)
    assert {w.code for w in written.withheld} == {"gate.permanent"}
    planted.close()


def test_a_refused_recording_stays_and_what_nobody_stated_is_noted(tmp_path):
    planted = project(tmp_path / "p", source={"consent": "Withdrawn 2026-01-02"})
    written = export_tables(planted, "csv", tmp_path / "out")
    assert [w.code for w in written.withheld] == ["consent.refused"]
    assert "a" * 64 not in everything(tmp_path / "out")
    assert any("consent is not stated" in w for w in written.warnings)
    planted.close()


@pytest.mark.parametrize(
    ("text", "says_no"),
    [(None, False), ("", False), ("yes", False), ("signed 2026", False), ("no", True), ("Refused by guardian", True),
     ("withdrawn", True), ("noted", False), ("not yet", False), (" NO ", True), ("expired 2025", True)],
)  # fmt: skip
def test_which_consent_texts_refuse(text, says_no):
    assert refused(text) is says_no


def test_care_media_never_leaves_through_another_project(tmp_path):
    for context, held in (("research", "care"), ("studio", "research"), ("studio", "care")):
        planted = project(tmp_path / context / held, context, source={"context": held})
        written = export_tables(planted, "csv", tmp_path / f"{context}-{held}")
        assert [w.code for w in written.withheld] == ["context.mixed"]
        planted.close()


def test_everything_withheld_is_an_error_with_the_reasons(tmp_path):
    planted = project(tmp_path / "p", explicit=None)
    with Store(planted.root, write=True) as store:
        for sound in [s for s in store.query("SELECT sha256 FROM sources")[1] if s[0].startswith("b")]:
            store.drop_unit(sound[0])
    with pytest.raises(MienError, match=r"export\.all-withheld.*gate has no answer"):
        export_tables(planted, "csv", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    planted.close()


def test_in_care_affect_leaves_only_for_enrolled_people(tmp_path):
    planted = project(tmp_path / "p", "care", subject="P-07")
    export_tables(planted, "csv", tmp_path / "a")
    targets = {r["target"] for r in rows_of(tmp_path / "a" / "observations.csv")}
    assert targets == {"presence", "age", "explicit.max", "vocal.kind"}
    assert rows_of(tmp_path / "a" / "assessments.csv") == []
    assert rows_of(tmp_path / "a" / "signals.csv") == []
    assert {r["predicate"] for r in rows_of(tmp_path / "a" / "claims.csv")} == {"missing(body)"}
    with Store(planted.root, write=True) as store:
        store.put([Subject("P-07", "guardian signed, until 2027")], unit="P-07", stage="enrol")
    export_tables(planted, "csv", tmp_path / "words")
    assert rows_of(tmp_path / "words" / "assessments.csv") == []  # words of a table enrol nobody
    with Store(planted.root, write=True) as store:
        given = Consent("consent-1", "P-07", ("analyse", "export"), "2026-01-01T00:00:00.000+00:00", None, "C1")
        store.put([given], unit="P-07", stage="people")
    export_tables(planted, "csv", tmp_path / "b")
    assert {"expression", "valence.derived"} <= {r["target"] for r in rows_of(tmp_path / "b" / "observations.csv")}
    assert len(rows_of(tmp_path / "b" / "assessments.csv")) == 4
    planted.close()


def test_a_person_who_refuses_takes_their_rows_and_boxes_along(tmp_path):
    planted = project(tmp_path / "p", subject="P-07")
    with Store(planted.root, write=True) as store:
        store.put([Subject("P-07", "withdrawn")], unit="P-07", stage="enrol")
    export_tables(planted, "csv", tmp_path / "out")
    rows = rows_of(tmp_path / "out" / "tracks.csv")
    assert {r["kind"] for r in rows} == {"person"}
    assert "happiness" not in everything(tmp_path / "out")
    assert "pleasure" not in everything(tmp_path / "out")
    export_tables(planted, "coco", tmp_path / "coco")
    assert json.loads((tmp_path / "coco" / "coco.json").read_text())["annotations"] == []
    planted.close()


def test_labels_of_withheld_recordings_stay_too(tmp_path):
    from mien.export.selection.labelled import Label, Place, labels_of, put_labels

    planted = project(tmp_path / "p", source={"consent": "refused"})
    there = Place("a" * 64, Span(0, 2_000_000), (0.25, 0.25, 0.5, 0.75))
    put_labels(
        planted, labels_of(planted.store), [Label(there, "expression", "anger", "A", "2026-02-01T00:00:00.000+00:00")]
    )
    export_tables(planted, "csv", tmp_path / "out")
    with (tmp_path / "out" / "labels.csv").open(newline="") as file:
        assert list(csv.DictReader(file)) == []
    planted.close()
