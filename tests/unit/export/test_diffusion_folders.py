"""Folders for trainers of films and pictures: what is in them, what never is, and configs with known keys only."""

import copy
import hashlib
import json
import tomllib
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from pydantic import ValidationError
from studio import job, studio
from trainer_schemas import SCHEMAS, checked, held

from mien.core import MienError, Source, Span
from mien.export.diffusion import TRAINERS, seen
from mien.export.diffusion import making as making_room
from mien.export.diffusion.planning import Motion, pieces
from mien.export.diffusion.targets import TARGETS, bucket, crop, sizes
from mien.export.selection.gate import Withheld
from mien.testing.media import Recipe

BRIEF = Recipe(1.5, 16, 256, 256, sound=False)
BY_NAME = {t.name: t for t in TRAINERS}
MUSUBI = {
    "caption_extension", "batch_size", "num_repeats", "resolution", "enable_bucket", "bucket_no_upscale",
    "video_directory", "video_jsonl_file", "control_directory", "target_frames", "frame_extraction", "frame_stride",
    "frame_sample", "max_frames", "cache_directory", "source_fps", "fp_latent_window_size",
}  # fmt: skip
SD_GENERAL = {"shuffle_caption", "caption_dropout_rate", "flip_aug"}
SD_DATASET = {"resolution", "batch_size", "enable_bucket", "subsets"}
SD_SUBSET = {"image_dir", "num_repeats", "caption_extension"}


def everything(folder: Path) -> dict[str, str]:
    return {
        p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }


def records(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / making_room.CLIPS).read_text().splitlines()]


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    root = tmp_path_factory.mktemp("studio")
    held = studio(root, {"long": {}, "short": {"recipe": Recipe(0.5, 30, 320, 256)},
                         "small": {"recipe": Recipe(3, 30, 128, 96)}})  # fmt: skip
    yield held
    held.close()


@pytest.fixture(scope="module")
def folders(project, tmp_path_factory):
    made = {}
    for t in TRAINERS:
        made[t.name] = tmp_path_factory.mktemp(t.name)
        t.write(job(project), made[t.name])
    return made


def test_films_have_8n_plus_1_frames_and_two_to_spare_at_the_rate_of_their_folder(folders):
    for name in ("musubi", "diffusion-pipe", "simpletuner", "finetrainers", "ai-toolkit"):
        spare = 0 if name == "finetrainers" else 2  # it would thin them out
        (row,) = records(folders[name])
        path = folders[name] / row["file"]
        with av.open(str(path)) as file:
            stream = file.streams.video[0]
            shown = [f.time for f in file.decode(stream)]
            assert (stream.width, stream.height) == tuple(row["size_px"])
        assert row["frames"] % 8 == 1
        assert len(shown) == row["frames"] + spare == row["frames_in_file"] == len(row["source_t_us"])
        assert np.allclose(np.diff(shown), 1 / row["fps"], atol=1e-4)
        assert all(side % 32 == 0 for side in row["size_px"])
        assert f"{row['fps']}fps-{row['frames']}f-{row['size_px'][0]}x{row['size_px'][1]}" in row["file"]


def test_what_is_too_short_or_would_be_enlarged_is_dropped_with_a_code(folders):
    rows = [json.loads(x) for x in (folders["musubi"] / making_room.DROPPED).read_text().splitlines()]
    assert sorted(r["code"] for r in rows) == ["clip.too-short", "clip.too-small"]


def test_media_folders_hold_nothing_but_media_and_their_captions(folders):
    for name, folder in folders.items():
        kinds = {p.suffix for p in (folder / "media").rglob("*") if p.is_file()}
        more = {"diffusion-pipe": {".json"}, "finetrainers": {".jsonl"}, "diffusers": {".jsonl"}}.get(name, {".txt"})
        assert kinds in ({".mp4"} | more, {".png"} | more), name
        assert not [p for p in (folder / "media").rglob("*.jsonl") if p.parent != folder / "media"]


def test_nothing_names_a_recording_or_a_place_on_this_machine(folders, project):
    for folder in folders.values():
        for path in folder.rglob("*"):
            if path.is_file():
                data = path.read_bytes()
                assert str(project.root.parent).encode() not in data, path
                assert b".mp4" not in data or b"long" not in data, path


