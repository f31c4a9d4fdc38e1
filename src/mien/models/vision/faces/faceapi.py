"""A third opinion on facial expression: the network of face-api."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

import numpy as np
from annotated_types import Ge, Gt, Le

from mien.core import (
    AdapterSpec,
    Asset,
    Device,
    Distribution,
    Faces,
    Licences,
    Measured,
    MienError,
    WeightFiles,
    Weights,
    adapter,
)
from mien.models.onnx import Array, OnnxNet
from mien.models.sessions import Written
from mien.models.vision.faces.expression import ExpressionConfig, ExpressionNet, quarters
from mien.models.vision.geometry import U8
from mien.models.vision.net import StandIn

MEAN_RGB = (122.782, 117.001, 104.298)
MANIFEST = "face_expression_model-weights_manifest.json"
TENSORS = "face_expression_model.bin"


@adapter
class FaceApi(ExpressionNet):
    """What a face shows, not what a person feels. In: frames with face boxes. Out: probabilities `[n 7]`.

    Four densely connected blocks of depthwise separable convolutions on a colour picture of 112 px (V. Mühler,
    face-api.js, 2018). It is told apart from the other opinions by colour, by its size and by its training pictures.
    """

    spec: ClassVar = AdapterSpec(
        name="expression.faceapi",
        slot="expression",
        takes=Faces,
        gives=Distribution,
        version=2,
        affect=True,
        weights=Weights(
            model="faceapi-expression",
            assets=(
                Asset(
                    MANIFEST, "npm", "@vladmandic/face-api", "1.7.15", f"package/model/{MANIFEST}",
                    "5b349c17c7836da506e03422cd6461c74085d8bb2713ad4114647dc5d28174c8", 6_980,
                ),
                Asset(
                    TENSORS, "npm", "@vladmandic/face-api", "1.7.15", f"package/model/{TENSORS}",
                    "9a9840f2cf1f4c7eab95f197512569345c00d2426754d4608b92af30e0300f3d", 329_468,
                ),
            ),
            licences=Licences(
                "MIT",
                "MIT (said of all its model files by their maker)",
                'not stated ("publicly available datasets as well as images scraped from the web")',
            ),
            runtime=(MANIFEST, TENSORS),
            note="a public set of labelled news pictures was suggested to its maker before he trained it; whether he "
            "used it is not known, so figures measured on that set may flatter",
        ),
        measured=(
            Measured(
                "accuracy 0.63, mean recall of 7 classes 0.54, log-loss 1.14, ECE 0.09; each face judged by what other "
                "people chose: 0.67 and 0.56 (0.50-0.65)",
                "117 pictures of held-out people, one noisy rater; crop and T = 2.7 chosen on 103 pictures of other "
                "people. Its own training pictures are unknown and may include some of these: it may flatter",
                "python -m bench opinions",
            ),
            Measured(
                "recall: happiness 0.82, sadness 0.75, neutral 0.74, anger 0.70, surprise 0.57, disgust 0.21, "
                "fear 0.14",
                "220 pictures, each judged by what other people chose; 14 of disgust, 7 of fear",
                "python -m bench opinions",
                weak=True,
            ),
        ),
    )  # fmt: skip

    side = 112
    order = (3, 5, 4, 1, 2, 6, 0)  # it says: neutral, happy, sad, angry, fearful, disgusted, surprised

    class Config(ExpressionConfig):
        temperature: Annotated[float, Gt(0), Le(10)] = 2.7
        enlarge: Annotated[float, Ge(0.5), Le(3)] = 1.2
        mirror: bool = True

    @classmethod
    def open(cls, files: WeightFiles, config: Any, device: Device) -> Self:
        held = files[MANIFEST], files[TENSORS]
        return cls(OnnxNet(Written(held, "network", lambda: network(tensors(*held))), device), config)

    @classmethod
    def tiny(cls) -> Self:
        return cls(StandIn(quarters), cls.Config())

    def _input(self, cut: U8) -> Array:
        return ((cut.astype(np.float32) - np.array(MEAN_RGB, np.float32)) / 255)[None]


def tensors(manifest: Path, content: Path) -> dict[str, Array]:
    """The constants of a TensorFlow.js weights manifest by name, float32; affine uint8 is widened.

    Raises:
        MienError: `weights.unreadable` when the two files do not fit each other.
    """
    data, at, held = content.read_bytes(), 0, dict[str, Array]()
    try:
        for entry in json.loads(manifest.read_bytes())[0]["weights"]:
            shape, affine = entry["shape"], entry.get("quantization", {"dtype": "float32", "scale": 1, "min": 0})
            values = np.frombuffer(data, affine["dtype"], int(np.prod(shape)), at)
            held[entry["name"]] = (values * np.float32(affine["scale"]) + np.float32(affine["min"])).reshape(shape)
            at += values.nbytes
        if at != len(data):
            raise ValueError(f"{at} bytes are described, {len(data)} are there")
    except (KeyError, ValueError, TypeError, IndexError) as error:
        raise MienError(
            "weights.unreadable", f"{content.name} does not fit {manifest.name}: {error!r}", "run 'mien models verify'"
        ) from error
    return held


def network(held: dict[str, Array]) -> bytes:
    """The constants as an ONNX network (opset 18): picture float32 `[1 112 112 3]` → probabilities `[1 7]`.

    Each block halves the picture once and then adds three convolutions, each over the sum of all before it (after
    Huang et al., "Densely Connected Convolutional Networks", 2017, with sums instead of joins).

    Raises:
        MienError: `weights.unreadable` when a constant is missing.
    """
    from onnx import TensorProto, helper, numpy_helper

    nodes: list[Any] = []
    constants: dict[str, Any] = {}

    def put(name: str, axes: tuple[int, ...] | None = None) -> str:
        if name not in held:
            raise MienError("weights.unreadable", f"the network has no constant {name!r}", "run 'mien models verify'")
        value = held[name] if axes is None else held[name].transpose(axes)
        constants[name] = numpy_helper.from_array(np.ascontiguousarray(value, np.float32), name)
        return name

    def node(kind: str, *inputs: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(kind, list(inputs), [f"{kind}{len(nodes)}"], **attributes))
        return nodes[-1].output[0]

    def conv(x: str, at: str, stride: int) -> str:
        if f"{at}/filters" in held:
            kernel = put(f"{at}/filters", (3, 2, 0, 1))
            return node("Conv", x, kernel, put(f"{at}/bias"), strides=[stride] * 2, auto_pad="SAME_UPPER")
        depth = put(f"{at}/depthwise_filter", (2, 3, 0, 1))
        apart = node("Conv", x, depth, group=held[depth].shape[2], strides=[stride] * 2, auto_pad="SAME_UPPER")
        return node("Conv", apart, put(f"{at}/pointwise_filter", (3, 2, 0, 1)), put(f"{at}/bias"))

    x = node("Transpose", "picture", perm=[0, 3, 1, 2])
    for block in range(4):
        total = x = node("Relu", conv(x, f"dense{block}/conv0", 2))
        for layer in (1, 2, 3):
            total = node("Add", total, conv(x, f"dense{block}/conv{layer}", 1))
            x = node("Relu", total)
    x = node("Flatten", node("AveragePool", x, kernel_shape=[7, 7]))
    x = node("Softmax", node("Gemm", x, put("fc/weights"), put("fc/bias")), axis=1)
    graph = helper.make_graph(
        nodes,
        "expression",
        [helper.make_tensor_value_info("picture", TensorProto.FLOAT, [1, 112, 112, 3])],
        [helper.make_tensor_value_info(x, TensorProto.FLOAT, [1, 7])],
        list(constants.values()),
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    return model.SerializeToString()
