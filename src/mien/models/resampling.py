"""Resizing as the processors of published torch models do it: antialiased, on uint8.

torch's own kernel for uint8 is what torchvision's `resize(antialias=True)` runs on the CPU, and follows Pillow's to
within one level; torchvision itself is not needed.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from mien.models.torchnet import need_torch

U8 = npt.NDArray[np.uint8]


def resampled(pixels: U8, height: int, width: int, how: Literal["bilinear", "bicubic"]) -> U8:
    """Pixels `[n h w 3]` at another size `[n height width 3]`.

    Raises:
        MienError: `install.missing-extra`.
    """
    if pixels.shape[1:3] == (height, width):
        return pixels
    torch = need_torch()
    planes = torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)))
    planes = torch.nn.functional.interpolate(
        planes, size=(height, width), mode=how, antialias=True, align_corners=False
    )
    return np.ascontiguousarray(planes.numpy().transpose(0, 2, 3, 1))
