"""InceptionResnetV1 from its published tensors, as an ONNX network in memory.

Szegedy et al., "Inception-v4, Inception-ResNet and the Impact of Residual Connections on Learning" (AAAI 2017), as
FaceNet uses it (Schroff et al., CVPR 2015; D. Sandberg, facenet; T. Esler, facenet-pytorch). Batch norms are folded
into the convolutions before them, in float64.
"""

from __future__ import annotations

import numpy as np

from mien.core import MienError
from mien.models.onnx import Array
from mien.models.vision.graphs import Graph, Tensors

SIDE, WIDTH = 160, 512
EPSILON = 1e-3  # of the batch norms, from TensorFlow

Layer = tuple[int, tuple[int, int], int]  # output channels, kernel, stride
ONE, THREE = (1, 1), (3, 3)
STEM: tuple[tuple[str, Layer, bool], ...] = (
    ("conv2d_1a", (32, THREE, 2), False),
    ("conv2d_2a", (32, THREE, 1), False),
    ("conv2d_2b", (64, THREE, 1), True),
    ("", (0, THREE, 2), False),  # the largest of 3 × 3
    ("conv2d_3b", (80, ONE, 1), True),
    ("conv2d_4a", (192, THREE, 1), False),
    ("conv2d_4b", (256, THREE, 2), False),
)
BLOCK35 = ([(32, ONE, 1)], [(32, ONE, 1), (32, THREE, 1)], [(32, ONE, 1), (32, THREE, 1), (32, THREE, 1)])
BLOCK17 = ([(128, ONE, 1)], [(128, ONE, 1), (128, (1, 7), 1), (128, (7, 1), 1)])
BLOCK8 = ([(192, ONE, 1)], [(192, ONE, 1), (192, (1, 3), 1), (192, (3, 1), 1)])
MIXED_6A = ([(384, THREE, 2)], [(192, ONE, 1), (192, THREE, 1), (256, THREE, 2)])
MIXED_7A = (
    [(256, ONE, 1), (384, THREE, 2)],
    [(256, ONE, 1), (256, THREE, 2)],
    [(256, ONE, 1), (256, THREE, 1), (256, THREE, 2)],
)


def network(held: Tensors) -> bytes:
    """Picture float32 `[1 3 160 160]` → embedding `[1 512]` of length one.

    Raises:
        MienError: `weights.wrong-keys`, `weights.wrong-shape`, `weights.not-finite`, `weights.unreadable`, each with
            the tensor's name.
    """
    made = _Building(held)
    x = made.stem("picture")
    for i in range(5):
        x = made.residual(x, f"repeat_1.{i}", 256, BLOCK35, 0.17)
    x = made.mixed(x, "mixed_6a", 256, MIXED_6A)
    for i in range(10):
        x = made.residual(x, f"repeat_2.{i}", 896, BLOCK17, 0.10)
    x = made.mixed(x, "mixed_7a", 896, MIXED_7A)
    for i in range(5):
        x = made.residual(x, f"repeat_3.{i}", 1792, BLOCK8, 0.20)
    x = made.residual(x, "block8", 1792, BLOCK8, 1.0, rectify=False)
    x = made.unit(x)
    held.finish()
    return made.graph.model(("picture", [1, 3, SIDE, SIDE]), (x, [1, WIDTH]))


class _Building:
    def __init__(self, held: Tensors) -> None:
        self.graph, self._held = Graph(), held

    def conv(self, x: str, at: str, wide: int, layer: Layer, same: bool) -> str:
        """Convolution, batch norm, ReLU."""
        out, kernel, stride = layer
        weight = self._held.take(f"{at}.conv.weight", out, wide, *kernel)
        scale, shift = self._norm(f"{at}.bn", out)
        pads = [k // 2 for k in kernel] * 2 if same else [0] * 4
        constants = self.graph.put(weight * scale[:, None, None, None]), self.graph.put(shift)
        return self.graph.node("Relu", self.graph.node("Conv", x, *constants, strides=[stride] * 2, pads=pads))

    def stem(self, x: str) -> str:
        wide = 3
        for at, layer, same in STEM:
            x = self.conv(x, at, wide, layer, same) if at else self._largest(x)
            wide = layer[0] or wide
        return x

    def mixed(self, x: str, at: str, wide: int, branches: tuple[list[Layer], ...]) -> str:
        """The branches and the largest of 3 × 3 side by side, at half the size."""
        outs = [self._branch(x, f"{at}.branch{i}", wide, layers) for i, layers in enumerate(branches)]
        return self.graph.node("Concat", *outs, self._largest(x), axis=1)

    def residual(
        self, x: str, at: str, wide: int, branches: tuple[list[Layer], ...], scale: float, *, rectify: bool = True
    ) -> str:
        outs = [self._branch(x, f"{at}.branch{i}", wide, layers) for i, layers in enumerate(branches)]
        joined, deep = self.graph.node("Concat", *outs, axis=1), sum(layers[-1][0] for layers in branches)
        weight = self.graph.put(scale * self._held.take(f"{at}.conv2d.weight", wide, deep, 1, 1))
        bias = self.graph.put(scale * self._held.take(f"{at}.conv2d.bias", wide))
        total = self.graph.node("Add", self.graph.node("Conv", joined, weight, bias), x)
        return self.graph.node("Relu", total) if rectify else total

    def unit(self, x: str) -> str:
        """Mean over the map, linear layer with its norm, length one (at least 1e-12 is divided by)."""
        graph = self.graph
        scale, shift = self._norm("last_bn", WIDTH)
        weight = graph.put(self._held.take("last_linear.weight", WIDTH, 1792) * scale[:, None])
        flat = graph.node("Flatten", graph.node("GlobalAveragePool", x))
        y = graph.node("Gemm", flat, weight, graph.put(shift), transB=1)
        length = graph.node("ReduceL2", y, graph.put(np.array([1], np.int64)), keepdims=1)
        return graph.node("Div", y, graph.node("Max", length, graph.put(np.array([1e-12]))))

    def _branch(self, x: str, at: str, wide: int, layers: list[Layer]) -> str:
        for i, layer in enumerate(layers):
            x = self.conv(x, f"{at}.{i}" if len(layers) > 1 else at, wide, layer, same=layer[2] == 1)
            wide = layer[0]
        return x

    def _largest(self, x: str) -> str:
        return self.graph.node("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2])

    def _norm(self, at: str, n: int) -> tuple[Array, Array]:
        weight, bias, mean, var = (
            self._held.take(f"{at}.{part}", n) for part in ("weight", "bias", "running_mean", "running_var")
        )
        if (var < 0).any():
            raise MienError("weights.unreadable", f"{at}.running_var holds a negative variance", "fetch the file again")
        scale = weight / np.sqrt(var + EPSILON)
        return scale, bias - mean * scale
