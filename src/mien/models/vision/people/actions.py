"""What happens in a stretch of video: clip classifiers of the VideoMAE class, through transformers.

`VideoMAE` (Tong et al., 2022) and, where the folder is one, `TimeSformer` (Bertasius et al., 2021): published folders
with config.json (labels, frames, side), preprocessor_config.json and model.safetensors.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

import numpy as np
from annotated_types import Ge
from pydantic import Field

from mien.core import (
    AdapterSpec,
    Asset,
    Device,
    Distribution,
    Frames,
    Licences,
    MienError,
    Strict,
    WeightFiles,
    Weights,
    Windows,
    adapter,
    missing_extra,
)
from mien.models.onnx import Array
from mien.models.pretrained import strict
from mien.models.resampling import resampled
from mien.models.torchnet import TorchNet
from mien.models.vision.net import Net, StandIn

KINDS = ("videomae", "timesformer")


@dataclass(frozen=True, slots=True)
class Taking:
    """How a checkpoint wants its clips: frames, shortest edge and crop px, mean and sd of RGB in 0..1, its labels."""

    frames: int
    edge: int
    crop: tuple[int, int]
    mean: tuple[float, ...]
    sd: tuple[float, ...]
    labels: tuple[str, ...]

    @classmethod
    def of(cls, folder: Path) -> Taking:
        """Raises MienError `weights.wrong-format`, naming what is missing or another."""
        try:
            config, how = (
                json.loads((folder / name).read_text(encoding="utf-8"))
                for name in ("config.json", "preprocessor_config.json")
            )
            if config["model_type"] not in KINDS:
                raise ValueError(f"model_type {config['model_type']!r}, and not one of {', '.join(KINDS)}")
            if how.get("rescale_factor", 1 / 255) != 1 / 255 or how.get("resample", 2) != 2:
                raise ValueError("rescaling or resampling of its own")
            names = {int(i): str(name) for i, name in config["id2label"].items()}
            edge = how["size"] if isinstance(how["size"], int) else how["size"]["shortest_edge"]
            crop = how.get("crop_size", edge)  # the oldest folders give one number for both
            sides = (crop, crop) if isinstance(crop, int) else (crop["height"], crop["width"])
            return cls(
                int(config.get("num_frames", 16 if config["model_type"] == "videomae" else 8)),
                int(edge),
                (int(sides[0]), int(sides[1])),
                tuple(float(v) for v in how["image_mean"]),
                tuple(float(v) for v in how["image_std"]),
                tuple(names[i] for i in range(len(names))),
            )
        except (OSError, KeyError, TypeError, ValueError, AttributeError) as error:
            raise MienError(
                "weights.wrong-format",
                f"{folder.name} is no folder of a clip classifier: {error}",
                "it needs config.json, preprocessor_config.json and .safetensors of VideoMAE or TimeSformer",
            ) from error


@adapter
class Actions:
    """Actions in windows of frames. In: windows. Out: probabilities `[n c]` over the checkpoint's own labels.

    The checkpoint's number of frames is taken from each window at even steps of time, each time the nearest frame, so
    that irregular frames count for as long as they last and a short window repeats its frames. Frames are brought to
    the shortest edge, cut in the middle and standardised as the checkpoint says. A window without frames gives NaN.
    """

    spec: ClassVar[AdapterSpec] = AdapterSpec(
        name="action.videomae",
        slot="actions",
        takes=Windows,
        gives=Distribution,
        weights=Weights(
            model="videomae",
            assets=(),
            bring=tuple(
                Asset(name, "hub", f"MCG-NJU/{name}", "main", "model.safetensors", "", 0)
                for name in ("videomae-base-finetuned-kinetics", "videomae-large-finetuned-kinetics")
            ),
            licences=Licences(
                "Apache-2.0", "CC-BY-NC-4.0", "Kinetics-400: annotations CC-BY-4.0, videos of their uploaders",
                accept="research-only",
            ),
            runtime=("folder.json",),
            note="fetch config.json, preprocessor_config.json and model.safetensors into one folder, then: "
            "mien models add videomae FOLDER",
        ),
    )  # fmt: skip

    class Config(Strict):
        batch: Annotated[int, Ge(1)] = Field(4, description="windows in one call of the network")

    def __init__(self, net: Net, taking: Taking, config: Config, resize: Callable[..., Array] = resampled) -> None:
        self._net, self._taking, self._config, self._resize = net, taking, config, resize

    @classmethod
    def open(cls, files: WeightFiles, config: Config, device: Device) -> Self:
        """Raises MienError `install.missing-extra`, `device.unavailable`, `weights.unreadable`, `weights.wrong-format`,
        `weights.wrong-keys`, `weights.wrong-shape`, `weights.damaged`."""
        from mien.models.weights.folders import opened

        folder = opened(files.only)
        taking = Taking.of(folder)
        try:
            from transformers import AutoModelForVideoClassification
        except ImportError as error:
            raise missing_extra("transformers", "transformers") from error
        model = strict(AutoModelForVideoClassification, folder, "float32")
        return cls(TorchNet(_logits(model), device, cls.spec.name), taking, config)

    @classmethod
    def tiny(cls) -> Self:
        taking = Taking(4, 8, (8, 8), (0.5,) * 3, (0.5,) * 3, ("still", "left", "right", "up", "down"))
        return cls(StandIn(_drift), taking, cls.Config(), _nearest)  # pyright: ignore[reportCallIssue]

    @property
    def labels(self) -> tuple[str, ...]:
        return self._taking.labels

    def run(self, batch: Windows) -> Distribution:
        rows = [i for i, frames in enumerate(batch.frames) if len(frames)]
        probs = np.full((len(batch), len(self.labels)), np.nan, np.float32)
        for at in range(0, len(rows), self._config.batch):
            part = rows[at : at + self._config.batch]
            (logits,) = self._net.run(np.stack([self._clip(batch.frames[i]) for i in part]))
            odds = np.exp(logits.astype(np.float64) - logits.max(1, keepdims=True))
            probs[part] = odds / odds.sum(1, keepdims=True)
        return Distribution(probs, self.labels)

    def close(self) -> None:
        self._net.close()

    def _clip(self, frames: Frames) -> Array:
        """float32 `[t 3 h w]` of one window."""
        want = self._taking
        rows = evenly(frames.t_us.tolist(), want.frames)
        kept, places = np.unique(rows, return_inverse=True)
        h, w = frames.pixels.shape[1:3]
        scale = want.edge / min(h, w)
        tall, wide = (want.edge, int(w * scale)) if h <= w else (int(h * scale), want.edge)
        pixels = _middle(self._resize(frames.pixels[kept], tall, wide, "bilinear"), *want.crop)
        mean, sd = (np.array(v, np.float32) * 255 for v in (want.mean, want.sd))
        return ((pixels.astype(np.float32) - mean) / sd).transpose(0, 3, 1, 2)[places]


def evenly(t_us: Sequence[int], n: int) -> list[int]:
    """Which frames stand for a window: at n even steps from its first to its last, each time the nearest frame."""
    times = np.array(t_us, np.float64)
    wanted = np.linspace(times[0], times[-1], n)
    return [int(np.abs(times - t).argmin()) for t in wanted]


def _middle(pixels: Array, height: int, width: int) -> Array:
    """The middle of `[n h w 3]`, with black around it where it is smaller (the published centre crop)."""
    h, w = pixels.shape[1:3]
    if h < height or w < width:
        bigger = np.zeros((len(pixels), max(h, height), max(w, width), 3), pixels.dtype)
        y, x = -(-(bigger.shape[1] - h) // 2), -(-(bigger.shape[2] - w) // 2)
        bigger[:, y : y + h, x : x + w] = pixels
        pixels, (h, w) = bigger, bigger.shape[1:3]
    y, x = (h - height) // 2, (w - width) // 2
    return pixels[:, y : y + height, x : x + width]


def _logits(model: Any) -> Any:
    """The network without its record of outputs: pixel values `[n t 3 h w]` → logits `[n c]`."""
    import torch

    class Logits(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, pixel_values: Any) -> Any:
            return self.model(pixel_values=pixel_values).logits

    return Logits()


# ---------------------------------------------------------------- a stand-in


def _nearest(pixels: Array, height: int, width: int, how: str) -> Array:
    rows, columns = (np.arange(new) * old // new for new, old in zip((height, width), pixels.shape[1:3], strict=True))
    return pixels[:, rows][:, :, columns]


def _drift(x: Array) -> list[Array]:
    """Stand-in: where the light goes from the first frame to the last."""
    light = x.astype(np.float64).mean(2) + 1 + 1e-9
    light /= light.sum((2, 3), keepdims=True)
    y = (light.sum(3) * np.arange(light.shape[2])).sum(2)
    x_ = (light.sum(2) * np.arange(light.shape[3])).sum(2)
    dy, dx = y[:, -1] - y[:, 0], x_[:, -1] - x_[:, 0]
    return [np.stack([0 * dx, -dx, dx, -dy, dy], 1).astype(np.float32)]
