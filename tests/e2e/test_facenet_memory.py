"""What FaceNet and the probe on it leave in the process: a second process reads its whole memory and looks.

As `test_identity_memory`, for a network of its own kind: seeded weights in the published layout, through the same file,
crop, network and memory that real ones take.
"""

from pathlib import Path

import numpy as np
import pytest

from mien.core import Boxes, Device, Faces, Frames, WeightFiles
from mien.models.vision import graphs
from mien.models.vision.faces.facenet import FILE, PROBE_FILE, WIDTH, FaceNet, Probe
from mien.models.vision.faces.facenet_net import network
from mien.models.weights.reading import tensors
from mien.testing.seeded import recorded
from tests.memory_scan import Looked, fullest, needles, planted_faces, search, watch

pytestmark = pytest.mark.slow  # minutes; the same window is scanned with the default network in test_identity_memory

PLANTED, REAL, DEEP = 200, 12, 1792
CHILD = r"""
import json, sys
from pathlib import Path
from mien.core import Boxes, Device, Faces, Frames, WeightFiles
from mien.models.vision.faces.facenet import FILE, PROBE_FILE, WIDTH, FaceNet, FaceNetExpression
from mien.pipeline.stages.identity import Arena
kind, mutant, folder = sys.argv[1:]
folder = Path(folder)
if mutant == "no-wipe":
    Arena.wipe = lambda self: None
if mutant == "no-forget":
    FaceNet.forget = lambda self: None
files = WeightFiles({name: folder / name for name in (FILE, PROBE_FILE)})
if kind == "planted":
    model = FaceNet(Planted(), FaceNet.Config(min_face_px=4))
elif kind == "real":
    model = FaceNet.open(files, FaceNet.Config(), Device())
else:
    model = FaceNetExpression.open(files, FaceNetExpression.Config(), Device())
held = np.load(folder / "faces.npz")
arena = Arena(len(held["pixels"]), WIDTH)
for i, (pixels, xyxy) in enumerate(zip(held["pixels"], held["xyxy"])):
    none = np.zeros(1, np.int64)
    one = Faces(Frames(pixels[None], none), Boxes(none, xyxy[None], np.ones(1, np.float32), none, ("face",)))
    if kind == "expression":
        probs = model.run(one).probs
        assert abs(probs.sum() - 1) < 1e-5
    else:
        model.embed(one, arena.rows[i : i + 1])
print(json.dumps([arena.rows.ctypes.data, arena.rows.nbytes]), flush=True)
sys.stdin.readline()
arena.wipe()
if kind != "expression":
    model.forget()
print("[]", flush=True)
sys.stdin.readline()
"""


LOOKED: dict[tuple[str, str], Looked] = {}


def look(kind: str, mutant: str, folder: Path, wanted: dict[str, list[bytes]]) -> Looked:
    """One child for every way of running; tests share what was seen of it."""
    if (kind, mutant) not in LOOKED:
        LOOKED[kind, mutant] = watch(CHILD, [kind, mutant, str(folder)], folder, wanted)
    return LOOKED[kind, mutant]


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """200 faces that each get their own vector of random numbers."""
    folder = tmp_path_factory.mktemp("planted")
    return folder, planted_faces(folder / "faces.npz", PLANTED, WIDTH)


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """Pictures, a network in the published layout, what it says of them, and the layers that the answer is made of."""
    import cv2
    import onnx
    import onnxruntime as ort

    folder, seeded = tmp_path_factory.mktemp("real"), recorded(network)
    with (folder / FILE).open("wb") as out:
        parts = [tensors.Tensor(n, "F32", v.shape, lambda v=v: iter([v.tobytes()])) for n, v in seeded.items()]
        tensors.write(out, parts, {})
    Probe.seeded().write(folder / PROBE_FILE, {})
    small = np.random.default_rng(2).integers(0, 255, (REAL, 12, 12, 3), np.uint8)
    pixels = np.stack([cv2.resize(p, (120, 120), interpolation=cv2.INTER_CUBIC) for p in small])
    np.savez(folder / "faces.npz", pixels=pixels, xyxy=np.tile(np.array([10, 10, 110, 110], np.float32), (REAL, 1)))

    graph = onnx.load_from_string(network(graphs.Tensors(seeded, FILE)))
    (pool,) = [n for n in graph.graph.node if n.op_type == "GlobalAveragePool"]
    (gemm,) = [n for n in graph.graph.node if n.op_type == "Gemm"]
    inner = [pool.input[0], pool.output[0], gemm.output[0]]
    for name in inner:
        graph.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    session = ort.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    shown = Tap()
    seen, wanted = FaceNet(shown, FaceNet.Config()), {}
    model = FaceNet.open(WeightFiles({FILE: folder / FILE}), FaceNet.Config(), Device())
    vectors, layers = {}, {}
    for i, picture in enumerate(pixels):
        none = np.zeros(1, np.int64)
        box = np.array([[10, 10, 110, 110]], np.float32)
        one = Faces(Frames(picture[None], none), Boxes(none, box, np.ones(1, np.float32), none, ("face",)))
        vectors[f"face {i}"] = model.run(one).vectors[0]
        seen.run(one)
        last, mean, raw = session.run(inner, {"picture": shown.held})
        layers[f"layer map {i}"] = pieces_of(last.reshape(DEEP, -1))
        layers |= {f"layer {name} {i}": [piece(v.reshape(-1))] for name, v in (("mean", mean), ("raw", raw))}
    model.close()
    wanted = needles(vectors) | layers
    return folder, wanted


