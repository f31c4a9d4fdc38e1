"""Trainers' own loaders read what is exported. `MIEN_PEERS`: a folder of checkouts (`musubi-tuner`, `sd-scripts`) and
of packages (docs/training-data-studio.md): `diffusion` has what they need, `finetrainers` that one and its `datasets`.

Their code is run where it lies, in a process of its own, and never copied.
"""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

sys.path.append(str(Path(__file__).parents[1] / "unit" / "export"))
from studio import job, studio  # pyright: ignore[reportMissingImports]

from mien.core import Source
from mien.export.diffusion import TRAINERS
from mien.testing.media import Recipe

pytestmark = pytest.mark.peer
BY_NAME = {t.name: t for t in TRAINERS}
BRIEF = Recipe(1.5, 16, 256, 256, sound=False)
_MUSUBI = """
import argparse, json
from musubi_tuner.dataset import config_utils as c
from musubi_tuner.dataset.image_video_dataset import ARCHITECTURE_WAN
user = c.load_user_config("dataset.toml")
print(user)
plan = c.BlueprintGenerator(c.ConfigSanitizer()).generate(user, argparse.Namespace(), architecture=ARCHITECTURE_WAN)
group = c.generate_dataset_group_by_blueprint(plan.dataset_group)
told = []
for dataset in group.datasets:
    for _, batch in dataset.retrieve_latent_cache_batches(1):
        told += [{"shape": list(i.content.shape), "caption": i.caption, "frames": i.frame_count} for i in batch]
print("TOLD " + json.dumps(told))
"""
# torchvision's wheel is built for another torch than that without CUDA; its transforms need no more than these names.
_VISION = """
import os, sys, torch
sys.path += [os.path.join(os.environ["MIEN_PEERS"], "diffusion"), os.environ["MIEN_PEERS"]]
ops = torch.library.Library("torchvision", "DEF")
for name in ("nms", "qnms"):
    ops.define(name + "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
"""
_SD = (
    _VISION
    + """
import argparse, json, types
for name in ("lpw_stable_diffusion", "sdxl_lpw_stable_diffusion"):  # pipelines; they want an older transformers
    held = types.ModuleType("library." + name)
    held.__getattr__ = lambda n: type(n, (), {}) if not n.startswith("__") else None
    sys.modules["library." + name] = held
from library import config_util as c
from library.strategy_base import TokenizeStrategy
class Scripted(TokenizeStrategy):
    def tokenize(self, text):
        return [torch.zeros(1, 4)]
TokenizeStrategy.set_strategy(Scripted())
user = c.load_user_config("dataset.toml")
plan = c.BlueprintGenerator(c.ConfigSanitizer(True, True, False, True)).generate(user, argparse.Namespace())
made = c.generate_dataset_group_by_blueprint(plan.dataset_group)
group = made[0] if isinstance(made, tuple) else made
group.set_current_strategies()
told = []
for d in group.datasets:
    (known,) = {(i.image_size, i.bucket_reso, i.num_repeats) for i in d.image_data.values()}
    for k in range(len(d)):
        batch = d[k]
        image, caption = batch["images"][0], batch["captions"][0]
        assert (image.shape[2], image.shape[1]) == tuple(known[1])
        told.append({"caption": caption, "size": list(known[0]), "bucket": list(known[1]), "repeats": known[2],
                     "flipped": batch["flippeds"], "mean": ((image + 1) * 127.5).mean(dim=(1, 2)).tolist()})
print("TOLD " + json.dumps(told))
"""
)
_FINE = (
    _VISION
    + """
import importlib.machinery, importlib.metadata, json, types
root = os.path.join(os.environ["MIEN_PEERS"], "finetrainers")
for name in ("finetrainers", "finetrainers.data"):  # without their __init__, which imports every model there is
    package = types.ModuleType(name)
    package.__path__ = [os.path.join(root, *name.split("."))]
    sys.modules[name] = package
sys.modules["wandb"] = types.ModuleType("wandb")
sys.modules["wandb"].__spec__ = importlib.machinery.ModuleSpec("wandb", None)
sys.modules["importlib_metadata"] = importlib.metadata
import torchvision, torchvision.io
if not hasattr(torchvision.io, "video_reader"):  # asked for its type alone
    torchvision.io.video_reader = types.SimpleNamespace(VideoReader=type("VideoReader", (), {}))
from finetrainers.data import dataset as d
told = []
for config in json.load(open("training.json"))["datasets"]:
    made = d.initialize_dataset(config.pop("data_root"), config.pop("dataset_type"), streaming=True, infinite=False)
    for s in d.wrap_iterable_dataset_for_preprocessing(made, "video", config):
        told.append({"shape": list(s["video"].shape), "caption": s["caption"], "frames": s["_original_num_frames"],
                     "size": [s["_original_width"], s["_original_height"]],
                     "codes": ((s["video"] + 1) * 127.5).round().byte()[:, :, -20].permute(0, 2, 1).tolist()})
drawn = list(d.ValidationDataset("validation.json")) if os.path.exists("validation.json") else []
print("TOLD " + json.dumps({"rows": told, "validation": drawn}))
"""
)


