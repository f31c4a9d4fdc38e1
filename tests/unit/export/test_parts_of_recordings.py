"""Sessions, zones and times of assignments decide on parts; splits and tables tell no place or word."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from planted import SOUND, VIDEO, project

from mien.core import Assignment, Consent, Item, Source, Span, Subject
from mien.export.selection.redaction import redactions_of
from mien.export.selection.scope import scope_of
from mien.export.selection.together import splits_of, units_of
from mien.export.tables import export_tables
from mien.pipeline import Project
from mien.pipeline.registering import people_in
from mien.store import Store

FIRST, LAST, WHOLE = Span(0, 4_000_000), Span(4_000_000, 8_000_000), Span(0, 8_000_000)
LEFT = (0.0, 0.0, 0.2, 1.0)
NO = Consent("c", "P-07", ("analyse",), "2026-01-01", None, "C1", "yes")


def put(made: Project, *records: object) -> None:
    with Store(made.root, write=True) as store:
        store.put(list(records), unit="people", stage="people")


def said(kind: Any, span: Span, who: str = "P-07", at: str = "2026-02-01", sha: str = VIDEO) -> Assignment:
    place = None if kind == "session" else LEFT
    return Assignment(f"{kind}{span}{who}{at}{sha[0]}", who, sha, span, kind, place, "C1", at)


def spans(made: Project) -> set[Span]:
    return {p.clip.span for p in scope_of(made).parts if p.source.sha256 == VIDEO}


@pytest.mark.parametrize(
    ("assigned", "left"),
    [
        ([said("session", WHOLE)], set[Span]()),
        ([said("session", Span(0, 3_000_000))], {LAST}),
        ([said("session", Span(5_000_000, 8_000_000))], {FIRST}),
        ([said("session", WHOLE), said("session", WHOLE, "unassigned", "2026-03-01")], {FIRST, LAST}),
        ([said("session", WHOLE), said("session", FIRST, "unassigned", "2026-03-01")], {FIRST}),
        ([said("session", WHOLE), said("session", WHOLE, "P-08", "2026-03-01")], {FIRST, LAST}),
        ([said("zone", WHOLE)], {FIRST, LAST}),  # their rows and their place are closed, not the clip
    ],
)
def test_a_session_closes_the_part_of_the_recording_that_it_is(
    tmp_path: Path, assigned: list[Assignment], left: set[Span]
):
    made = project(tmp_path / "p")
    put(made, NO, *assigned)
    assert spans(made) == left
    made.close()


def test_who_agreed_for_a_part_agreed_for_nobody_elsewhere(tmp_path: Path):
    made = project(tmp_path / "p", source={"licence": "CC-BY-4.0"})
    put(made, Consent("c", "P-07", ("analyse", "publish"), "2026-01-01", None, "C1", "yes"), said("session", FIRST))
    parts = scope_of(made, use="publish").parts if spans(made) else ()
    assert {p.clip.span for p in parts} == {FIRST}
    made.close()


def test_somebody_whom_no_detector_found_is_covered_where_people_said_they_are(tmp_path: Path):
    made = project(tmp_path / "p")
    put(made, NO, said("zone", FIRST))
    scope = scope_of(made)
    clips = [r for r in scope.clips() if r.part.source.sha256 == VIDEO]
    found = {r.part.clip.span: [x for x in redactions_of(scope, r) if x.kind == "person"] for r in clips}
    (region,) = found[FIRST]
    assert (region.reason, found[LAST]) == ("consent.refused", [])
    x1, _, x2, _ = region.at(1_000_000) or (1, 1, 0, 0)
    assert x1 == 0
    assert x2 >= 0.2
    assert people_in(made, [VIDEO]) == {"P-07"}  # so that what leaves is found again when they withdraw
    made.close()


def test_people_who_were_assigned_tie_recordings_together(tmp_path: Path):
    made = project(tmp_path / "p")
    put(made, said("zone", FIRST), said("zone", WHOLE, sha=SOUND))
    one, two = units_of(scope_of(made))
    assert "subject:P-07" in one.marks & two.marks
    made.close()


def moved(root: Path, to: str) -> tuple[dict[str, str], dict[str, str]]:
    """Splits and groups of a project whose media, of one session, lie in `to`."""
    made = project(root)
    both = Item(f"item-of-{to}", f"{to}/session", (VIDEO, SOUND))
    held = [
        Source(**{n: getattr(s, n) for n in s.__slots__} | {"path": f"{to}/{s.kind}"}) for s in made.store.all(Source)
    ]
    put(made, both, *held)
    found = splits_of(made, scope_of(made))
    made.close()
    return dict(found.of), dict(found.group)


def test_media_in_another_folder_are_in_the_same_split_and_group(tmp_path: Path):
    found = [moved(tmp_path / str(i), f"/{name}") for i, name in enumerate("abcdefgh")]
    assert all(f == found[0] for f in found)
    assert len(set(found[0][1].values())) == 1


def test_words_about_a_person_stay_and_scopes_go(tmp_path: Path):
    made = project(tmp_path / "p", source={"consent": "signed by mother, ward 3"}, subject="P-07")
    until = Consent("c", "P-07", ("analyse", "export"), "2026-01-01", "2099-06-30", "C1", "yes", "moved to ward 4")
    whole = said("session", WHOLE, sha=SOUND)
    put(made, until, whole, Subject("P-07", "export, analyse"), Item("item-a", "a", (VIDEO,)))
    out = export_tables(made, "parquet", tmp_path / "out").out
    told = {row["sha256"]: row["consent"] for row in pq.read_table(out / "sources.parquet").to_pylist()}
    assert told == {VIDEO: "in words", SOUND: "analyse, export until 2099-06-30"}
    raw = b"".join(p.read_bytes() for p in out.rglob("*") if p.is_file())
    rows = "".join(str(pq.read_table(p).to_pylist()) for p in out.glob("*.parquet"))
    assert b"mother" not in raw
    assert "mother" not in rows
    assert "ward" not in rows
    made.close()


def test_a_refusal_is_told_without_its_words(tmp_path: Path):
    made = project(tmp_path / "p", source={"consent": "no, said her mother"})
    (gone,) = [w for w in scope_of(made).withheld if w.code == "consent.refused"]
    assert "mother" not in gone.reason
    made.close()