class Tap:
    """Keeps what the adapter gives the network."""

    held = np.zeros(0, np.float32)

    def into(self, x, out):
        self.held = x.copy()
        out[:] = 0

    def close(self):
        pass


def piece(vector: np.ndarray) -> bytes:
    at = fullest([vector[i : i + 8] for i in range(len(vector) - 8)])
    return np.ascontiguousarray(vector[at : at + 8]).tobytes()


def pieces_of(layer: np.ndarray) -> list[bytes]:
    """Eight values of a map `[channels places]` in a row, in both orders it may lie in memory."""
    across = [layer[c : c + 8, p] for p in range(layer.shape[1]) for c in range(0, DEEP, 8)]
    down = [layer[c, :8] for c in range(DEEP)]
    return [np.ascontiguousarray(pieces[fullest(pieces)]).tobytes() for pieces in (across, down)]


def test_none_of_200_planted_embeddings_is_left(planted):
    folder, wanted = planted
    seen = look("planted", "", folder, wanted)
    assert len(seen.open) == PLANTED, "the scanner must find what is there"
    assert not any(a not in seen.block for at in seen.open.values() for a in at), "outside the caller's own block"
    assert seen.closed == {}


def test_without_wiping_all_of_them_are_found(planted):
    folder, wanted = planted
    assert len(look("planted", "no-wipe", folder, wanted).closed) == PLANTED


def test_nothing_of_a_face_that_went_through_the_network_is_left(real):
    folder, wanted = real
    seen = look("real", "", folder, wanted)
    faces = {name for name in wanted if name.startswith("face")}
    assert {n for n in seen.open if n.startswith("face")} == faces
    assert all(a in seen.block for n, at in seen.open.items() if n.startswith("face") for a in at)
    assert seen.closed == {}, "neither an embedding nor a layer it is made of"


def test_without_forgetting_the_network_keeps_layers_of_the_last_face(real):
    folder, wanted = real
    left = look("real", "no-forget", folder, wanted).closed
    print(sorted(left))
    assert left
    assert all(name.startswith("layer") for name in left)


def test_an_expression_leaves_nothing_of_the_embedding_it_was_read_from(real):
    folder, wanted = real
    seen = look("expression", "", folder, wanted)
    assert seen.open == seen.closed == {}


def test_an_expression_without_forgetting_leaves_layers(real):
    folder, wanted = real
    assert look("expression", "no-forget", folder, wanted).open


def test_nothing_reaches_a_disk(planted, real):
    for kind, (folder, wanted) in (("planted", planted), ("real", real), ("expression", real)):
        look(kind, "", folder, wanted)
        held = [p for p in folder.rglob("*") if p.is_file()]
        assert held, "the scan looks somewhere"
        assert [p.name for p in held if search(p.read_bytes(), wanted)] == []
    folder, wanted = real
    (folder / "leak.bin").write_bytes(b"abc" + wanted["face 0"][1] + b"abcd")
    assert search((folder / "leak.bin").read_bytes(), wanted)
