"""Clip classifiers: which frames stand for a window, whose numbers they are, which folders are refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mien.core import Device, Frames, MienError, WeightFiles, Windows
from mien.models.vision.people.actions import Actions, evenly
from mien.models.weights.folders import INDEX, index


def clip(n: int, height: int = 48, width: int = 64, seed: int = 0) -> Frames:
    pixels = np.random.default_rng(seed).integers(0, 255, (n, height, width, 3), dtype=np.uint8)
    return Frames(pixels, np.arange(n, dtype=np.int64) * 40_000)


def test_frames_are_taken_at_even_steps_of_time():
    assert evenly([0, 1, 2, 3, 4, 5, 6, 7], 8) == list(range(8))
    assert evenly(list(range(0, 310, 10)), 4) == [0, 10, 20, 30]
    # ten frames in the first tenth of a second, then one in each half second: the late ones count for their time
    late = [*range(0, 100_000, 10_000), 500_000, 1_000_000, 1_500_000]
    assert evenly(late, 4) == [0, 10, 11, 12]
    assert evenly([7], 3) == [0, 0, 0]
    assert evenly([0, 1_000_000], 4) == [0, 0, 1, 1]


def test_the_stand_in_sees_where_the_light_goes():
    pixels = np.zeros((6, 32, 32, 3), np.uint8)
    for i in range(6):
        pixels[i, 12:20, 4 * i : 4 * i + 8] = 255
    right = Frames(pixels, np.arange(6, dtype=np.int64))
    left = Frames(pixels[::-1].copy(), right.t_us)
    said = Actions.tiny().run(Windows((right, left, Frames(pixels[:0], right.t_us[:0]))))
    assert [said.labels[i] for i in said.probs[:2].argmax(1)] == ["right", "left"]
    assert np.isnan(said.probs[2]).all()


# ---------------------------------------------------------------- a real network


@pytest.fixture(scope="module")
def start(tmp_path_factory) -> Callable[..., Any]:
    torch = pytest.importorskip("torch")
    pytest.importorskip("transformers")
    torch.set_num_threads(1)

    def start(folder: Path) -> Any:
        home = tmp_path_factory.mktemp("added")
        (home / INDEX).write_bytes(index(folder))
        return Actions.open(WeightFiles({INDEX: home / INDEX}), Actions.Config(batch=2), Device(threads=1))

    return start


@pytest.fixture(scope="module")
def folder(start, tmp_path_factory) -> Path:
    from tiny_clips import build

    return build(tmp_path_factory.mktemp("models") / "videomae")


def test_labels_are_the_checkpoints_and_the_order_of_frames_decides(start, folder):
    from tiny_clips import LABELS

    model = start(folder)
    frames = clip(8)
    turned = Frames(frames.pixels[::-1].copy(), frames.t_us)
    said = model.run(Windows((frames, turned, clip(3), clip(20, seed=1))))
    assert said.labels == LABELS
    np.testing.assert_allclose(said.probs.sum(1), 1, atol=1e-5)
    assert np.abs(said.probs[0] - said.probs[1]).max() > 1e-3
    alone = np.concatenate([model.run(Windows((w,))).probs for w in (frames, turned, clip(3), clip(20, seed=1))])
    np.testing.assert_allclose(said.probs, alone, atol=1e-6)
    model.close()


def test_a_short_window_repeats_its_frames(start, folder):
    model = start(folder)
    two = clip(2)
    filled = Frames(two.pixels[[0, 0, 0, 0, 1, 1, 1, 1]], np.arange(8, dtype=np.int64) * 1000)
    said = model.run(Windows((two, filled))).probs
    np.testing.assert_allclose(said[0], said[1], atol=1e-6)


def test_a_timesformer_is_read_by_the_same_code(start, tmp_path):
    from tiny_clips import LABELS, build

    said = start(build(tmp_path / "timesformer", "timesformer", old=True)).run(Windows((clip(8),)))
    assert said.labels == LABELS
    assert np.isfinite(said.probs).all()


HURT = "videomae.encoder.layer.1.attention.attention.query.weight"


@pytest.mark.parametrize(("code", "change"), [
    ("weights.wrong-keys", lambda held: held.pop(HURT)),
    ("weights.wrong-keys", lambda held: held.update({HURT.replace("1", "7"): held[HURT].clone()})),
    ("weights.wrong-shape", lambda held: held.update({HURT: held[HURT][:8].clone()})),
])  # fmt: skip
def test_a_folder_of_another_network_is_refused_with_the_name_of_the_tensor(start, folder, tmp_path, code, change):
    from safetensors.torch import load_file, save_file

    odd = tmp_path / "odd"
    shutil.copytree(folder, odd)
    held = load_file(odd / "model.safetensors")
    change(held)
    save_file(held, odd / "model.safetensors", {"format": "pt"})
    with pytest.raises(MienError, match=r"attention\.query\.weight") as refused:
        start(odd)
    assert refused.value.code == code


@pytest.mark.parametrize("hurt", ["model_type", "id2label", "image_mean", "resample"])
def test_a_folder_that_does_not_say_how_it_is_used_is_refused(start, folder, tmp_path, hurt):
    odd = tmp_path / "odd"
    shutil.copytree(folder, odd)
    for name in ("config.json", "preprocessor_config.json"):
        held = json.loads((odd / name).read_text())
        if hurt in held:
            held[hurt] = 3 if hurt == "resample" else None
        (odd / name).write_text(json.dumps(held))
    with pytest.raises(MienError, match="wrong-format"):
        start(odd)


def test_weights_that_give_no_number_are_an_error(start, folder, tmp_path):
    from safetensors.torch import load_file, save_file

    odd = tmp_path / "odd"
    shutil.copytree(folder, odd)
    held = load_file(odd / "model.safetensors")
    held[HURT].fill_(float("nan"))
    save_file(held, odd / "model.safetensors", {"format": "pt"})
    with pytest.raises(MienError, match="not-finite"):
        start(odd).run(Windows((clip(8),)))
