"""Clip classifiers against transformers' own processor and model, called the way their documentation does."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from mien.core import Device, Frames, WeightFiles, Windows
from mien.models.vision.people.actions import Actions
from mien.models.weights.folders import INDEX, index

torch = pytest.importorskip("torch", reason="needs the packages torch and transformers")
pytest.importorskip("transformers", reason="needs the packages torch and transformers")
sys.path.append(str(Path(__file__).parents[1] / "unit" / "models"))

from tiny_clips import build  # noqa: E402  # pyright: ignore[reportMissingImports]

pytestmark = pytest.mark.peer


def smooth(n: int, height: int, width: int) -> Frames:
    """Colours that change from place to place and from frame to frame, as those of a film do."""
    y, x, t = np.mgrid[0:height, 0:width, 0:n].astype(np.float64)
    planes = [np.sin(x / 17 + t / 3 + k) + np.cos(y / 11 - t / 5 + 2 * k) for k in range(3)]
    pixels = np.stack(planes, -1).transpose(2, 0, 1, 3)
    return Frames((pixels * 60 + 127).astype(np.uint8), np.arange(n, dtype=np.int64) * 33_333)


@pytest.mark.parametrize("kind", ["videomae", "timesformer"])
@pytest.mark.parametrize(("height", "width", "most"), [(40, 56, 1e-6), (240, 320, 1e-4), (360, 202, 1e-4)])
def test_logits_are_those_of_transformers(tmp_path, kind, height, width, most):
    """Without resizing the numbers are the same; resized ones differ by what torch and Pillow differ in (one level)."""
    from transformers import AutoModelForVideoClassification
    from transformers.models.videomae.image_processing_pil_videomae import VideoMAEImageProcessorPil

    torch.set_num_threads(1)
    folder = build(tmp_path / kind, kind)
    processor = VideoMAEImageProcessorPil.from_pretrained(folder)
    model = AutoModelForVideoClassification.from_pretrained(folder).eval()
    frames = smooth(8, height, width)
    given = processor(list(frames.pixels), return_tensors="pt")
    with torch.no_grad():
        want = model(**given).logits[0].softmax(-1).numpy()
    record = tmp_path / INDEX
    record.write_bytes(index(folder))
    mine = Actions.open(WeightFiles({INDEX: record}), Actions.Config(batch=4), Device(threads=1))
    levels = np.abs(mine._clip(frames) - given["pixel_values"][0].numpy()).max() * 0.229 * 255
    said = mine.run(Windows((frames,)))
    most_different = np.abs(said.probs[0] - want).max()
    print(f"{kind} {height}x{width}: probabilities differ by {most_different:.2g}, pixels by {levels:.2g} levels")
    assert levels <= (1.1 if most > 1e-6 else 1e-3)
    np.testing.assert_allclose(said.probs[0], want, atol=most)
    assert said.labels == tuple(model.config.id2label[i] for i in range(5))
    np.testing.assert_array_equal(said.probs[0].argmax(), want.argmax())
