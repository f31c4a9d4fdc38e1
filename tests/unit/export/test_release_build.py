"""Releases: one root for one record, whole or not at all, nothing in them that may not leave."""

import json
import os
import re
import sys
from dataclasses import replace

import pytest
from releasing import AGREED, ORDER, built_apart, published

from mien.core import MienError, Source, Subject
from mien.export import release
from mien.export.release.build import _alive, _draft
from mien.pipeline import Project
from mien.store import Store
from mien.store.released import EXAMPLES, load_release
from mien.store.sealing import MANIFEST, check


def everything(folder) -> bytes:
    return b"\n".join(p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file())


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("release") / "p"
    held = published(root)
    yield release.build(held, ORDER)
    held.close()


def test_builds_of_one_record_have_one_root_whatever_the_machine_is_like(made, tmp_path):
    other = "\n[run]\nworkers = 3\nrunner = 'process'\n[history]\nruns = 9\n"
    roots = {
        made.root,
        built_apart(tmp_path / "a", 1, PYTHONHASHSEED="1", TZ="Asia/Tokyo", LC_ALL="tr_TR.UTF-8"),
        built_apart(tmp_path / "b", 2, other, PYTHONHASHSEED="77", TZ="UTC", LC_ALL="C"),
    }
    assert len(roots) == 1
    published(tmp_path / "c").close()
    otherwise = Project.open(tmp_path / "c", {"analysis": {"fps": 3.0}})
    assert release.build(otherwise, ORDER).root not in roots  # another setting is another release
    otherwise.close()


def test_a_release_is_whole_and_says_what_is_in_it(made):
    manifest, found = check(made.folder)
    assert found == []
    assert manifest is not None
    assert manifest.root == made.root
    told = json.loads((made.folder / MANIFEST).read_text())
    assert told["about"]["figures"]["splits"]["train"]["clips"] == 2
    assert told["about"]["models"][0]["weights_sha256"]
    card = (made.folder / "README.md").read_text()
    assert "license: cc-by-4.0" in card
    assert "Not meant for" in card
    assert "attribution" in (made.folder / "LICENCES.txt").read_text()
    assert not re.search(rb"\d{4}-\d\d-\d\d|/tmp|talk, one", everything(made.folder))  # no time, path or name of a file
    assert not (made.folder / "tables" / "items.parquet").exists()


def test_the_card_names_a_date_only_where_one_is_given(tmp_path):
    held = published(tmp_path / "p")
    dated = release.Order("faces", "1.0.0", licence="CC-BY-4.0", date="2026-03-04")
    folder = release.build(held, dated).folder
    assert "2026-03-04" in (folder / "README.md").read_text()
    assert "2026-03-04" in (folder / "croissant.json").read_text()
    held.close()


def test_a_version_is_never_replaced(made, tmp_path):
    held = published(tmp_path / "p")
    before = everything(made.folder)
    with pytest.raises(MienError, match=r"release\.exists"):
        release.build(held, ORDER, made.folder.parent)
    assert everything(made.folder) == before
    held.close()


def test_two_builds_at_once_leave_the_one_that_was_first(tmp_path):
    folder = tmp_path / "faces-1.0.0"

    def late() -> None:
        with _draft(folder) as draft:
            (draft / "mine").write_text("x")
            folder.mkdir()
            (folder / "theirs").write_text("y")

    with pytest.raises(MienError, match=r"release\.exists"):
        late()
    assert [p.name for p in tmp_path.rglob("*")] == ["faces-1.0.0", "theirs"]


def test_what_a_killed_build_left_is_no_release_and_is_cleared(tmp_path, monkeypatch):
    held = published(tmp_path / "p")
    left = tmp_path / "p" / "releases" / ".faces-1.0.0.999999999.draft"
    left.mkdir(parents=True)
    (left / "half").write_text("x")
    assert not _alive("999999999")
    monkeypatch.setattr(
        sys.modules[release.build.__module__], "check", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt)
    )
    with pytest.raises(KeyboardInterrupt):
        release.build(held, ORDER)
    assert list((tmp_path / "p" / "releases").iterdir()) == []
    held.close()