def test_configs_have_known_keys_only_and_point_at_files_that_are_there(folders):
    def toml(name):
        return tomllib.loads((folders[name] / "dataset.toml").read_text())

    musubi = toml("musubi")
    for row in musubi["datasets"]:
        assert set(row) <= MUSUBI
        assert isinstance(row["source_fps"], float)
        assert list((folders["musubi"] / row["video_directory"]).glob("*.mp4"))
    assert set(musubi["general"]) <= MUSUBI
    pictures = toml("sd-scripts")
    assert set(pictures["general"]) <= SD_GENERAL
    for row in pictures["datasets"]:
        assert set(row) <= SD_DATASET
        assert all(set(s) <= SD_SUBSET for s in row["subsets"])
        assert list((folders["sd-scripts"] / row["subsets"][0]["image_dir"]).glob("*.png"))
    for row in toml("diffusion-pipe")["directory"]:
        told = json.loads((folders["diffusion-pipe"] / row["path"] / "captions.json").read_text())
        films = {p.name for p in (folders["diffusion-pipe"] / row["path"]).glob("*.mp4")}
        assert set(told) == films
        assert all(isinstance(v, list) and v for v in told.values())
    dataset = json.loads((folders["finetrainers"] / "training.json").read_text())["datasets"][0]
    assert dataset["video_resolution_buckets"] == [[49, 224, 288]]
    assert dataset["data_root"].startswith("./")  # without, it asks the hub for a data set of that name first


@pytest.mark.parametrize("trainer", SCHEMAS)
def test_the_trainers_own_schema_holds_and_every_planted_mistake_is_refused(folders, trainer):
    told = held(folders[trainer], trainer)
    checked(trainer, told)
    planted = dict(mistakes(told))
    assert [what for what, wrong in planted.items() if not refused(trainer, wrong)] == []
    assert len(planted) > 15


def refused(trainer, told) -> bool:
    try:
        checked(trainer, told)
    except ValidationError:
        return True
    return False


def mistakes(told, path=()):
    """(what is wrong, the values with it): an unknown key in every table, a wrong type at every leaf, no value."""
    node = told
    for step in path:
        node = node[step]
    if isinstance(node, dict):
        yield f"an unknown key at {path}", replaced(told, path, node | {"caption_extention": "txt"})
    if isinstance(node, dict | list):
        for step in node if isinstance(node, dict) else range(len(node)):
            yield from mistakes(told, (*path, step))
    elif path:
        yield f"a table at {path}", replaced(told, path, {"a": 1})
        yield f"nothing at {path}", replaced(told, path, None)


def replaced(told, path, value):
    if not path:
        return value
    made = copy.deepcopy(told)
    node = made
    for step in path[:-1]:
        node = node[step]
    node[path[-1]] = value
    return made


def test_the_same_bytes_again_with_another_number_of_workers(project, folders, tmp_path, monkeypatch):
    monkeypatch.setattr(making_room, "WORKERS", 1)
    BY_NAME["musubi"].write(job(project), tmp_path)
    assert everything(tmp_path) == everything(folders["musubi"])


def test_the_sharpest_picture_is_taken(folders):
    rows = records(folders["diffusers"])
    assert [r["piece"] for r in rows[:2]] == [[0, 2], [1, 2]]
    told = [json.loads(x) for x in (folders["diffusers"] / "media" / "metadata.jsonl").read_text().splitlines()]
    assert [f"media/{t['file_name']}" for t in told] == [r["file"] for r in rows]


def test_care_is_refused_whatever_it_was_selected_for(tmp_path):
    held = studio(tmp_path, context="care")
    with pytest.raises(MienError, match=r"export\.all-withheld|context\."):
        BY_NAME["musubi"].write(job(held), tmp_path / "o")
    held.close()


def test_a_selection_for_reading_affect_makes_no_pictures(project, tmp_path):
    from dataclasses import replace

    mine = job(project)
    mine = replace(mine, scope=replace(mine.scope, target="understanding"))
    with pytest.raises(MienError, match=r"context\.generation"):
        BY_NAME["musubi"].write(mine, tmp_path)


