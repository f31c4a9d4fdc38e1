"""Every kind of input through the commands, with the real weights: what docs/inputs.md says is what happens."""

import json
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from mien.core import Clip, Failure, Item, Source, Subject, Verdict
from mien.pipeline import Project
from mien.testing.media import Recipe, make

DOC = (Path(__file__).parents[2] / "docs" / "inputs.md").read_text(encoding="utf-8")
SHORT = Recipe(seconds=1.0, fps=5, width=64, height=48, tone_s=(0.2, 0.6))


def command(*args, root, code=0):
    run = subprocess.run(
        [sys.executable, "-m", "mien", "-C", str(root), *map(str, args)],
        capture_output=True, text=True, check=False, cwd=root.parent,
    )  # fmt: skip
    assert run.returncode == code, run.stderr
    assert "Traceback" not in run.stderr
    return run


def picture(path, seed=0):
    import cv2

    from mien.testing.media import picture as drawn

    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), drawn(seed, 0.0, 0, Recipe(width=64, height=48, seed=seed)))
    return path


@pytest.fixture
def folder(tmp_path):
    """A picture, a sound and a film, all tiny."""
    picture(tmp_path / "in" / "face one.png")
    make(tmp_path / "in" / "tön.wav", Recipe(seconds=1.0, picture=False, sound_codec="pcm_s16le", tone_s=(0.2, 0.6)))
    make(tmp_path / "in" / "film.mp4", SHORT)
    return tmp_path / "in"


def ask(root, sql):
    return json.loads(command("query", sql, "--json", root=root).stdout)


def test_from_a_table_to_sql(folder, tmp_path):
    path = folder / "rows.csv"
    path.write_text(
        "clip,sound,person_id,license,emotion,age,room\n"
        "film.mp4,tön.wav,Anna,CC0,glad,31,kitchen\n"
        "face one.png,,Béa,MIT,sad,7,hall\n"
        ",,Anna,,calm,31,\n"
        "lost.mp4,,Cleo,CC0,calm,40,hall\n"
    )
    root = tmp_path / "p"
    told = command("init", root, "--context", "research", "--from", path, root=tmp_path)
    for word in ("subject", "person_id", "salted code", "labels", "emotion", "setting.place"):
        assert word in told.stdout + told.stderr
    assert 'subject = "person_id"' in (root / "mien.toml").read_text()
    ran = command("run", path, root=root, code=1)
    assert "media.not-found" in ran.stderr
    assert "rows.csv, lost.mp4" in ran.stderr
    rows = ask(
        root,
        "SELECT i.row, a.value AS age, count(s.sha256) AS n FROM items i "
        "JOIN attributes a ON a.item_id = i.id AND a.key = 'age' "
        "JOIN sources s ON instr(i.source_shas, s.sha256) GROUP BY 1 ORDER BY 1",
    )
    assert rows == [{"row": "face one.png", "age": "7", "n": 1}, {"row": "film.mp4 + tön.wav", "age": "31", "n": 2}]
    project = Project.open(root)
    assert {s.licence for s in project.store.all(Source)} == {"CC0", "MIT"}
    assert {s.setting.place for s in project.store.all(Source)} == {"kitchen", "hall"}
    assert len(project.store.all(Subject)) == 3
    assert {v.value for v in project.store.all(Verdict)} == {"glad", "sad", "calm"}
    assert len(project.store.all(Clip)) == 3
    assert b"Anna" not in (root / "mien.db").read_bytes()
    assert project.run([path]).done == 0
    make(folder / "lost.mp4", Recipe(seconds=1.0, fps=5, width=64, height=48, tone_s=None, seed=3))
    again = project.retry()
    assert again.failures == ()
    lines = [line for line in path.read_text().splitlines(True) if "face one" not in line]
    path.write_text("".join(lines))
    gone = command("run", path, root=root)
    assert "no longer there: rows.csv, face one.png" in gone.stderr
    project.close()