@pytest.mark.parametrize(
    ("context", "source", "planted", "code"),
    [
        ("research", {}, {"explicit": 0.9}, "gate.quarantined"),
        ("research", {}, {"explicit": 0.9, "age": 15.0}, "gate.permanent"),
        ("research", {}, {"explicit": None}, "gate.not-run"),
        ("studio", {"context": "care"}, {}, "context.mixed"),
        ("studio", {"context": "research"}, {}, "context.mixed"),
        ("care", {}, {}, "context.not-published"),
        ("research", {"consent": "refused"}, {}, "consent."),
        ("research", {"consent": None}, {}, "consent.not-stated"),
        ("research", {"licence": None}, {}, "licence.unknown"),
    ],
)
def test_canaries_never_get_into_a_release(tmp_path, context, source, planted, code):
    held = published(tmp_path / "p", context, source=source, **planted)
    with pytest.raises(MienError, match=r"export\.all-withheld") as stopped:
        release.build(held, ORDER)
    from mien.export.selection.scope import scope_of

    with pytest.raises(MienError):
        scope_of(held, use="publish")
    assert not (tmp_path / "p" / "releases" / "faces-1.0.0").exists()
    shared = release.Order("faces", "1.0.0", use="share") if code.startswith(("gate", "context.mixed")) else None
    if shared:  # the sound of the planted project may be shared; the canary stays
        folder = release.build(held, shared).folder
        assert b"a" * 64 not in everything(folder)
        assert b"possible minor" not in everything(folder)
        assert {e.kind for e in load_release(folder)} == {"audio"}
    assert stopped.value.message
    held.close()


def test_who_refuses_is_not_in_it_and_who_agreed_is_a_key(tmp_path):
    held = published(tmp_path / "p", subject="P-07")
    folder = release.build(held, ORDER).folder
    row = json.loads((folder / EXAMPLES).read_text().splitlines()[0])
    assert row["subjects"][0] == release_key("P-07")
    assert row["states"]
    with Store(held.root, write=True) as store:
        store.put([Subject("P-07", "withdrawn")], unit="P-07", stage="enrol")
    again = release.Order("faces", "2.0.0", licence="CC-BY-4.0", tables=True)
    try:
        later = release.build(held, again).folder
    except MienError as error:
        assert error.code == "export.all-withheld"  # noqa: PT017 - either is right: the clip stays, or the person does
    else:
        assert "happiness" not in everything(later).decode(errors="ignore")
        assert all(not e.states for e in load_release(later))
    held.close()


def release_key(subject: str) -> str:
    from mien.store.revocation import subject_key

    return subject_key(subject)


def test_a_licence_that_drops_a_condition_is_refused(tmp_path):
    held = published(tmp_path / "p", source={"licence": "CC-BY-SA-4.0"})
    for licence in ("CC-BY-4.0", "CC0-1.0", "Nobody-Knows-1.0"):
        with pytest.raises(MienError, match=r"release\.licence-refused"):
            release.build(held, release.Order("faces", "1.0.0", licence=licence))
    assert release.build(held, release.Order("faces", "1.0.0", licence="CC-BY-SA-4.0")).folder.is_dir()
    held.close()


@pytest.mark.parametrize(
    ("name", "version"), [("../x", "1.0.0"), ("A", "1.0.0"), ("a", "1"), ("a", "1.0.0/.."), ("", "1.0.0")]
)
def test_names_that_are_no_names(name, version):
    with pytest.raises(MienError, match=r"release\.bad-name"):
        release.Order(name, version)


