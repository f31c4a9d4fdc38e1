"""`mien export` on real footage, through the command line: every format, checked with other people's readers."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

import mien
from mien.core import MienError, Source
from mien.pipeline import Project

ROOT = Path(__file__).parents[2]
FORMATS = ("csv", "parquet", "webvtt", "rttm", "coco")


def command(*args, root, code=0) -> subprocess.CompletedProcess:
    line = [sys.executable, "-m", "mien", "-C", str(root), *map(str, args)]
    run = subprocess.run(line, capture_output=True, text=True, check=False)
    assert run.returncode == code, run.stderr
    assert "Traceback" not in run.stderr
    return run


@pytest.fixture(scope="module")
def demo(short_real_clip, tmp_path_factory):
    root = tmp_path_factory.mktemp("exported")
    project = Project.init(root, "research")
    project.run([short_real_clip])
    project.close()
    for name in FORMATS:
        written = json.loads(command("export", name, "-o", root / "out" / name, "--json", root=root).stdout)
        assert written["format"] == name
        assert written["files"]
        assert written["withheld"] == []
    return root


def test_the_signals_are_those_of_the_project(demo):
    with mien.open(demo) as project:
        curve = project.signals("valence").to_arrow()
    table = pq.read_table(demo / "out" / "parquet" / "signals.parquet").to_pydict()
    mine = [i for i, name in enumerate(table["name"]) if name == "valence"]
    assert [table["t_us"][i] for i in mine] == curve["t_us"].to_pylist()
    values = np.array([table["value"][i] if table["value"][i] is not None else np.nan for i in mine], np.float32)
    np.testing.assert_array_equal(values, curve["value"].to_numpy())


def test_boxes_lie_on_the_face_in_the_frame(demo):
    held = json.loads((demo / "out" / "coco" / "coco.json").read_text(encoding="utf-8"))
    with mien.open(demo) as project:
        (source,) = project.project.store.all(Source)
        (track,) = [t for c in project.clips for t in c.tracks if t.kind == "face"]
    (face,) = [c["id"] for c in held["categories"] if c["name"] == "face"]
    boxes = np.array([a["bbox"] for a in held["annotations"] if a["category_id"] == face])
    corners = np.c_[boxes[:, :2], boxes[:, :2] + boxes[:, 2:]]
    places = corners / np.tile([source.width_px, source.height_px], 2)
    assert np.median(places, axis=0) == pytest.approx(track.geometry, abs=0.01)
    for a in held["annotations"]:
        if a["category_id"] == face:
            x, y, w, h = a["bbox"]
            eyes = a["keypoints"][0:2], a["keypoints"][3:5]
            assert eyes[0][0] < eyes[1][0], "left of the picture first"
            assert all(x < px < x + w and y < py < y + h for px, py in eyes)


def test_captions_and_segments_hold_the_laughter(demo):
    captions = next((demo / "out" / "webvtt").glob("*.vtt")).read_text(encoding="utf-8")
    assert captions.startswith("WEBVTT\n")
    assert "consistent with" in captions
    lines = [(demo / "out" / "rttm" / f"{n}.rttm").read_text() for n in ("speech", "non-speech")]
    starts = [float(line.split()[3]) for line in "".join(lines).splitlines()]
    assert starts
    assert all(0.9 < s < 4 for s in starts), "the laughter was laid under second 1"


def test_licences_of_every_model_are_in_the_notice(demo):
    notice = (demo / "out" / "csv" / "NOTICE.txt").read_text(encoding="utf-8")
    for name in ("object.nanodet", "face.centerface", "expression.minixception", "voice.whisper", "explicit.opennsfw"):
        assert f"- {name} (" in notice
    assert "WIDER FACE" in notice


def test_twice_is_byte_for_byte_the_same(demo):
    for name in FORMATS:
        command("export", name, "-o", demo / "again" / name, root=demo)
        for file in (demo / "out" / name).iterdir():
            assert file.read_bytes() == (demo / "again" / name / file.name).read_bytes(), file.name


def test_it_never_overwrites_unasked_and_says_what_to_do(demo):
    run = command("export", "csv", "-o", demo / "out" / "csv", root=demo, code=1)
    assert "export.exists" in run.stderr
    assert "--force" in run.stderr
    run = command("export", "csv", "-o", demo / "out" / "csv", "--force", root=demo)
    assert run.stdout.strip() == str(demo / "out" / "csv")
    assert "consent is not stated" in run.stderr
    assert command("export", "csv", root=demo).stdout.strip() == str(demo / "exports" / "csv")


def test_wrong_calls_are_sentences(demo, tmp_path):
    assert "input.unknown-format" in command("export", "xlsx", root=demo, code=2).stderr
    Project.init(tmp_path / "empty", "research").close()
    run = command("export", "csv", root=tmp_path / "empty", code=1)
    assert "export.nothing" in run.stderr
    assert "mien run" in run.stderr


def test_in_care_only_observables_leave(short_real_clip, tmp_path):
    from mien.export.tables import export_tables

    project = Project.init(tmp_path / "p", "care")
    project.run([short_real_clip])
    project.close()
    project = Project.open(tmp_path / "p")
    export_tables(project, "parquet", tmp_path / "out")
    observed = pq.read_table(tmp_path / "out" / "observations.parquet")["target"].to_pylist()
    assert {"presence", "face.mouth_corner_raise", "vocal.kind"} <= set(observed)
    assert not {"expression", "valence.derived", "voice.state"} & set(observed)
    assert pq.read_table(tmp_path / "out" / "assessments.parquet").num_rows == 0
    project.close()


def test_without_the_gate_pictures_do_not_leave(short_real_clip, tmp_path):
    from mien.export.tables import export_tables
    from mien.pipeline.config import load

    project = Project.init(tmp_path / "p", "research")
    project.config, _ = load(project.root, {"stack": {"explicit": "off"}, "analysis": {"fps": 1.0}})
    project.run([short_real_clip])
    with pytest.raises(MienError, match=r"export\.all-withheld"):
        export_tables(project, "csv", tmp_path / "out")
    project.close()


def test_the_commands_of_the_document_exist():
    text = (ROOT / "docs" / "export.md").read_text(encoding="utf-8")
    lines = [line for block in re.findall(r"```sh\n(.*?)```", text, re.S) for line in block.splitlines()]
    mine = [line.split("#")[0].split()[1:3] for line in lines if line.startswith("mien ")]
    called = {tuple(w for w in words if w.isalpha()) for words in mine}
    assert {c[0] for c in called} >= {"export", "labels", "plan", "run"}
    for words in sorted({c if c[0] == "labels" else c[:1] for c in called}):
        line = [sys.executable, "-m", "mien", *words, "--help"]
        done = subprocess.run(line, capture_output=True, text=True, check=False)
        assert done.returncode == 0, words


def test_every_table_and_format_is_documented():
    from mien.export.tables import FORMATS as KNOWN
    from mien.export.tables.schema import TABLES

    text = (ROOT / "docs" / "export.md").read_text(encoding="utf-8")
    assert set(KNOWN) == set(FORMATS)
    assert [name for name in (*KNOWN, *TABLES) if f"`{name}`" not in text] == []
