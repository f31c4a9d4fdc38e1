"""EmoNet in torch: a network that finds facial landmarks, and what their places say of emotion.

Toisoul et al., "Estimation of continuous valence and arousal levels from faces in naturalistic conditions" (2021), on
the Face Alignment Network of Bulat & Tzimiropoulos (2017). Parameter names are the published ones. Imported only when a
network is opened.
"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, cat, nn
from torch.nn import functional as fn

LANDMARKS = 68
WIDTH = 256
DEPTH = 4  # how often an hourglass halves
HOURGLASSES = 2
POOLED = 4  # blocks between the landmarks and the emotion, each halving: 64 places on a side become 4


class Join(nn.Module):
    """Three convolutions, each on the last; all three side by side, added to what came in (Bulat, 2017)."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        widths = (channels, out // 2, out // 4, out // 4)
        self.bn1, self.bn2, self.bn3 = (nn.BatchNorm2d(n) for n in widths[:3])
        self.conv1, self.conv2, self.conv3 = (nn.Conv2d(n, m, 3, padding=1, bias=False) for n, m in pairwise(widths))
        self.downsample: nn.Module = nn.Identity()
        if channels != out:
            self.downsample = nn.Sequential(
                nn.BatchNorm2d(channels), nn.ReLU(), nn.Conv2d(channels, out, 1, bias=False)
            )

    def forward(self, x: Tensor) -> Tensor:
        a = self.conv1(fn.relu(self.bn1(x)))
        b = self.conv2(fn.relu(self.bn2(a)))
        c = self.conv3(fn.relu(self.bn3(b)))
        return cat([a, b, c], dim=1) + self.downsample(x)


class Hourglass(nn.Module):
    """Down to a sixteenth and up again, with what was there before added on each floor."""

    def __init__(self) -> None:
        super().__init__()
        for level in range(DEPTH, 0, -1):
            for part in ("b1", "b2", "b3"):
                self.add_module(f"{part}_{level}", Join(WIDTH, WIDTH))
        self.add_module("b2_plus_1", Join(WIDTH, WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        return self._floor(DEPTH, x)

    def _floor(self, level: int, x: Tensor) -> Tensor:
        low = self.get_submodule(f"b2_{level}")(fn.max_pool2d(x, 2))
        low = self._floor(level - 1, low) if level > 1 else self.get_submodule("b2_plus_1")(low)
        low = self.get_submodule(f"b3_{level}")(low)
        return self.get_submodule(f"b1_{level}")(x) + fn.interpolate(low, scale_factor=2, mode="nearest")


class EmoNet(nn.Module):
    """A face `[b 3 256 256]` in 0..1, RGB → `[b classes + 2]`: logits of expression, then valence and arousal."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 7, stride=2, padding=3), nn.BatchNorm2d(64)
        self.conv2, self.conv3, self.conv4 = Join(64, 128), Join(128, 128), Join(128, WIDTH)
        for i in range(HOURGLASSES):
            self.add_module(f"m{i}", Hourglass())
            self.add_module(f"top_m_{i}", Join(WIDTH, WIDTH))
            self.add_module(f"conv_last{i}", nn.Conv2d(WIDTH, WIDTH, 1))
            self.add_module(f"bn_end{i}", nn.BatchNorm2d(WIDTH))
            self.add_module(f"l{i}", nn.Conv2d(WIDTH, LANDMARKS, 1))
            if i < HOURGLASSES - 1:
                self.add_module(f"bl{i}", nn.Conv2d(WIDTH, WIDTH, 1))
                self.add_module(f"al{i}", nn.Conv2d(LANDMARKS, WIDTH, 1))
        self.conv1x1_input_emo_2 = nn.Conv2d(WIDTH * (HOURGLASSES + 1), WIDTH, 1)
        self.emo_net_2 = nn.Sequential(*(m for _ in range(POOLED) for m in (Join(WIDTH, WIDTH), nn.MaxPool2d(2))))
        self.emo_fc_2 = nn.Sequential(
            nn.Linear(WIDTH, 128), nn.BatchNorm1d(128), nn.ReLU(), nn.Linear(128, classes + 2)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = fn.relu(self.bn1(self.conv1(x)))
        first = self.conv4(self.conv3(fn.max_pool2d(self.conv2(x), 2)))
        features, heat = self._landmarks(first)
        # Where the landmarks are is where to look: their heat maps, summed, weigh the features.
        seen = cat([first, features * heat.sum(1, keepdim=True)], dim=1)
        return self.emo_fc_2(self.emo_net_2(self.conv1x1_input_emo_2(seen)).mean((2, 3)))

    def _landmarks(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Features `[b 512 h w]` of both hourglasses and the heat maps `[b 68 h w]` of the last."""
        kept: list[Tensor] = []
        heat = x
        for i in range(HOURGLASSES):
            part = {name: self.get_submodule(f"{name}{i}") for name in ("m", "top_m_", "conv_last", "bn_end", "l")}
            y = fn.relu(part["bn_end"](part["conv_last"](part["top_m_"](part["m"](x)))))
            heat = part["l"](y)
            if i < HOURGLASSES - 1:
                y = self.get_submodule(f"bl{i}")(y)
                x = x + y + self.get_submodule(f"al{i}")(heat)
            kept.append(y)
        return cat(kept, dim=1), heat
