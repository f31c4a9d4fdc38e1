"""The trunk of VOLO (Yuan et al., "VOLO: Vision Outlooker for Visual Recognition", 2021) in torch.

Parameter names are the published ones. Imported only when a network is opened.
"""

from __future__ import annotations

from torch import Tensor, cat, nn, zeros
from torch.nn import functional as fn

KERNEL = 3  # an outlook looks at 3 × 3 neighbours, at every second place


class Mlp(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(fn.gelu(self.fc1(x)))


class OutlookAttention(nn.Module):
    """Each place gives weights to its neighbourhood, without keys: `[b h w c]` → `[b h w c]`."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.v = nn.Linear(width, width, bias=False)
        self.attn = nn.Linear(width, KERNEL**4 * heads)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        b, h, w, c = x.shape
        area, each = KERNEL**2, c // self.heads
        near = fn.unfold(self.v(x).permute(0, 3, 1, 2), KERNEL, padding=1, stride=2)
        near = near.reshape(b, self.heads, each, area, -1).permute(0, 1, 4, 3, 2)  # b heads places 9 each
        pooled = fn.avg_pool2d(x.permute(0, 3, 1, 2), 2, ceil_mode=True).permute(0, 2, 3, 1)
        weight = self.attn(pooled).reshape(b, -1, self.heads, area, area).permute(0, 2, 1, 3, 4)
        mixed = (weight * each**-0.5).softmax(-1) @ near
        spread = mixed.permute(0, 1, 4, 3, 2).reshape(b, c * area, -1)
        return self.proj(fn.fold(spread, (h, w), KERNEL, padding=1, stride=2).permute(0, 2, 3, 1))


class SelfAttention(nn.Module):
    """Every place looks at every other: `[b h w c]` → `[b h w c]`."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        b, h, w, c = x.shape
        q, k, v = self.qkv(x).reshape(b, h * w, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        mixed = fn.scaled_dot_product_attention(q, k, v)
        return self.proj(mixed.transpose(1, 2).reshape(b, h, w, c))


class ClassAttention(nn.Module):
    """The first token looks at all tokens: `[b n c]` → `[b 1 c]`."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.kv = nn.Linear(width, 2 * width, bias=False)
        self.q = nn.Linear(width, width, bias=False)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        b, n, c = x.shape
        each = c // self.heads
        k, v = self.kv(x).reshape(b, n, 2, self.heads, each).permute(2, 0, 3, 1, 4)
        q = self.q(x[:, :1]).reshape(b, self.heads, 1, each) * each**-0.5
        mixed = (q @ k.transpose(-2, -1)).softmax(-1) @ v
        return self.proj(mixed.transpose(1, 2).reshape(b, 1, c))


class Block(nn.Module):
    """Attention and a perceptron, each after a norm and added to what came in."""

    def __init__(self, attention: type[nn.Module], width: int, heads: int, ratio: int) -> None:
        super().__init__()
        self.norm1, self.attn = nn.LayerNorm(width), attention(width, heads)
        self.norm2, self.mlp = nn.LayerNorm(width), Mlp(width, width * ratio)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class ClassBlock(Block):
    """The same for the first token only; the others pass unchanged."""

    def forward(self, x: Tensor) -> Tensor:
        first = x[:, :1] + self.attn(self.norm1(x))
        return cat([first + self.mlp(self.norm2(first)), x[:, 1:]], dim=1)


class Halve(nn.Module):
    """Half as many places on each side, wider: `[b h w c]` → `[b h/2 w/2 d]`."""

    def __init__(self, width: int, wider: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(width, wider, 2, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class Volo(nn.Module):
    """Patches `[b c h w]` from `patch_embed` → answers `[b classes]`.

    Args:
        patch_embed: whatever turns the input into patches of `widths[0]` channels, `places` × `places` of them.
        layers, widths, heads: of the outlookers and of three stages of transformers.
        ratio: hidden ÷ outer width of the perceptrons.
    """

    def __init__(
        self,
        patch_embed: nn.Module,
        places: int,
        classes: int,
        layers: tuple[int, int, int, int] = (4, 4, 8, 2),
        widths: tuple[int, int] = (192, 384),
        heads: tuple[int, int] = (6, 12),
        ratio: int = 3,
    ) -> None:
        super().__init__()
        narrow, wide = widths
        self.patch_embed = patch_embed
        self.pos_embed = nn.Parameter(zeros(1, places // 2, places // 2, wide))
        outlook = [Block(OutlookAttention, narrow, heads[0], ratio) for _ in range(layers[0])]
        stages = [[Block(SelfAttention, wide, heads[1], ratio) for _ in range(n)] for n in layers[1:]]
        self.network = nn.ModuleList(
            [nn.Sequential(*outlook), Halve(narrow, wide), *(nn.Sequential(*stage) for stage in stages)]
        )
        self.post_network = nn.ModuleList([ClassBlock(ClassAttention, wide, heads[1], ratio) for _ in range(2)])
        self.cls_token = nn.Parameter(zeros(1, 1, wide))
        self.aux_head, self.norm, self.head = nn.Linear(wide, classes), nn.LayerNorm(wide), nn.Linear(wide, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch_embed(x).permute(0, 2, 3, 1)
        for i, stage in enumerate(self.network):
            x = stage(x + self.pos_embed if i == 2 else x)
        x = cat([self.cls_token.expand(len(x), -1, -1), x.flatten(1, 2)], dim=1)
        for block in self.post_network:
            x = block(x)
        x = self.norm(x)
        # Token labelling (Jiang et al., 2021): the strongest place votes, too, with half a voice.
        return self.head(x[:, 0]) + 0.5 * self.aux_head(x[:, 1:]).amax(1)