def told(checkout: str, source: str, program: str, folder: Path) -> Any:
    root = Path(os.environ.get("MIEN_PEERS", "")) / checkout / source
    if not os.environ.get("MIEN_PEERS") or not root.is_dir():
        pytest.skip(f"no checkout of {checkout}: set MIEN_PEERS to the folder that holds it")
    path = os.pathsep.join([str(root.resolve()), os.environ.get("PYTHONPATH", "")])
    more = {"PYTHONPATH": path, "MIEN_PEERS": str(Path(os.environ["MIEN_PEERS"]).resolve()), "HF_HUB_OFFLINE": "1"}
    more |= {"HF_DATASETS_CACHE": str(folder / "cache"), "XDG_CACHE_HOME": str(folder / "cache")}
    run = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, env=os.environ | more, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if "ModuleNotFoundError" in run.stderr:
        pytest.skip(f"{checkout} needs a package that is not here: {run.stderr.strip().splitlines()[-1]}")
    assert run.returncode == 0, run.stderr[-3000:]
    return json.loads(run.stdout.rpartition("TOLD ")[2])


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    held = studio(tmp_path_factory.mktemp("p"), {"a": {}, "b": {}}, recipe=BRIEF)
    yield held
    held.close()


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    """Two films of each of two shapes, hence of two buckets."""
    wide = {"recipe": Recipe(1.5, 16, 320, 256, sound=False)}
    films = {"a": {}, "b": wide, "c": {}, "d": wide}
    held = studio(tmp_path_factory.mktemp("q"), films, recipe=BRIEF)
    yield held
    held.close()


def written(project, name: str, folder: Path) -> list[str]:
    """The captions, sorted."""
    BY_NAME[name].write(job(project), folder)
    return sorted(p.read_text() for p in (folder / "media").rglob("*.txt"))


def test_musubi_reads_every_film_with_its_caption(project, tmp_path):
    captions = written(project, "musubi", tmp_path)
    rows = told("musubi-tuner", "src", _MUSUBI, tmp_path)
    assert [r["shape"] for r in rows] == [[17, 256, 256, 3]] * 2
    assert sorted(r["caption"] for r in rows) == captions


def test_sd_scripts_trains_on_every_picture_in_its_bucket_as_it_was_written(shapes, tmp_path):
    captions = written(shapes, "sd-scripts", tmp_path)
    rows = told("sd-scripts", ".", _SD, tmp_path)
    assert sorted(r["caption"] for r in rows) == captions
    assert sorted(r["size"] for r in rows) == [[256, 256]] * 2 + [[288, 224]] * 2
    assert all(r["size"] == r["bucket"] and r["repeats"] == 1 and r["flipped"] == [False] for r in rows)
    files = [cv2.imread(str(p))[:, :, ::-1] for p in (tmp_path / "media").rglob("*.png")]
    seen, there = (sorted(m) for m in ([r["mean"] for r in rows], [f.mean(axis=(0, 1)).tolist() for f in files]))
    assert np.allclose(seen, there, atol=0.5)  # the very pictures, unchanged


