"""What was forgotten is not taken in again unasked; what was learnt from people is found when they withdraw."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from mien.cli.app import app
from mien.core import Failure, Item, MienError, Source, Subject
from mien.media import hash_file
from mien.pipeline import Project
from mien.pipeline.enrolling import add
from mien.pipeline.forgetting import forget, lift
from mien.pipeline.inputs import Entry, Keeper, Pseudonyms
from mien.pipeline.registering import learnt
from mien.store import Store
from mien.store.forgotten import CODE, FILE, Forgotten

WHEN = {"run_id": "run-2026-01-01T00:00:00.000+00:00", "at_utc": "2026-01-01T00:00:00.000+00:00"}
A, B = b"a voice of one" * 40, b"a voice of another" * 40


def recording(root: Path, name: str, raw: bytes) -> Source:
    path = root / name
    path.write_bytes(raw)
    return Source(hash_file(path), str(path), "audio", len(raw), 5, None, None, None, 16_000, 1, "research")


@pytest.fixture
def project(tmp_path: Path):
    Project.init(tmp_path / "p", "research").close()
    with Store(tmp_path / "p", write=True) as store:
        for name, who, raw in (("a.wav", "P-1", A), ("b.wav", "P-2", B)):
            held = recording(tmp_path, name, raw)
            item = Item(f"item-{name}", held.path, (held.sha256,), subject_id=who)
            store.put([held, item, Subject(who)], unit=held.sha256, stage="input")
    made = Project.open(tmp_path / "p")
    yield made
    made.close()


def given(project: Project, *paths: Path) -> list[str]:
    """Take files in as a run does; codes of failures."""
    assert project.root is not None
    with Store(project.root, write=True) as store:
        forgotten = Forgotten(project.root)

        def register(path: Path) -> str:
            sha = hash_file(path)
            forgotten.check(sha, path.name)
            store.put([recording(path.parent, path.name, path.read_bytes())], unit=sha, stage="input")
            return sha

        def fail(unit: str, stage: str, key: str, error: MienError, keep: tuple[object, ...]) -> None:
            store.fail(unit, stage, key, error, keep, **WHEN)

        keeper = Keeper(store, Pseudonyms(project.root), register, fail, **WHEN)
        keeper.keep([Entry(Item(f"item-{p.name}-again", str(p), ()), media=(p,)) for p in paths], [])
    return [f.code for f in project.store.all(Failure)]


def test_a_forgotten_recording_stays_out_under_any_name_until_somebody_lifts_it(project: Project, tmp_path: Path):
    assert project.root is not None
    sha = hash_file(tmp_path / "a.wav")
    forget(project, "a.wav")
    renamed = tmp_path / "new name.wav"
    renamed.write_bytes(A)
    other = tmp_path / "c.wav"
    other.write_bytes(b"nobody's" * 50)
    assert given(project, renamed, other) == [CODE]
    held = {s.sha256 for s in project.store.all(Source)}
    assert sha not in held
    assert {hash_file(tmp_path / "b.wav"), hash_file(other)} <= held
    assert not [i for i in project.store.all(Item) if "new name" in i.origin]  # nor what was said beside it
    raw = b"".join(p.read_bytes() for p in project.root.rglob("*") if p.is_file())
    assert b"new name" not in raw
    assert sha.encode() not in raw
    with pytest.raises(MienError, match=r"forget\.not-forgotten"):
        lift(project, other, "C1")
    with pytest.raises(MienError, match=r"people\.no-recorder"):
        lift(project, renamed, " ")
    lift(project, renamed, "C1")
    assert given(project, renamed) == []
    assert sha in {s.sha256 for s in project.store.all(Source)}
    assert [e.kind for e in project.store.entries()][-1] == "lift"
    assert project.store.verify_log() == []


def test_the_list_of_what_was_forgotten_says_nothing_without_its_key(project: Project, tmp_path: Path):
    assert project.root is not None
    sha = hash_file(tmp_path / "a.wav")
    forget(project, "a.wav")
    path = project.root / FILE
    told = json.loads(path.read_text())
    assert len(told["digests"]) == 1
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    other = Forgotten(tmp_path)  # the same recording in another project: another digest
    other.remember([sha])
    assert json.loads((tmp_path / FILE).read_text())["digests"] != told["digests"]
    for path_ in project.root.rglob("*"):  # the key is nowhere else
        if path_.is_file() and path_ != path:
            assert told["key"].encode() not in path_.read_bytes()
            assert bytes.fromhex(told["key"]) not in path_.read_bytes()
    path.write_text("{")
    with pytest.raises(MienError, match=r"store\.forgotten-damaged"):
        given(project, tmp_path / "b.wav")


def test_the_command_lifts_and_a_run_refuses(project: Project, tmp_path: Path):
    root = str(project.root)
    forget(project, "a.wav")
    refused = CliRunner().invoke(app, ["-C", root, "plan", str(tmp_path / "a.wav"), "--json"])
    assert [e["code"] for e in json.loads(refused.stdout)["inputs"]] == [CODE]
    lifted = CliRunner().invoke(app, ["-C", root, "forget", str(tmp_path / "a.wav"), "--lift", "--by", "C1"])
    assert lifted.exit_code == 0
    again = CliRunner().invoke(app, ["-C", root, "plan", str(tmp_path / "a.wav"), "--json"])
    assert CODE not in [e["code"] for e in json.loads(again.stdout)["inputs"]]


# ---------------------------------------------------------------- what was learnt


def exported(root: Path, name: str, *sources: str) -> Path:
    folder = root / name
    folder.mkdir()
    (folder / "export.json").write_text(json.dumps({"sources": [{"name": "x", "sha256": s} for s in sources]}))
    (folder / "train.jsonl").write_text("{}\n")
    return folder


@pytest.mark.parametrize("how", ["export", "file of it", "media", "rows", "registered"])
def test_an_adapter_is_named_when_somebody_in_its_rows_withdraws_and_another_is_not(
    project: Project, tmp_path: Path, how: str
):
    shas = {n: hash_file(tmp_path / f"{n}.wav") for n in "ab"}
    for n, who in (("a", "P-1"), ("b", "P-2")):
        adapter = tmp_path / f"adapter-{n}.safetensors"
        adapter.write_bytes(n.encode())
        of: dict[str, Any] = {"people": {who, "Mary Smith"}}
        if how == "media":
            (tmp_path / n).mkdir()
            (tmp_path / n / "copy.wav").write_bytes((tmp_path / f"{n}.wav").read_bytes())
            of = {"data": tmp_path / n}
        elif how != "rows":
            folder = exported(tmp_path, n, *([] if how == "registered" else [shas[n]]))
            of = {"data": folder / "train.jsonl" if how == "file of it" else folder}
            if how == "registered":
                project.store.register("export", folder, [shas[n]], [who], "", "2026-01-01")
        assert learnt(project, adapter, **of)
    text = str(project.store.registered())
    assert "Mary" not in text  # a table's names are not taken into the record
    would = forget(project, "P-1", dry_run=True)
    done = forget(project, "P-1")
    assert would.adapters == done.adapters == (str(tmp_path / "adapter-a.safetensors"),)
    assert forget(project, "P-2").adapters == (str(tmp_path / "adapter-b.safetensors"),)


def test_what_nobody_of_this_project_is_in_is_not_registered(project: Project, tmp_path: Path):
    (tmp_path / "elsewhere").mkdir()
    assert not learnt(project, tmp_path / "x", data=tmp_path / "elsewhere", people={"Mary Smith"})
    assert project.store.registered() == []


def test_profiles_and_caches_go_with_whoever_is_in_them(project: Project, tmp_path: Path):
    assert project.root is not None
    for n, who in (("a", "P-1"), ("b", "P-2")):
        path = project.root / f"cache-{n}.npz"
        np.savez(path, x=np.zeros(3))
        assert learnt(project, path, people=[who], kind="profile")
    forget(project, "P-1")
    assert [p.name for p in sorted(project.root.glob("cache-*"))] == ["cache-b.npz"]


def test_training_commands_register_what_they_made(project: Project, tmp_path: Path):
    add(project, "P-3")
    lines = ["person,label,face.calm,face.joy"]
    for i in range(48):
        who, calm = f"P-{1 + i % 6}", 0.8 if i // 6 % 2 else 0.2
        lines.append(f"{who},{'calm' if i // 6 % 2 else 'joy'},{calm},{1 - calm}")
    (tmp_path / "rows.csv").write_text("\n".join(lines) + "\n")
    rows = tmp_path / "rows.csv"
    out = tmp_path / "fusion-of-mine.toml"
    done = CliRunner().invoke(app, ["-C", str(project.root), "train", "fusion", str(rows), "-o", str(out), "--json"])
    assert done.exit_code == 0, done.stderr
    (held,) = project.store.registered()
    assert (held.kind, held.path, held.subjects) == ("adapter", str(out), ("P-1", "P-2", "P-3"))
    folder = exported(tmp_path, "set", hash_file(tmp_path / "a.wav"))
    (tmp_path / "lora").mkdir()
    told = ["-C", str(project.root), "release", "trained", str(tmp_path / "lora"), "--on", str(folder), "--json"]
    done = CliRunner().invoke(app, told)
    assert json.loads(done.stdout)["registered"] is True
    assert set(forget(project, "P-1").adapters) == {str(out), str(tmp_path / "lora")}
