"""Trainers' own loaders read what is exported. `MIEN_PEERS`: a folder of checkouts (`musubi-tuner`, `sd-scripts`);
their code is run where it lies and never copied."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "unit" / "export"))
from studio import job, studio  # pyright: ignore[reportMissingImports]

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
_SD = """
import argparse, json, sys, types
for name in ("lpw_stable_diffusion", "sdxl_lpw_stable_diffusion"):
    held = types.ModuleType("library." + name)
    held.__getattr__ = lambda n: type(n, (), {}) if not n.startswith("__") else None
    sys.modules["library." + name] = held
from library import config_util as c
user = c.load_user_config("dataset.toml")
plan = c.BlueprintGenerator(c.ConfigSanitizer(True, True, False, True)).generate(user, argparse.Namespace())
made = c.generate_dataset_group_by_blueprint(plan.dataset_group)
group = made[0] if isinstance(made, tuple) else made
told = []
for d in group.datasets:
    d.make_buckets()
    for i in d.image_data.values():
        told.append({"caption": i.caption, "size": list(i.image_size), "bucket": list(i.bucket_reso)})
print("TOLD " + json.dumps(told))
"""


def told(checkout: str, source: str, program: str, folder: Path) -> list[dict]:
    import json

    root = Path(os.environ.get("MIEN_PEERS", "")) / checkout / source
    if not os.environ.get("MIEN_PEERS") or not root.is_dir():
        pytest.skip(f"no checkout of {checkout}: set MIEN_PEERS to the folder that holds it")
    path = os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])
    run = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, env=os.environ | {"PYTHONPATH": path}, capture_output=True,
        text=True, check=False,
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


def written(project, name: str, folder: Path) -> list[str]:
    """The captions, sorted."""
    BY_NAME[name].write(job(project), folder)
    return sorted(p.read_text() for p in (folder / "media").rglob("*.txt"))


def test_musubi_reads_every_film_with_its_caption(project, tmp_path):
    captions = written(project, "musubi", tmp_path)
    rows = told("musubi-tuner", "src", _MUSUBI, tmp_path)
    assert [r["shape"] for r in rows] == [[17, 256, 256, 3]] * 2
    assert sorted(r["caption"] for r in rows) == captions


def test_sd_scripts_reads_every_picture_in_its_bucket(project, tmp_path):
    captions = written(project, "sd-scripts", tmp_path)
    rows = told("sd-scripts", ".", _SD, tmp_path)
    assert sorted(r["caption"] for r in rows) == captions
    assert all(r["size"] == r["bucket"] == [256, 256] for r in rows)


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
