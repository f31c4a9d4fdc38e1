"""`mien diff` on real footage: pooled opinions against face-api alone, and two models side by side, unrecorded."""

import hashlib
import json

import pytest
from typer.testing import CliRunner

from mien.cli.app import app
from mien.core import Observation
from mien.pipeline import Project
from mien.store import Store

OFF = ("objects", "pose", "landmarks", "explicit", "age", "scene")
ALONE = "\n[opinions]\nexpression = []\n"


def mien(root, *words, code: int = 0):
    done = CliRunner().invoke(app, ["-C", str(root), *map(str, words)])
    assert done.exit_code == code, done.output
    return done


def make(root) -> Project:
    Project.init(root, "research").close()
    stack = "".join(f'{slot} = "off"\n' for slot in OFF)
    read = "fps = 2.0\nmax_side_px = 480\nwindow_s = 1.0\n"
    (root / "mien.toml").write_text(f'[project]\ncontext = "research"\n[analysis]\n{read}[stack]\n{stack}')
    return Project.open(root)


def expressions(store) -> dict[tuple[int, str], object]:
    return {(o.span.start_us, o.target): (o.dist, o.value) for o in store.all(Observation, "_stage = 'expression'")}


@pytest.fixture(scope="module")
def silent_clip(demo_video, tmp_path_factory):
    """The first three seconds of the demo video, without its sound track."""
    import av

    path = tmp_path_factory.mktemp("media") / "silent.mp4"
    with av.open(str(demo_video)) as source, av.open(str(path), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None and packet.pts * packet.time_base < 3:
                packet.stream = stream
                target.mux(packet)
    return path


@pytest.fixture(scope="module")
def twice(tmp_path_factory, silent_clip):
    """(folder, what the first run said): run 1 pools two opinions, run 2 has face-api alone."""
    root = tmp_path_factory.mktemp("diff") / "p"
    project = make(root)
    assert not project.run([silent_clip]).failures
    said = expressions(project.store)
    project.close()
    (root / "mien.toml").write_text((root / "mien.toml").read_text() + ALONE)
    again = Project.open(root)
    assert not again.run().failures
    again.close()
    return root, said


def test_the_pooled_run_is_compared_as_it_was_before_the_other_replaced_it(twice):
    root, said = twice
    found = json.loads(mien(root, "diff", "1", "2", "--json").stdout)
    rows = {(r["slot"], r["target"]): r for r in found["rows"]}
    assert found["config"] == [["opinions.expression", ["expression.minixception"], []]]
    with Store(root) as store:
        now = expressions(store)
    at = [key for key in now if key[1] == "expression"]
    assert len(at) >= 2
    same = [max(said[k][0], key=lambda p: p[1])[0] == max(now[k][0], key=lambda p: p[1])[0] for k in at]
    expression = rows["expression", "expression"]
    assert expression["matched"] == len(at)
    assert expression["measures"]["agreement"]["value"] == pytest.approx(sum(same) / len(same))
    assert expression["measures"]["divergence"]["value"] > 0
    moved = [now[k][1] - said[k][1] for k in now if k[1] == "valence.derived"]
    assert rows["expression", "valence.derived"]["measures"]["bias"]["value"] == pytest.approx(sum(moved) / len(moved))
    assert rows["expression", "expression.disagreement"]["only_a"] == len(at)  # one opinion disagrees with nobody
    assert rows["faces", "tracks: face"]["changed"] == 0
    cost = {c["stage"]: c for c in found["cost"]}
    assert (cost["faces"]["same"], cost["expression"]["same"]) == (1, 0)
    assert cost["faces"]["ms_per_s_a"] == cost["faces"]["ms_per_s_b"] > 0
    assert expression["clusters"] == "no interval: one source"


def test_two_models_are_run_in_memory_and_leave_no_trace(twice):
    root, _ = twice
    before = {p: hashlib.sha256(p.read_bytes()).digest() for p in root.rglob("*") if p.is_file()}
    words = ("diff", "--slot", "expression", "expression.faceapi", "expression.minixception", "--json")
    found = json.loads(mien(root, *words).stdout)
    after = {p: hashlib.sha256(p.read_bytes()).digest() for p in root.rglob("*") if p.is_file()}
    assert {p.name for p in before ^ after.keys()} <= {"mien.db-wal", "mien.db-shm"} if before != after else True
    assert all(after[p] == held for p, held in before.items() if not p.name.startswith("mien.db-"))
    rows = {r["target"]: r for r in found["rows"]}
    assert found["config"] == [["stack.expression", "expression.faceapi", "expression.minixception"]]
    assert rows["expression"]["matched"] >= 2
    assert rows["expression"]["measures"]["divergence"]["value"] > 0.01
    with Store(root) as store:  # face-api alone says in memory what run 2 recorded
        recorded = [max(o.dist, key=lambda p: p[1])[0] for o in store.all(Observation, "target = 'expression'")]
    leads = [a for a, _, n in rows["expression"]["confusion"] for _ in range(n)]
    assert sorted(leads) == sorted(recorded)
    assert found["models"][0]["bytes_a"] != found["models"][0]["bytes_b"]


def test_runs_are_listed_and_mistakes_are_explained(twice, tmp_path):
    root, _ = twice
    assert [r["number"] for r in json.loads(mien(root, "diff", "--json").stdout)] == [1, 2]
    assert "mien diff 1 2" in mien(root, "diff").stderr
    assert "B: run 2" in mien(root, "diff", "1", "2", "--all").stderr
    for words, code in (
        (("diff", "1"), "diff.needs-two"),
        (("diff", "1", "1"), "diff.same-run"),
        (("diff", "1", "nowhere"), "diff.unknown-run"),
        (("diff", "--slot", "expresion", "a", "b"), "diff.unknown-slot"),
        (("diff", "--slot", "expression", "expression.faceapi", "face.centerface"), "config.wrong-slot"),
    ):
        done = mien(root, *words, code=2)
        assert code in done.stderr
        assert "→" in done.stderr
    assert "project.not-found" in mien(tmp_path, "diff", code=2).stderr
    assert json.loads(mien(root, "status", "--json").stdout)["history"]["runs"] == 1
