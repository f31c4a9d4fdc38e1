"""Entries in the record: subjects by a code, facts, labels, failures, second runs, what is gone."""

import contextlib
import sqlite3

import pytest

from mien.core import Attribute, Failure, Item, MienError, Source, Span, Subject, Verdict, label_key
from mien.media import hash_file
from mien.pipeline.inputs import Inputs, Keeper, Pseudonyms, Vault, affected, discover
from mien.store import StageResult, Store

MAPPING = {"columns": {"media": "file", "subject": "who", "licence": "lic", "labels": "mood", "setting.place": "room"}}
HEADER = "file,who,lic,mood,room,n\n"


class Desk:
    """A project's store with a register that hashes only."""

    def __init__(self, root):
        root.mkdir()
        self.root, self.store, self.written = root, Store(root, write=True), []
        self.people = Pseudonyms(root)
        self.commit, self.store.commit_all = self.store.commit_all, self.counted

    def counted(self, results, **more):
        self.written += [r.unit for r in results]
        self.commit(results, **more)

    def register(self, path):
        sha = hash_file(path)
        if not self.store.stage(sha, "register"):
            source = Source(sha, str(path), "image", 1, 0, 1, 1, None, None, None, "research")
            self.store.commit(StageResult(sha, "register", "k", [source]), run_id="r", at_utc="t")
        return sha

    def fail(self, unit, stage, key, error, keep):
        self.store.fail(unit, stage, key, error, keep, run_id="r", at_utc="t")

    def take(self, *paths, mapping=MAPPING):
        self.written.clear()
        vault = Vault(self.root, "research")
        keeper = Keeper(self.store, self.people, self.register, self.fail, run_id="r", at_utc="t")
        return keeper.keep(discover(paths, Inputs.model_validate(mapping), vault), [str(p) for p in paths])

    def attributes(self):
        items = {i.id: i.row for i in self.store.all(Item)}
        return {(items[a.item_id], a.key): a.value for a in self.store.all(Attribute)}


@pytest.fixture
def desk(tmp_path):
    made = Desk(tmp_path / "p")
    yield made
    made.store.close()


@pytest.fixture
def table(tmp_path):
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).write_bytes(name.encode())
    path = tmp_path / "t.csv"
    path.write_text(HEADER + "a.jpg,Anna,CC0,glad,kitchen,1\nb.jpg,Béa,MIT,sad,hall,2\n,Anna,,calm,,3\n")
    return path


def test_a_table_fills_items_sources_subjects_and_labels(desk, table):
    assert desk.take(table) == ()
    items = {i.row: i for i in desk.store.all(Item)}
    assert set(items) == {"a.jpg", "b.jpg", "row 3"}
    anna = items["a.jpg"].subject_id
    assert anna == items["row 3"].subject_id != items["b.jpg"].subject_id
    assert {s.id for s in desk.store.all(Subject)} == {anna, items["b.jpg"].subject_id}
    sources = {s.path.rpartition("/")[2]: s for s in desk.store.all(Source)}
    assert (sources["a.jpg"].licence, sources["a.jpg"].setting.place) == ("CC0", "kitchen")
    verdicts = {(v.key, v.target, v.value, v.by) for v in desk.store.all(Verdict)}
    assert (label_key(sources["b.jpg"].sha256, Span(0, 0), None), "mood", "sad", "import") in verdicts
    assert (label_key(items["row 3"].id, Span(0, 0), None), "mood", "calm", "import") in verdicts
    assert desk.attributes()["a.jpg", "n"] == "1"
    assert items["row 3"].source_shas == ()


def test_no_file_of_the_project_holds_the_name_of_a_person(desk, table, tmp_path):
    table.write_text(table.read_text() + "gone.jpg,Anna,,,,\n")
    desk.take(table)
    desk.store._db.execute("PRAGMA wal_checkpoint(FULL)")
    for path in desk.root.rglob("*"):
        assert path.is_dir() or b"Anna" not in path.read_bytes()
    code = desk.people.code("Anna")
    assert Pseudonyms(desk.root).code(" Anna ") == code
    assert Pseudonyms(desk.root).code("Be\u0301a") == desk.people.code("Béa")
    other = tmp_path / "other"
    other.mkdir()
    assert Pseudonyms(other).code("Anna") != code != Pseudonyms(None).code("Anna")
    assert (desk.root / ".subjects.salt").stat().st_mode & 0o077 == 0


def test_a_second_run_writes_nothing_and_a_changed_cell_only_its_item(desk, table):
    desk.take(table)
    assert len(desk.written) == 3 + 2

    def stages() -> list[tuple]:
        with contextlib.closing(sqlite3.connect(desk.root / "mien.db")) as db:
            return db.execute("SELECT * FROM stages").fetchall()

    before = stages()
    assert desk.take(table) == ()
    assert desk.written == []
    assert stages() == before
    table.write_text(table.read_text().replace("glad,kitchen,1", "merry,bath,1"))
    desk.take(table)
    (changed,) = desk.written
    assert changed == next(i.id for i in desk.store.all(Item) if i.row == "a.jpg")
    assert desk.attributes()["a.jpg", "mood"] == "merry"
    assert desk.store.all(Source, "path LIKE '%a.jpg'")[0].setting.place == "bath"
    assert sorted(v.value for v in desk.store.all(Verdict)) == ["calm", "merry", "sad"]


