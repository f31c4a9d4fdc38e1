"""Sound events by the names of AudioSet: YAMNet, and networks of the PANNs class, as ONNX files that a user brings.

A tag is what a recording resembles, not what happened: AudioSet's labels are noisy, and rare classes (groan, whimper,
wail) have few examples.
"""

from __future__ import annotations

import csv
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
from annotated_types import Ge, Gt, Le

from mien.core import (
    SAMPLE_RATE_HZ,
    US,
    AdapterSpec,
    Asset,
    Curve,
    Device,
    Licences,
    MienError,
    Sound,
    Strict,
    WeightFiles,
    Weights,
    adapter,
)
from mien.models.onnx import Array, OnnxNet
from mien.models.sound import yamnet_mel
from mien.models.sound.yamnet_mel import BANDS, PATCH, PATCH_FRAMES, PATCH_HOP
from mien.models.vision.net import Net, StandIn

F32 = npt.NDArray[np.float32]

CLASSES = Path(__file__).with_name("audioset_classes.csv")
UNKNOWN_TO_YAMNET = frozenset(("/m/05zppz", "/m/02zsn", "/m/04gy_2", "/t/dd00003", "/t/dd00004", "/t/dd00032"))
AUDIOSET = "AudioSet: labels CC BY 4.0, sounds of videos on their uploaders' terms"
BLOCK = 64  # patches in one call: 31 s
MARGIN = 64  # samples on each side of a window that the resampler looks at, and more


@cache
def class_names(yamnet: bool = False) -> tuple[str, ...]:
    """The 527 names of AudioSet in its order, or the 521 that YAMNet knows."""
    with CLASSES.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(line for line in file if not line.startswith("#")))
    return tuple(r["name"] for r in rows if not (yamnet and r["mid"] in UNKNOWN_TO_YAMNET))


def scores(outputs: list[Array], classes: int, rows: int, where: str) -> F32:
    """The output that holds the classes, as `[rows classes]`, checked.

    Raises:
        MienError: `weights.wrong-shape`, `models.not-finite`, `models.no-probability`.
    """
    found = next((o for o in outputs if o.ndim > 1 and o.shape[-1] == classes), None)
    if found is None or found.size < rows * classes:
        said = ", ".join(str(list(o.shape)) for o in outputs)
        raise MienError(
            "weights.wrong-shape",
            f"{where} must give {rows} rows of {classes} classes, but gives {said}",
            "it is a file of another network",
        )
    p = found.reshape(-1, classes)[:rows].astype(np.float32)
    if not np.isfinite(p).all():
        raise MienError("models.not-finite", f"{where} answered NaN or Inf", "check its weights, or use float32")
    if p.min(initial=0) < -1e-4 or p.max(initial=0) > 1 + 1e-4:
        raise MienError(
            "models.no-probability",
            f"{where} answered {p.min():.3g} to {p.max():.3g}, but a class has 0 to 1",
            "export the network with its sigmoid",
        )
    return np.clip(p, 0, 1)


# ---------------------------------------------------------------- YAMNet