def test_a_successor_says_how_many_and_never_who(tmp_path):
    held = published(tmp_path / "p")
    first = release.build(held, ORDER)
    with Store(held.root, write=True) as store:
        gone = store.query("SELECT id FROM clips WHERE source_sha LIKE 'aaa%' ORDER BY start_us LIMIT 1")[1][0][0]
        store.drop_unit(gone)
        store._db.execute("DELETE FROM clips WHERE id=?", (gone,))
    order = release.Order("faces", "1.1.0", licence="CC-BY-4.0", after=first.folder)
    folder = release.build(held, order).folder
    assert "faces-1.0.0: 1 example(s) removed, 0 added, 1 kept" in (folder / "README.md").read_text()
    assert gone.encode() not in everything(folder)
    held.close()


def test_a_successor_of_what_was_forgotten_says_so(tmp_path):
    from mien.store.revocation import Revocations, Revoked, write

    held = published(tmp_path / "p")
    gone = tmp_path / "p" / "releases" / "faces-1.0.0"
    order = release.Order("faces", "1.1.0", licence="CC-BY-4.0", after=gone)
    with pytest.raises(MienError, match=r"release\.bad-after"):
        release.build(held, order)
    write(tmp_path / "p" / "revoked.json", Revocations({"faces-1.0.0": Revoked("0" * 64, "withdrawal", "2026-02-01")}))
    folder = release.build(held, order).folder
    assert "Takes the place of faces-1.0.0, which was revoked and removed." in (folder / "README.md").read_text()
    assert check(folder)[1] == []
    held.close()


def test_what_left_is_registered_before_it_is_there(made):
    with Store(made.folder.parents[1]) as store:
        (row,) = [r for r in store.registered() if r.kind == "release"]
    assert (row.sha256, row.sources) == (made.root, ("a" * 64,))
    assert os.path.basename(row.path) == "faces-1.0.0"


@pytest.mark.filterwarnings("ignore:ConjunctiveGraph is deprecated:DeprecationWarning")  # of rdflib within rdflib
def test_croissant_is_valid_and_its_records_load(made):
    mlcroissant = pytest.importorskip("mlcroissant", reason="needs the extra release-check")
    found = mlcroissant.Dataset(jsonld=str(made.folder / "croissant.json"))
    assert not found.metadata.ctx.issues.errors
    rows = list(found.records("examples"))
    held = load_release(made.folder)
    assert [r["examples/id"].decode() for r in rows] == [e.id for e in held]
    assert [r["examples/end_us"] for r in rows] == [e.span.end_us for e in held]
    about = found.metadata
    assert about.data_biases
    assert about.data_limitations
    assert about.personal_sensitive_information
    assert about.data_collection
    assert about.machine_annotation_tools
    assert str(about.ctx.conforms_to).endswith("1.1") or about.ctx.is_v1_1()


def test_recordings_whose_terms_contradict_each_other_leave_in_releases_of_their_own(tmp_path):
    held = published(tmp_path / "p", source={"licence": "CC-BY-SA-4.0"})
    with Store(held.root, write=True) as store:
        (sound,) = [s for s in store.all(Source) if s.kind == "audio"]
        store.put([replace(sound, consent=AGREED["consent"], licence="GPL-3.0-only")], unit=sound.sha256, stage="clips")
    order = release.Order("faces", "1.0.0")
    with pytest.raises(MienError, match=r"(?s)licence\.mixed.*--split-by-licence"):
        release.build(held, order)
    built = release.build_apart(held, order)
    assert [b.folder.name for b in built] == ["faces-cc-by-sa-1.0.0", "faces-gpl-3-0-1.0.0"]
    sources = [{e.source for e in load_release(b.folder)} for b in built]
    assert sources == [{"a" * 64}, {sound.sha256}]
    assert all("GPL" not in (built[0].folder / name).read_text() for name in ("LICENCES.txt", "README.md"))
    with pytest.raises(MienError, match=r"release\.exists"):
        release.build_apart(held, order)
    same = published(tmp_path / "q")
    assert [b.folder.name for b in release.build_apart(same, order)] == ["faces-1.0.0"]
    same.close()
    held.close()