def test_a_removed_row_is_reported_once_and_its_record_stays(desk, table):
    desk.take(table)
    whole = table.read_text()
    table.write_text("".join(line for line in whole.splitlines(True) if not line.startswith("b.jpg")))
    assert desk.take(table) == ("t.csv, b.jpg", "t.csv, row 3")  # without an id, a row of text goes by its number
    assert [i.row for i in desk.store.all(Item) if i.row == "b.jpg"] == ["b.jpg"]
    assert desk.attributes()["b.jpg", "mood"] == "sad"
    assert desk.take(table) == ()
    table.write_text(whole)
    assert desk.take(table) == ("t.csv, row 2",)  # it was the row of text in between
    (late,) = desk.store.stages_in("input", "gone")
    assert late.code == "input.gone"


def test_a_table_that_breaks_says_nothing_is_gone(desk, table):
    desk.take(table)
    whole = table.read_text()
    table.write_text("")
    assert desk.take(table) == ()
    assert [f.code for f in desk.store.all(Failure)] == ["input.empty-table"]
    table.unlink()
    assert desk.take(table) == ()
    table.write_text(whole)
    desk.take(table)
    assert desk.store.all(Failure) == []


def test_a_missing_medium_fails_its_row_and_comes_right_later(desk, table, tmp_path):
    table.write_text(table.read_text() + "late.jpg,Cleo,,,,4\nhttps://x.org/y.jpg,Cleo,,,,5\n")
    desk.take(table)
    failures = {f.unit: f for f in desk.store.all(Failure)}
    assert {f.code for f in failures.values()} == {"media.not-found", "input.url"}
    assert desk.attributes()["late.jpg", "n"] == "4"
    inputs, again = affected(desk.store)
    assert inputs == [str(table)]
    assert again == set(failures)
    (tmp_path / "late.jpg").write_bytes(b"late")
    desk.take(table)
    assert [f.code for f in desk.store.all(Failure)] == ["input.url"]


def test_the_same_file_in_two_rows_is_one_source_and_two_items(desk, tmp_path):
    for name in ("a.jpg", "copy.jpg"):
        (tmp_path / name).write_bytes(b"same")
    path = tmp_path / "t.csv"
    path.write_text(HEADER + "a.jpg,A,CC0,glad,,1\ncopy.jpg,A,CC0,sad,,2\na.jpg,B,,tense,,3\n")
    desk.take(path)
    assert len(desk.store.all(Source)) == 1
    assert len(desk.store.all(Item)) == 3
    assert {i.source_shas for i in desk.store.all(Item)} == {(desk.store.all(Source)[0].sha256,)}
    assert desk.store.all(Source)[0].licence == "CC0"
    assert sorted(v.value for v in desk.store.all(Verdict)) == ["glad", "sad", "tense"]  # nobody's label is lost


def test_rows_that_disagree_leave_the_fact_unknown(desk, tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"same")
    path = tmp_path / "t.csv"
    path.write_text("file,who,licence,consent\na.jpg,A,CC0,yes\na.jpg,A,proprietary,yes\n")
    mapping = {"columns": {"subject": "who"}}
    desk.take(path, mapping=mapping)
    (source,) = desk.store.all(Source)
    assert (source.licence, source.consent) == (None, "yes")
    assert [(f.unit, f.code) for f in desk.store.all(Failure)] == [(source.sha256, "input.fact-conflict")]
    assert desk.store.all(Subject)[0].consent == "yes"
    path.write_text("file,who,licence,consent\na.jpg,A,CC0,yes\na.jpg,A,CC0,withdrawn\n")
    desk.take(path, mapping=mapping)
    assert (desk.store.all(Source)[0].licence, desk.store.all(Source)[0].consent) == ("CC0", None)
    assert desk.store.all(Subject)[0].consent is None
    path.write_text("file,who,licence,consent\na.jpg,A,CC0,withdrawn\na.jpg,A,CC0,withdrawn\n")
    desk.take(path, mapping=mapping)
    assert desk.store.all(Subject)[0].consent == desk.store.all(Source)[0].consent == "withdrawn"
    assert desk.store.all(Failure) == []


def test_thousands_of_rows_are_few_transactions(desk, tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("id,words\n" + "".join(f"{i},word {i}\n" for i in range(2000)))
    calls = []
    begin = desk.store._transaction
    desk.store._transaction = lambda: (calls.append(1), begin())[1]
    desk.take(path, mapping={})
    assert len(desk.store.all(Item)) == 2000
    assert len(calls) <= 20


def test_a_project_of_store_version_1_is_brought_up(tmp_path):
    db = sqlite3.connect(tmp_path / "mien.db")
    db.executescript(
        "CREATE TABLE items (id TEXT, origin TEXT, source_shas TEXT, _unit TEXT NOT NULL, _stage TEXT NOT NULL, "
        "PRIMARY KEY (id)) WITHOUT ROWID; CREATE TABLE verdicts (key TEXT PRIMARY KEY);"
        "CREATE TABLE assessments (id TEXT PRIMARY KEY, clip_id TEXT, track_id TEXT, _unit TEXT, _stage TEXT);"
        "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;"
        "INSERT INTO meta VALUES ('schema_sha256', 'old');"
        "INSERT INTO items VALUES ('item-1', '/x/a.mp4', '[\"s\"]', 's', 'input'); PRAGMA user_version=1;"
    )
    db.close()
    with pytest.raises(MienError, match="store.older"):
        Store(tmp_path)
    Store(tmp_path, write=True).close()
    with Store(tmp_path) as store:
        assert store.all(Item) == [Item("item-1", "/x/a.mp4", ("s",), "", "/x/a.mp4", "unassigned")]
