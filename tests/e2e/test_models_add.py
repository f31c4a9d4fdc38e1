"""`mien models add` with checkpoints as they are published: from the file on disk to the answer of the model."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mien.core import Asset, Licences, Weights

torch = pytest.importorskip("torch")

PLUGIN = '''
from typing import ClassVar
import numpy as np
from mien.core import *
from mien.core import adapter
from mien.models.torchnet import read_tensors, fill

@adapter
class Mean:
    """Mean colour through one layer. In: frames. Out: one value."""
    spec: ClassVar = AdapterSpec(name="explicit.mean", slot="explicit", takes=Frames, gives=Scalars, weights=Weights(
        model="mean-net", assets=(), runtime=("mean.safetensors",),
        bring=(Asset("mean.pth", "git", "someone/mean", "0" * 40, "mean.pth", "SHA256", 0),),
        licences=Licences("MIT", "for research", "not said", accept="research-only")))
    class Config(Strict):
        """No keys."""
    def __init__(self, net): self.net = net
    @classmethod
    def open(cls, files, config, device):
        import torch
        return cls(fill(torch.nn.Linear(3, 1), read_tensors(files.only), "mean.safetensors"))
    @classmethod
    def tiny(cls): return cls(None)
    def run(self, batch):
        import torch
        with torch.inference_mode():
            y = self.net(torch.from_numpy(batch.pixels.mean((1, 2), dtype=np.float32) / 255))[:, 0].numpy()
        return Scalars(y, np.full(len(batch), np.nan, np.float32))
    def close(self): pass
'''


@pytest.fixture
def net() -> Any:
    torch.manual_seed(5)
    return torch.nn.Linear(3, 1)


@pytest.fixture
def home(tmp_path: Path, net: Any) -> Path:
    """A package with one model that is brought, and its published file."""
    torch.save({"state_dict": net.state_dict(), "epoch": 7}, tmp_path / "mean.pth")
    site = tmp_path / "site" / "plug-1.dist-info"
    site.mkdir(parents=True)
    (site / "METADATA").write_text("Metadata-Version: 2.1\nName: plug\nVersion: 1\n")
    (site / "entry_points.txt").write_text("[mien.models]\nplug = plug\n")
    sha256 = hashlib.sha256((tmp_path / "mean.pth").read_bytes()).hexdigest()
    (tmp_path / "site" / "plug.py").write_text(PLUGIN.replace("SHA256", sha256))
    return tmp_path


def mien(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"PYTHONPATH": str(home / "site"), "MIEN_CACHE": str(home / "cache")}
    command = [sys.executable, "-m", "mien", "models", *words]
    return subprocess.run(command, cwd=home, env=env, capture_output=True, text=True, check=False)


def tried(home: Path) -> float:
    done = mien(home, "try", "explicit.mean", "red.png", "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["answer"][0]["value"]


def test_from_the_published_file_to_the_answer(home: Path, net: Any) -> None:
    import cv2
    import numpy as np

    cv2.imwrite(str(home / "red.png"), np.full((64, 64, 3), (0, 0, 255), np.uint8))
    refused = mien(home, "add", "mean-net", "mean.pth")
    assert refused.returncode == 1
    assert "mien models add mean-net mean.pth --accept-licence research-only" in refused.stderr
    done = mien(home, "add", "mean-net", "mean.pth", "--accept-licence", "research-only")
    assert done.returncode == 0, done.stderr
    assert "2 tensors under 'state_dict'" in done.stderr
    assert "left out, no tensors" not in done.stderr
    assert "this is the published file" in done.stderr
    want = float(net(torch.tensor([[1.0, 0.0, 0.0]])).detach())
    assert tried(home) == pytest.approx(want, rel=1e-3)
    (row,) = json.loads(mien(home, "list", "mean-net", "--json").stdout)
    assert row["state"] == "ok"
    published = row["sha256"]

    torch.save({k: v + 1 for k, v in net.state_dict().items()} | {"note": "mine"}, home / "own.pt")
    done = mien(home, "add", "mean-net", "own.pt")
    assert "left out, no tensors: note (str)" in done.stderr
    assert "this is not the published mean.pth" in done.stderr
    assert tried(home) == pytest.approx(want + 2, rel=1e-3)
    (row,) = json.loads(mien(home, "list", "mean-net", "--json").stdout)
    assert row["state"] == "own"
    assert row["sha256"] != published

    assert mien(home, "add", "mean-net", "--undo").returncode == 0
    gone = mien(home, "try", "explicit.mean", "red.png")
    assert gone.returncode == 1
    assert "[weights.missing]" in gone.stderr


def test_a_file_that_would_run_something_is_refused_and_leaves_nothing(home: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return os.system, (f"touch {home / 'canary'}",)

    torch.save({"state_dict": {"weight": torch.ones(1, 3), "x": Evil()}}, home / "evil.pth")
    done = mien(home, "add", "mean-net", "evil.pth", "--accept-licence", "research-only", "--json")
    assert done.returncode == 1
    assert "[weights.can-carry-code]" in done.stderr
    assert "posix.system" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (home / "canary").exists()
    assert not list((home / "cache").rglob("*.safetensors"))
    torch.load(home / "evil.pth", weights_only=False)
    assert (home / "canary").exists(), "the canary lives where it may"


def test_the_fingerprint_covers_what_is_brought() -> None:
    def weights(sha256: str) -> Weights:
        bring = (Asset("a.pth", "git", "a/b", "0" * 40, "a.pth", sha256, 0),)
        return Weights("m", (), Licences("MIT", "MIT", "none"), ("a.safetensors",), bring=bring)

    assert weights("1" * 64).sha256 != weights("2" * 64).sha256
