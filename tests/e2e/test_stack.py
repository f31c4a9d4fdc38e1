"""The whole default stack on real footage: every stage leaves what it is for, and leaves nothing where it must not."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from mien.core import Clip, MienError, Observation, Signal
from mien.pipeline import Project
from mien.pipeline.config import load
from mien.pipeline.plan import STAGES


def run(root: Path, inputs: list[Path], context: str = "research", **flags) -> Project:
    project = Project.init(root, context)
    project.config, _ = load(project.root, flags)
    outcome = project.run(inputs)
    assert not outcome.failures
    return project


@pytest.fixture(scope="module")
def whole(tmp_path_factory, short_real_clip) -> Project:
    """The clip, a copy of it in another coding and size, all opinions, and the identity window on."""
    import av

    folder = tmp_path_factory.mktemp("whole")
    copy = folder / "copy.mkv"
    with av.open(str(short_real_clip)) as source, av.open(str(copy), "w") as target:
        stream = target.add_stream("libx264", rate=12, options={"crf": "30"})
        stream.width, stream.height, stream.pix_fmt = 320, 180, "yuv420p"
        for i, frame in enumerate(source.decode(video=0)):
            if i % 2 == 0:
                small = frame.reformat(320, 180, "yuv420p")
                small.pts, small.time_base = i // 2, Fraction(1, 12)
                target.mux(stream.encode(small))
        target.mux(stream.encode(None))
    flags = {
        "opinions": {"expression": ["expression.minixception", "geometry"]},
        "identity": {"enabled": True},
        "stack": {"words": "words.whisper"},
    }
    project = run(folder / "p", [short_real_clip, copy], **flags)
    yield project
    project.close()


def clip_of(project: Project, name: str) -> Clip:
    sources = {s["name"]: s for s in project.status()["sources"]}
    sha = sources[name]["sha256"]
    return min(project.store.all(Clip, "source_sha = ?", (sha,)), key=lambda c: c.span)


def seen(project: Project, clip: Clip, target: str) -> list[Observation]:
    return [o for o in project.store.all(Observation, "clip_id = ?", (clip.id,)) if o.target == target]


def test_every_stage_ran_and_says_so(whole: Project) -> None:
    rows = {r.stage: r.state for r in whole.store.stages_of(clip_of(whole, "short.mp4").id)}
    brought = {"actions", "events", "descriptors"}  # their models are the users' own: off here
    wanted = {s.name: "ok" for s in STAGES if s.name not in brought}
    assert {name: rows[name] for name in wanted} == wanted
    assert not brought & set(rows)
    notes = {r.stage: r.note for r in whole.store.stages_of(clip_of(whole, "short.mp4").id)}
    assert "identity window on" in (notes["faces"] or "")


def test_opinions_stand_side_by_side_and_disagreement_is_kept(whole: Project) -> None:
    clip = clip_of(whole, "short.mp4")
    said = whole.store.table(f"opinions/{clip.id}")
    names = {c.split(":")[0] for c in said.column_names if ":" in c}
    assert names == {"expression.faceapi", "expression.minixception", "geometry"}
    pooled = whole.store.table(f"expression/{clip.id}")
    rows = {n: np.stack([said[f"{n}:{c}"].to_numpy() for c in ("happiness", "sadness", "fear")]) for n in names}
    assert all(np.abs(rows[a] - rows[b]).max() > 0.05 for a in names for b in names if a < b)
    apart = pooled["disagreement"].to_numpy()
    assert np.isfinite(apart).all()
    assert apart.max() > 0.02
    (row, *_) = seen(whole, clip, "expression.disagreement")
    assert row.unit == "nat"
    curves = {s.name for s in whole.store.all(Signal, "clip_id = ?", (clip.id,))}
    assert {"expression_disagreement", "head.yaw", "valence", "face.mouth_corner_raise"} <= curves


def test_head_picture_and_sound_are_described(whole: Project) -> None:
    clip = clip_of(whole, "short.mp4")
    (yaw, *_) = seen(whole, clip, "head.yaw")
    assert yaw.value is not None
    assert abs(yaw.value) < 60
    assert dict(seen(whole, clip, "head.direction")[0].dist)
    (sharp,) = seen(whole, clip, "picture.sharpness")
    assert sharp.value is not None
    (loud,) = seen(whole, clip, "sound.loudness")
    assert loud.value is not None
    assert -60 < loud.value < 0
    kinds = seen(whole, clip, "vocal.kind")
    assert kinds
    assert all(dict(o.dist)["voice"] > 0.5 for o in kinds)  # laughter is no speech
    assert not seen(whole, clip, "word")
    assert not [c for c in whole.store.table(f"sound/{clip.id}").column_names if c.startswith("mfcc")]


def test_a_copy_in_another_coding_and_size_is_known(whole: Project) -> None:
    pairs = [o for c in ("short.mp4", "copy.mkv") for o in seen(whole, clip_of(whole, c), "copy.of")]
    assert len(pairs) == 1
    ids = {clip_of(whole, "short.mp4").id, clip_of(whole, "copy.mkv").id}
    assert {pairs[0].clip_id, pairs[0].dist[0][0]} == ids
    (rank,) = seen(whole, clip_of(whole, "copy.mkv"), "scene.anomaly")
    assert (rank.value, rank.reason) == (None, "too-few-clips")


def test_a_second_run_does_nothing(whole: Project, short_real_clip: Path) -> None:
    before = whole.store.query("SELECT unit, stage, at_utc FROM stages ORDER BY 1, 2")[1]
    whole.run([short_real_clip])
    assert whole.store.query("SELECT unit, stage, at_utc FROM stages ORDER BY 1, 2")[1] == before


def test_care_keeps_no_scene_vector_and_compares_no_faces(tmp_path: Path, short_real_clip: Path) -> None:
    project = run(tmp_path / "care", [short_real_clip], context="care")
    clip = clip_of(project, "short.mp4")
    assert project.store.table(f"scene/{clip.id}") is None
    assert project.store.table(f"hashes/{clip.id}") is not None
    assert seen(project, clip, "scene.anomaly")[0].reason == "not-measured"
    assert project.store.table(f"expression/{clip.id}") is None
    project.config, _ = load(project.root, {"identity": {"enabled": True}})
    with pytest.raises(MienError, match=r"policy\.identity-refused"):
        project.run([])
    project.close()