def test_sd_scripts_refuses_a_key_it_does_not_know(shapes, tmp_path):
    """The check above is one that fails: its schema is asked, not passed by."""
    written(shapes, "sd-scripts", tmp_path)
    config = tmp_path / "dataset.toml"
    config.write_text(config.read_text().replace("num_repeats", "num_repeat"))
    with pytest.raises(AssertionError, match="extra keys not allowed"):
        told("sd-scripts", ".", _SD, tmp_path)


def test_finetrainers_reads_every_frame_of_every_film_with_its_caption_and_draws_the_validation(shapes, tmp_path):
    """Two films in `train`, two in `validation`: of those its validation reads the captions."""
    held = job(shapes)
    sizes = {s.sha256: (s.width_px, s.height_px) for s in shapes.store.all(Source)}
    kept = {}
    for size in set(sizes.values()):  # one of each shape in each split
        kept |= dict(zip(sorted(sha for sha in sizes if sizes[sha] == size), ("train", "validation"), strict=True))
    BY_NAME["finetrainers"].write(replace(held, splits=replace(held.splits, of=kept)), tmp_path)
    lines = [json.loads(x) for x in (tmp_path / "media" / "metadata.jsonl").read_text().splitlines()]
    read = told("finetrainers", ".", _FINE, tmp_path)
    rows = read["rows"]
    assert sorted(r["caption"] for r in rows) == sorted(x["caption"] for x in lines)
    assert sorted(r["shape"] for r in rows) == [[17, 3, 224, 288], [17, 3, 256, 256]]
    for row in rows:
        assert [row["frames"], 3, *row["size"][::-1]] == row["shape"]  # no frame left out, nothing enlarged
    (name,) = [x["file_name"] for x in lines if "256x256" in x["file_name"]]
    with av.open(str(tmp_path / "media" / name)) as film:
        frames = [f.to_ndarray(format="rgb24")[-20] for f in film.decode(video=0)]
    (row,) = [r for r in rows if r["size"] == [256, 256]]
    assert np.abs(np.array(row["codes"], int) - np.array(frames, int)).mean() < 2
    records = [json.loads(x) for x in (tmp_path / "records" / "clips.jsonl").read_text().splitlines()]
    drawn = [r for r in records if r["split"] == "validation"]
    assert len(drawn) == 2
    assert sorted(v["prompt"] for v in read["validation"]) == sorted(r["captions"][0] for r in drawn)
    sizes_told = sorted([v["num_frames"], v["width"], v["height"]] for v in read["validation"])
    assert sizes_told == sorted([r["frames"], *r["size_px"]] for r in drawn)


@pytest.mark.parametrize(("trainer", "builder", "column"), [("diffusers", "imagefolder", "text"),
                                                            ("finetrainers", "videofolder", "caption")])  # fmt: skip
def test_datasets_reads_folders_with_metadata(project, tmp_path, trainer, builder, column):
    datasets = pytest.importorskip("datasets", reason="datasets is not installed")
    (tmp_path / "o").mkdir()
    BY_NAME[trainer].write(job(project), tmp_path / "o")
    read = datasets.load_dataset(
        builder, data_dir=str(tmp_path / "o" / "media"), split="train", cache_dir=str(tmp_path / "c")
    )
    features = read.features
    kind = "image" if builder == "imagefolder" else "video"
    read = read.cast_column(kind, getattr(datasets, kind.capitalize())(decode=False))
    assert {kind, column} <= set(features)
    assert len(read) == 2
    assert len({row[column] for row in read}) >= 1
    assert all(row[kind]["path"].endswith((".png", ".mp4")) for row in read)