def test_a_folder_with_sidecars_and_a_broken_one(folder, tmp_path):
    (folder / "film.txt").write_text("a disc moves")
    (folder / "tön.json").write_text("{broken")
    root = tmp_path / "p"
    Project.init(root, "research").close()
    assert "input.bad-json" in command("run", folder, root=root, code=1).stderr
    said = ask(
        root, "SELECT a.value FROM attributes a JOIN items i ON i.id = a.item_id WHERE i.origin LIKE '%film.mp4'"
    )
    assert said == [{"value": "a disc moves"}]
    with_sound = ask(root, "SELECT count(*) AS n FROM clips")
    assert with_sound == [{"n": 3}]  # the medium of the broken sidecar runs all the same
    assert json.loads(command("status", "--json", root=root).stdout)["items"] == {"count": 3, "gone": []}


def test_a_shard_and_a_care_project_that_refuses_it(folder, tmp_path):
    shard = tmp_path / "s.tar"
    with tarfile.open(shard, "w") as out:
        for end in ("png", "json"):
            source = folder / "face one.png" if end == "png" else tmp_path / "x.json"
            if end == "json":
                source.write_text('{"age": 3}')
            out.add(source, f"0001.{end}")
    project = Project.init(tmp_path / "p", "research")
    project.run([shard])
    (source,) = project.store.all(Source)
    assert Path(source.path).parent.parent == project.root / "media"
    assert Path(source.path).read_bytes() == (folder / "face one.png").read_bytes()
    assert [i.row for i in project.store.all(Item)] == ["0001"]
    assert project.run([shard]).done == 0
    own = project.run([tmp_path / "p"]).failures  # what lies under its media/ is no input
    assert [f.code for f in own] == ["input.empty-folder"]
    project.close()
    care = Project.init(tmp_path / "care", "care")
    care.run([shard])
    assert [f.code for f in care.store.all(Failure)] == ["input.care-no-copies"]
    assert not (tmp_path / "care" / "media").exists()
    care.close()


def test_a_missing_column_stops_the_table_and_says_which_was_meant(folder, tmp_path):
    path = folder / "rows.csv"
    path.write_text("clip,person_id\nfilm.mp4,Anna\n")
    root = tmp_path / "p"
    Project.init(root, "research").close()
    with (root / "mien.toml").open("a") as file:
        file.write('[inputs]\ncolumns = {subject = "persn_id"}\n')
    ran = command("run", path, root=root, code=1)
    assert "did you mean 'person_id'" in ran.stderr
    with (root / "mien.toml").open("a") as file:
        file.write('subjct = "x"\n')
    assert "config.invalid" in command("run", path, root=root, code=2).stderr


def test_what_the_document_shows_can_be_done(tmp_path, monkeypatch):
    """Files are made as the document shows them, its commands are run, and its figures come out."""
    work = tmp_path / "work"
    work.mkdir()
    names = ("photos/one.png", "photos/two.png", "set/train/calm/1.png", "set/train/glad/2.png", "clip.png")
    for seed, name in enumerate(names):
        picture(work / name, seed)
    monkeypatch.chdir(work)
    ran = 0
    for kind, name, text in re.findall(r"```(\w+)(?: title=\"(\S+)\")?\n(.*?)```", DOC, re.S):
        if name:
            (work / name).parent.mkdir(parents=True, exist_ok=True)
            with (work / name).open("a", encoding="utf-8") as file:
                file.write(text)
        elif kind == "python":
            exec(compile(text, "docs/inputs.md", "exec"), {})  # noqa: S102 - this is the test
        elif kind == "sh":
            for line in filter(str.strip, text.splitlines()):
                ours = line.replace("mien ", f"{sys.executable} -m mien ", 1)
                run = subprocess.run(["bash", "-c", ours], capture_output=True, text=True, check=False)
                assert run.returncode == 0, (line, run.stderr)
                ran += 1
    assert ran >= 8
    root = work / "p"
    assert ask(root, "SELECT count(*) AS n FROM failures") == [{"n": 0}]
    assert ask(root, "SELECT value, count(*) AS n FROM attributes WHERE key = 'emotion' GROUP BY 1 ORDER BY 1") == [
        {"value": "calm", "n": 1}, {"value": "glad", "n": 1},
    ]  # fmt: skip
