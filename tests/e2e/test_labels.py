"""`mien labels` on real footage: corrections survive another cutting, and what exports say of them."""

import csv

import pyarrow.parquet as pq
import pytest
from test_export import command

from mien.core import Clip, Verdict
from mien.export.tables.labels import export_labels, import_labels
from mien.pipeline import Project


def read(path):
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def write(path, rows):
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        out = csv.DictWriter(file, list(rows[0]))
        out.writeheader()
        out.writerows(rows)


@pytest.fixture
def project(short_real_clip, tmp_path):
    made = Project.init(tmp_path / "p", "research")
    made.run([short_real_clip])
    yield made
    made.close()


def recut(project, seconds: float) -> None:
    """Cut anew into clips of at most so many seconds, and analyse those."""
    toml = project.root / "mien.toml"
    toml.write_text(toml.read_text().replace("[analysis]", f"[analysis]\nmax_clip_s = {seconds}"))
    project.close()
    again = Project.open(project.root)
    assert again.run().failures == ()
    again.close()


def test_labels_are_found_again_after_the_recording_was_cut_anew(project, tmp_path):
    path = tmp_path / "labels.csv"
    export_labels(project, path)
    rows = read(path)
    for row in rows:
        if row["target"] == "expression":
            row["your value"] = "neutral"
        if row["target"] == "subject" and row["track"].startswith("face"):
            row["your value"] = "P-07"
    write(path, rows)
    assert import_labels(project, path, "A").bad == ()
    before = {c.id for c in project.store.all(Clip)}
    said = project.store.all(Verdict)

    recut(project, 2.0)
    again = Project.open(project.root)
    assert not before & {c.id for c in again.store.all(Clip)}, "these are other clips"
    assert again.store.all(Verdict) == said, "a run takes no label back"
    export_labels(again, tmp_path / "new.csv")
    new = read(tmp_path / "new.csv")
    faces = [r for r in new if r["target"] == "subject" and r["track"].startswith("face")]
    assert len(faces) >= 2
    assert {r["your value"] for r in faces} == {"P-07"}
    looks = [r for r in new if r["target"] == "expression"]
    assert looks
    assert {r["your value"] for r in looks} == {"neutral"}
    assert {r["your value"] for r in new if r["target"] == "state"} == {""}
    assert import_labels(again, tmp_path / "new.csv", "A").new == 0, "what is in force already is no news"
    assert import_labels(again, path, "A").bad == (), "the file of the old cutting still fits"
    again.close()

    command("export", "parquet", "-o", tmp_path / "out", root=project.root)
    tracks = pq.read_table(tmp_path / "out" / "tracks.parquet").to_pylist()
    assert {t["subject"] for t in tracks if t["kind"] == "face"} == {"P-07"}
    observed = pq.read_table(tmp_path / "out" / "observations.parquet").to_pylist()
    assert {(o["label"], o["label_by"]) for o in observed if o["target"] == "expression"} == {("neutral", "A")}
    assert {o["label"] for o in observed if o["target"] == "valence.derived"} == {None}


def test_the_commands_say_what_they_took_and_what_not(project, tmp_path):
    root, path = project.root, tmp_path / "labels.csv"
    assert command("labels", "export", path, root=root).stdout.strip() == str(path)
    assert "export.exists" in command("labels", "export", path, root=root, code=1).stderr
    rows = read(path)
    wrong, right = [r for r in rows if r["target"] == "expression"][:2]
    wrong["your value"], right["your value"] = "hapiness", "happiness"
    write(path, rows)
    assert "--by" in command("labels", "import", path, root=root, code=2).stderr
    run = command("labels", "import", path, "--by", "Dr. A", root=root, code=1)
    assert f"line {rows.index(wrong) + 2}: " in run.stderr
    assert "did you mean 'happiness'" in run.stderr
    assert "1 new" in run.stderr
    (held,) = Project.open(root).store.all(Verdict, "target = 'expression'")
    assert (held.value, held.by) == ("happiness", "Dr. A")
    assert held.at_utc.endswith("+00:00")