def test_a_file_that_was_exchanged_after_the_analysis_does_not_leave(tmp_path):
    held = studio(tmp_path, {"a": {}, "b": {}}, recipe=BRIEF)
    sources = sorted(held.store.all(Source), key=lambda s: s.path)
    Path(sources[0].path).write_bytes(Path(sources[1].path).read_bytes())
    mine = job(held)
    (tmp_path / "o").mkdir()
    BY_NAME["musubi"].write(mine, tmp_path / "o")
    assert [w.code for w in mine.dropped] == ["media.changed"]
    assert {r["source_sha256"] for r in records(tmp_path / "o")} == {sources[1].sha256}
    held.close()


def test_hostile_media_are_a_dropped_row(tmp_path, monkeypatch):
    held = studio(tmp_path, {"a": {}, "b": {}}, recipe=BRIEF)
    bad = Path(sorted(held.store.all(Source), key=lambda s: s.path)[0].path)
    data = bytearray(bad.read_bytes())
    data[len(data) // 3 :] = bytes(len(data) - len(data) // 3)
    bad.write_bytes(data)
    monkeypatch.setattr(making_room.Intact, "wrong", lambda *_: None)
    mine = job(held)
    (tmp_path / "o").mkdir()
    BY_NAME["musubi"].write(mine, tmp_path / "o")
    assert len(records(tmp_path / "o")) == 1
    assert mine.dropped[0].code.startswith("media.")
    assert len(list((tmp_path / "o").rglob("*.mp4"))) == 1
    held.close()


def test_the_wrong_target_is_told(project, tmp_path):
    with pytest.raises(MienError, match=r"export\.wrong-target"):
        BY_NAME["musubi"].write(job(project, target="sdxl"), tmp_path)
    with pytest.raises(MienError, match=r"export\.unknown-target"):
        BY_NAME["musubi"].write(job(project, target="van"), tmp_path)


def test_the_preview_is_what_is_written(project, folders):
    for t in TRAINERS:
        told, rows = t.preview(job(project)), records(folders[t.name])
        assert sum(b["files"] for b in told["buckets"]) == len(rows)
        assert [c["file"] for c in told["clips"]] == [r["file"].rpartition(".")[0] for r in rows]
        assert [c["captions"] for c in told["clips"]] == [r["captions"] for r in rows]
        dropped = [json.loads(x) for x in (folders[t.name] / making_room.DROPPED).read_text().splitlines()]
        assert told["dropped"] == dropped


def test_buckets_are_never_enlarged_and_pieces_begin_where_it_is_quiet():
    for t in TARGETS.values():
        assert all(f % 8 == 1 for f in t.frames)
        assert all(w % 32 == h % 32 == 0 for area in t.areas_px for w, h in sizes(area))
    assert bucket(1920, 1080, TARGETS["wan"]) == (832, 480) or bucket(1920, 1080, TARGETS["wan"])[0] % 32 == 0
    assert bucket(128, 96, TARGETS["wan"]) is None
    x1, y1, x2, y2 = crop(1920, 1080, (512, 512))
    assert (y1, y2) == (0, 1)
    assert (x2 - x1) * 1920 == pytest.approx(1080)
    source = Source("a" * 64, "x", "video", 1, 14_000_000, 640, 480, 30.0, None, None, "studio")
    t_us = np.arange(0, 14_000_000, 100_000)
    energy = np.ones(len(t_us), np.float32)
    energy[t_us == 6_300_000] = 0.0
    found = pieces("x", source, Span(0, 14_000_000), TARGETS["wan"], Motion(t_us, energy))
    assert not isinstance(found, Withheld)
    assert [p.span.start_us for p in found] == [0, 6_300_000]
    assert all(a.span.end_us <= b.span.start_us for a, b in pairwise(found))
    assert {p.frames for p in found} == {81}


def test_draws_are_seeded(project):
    from mien.export.diffusion.diffusion_pipe import TARGETS as PIPES

    one, two = (seen.look(job(project), PIPES, lists=True).draws for _ in range(2))
    assert one == two
    assert all(len(d) == 3 for d in one)
