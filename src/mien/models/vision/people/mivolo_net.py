"""MiVOLO in torch: a face and a body, each a picture, fused before the trunk of VOLO.

Kuprashevich & Tolstykh, "MiVOLO: Multi-input Transformer for Age and Gender Estimation" (2023). Parameter names are
those of the published file of version 2. Imported only when a network is opened.
"""

from __future__ import annotations

from torch import Tensor, arange, cat, einsum, nn, zeros
from torch.nn import functional as fn

from mien.models.vision.people.volo_net import Volo


class Offsets(nn.Module):
    """Scores of a query for keys at each offset, along height and width on their own (Shaw et al., 2018)."""

    def __init__(self, places: int, width: int) -> None:
        super().__init__()
        self.places = places
        self.height_rel = nn.Parameter(zeros(2 * places - 1, width))
        self.width_rel = nn.Parameter(zeros(2 * places - 1, width))

    def forward(self, q: Tensor) -> Tensor:
        b, n, p = len(q), q.shape[1], self.places
        at = arange(p, device=q.device)
        offset = at[None, :] - at[:, None] + p - 1  # [query key]
        grid = q.reshape(b, p, p, -1)
        across = einsum("bhwd,wkd->bhwk", grid, self.width_rel[offset])[:, :, :, None, :]
        down = einsum("bhwd,hkd->bhwk", grid, self.height_rel[offset])[:, :, :, :, None]
        return (across + down).reshape(b, n, n)


class Perceptron(nn.Module):
    def __init__(self, width: int, hidden: int, out: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Conv2d(width, hidden, 1), nn.Conv2d(hidden, out, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(fn.gelu(self.fc1(x)))


class CrossAttention(nn.Module):
    """The face asks the body and the body asks the face: two `[b c h w]` → one `[b c h w]`."""

    def __init__(self, places: int, width: int) -> None:
        super().__init__()
        self.width = width
        self.qkv_f = nn.Conv2d(width, 3 * width, 1, bias=False)
        self.qkv_p = nn.Conv2d(width, 3 * width, 1, bias=False)
        self.pos_embed = Offsets(places, width)
        self.norm = nn.LayerNorm([2 * width, places, places])
        self.mlp = Perceptron(2 * width, 4 * width, width)

    def forward(self, face: Tensor, body: Tensor) -> Tensor:
        q_face, k_face, v_face = self.qkv_f(face).flatten(2).transpose(1, 2).chunk(3, dim=-1)
        q_body, k_body, v_body = self.qkv_p(body).flatten(2).transpose(1, 2).chunk(3, dim=-1)
        pairs = (self._look(q_face, k_body, v_body), self._look(q_body, k_face, v_face))
        both = cat([x.transpose(1, 2).reshape(face.shape) for x in pairs], dim=1)
        return self.mlp(self.norm(both))

    def _look(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        score = (q @ k.transpose(1, 2)) * self.width**-0.5 + self.pos_embed(q)
        return score.softmax(-1) @ v


def stem(hidden: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for kernel, stride, channels in ((7, 2, 3), (3, 1, hidden), (3, 1, hidden)):
        conv = nn.Conv2d(channels, hidden, kernel, stride, kernel // 2, bias=False)
        layers += [conv, nn.BatchNorm2d(hidden), nn.ReLU()]
    return nn.Sequential(*layers)


class Pair(nn.Module):
    """Face and body `[b 6 side side]` → patches `[b width side/8 side/8]` of both."""

    def __init__(self, places: int, hidden: int, width: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = stem(hidden), stem(hidden)
        self.proj1, self.proj2 = (nn.Conv2d(hidden, width, 4, stride=4) for _ in range(2))
        self.map = CrossAttention(places, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.map(self.proj1(self.conv1(x[:, :3])), self.proj2(self.conv2(x[:, 3:])))


class MiVolo(nn.Module):
    """Face and body `[b 6 side side]` → `[b 3]`: two logits of gender and the age, scaled.

    The published network (d1) is the default: 384 px, 28.8 million parameters. Narrower ones are for tests.
    """

    def __init__(
        self,
        side: int = 384,
        hidden: int = 64,
        layers: tuple[int, int, int, int] = (4, 4, 8, 2),
        widths: tuple[int, int] = (192, 384),
        heads: tuple[int, int] = (6, 12),
    ) -> None:
        super().__init__()
        places = side // 8
        self.mivolo = nn.Module()
        self.mivolo.model = Volo(Pair(places, hidden, widths[0]), places, 3, layers, widths, heads)

    def forward(self, x: Tensor) -> Tensor:
        return self.get_submodule("mivolo.model")(x)
