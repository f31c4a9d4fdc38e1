"""After an identity window no embedding is left in the process: a second process reads its whole memory and looks.

The child runs the real way of a face (cut-out, adapter, block of memory, window); the scanner knows every vector and
looks for pieces of it at every byte (`tests.memory_scan`). It is shown to have teeth: it finds all of them while the
window is open, and after it where wiping is left out.
"""

from pathlib import Path

import numpy as np
import pytest

from mien.core import MienError
from mien.models.vision.faces.identity import WIDTH, FaceRes
from mien.models.weights import resolve
from tests.memory_scan import Looked, fullest, needles, planted_faces, search, watch

PLANTED = 200
CHILD = r"""
import json, sys
from mien.core import Boxes, Faces, Frames
from mien.models.vision.faces.identity import FaceRes
from mien.models.weights import open_adapter
from mien.pipeline.stages import identity
kind, mutant, file = sys.argv[1:]
if mutant == "no-wipe":
    identity.Arena.wipe = lambda self: None
if mutant == "no-forget":
    FaceRes.forget = lambda self: None
model = open_adapter("identity.faceres") if kind == "real" else FaceRes(Planted(), FaceRes.Config(min_face_px=4))
held = np.load(file)
window = identity.Rejoin(model, identity.WindowConfig(threshold=1.0))
for i, (pixels, xyxy, points) in enumerate(zip(held["pixels"], held["xyxy"], held["points"])):
    none = np.zeros(1, np.int64)
    boxes = Boxes(none, xyxy[None], np.ones(1, np.float32), none, ("face",), points[None])
    window.feed(Faces(Frames(pixels[None], np.array([i * 100_000])), boxes), np.array([i]))
print(json.dumps(window._window.memory), flush=True)
sys.stdin.readline()
print(json.dumps(sorted(window.close().items())), flush=True)
sys.stdin.readline()
"""


def look(kind: str, mutant: str, file: Path, wanted: dict[str, list[bytes]]) -> Looked:
    return watch(CHILD, [kind, mutant, str(file)], file.parent, wanted)


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """200 faces that each get their own vector of random numbers."""
    file = tmp_path_factory.mktemp("planted") / "faces.npz"
    return file, planted_faces(file, PLANTED, WIDTH)


@pytest.fixture(scope="module")
def real(tmp_path_factory, demo_video):
    """Faces of real footage, what the network says of them, and a piece of the layer it takes the mean of."""
    import av
    import cv2
    import onnx
    import onnxruntime as ort

    from mien.core import Boxes, Faces, Frames
    from mien.models.weights import open_adapter

    try:
        path, finder, model = (
            resolve(FaceRes.spec.weights).only,
            open_adapter("face.centerface"),
            open_adapter("identity.faceres"),
        )
    except MienError as error:
        pytest.skip(f"{error.message}: run 'mien models pull'")
    pixels, faces = [], []
    with av.open(str(demo_video)) as container:
        for index, frame in enumerate(container.decode(video=0)):
            if index % 24 == 0 and len(pixels) < 12:
                pixels.append(cv2.resize(frame.to_ndarray(format="rgb24"), (640, 360), interpolation=cv2.INTER_AREA))
    for frame in pixels:
        boxes = finder.run(Frames(frame[None], np.zeros(1, np.int64)))
        faces.append(boxes.take(np.array([0])))
    file = tmp_path_factory.mktemp("real") / "faces.npz"
    np.savez(
        file,
        pixels=np.stack(pixels),
        xyxy=np.concatenate([b.xyxy for b in faces]),
        points=np.concatenate([b.points for b in faces]),
    )
    graph = onnx.load(path)
    before_mean = graph.graph.node[-1].input[0]
    graph.graph.output.append(onnx.helper.make_tensor_value_info(before_mean, onnx.TensorProto.FLOAT, None))
    session = ort.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    vectors, maps = {}, {}
    for i, (frame, boxes) in enumerate(zip(pixels, faces, strict=True)):
        one = Boxes(boxes.frame, boxes.xyxy, boxes.score, boxes.label, boxes.names, boxes.points)
        seen = Faces(Frames(frame[None], np.zeros(1, np.int64)), one)
        vectors[f"face {i}"] = model.run(seen).vectors[0]
        (layer,) = session.run([before_mean], {session.get_inputs()[0].name: crop_of(seen)})
        maps[f"layer {i}"] = pieces_of(layer.reshape(49, WIDTH))
    model.close()
    return file, needles(vectors) | maps


def crop_of(faces) -> np.ndarray:
    """What the adapter gives the network."""
    held = []

    class Tap:
        def into(self, x, out):
            held.append(x.copy())
            out[:] = 0

        def close(self):
            pass

    FaceRes(Tap(), FaceRes.Config()).run(faces)
    return held[-1]


def pieces_of(layer: np.ndarray) -> list[bytes]:
    """The fullest eight values of a layer in a row, in both orders it may lie in memory."""
    across = [layer[p, c : c + 8] for p in range(49) for c in range(0, WIDTH, 8)]
    down = [layer[p : p + 8, c] for p in range(0, 40, 4) for c in range(WIDTH)]
    return [np.ascontiguousarray(pieces[fullest(pieces)]).tobytes() for pieces in (across, down)]


def test_none_of_200_planted_embeddings_is_left(planted):
    file, wanted = planted
    seen = look("planted", "", file, wanted)
    assert len(seen.open) == PLANTED, "the scanner must find what is there"
    outside = {n: [hex(a) for a in at if a not in seen.block] for n, at in seen.open.items()}
    assert not any(outside.values()), "an embedding lies outside its block even while the window is open"
    assert seen.closed == {}
    assert seen.said == [], "no two were joined"


def test_without_wiping_all_of_them_are_found(planted):
    file, wanted = planted
    assert len(look("planted", "no-wipe", file, wanted).closed) == PLANTED


def test_nothing_of_real_faces_is_left(real):
    file, wanted = real
    faces = {name: pieces for name, pieces in wanted.items() if name.startswith("face")}
    seen = look("real", "", file, wanted)
    assert {n for n in seen.open if n.startswith("face")} == set(faces)
    assert all(a in seen.block for n, at in seen.open.items() if n.startswith("face") for a in at)
    assert seen.closed == {}, "neither an embedding nor the layer it is the mean of"


def test_without_forgetting_the_network_keeps_a_layer_of_the_last_face(real):
    file, wanted = real
    left = look("real", "no-forget", file, wanted).closed
    assert left
    assert all(name.startswith("layer") for name in left)


def test_the_block_is_kept_from_swap_core_dumps_and_children(planted):
    file, _ = planted
    seen = look("planted", "", file, {})
    assert "dd" in seen.flags, "not to be dumped"
    assert "wf" in seen.flags, "zero in forked children"
    assert seen.core_bytes == "0"
    if "lo" not in seen.flags:
        pytest.skip("memory may not be locked here")


def test_nothing_reaches_a_disk(planted, real):
    for kind, (file, wanted) in (("planted", planted), ("real", real)):
        look(kind, "", file, {})
        held = [p for p in file.parent.rglob("*") if p.is_file()]
        assert held, "the scan looks somewhere"
        assert [p.name for p in held if search(p.read_bytes(), wanted)] == []
    (file.parent / "leak.bin").write_bytes(b"abc" + wanted["face 0"][1] + b"abcd")
    assert search((file.parent / "leak.bin").read_bytes(), wanted)
