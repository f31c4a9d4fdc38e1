"""EmoNet beside its makers' own code, with the same seeded weights. Needs a checkout of face-analysis/emonet."""

import importlib.util
import os
from pathlib import Path

import numpy as np
import pytest

from mien.core import Boxes, Device, Faces, Frames, WeightFiles
from mien.models.vision.faces.emonet import SIDE, EmoNet5, EmoNet8
from mien.testing import seeded

pytestmark = pytest.mark.peer
torch = pytest.importorskip("torch")


@pytest.fixture(scope="module")
def theirs():
    """Their folder `emonet/`, unchanged."""
    folder = Path(os.environ.get("MIEN_PEERS", "")) / "face-analysis+emonet" / "emonet"
    if not folder.is_dir():
        pytest.skip("needs MIEN_PEERS: a folder with a checkout of face-analysis/emonet in face-analysis+emonet")
    torch.set_num_threads(1)
    return folder


def module(path, monkeypatch):
    monkeypatch.setattr(torch.nn, "InstanceNorm2d", torch.nn.InstanceNorm2d)  # theirs replaces it; put back afterwards
    spec = importlib.util.spec_from_file_location(f"peer_{path.stem}", path)
    held = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(held)
    return held


@pytest.mark.parametrize("cls", [EmoNet8, EmoNet5])
def test_our_network_gives_their_numbers(cls, theirs, monkeypatch, tmp_path, record_property):
    from safetensors.torch import save_file

    net = module(theirs / "models" / "emonet.py", monkeypatch).EmoNet(n_expression=len(cls.labels))
    held = {n: torch.from_numpy(t) for n, t in seeded.weights(seeded.shapes_of(net), gain=0.6).items()}
    net.load_state_dict(held, strict=False)
    net.eval()
    path = tmp_path / cls.spec.weights.runtime[0]
    save_file(dict(net.state_dict()), path)  # every name of theirs must find its place in ours
    x = seeded.pictures(3, 3, SIDE, seed=5)
    with torch.inference_mode():
        said = net(torch.from_numpy(x))
    want = np.column_stack([said["expression"].numpy(), said["valence"].numpy(), said["arousal"].numpy()])
    model = cls.open(WeightFiles({path.name: path}), cls.Config(), Device(threads=1))
    apart = float(np.abs(model._judge(x) - want).max())
    record_property("max_difference", apart)
    print(f"{cls.spec.name}: {apart:.1e} apart, answers up to {np.abs(want).max():.2f}")
    assert apart <= 1e-4
    assert np.ptp(want, axis=0).max() > 0.01, "the pictures make a difference"


def test_our_cut_out_is_that_of_their_evaluation(theirs, monkeypatch):
    """Theirs cuts around the box of 68 landmarks; given a box, `enlarge` and `lower` can say the same square."""
    pixels = np.kron(np.random.default_rng(1).integers(0, 256, (24, 32, 3)), np.ones((20, 20, 1))).astype(np.uint8)
    box = [200.0, 140.0, 330.0, 270.0]
    augment = module(theirs / "data_augmentation.py", monkeypatch).DataAugmentor(SIDE, SIDE)
    want, _ = augment(pixels, bb=np.array(box))
    boxes = Boxes(np.zeros(1, np.int64), np.array([box], np.float32), np.ones(1, np.float32), np.zeros(1, np.int64),
                  ("face",))  # fmt: skip
    model = EmoNet8.tiny()
    model._config = EmoNet8.Config(enlarge=2 / 1.1, lower=0)  # (w + h) · 200 / 220, of a square box
    (ours,) = model._picture(Faces(Frames(pixels[None], np.zeros(1, np.int64)), boxes), 0)[None]
    apart = np.abs(ours.transpose(1, 2, 0) * 255 - want)
    print(f"cut-out: {apart.mean():.2f} of 255 apart on average")
    assert apart.mean() < 3, "half a pixel apart at the edges of the patches, and nowhere else"
    assert np.median(apart) <= 1