@adapter
class YamNet:
    """521 classes of AudioSet every 0.48 s. In: `Sound`. Out: `Curve` of probabilities 0..1; row i begins at i·0.48 s
    and looks at 0.975 s. Classes do not exclude each other. The last row's sound is filled with silence.

    The file takes either samples (`[s]` or `[1 s]`, any length or a fixed one of whole patches) or log-mel patches
    (`[n 96 64]`, `[n 1 96 64]` or `[n 96 64 1]`), and gives `[n 521]` among its outputs.
    """

    class Config(Strict):
        pass

    spec: ClassVar[AdapterSpec] = AdapterSpec(
        name="events.yamnet",
        slot="sound_events",
        takes=Sound,
        gives=Curve,
        weights=Weights(
            model="yamnet",
            assets=(),
            licences=Licences("Apache-2.0", "Apache-2.0", AUDIOSET),
            runtime=("yamnet.onnx",),
            note="fetch an ONNX export of YAMNet (or convert the published one), then: mien models add yamnet FILE",
            bring=(
                Asset(
                    "yamnet.onnx", "hub", "arnoldatse/transcriptor-sound-models", "main", "yamnet.onnx",
                    "98936f40391a8817375cc430d83060b2f63063410d1d8b6ca39658234a2a2bef", 0,
                ),
            ),
        ),
    )  # fmt: skip

    def __init__(self, net: Net, shape: list[object]) -> None:
        self._net = net
        self._form, self._patches = _yamnet_input(shape)

    @classmethod
    def open(cls, files: WeightFiles, config: Config, device: Device) -> Self:
        """Raises MienError `weights.unreadable`, `weights.wrong-shape`, `device.unavailable`."""
        net = OnnxNet(files.only, device)
        return cls(net, net.input_shapes[0])

    @classmethod
    def tiny(cls) -> Self:
        """Weightless: class k is likely where band k mod 64 is loud."""

        def forward(x: Array) -> list[Array]:
            level = x.mean(axis=1)[:, np.arange(521) % BANDS]
            return [(1 / (1 + np.exp(-level))).astype(np.float32)]

        return cls(StandIn(forward), ["n", PATCH_FRAMES, BANDS])

    def run(self, batch: Sound) -> Curve:
        """Raises MienError `weights.wrong-shape`, `models.not-finite`, `models.no-probability`."""
        names = class_names(yamnet=True)
        x = yamnet_mel.padded(batch.samples)
        count = (len(x) - PATCH) // PATCH_HOP + 1 if len(x) else 0
        step = self._patches or BLOCK
        parts = self._net.map(lambda first: self._block(x, first, min(step, count - first)), range(0, count, step))
        values = np.concatenate([np.zeros((0, len(names)), np.float32), *parts])
        return Curve(values, names, batch.t0_us, PATCH_HOP * US // SAMPLE_RATE_HZ)

    def _block(self, x: F32, first: int, rows: int) -> F32:
        given = self._patches or rows  # a file of fixed size gets silence behind the last patch
        part = x[first * PATCH_HOP : (first + rows - 1) * PATCH_HOP + PATCH]
        part = np.pad(part, (0, (given - rows) * PATCH_HOP))
        return scores(self._net.run(self._form(part)), 521, rows, "yamnet.onnx")

    def close(self) -> None:
        self._net.close()


def _yamnet_input(shape: list[object]) -> tuple[Callable[[F32], Array], int]:
    """How samples become the file's input, and how many patches one call holds (0: any number).

    Raises:
        MienError: `weights.wrong-shape`.
    """
    fixed = [s if isinstance(s, int) and s > 0 else None for s in shape]
    rank, size = len(fixed), fixed[-1]
    if rank == 1 or (rank == 2 and fixed[0] in (None, 1)):
        form = (lambda x: x) if rank == 1 else (lambda x: x[None])
        if size is None:
            return form, 0
        if size >= PATCH and (size - PATCH) % PATCH_HOP == 0:
            return form, (size - PATCH) // PATCH_HOP + 1
    if rank in (3, 4):
        extra = None if rank == 3 else (-1 if size == 1 else 1)
        inner = [n for i, n in enumerate(fixed) if i not in (0, extra and extra % rank)]
        if all(n in (None, want) for n, want in zip(inner, (PATCH_FRAMES, BANDS), strict=True)):
            return lambda x: _with(yamnet_mel.patches(x), extra), fixed[0] or 0
    raise MienError(
        "weights.wrong-shape",
        f"yamnet.onnx takes {shape}, but must take samples of whole patches or patches of {PATCH_FRAMES} by {BANDS}",
        "export it for dynamic length, for 15600 samples, or behind its log-mel front",
    )


def _with(x: F32, axis: int | None) -> F32:
    return x if axis is None else np.expand_dims(x, axis)


# ---------------------------------------------------------------- PANNs


@adapter
class Panns:
    """527 classes of AudioSet. In: `Sound`. Out: `Curve` of probabilities 0..1 every `hop_s`; a row looks at
    `window_s` around the middle of its hop (silence beyond the sound's ends). Classes do not exclude each other.

    The file takes samples `[1 s]` at `rate_hz` and gives `[1 527]` (clip-wise) or `[1 t 527]` (frame-wise, the
    decision-level networks: a row is then the mean of the frames within its hop). A file of fixed length sets the
    window. mien's sound is at 16 kHz: a 32 kHz network hears nothing above 8 kHz; Cnn14_16k was trained so.
    """

    class Config(Strict):
        rate_hz: Literal[32000, 16000, 8000] = 32000
        window_s: Annotated[float, Gt(0), Le(30)] = 2.0
        hop_s: Annotated[float, Ge(0.05), Le(30)] = 0.5

    spec: ClassVar[AdapterSpec] = AdapterSpec(
        name="events.panns",
        slot="sound_events",
        takes=Sound,
        gives=Curve,
        weights=Weights(
            model="panns-cnn14",
            assets=(),
            licences=Licences("MIT", "those of the Zenodo record 3987831, which nobody here could read", AUDIOSET),
            runtime=("panns.onnx",),
            note="fetch an ONNX export of a PANNs network (Kong et al., 2020), then: mien models add panns-cnn14 FILE",
            bring=(
                Asset(
                    "panns-cnn14-3s.onnx", "hub", "arnoldatse/transcriptor-sound-models", "main", "panns-cnn14-3s.onnx",
                    "f8d75f78a2d3884e8e1f8976d9e63d8c80752dc242b377e6fa0282988d94cb0e", 0,
                ),
            ),
        ),
    )  # fmt: skip

    def __init__(self, net: Net, shape: list[object], config: Config) -> None:
        size = shape[-1]
        if len(shape) != 2 or (isinstance(shape[0], int) and shape[0] != 1):
            raise MienError(
                "weights.wrong-shape",
                f"panns.onnx takes {shape}, but must take samples [1 s]",
                "export it with its spectrogram inside and a batch of one or of any size",
            )
        fixed_s = size / config.rate_hz if isinstance(size, int) and size > 0 else None
        self._net, self._rate = net, config.rate_hz
        self._hop = 2 * round(config.hop_s * SAMPLE_RATE_HZ / 2)  # even, so that 8 kHz and the middle fall on samples
        self._window = 2 * round((fixed_s or config.window_s) * SAMPLE_RATE_HZ / 2)

    @classmethod
    def open(cls, files: WeightFiles, config: Config, device: Device) -> Self:
        """Raises MienError `weights.unreadable`, `weights.wrong-shape`, `device.unavailable`."""
        net = OnnxNet(files.only, device)
        return cls(net, net.input_shapes[0], config)

    @classmethod
    def tiny(cls) -> Self:
        """Weightless: class k is likely where the k-th of 527 bands is loud."""

        def forward(x: Array) -> list[Array]:
            power = np.abs(np.fft.rfft(x, axis=1))[:, : 527 * (x.shape[1] // 1054)] ** 2
            loud = np.log1p(power.reshape(len(x), 527, -1).mean(2))
            return [(loud / (1 + loud)).astype(np.float32)]

        return cls(StandIn(forward), ["n", "s"], cls.Config())

    def run(self, batch: Sound) -> Curve:
        """Raises MienError `weights.wrong-shape`, `models.not-finite`, `models.no-probability`."""
        names = class_names()
        count = -(-len(batch) // self._hop)
        before = self._window // 2 + MARGIN
        x = np.pad(batch.samples, (before, before + self._hop))
        parts = self._net.map(lambda i: self._row(x, i), range(count))
        values = np.concatenate([np.zeros((0, len(names)), np.float32), *parts])
        return Curve(values, names, batch.t0_us, self._hop * US // SAMPLE_RATE_HZ)

    def _row(self, x: F32, i: int) -> F32:
        from scipy.signal import resample_poly

        first = (i * self._hop + self._hop // 2) // 2 * 2
        part = x[first : first + self._window + 2 * MARGIN]
        up, down = {32000: (2, 1), 16000: (1, 1), 8000: (1, 2)}[self._rate]
        if up != down:
            part = np.asarray(resample_poly(part, up, down), np.float32)
        cut = MARGIN * up // down
        outputs = self._net.run(np.ascontiguousarray(part[cut : cut + self._window * up // down])[None])
        frames = next((o for o in outputs if o.ndim == 3 and o.shape[-1] == 527), None)
        if frames is None:
            return scores(outputs, 527, 1, "panns.onnx")
        n, share = frames.shape[1], self._hop / self._window
        a = max(0, int(n * (1 - share) / 2))
        b = max(a + 1, int(np.ceil(n * (1 + share) / 2)))
        return scores([frames], 527, n, "panns.onnx")[a:b].mean(axis=0, keepdims=True)

    def close(self) -> None:
        self._net.close()
