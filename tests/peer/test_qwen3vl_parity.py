"""Qwen3-VL's inputs against the published processor itself, which needs torchvision: in a process of its own.

`MIEN_PEERS` names a folder with `torchvision` (`pip install --no-deps --target $MIEN_PEERS/torchvision torchvision`)
and, if wanted, `transformers-4.57` (the same, for `transformers==4.57.* huggingface_hub<1 tokenizers<0.23`).
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mien.core import Frames, Message
from mien.models.language.frames import Sight, seen

torch = pytest.importorskip("torch", reason="needs the packages torch and transformers")
pytest.importorskip("transformers", reason="needs the packages torch and transformers")
sys.path.append(str(Path(__file__).parents[1] / "unit" / "models"))

from tiny_qwen3vl import build  # noqa: E402  # pyright: ignore[reportMissingImports]

PEERS = Path(os.environ.get("MIEN_PEERS", "absent"))
pytestmark = [
    pytest.mark.peer,
    pytest.mark.skipif(not (PEERS / "torchvision").is_dir(), reason="needs torchvision in the folder MIEN_PEERS"),
]
T_US = np.array([0, 130_000, 1_010_000, 1_700_000, 3_333_333], np.int64)


@pytest.mark.parametrize("which", ["installed", "transformers-4.57"])
@pytest.mark.parametrize("n", [1, 5])
def test_tokens_and_patches_are_those_of_the_published_processor(tmp_path, n, which):
    from mien.core import Device
    from mien.models.language.qwen3vl import Qwen3VL
    from mien.models.language.qwen3vl_net import Qwen3VLNet

    if which != "installed" and not (PEERS / which).is_dir():
        pytest.skip(f"needs {which} in the folder MIEN_PEERS")
    folder = build(tmp_path / "model")
    pixels = np.random.default_rng(0).integers(0, 255, (n, 96, 130, 3), dtype=np.uint8)
    low, high = n * 20 * 1024, n * 40 * 1024
    np.savez(tmp_path / "given.npz", pixels=pixels, t_us=T_US[:n], text="What is it?", low=low, high=high)
    paths = [PEERS / "torchvision", *([PEERS / which] if which != "installed" else [])]
    script = Path(__file__).with_name("qwen3vl_reference.py")
    answer = tmp_path / "answer.npz"
    done = subprocess.run(
        [sys.executable, str(script), str(folder), str(tmp_path / "given.npz"), str(answer)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(map(str, reversed(paths)))},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    want = np.load(answer)
    frames = Frames(pixels, T_US[:n])
    mine = seen(frames, Sight.of(folder), low, high)
    kind = "image" if n == 1 else "video"
    values = want["pixel_values" if n == 1 else "pixel_values_videos"]
    assert mine.grid == tuple(want[f"{kind}_grid_thw"][0])
    assert np.abs(mine.values - values).max() == 0
    limits = Qwen3VL.Config(dtype="float32", min_frame_px=20 * 1024, max_frame_px=40 * 1024, max_picture_px=40 * 1024)  # pyright: ignore[reportCallIssue]
    net = Qwen3VLNet.open(folder, limits, Device(threads=1))
    ids = list(net.prompt([Message("user", "What is it?", frames)]).ids)
    theirs = want["input_ids"][0].tolist()
    if n > 1 and not str(want["version"]).startswith("4."):
        # transformers 5 leaves a second pair of marks around a whole video, which 4.57, the version the checkpoints
        # were published with, does not write; mien writes what the network was published with.
        first, last = (net.tokenizer.convert_tokens_to_ids(f"<|vision_{end}|>") for end in ("start", "end"))
        theirs.remove(first)
        del theirs[len(theirs) - 1 - theirs[::-1].index(last)]
    assert ids == theirs
