"""The folder of an export: whole or not at all, never over what is not ours, no leftovers of older exports."""

import hashlib
import json
import os

import pytest
from planted import project

from mien.core import MienError
from mien.export.selection.folder import MANIFEST, plain_names, seal, staging
from mien.export.tables import export_tables


@pytest.fixture
def planted(tmp_path):
    made = project(tmp_path / "p")
    yield made
    made.close()


def test_it_refuses_to_overwrite_and_force_leaves_other_peoples_files(planted, tmp_path):
    out = tmp_path / "out"
    export_tables(planted, "webvtt", out)
    (out / "notes.md").write_text("mine")
    before = {p.name: p.read_bytes() for p in out.iterdir()}
    with pytest.raises(MienError, match=r"export\.exists"):
        export_tables(planted, "rttm", out)
    assert {p.name: p.read_bytes() for p in out.iterdir()} == before
    export_tables(planted, "rttm", out, force=True)
    names = {p.name for p in out.iterdir()}
    assert names == {"NOTICE.txt", MANIFEST, "speech.rttm", "non-speech.rttm", "notes.md"}, "captions are taken back"
    assert (out / "notes.md").read_text() == "mine"


def test_the_manifest_lists_every_file_with_its_hash_and_no_time_or_path(planted, tmp_path):
    written = export_tables(planted, "csv", tmp_path / "out")
    held = json.loads((tmp_path / "out" / MANIFEST).read_text())
    assert {f["name"] for f in held["files"]} == {p.name for p in (tmp_path / "out").iterdir()} - {MANIFEST}
    for file in held["files"]:
        assert hashlib.sha256((tmp_path / "out" / file["name"]).read_bytes()).hexdigest() == file["sha256"]
    assert len(written.files) == len(held["files"])
    assert str(tmp_path) not in json.dumps(held)


def test_a_manifest_that_names_files_elsewhere_is_not_believed(planted, tmp_path):
    out, other = tmp_path / "out", tmp_path / "precious.txt"
    other.write_text("keep")
    export_tables(planted, "csv", out)
    held = json.loads((out / MANIFEST).read_text())
    held["files"] += [{"name": "../precious.txt"}, {"name": str(other)}, {"name": ".."}]
    (out / MANIFEST).write_text(json.dumps(held))
    export_tables(planted, "rttm", out, force=True)
    assert other.read_text() == "keep"


def test_a_failure_half_way_leaves_nothing_and_keeps_the_older_export(planted, tmp_path, monkeypatch):
    from mien.export.tables import delimited

    out = tmp_path / "out"
    export_tables(planted, "csv", out)
    before = {p.name: p.read_bytes() for p in out.iterdir()}

    def full(*_):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(delimited, "_columns", full)
    with pytest.raises(MienError, match=r"export\.not-writable"):
        export_tables(planted, "csv", out, force=True)
    assert {p.name: p.read_bytes() for p in out.iterdir()} == before
    assert [p.name for p in tmp_path.iterdir() if p.name.endswith(".tmp")] == []


def test_an_empty_folder_is_taken_and_a_file_is_not(tmp_path):
    (tmp_path / "empty").mkdir()
    with staging(tmp_path / "empty", force=False) as draft:
        (draft / "a").write_text("x")
    assert (tmp_path / "empty" / "a").read_text() == "x"
    (tmp_path / "file").write_text("x")
    with pytest.raises(MienError, match=r"export\.exists"), staging(tmp_path / "file", force=True):
        pass


def test_file_names_stay_apart_and_inside():
    names = ["a b.mp4", "a_b.mp4", "A_B.mp4", "../x", ".hidden", "\u202egpj.mp4", "CON?", "é.wav"]
    made = plain_names(names)
    assert len({m.casefold() for m in made.values()}) == len(names)
    assert not any("/" in m or m.startswith(".") or " " in m for m in made.values())
    assert made["é.wav"] == "é.wav"


def nested(out, *names: str, force: bool = False) -> None:
    with staging(out, force=force) as draft:
        for name in names:
            (draft / name).parent.mkdir(parents=True, exist_ok=True)
            (draft / name).write_text(name)
        seal(draft, {}, {})


def test_subfolders_are_listed_replaced_and_taken_back(tmp_path):
    out = tmp_path / "out"
    nested(out, "images/train/a.jpg", "images/test/b.jpg", "top.json")
    held = json.loads((out / MANIFEST).read_text())["files"]
    assert [f["name"] for f in held] == ["images/test/b.jpg", "images/train/a.jpg", "top.json"]
    (out / "images" / "mine.txt").write_text("mine")
    nested(out, "images/train/c.jpg", force=True)
    left = sorted(p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file())
    assert left == [MANIFEST, "images/mine.txt", "images/train/c.jpg"]
    assert not (out / "images" / "test").exists()


@pytest.mark.parametrize(
    "name", ["images/../../precious.txt", "/precious.txt", "images//x", "images/./x", "link/precious.txt"]
)
def test_names_and_links_that_lead_elsewhere_are_never_followed(tmp_path, name):
    out, other = tmp_path / "out", tmp_path / "other"
    other.mkdir()
    for kept in (tmp_path / "precious.txt", other / "precious.txt"):
        kept.write_text("keep")
    nested(out, "images/a.jpg")
    (out / "link").symlink_to(other)
    held = json.loads((out / MANIFEST).read_text())
    held["files"] += [{"name": name}]
    (out / MANIFEST).write_text(json.dumps(held))
    nested(out, "top.json", force=True)
    assert (other / "precious.txt").read_text() == (tmp_path / "precious.txt").read_text() == "keep"
    with pytest.raises(MienError, match="through a link"):
        nested(out, "link/precious.txt", force=True)
    assert (other / "precious.txt").read_text() == "keep"
