"""After an identity window no embedding is left in the process: a second process reads its whole memory and looks.

The child runs the real way of a face (cut-out, adapter, block of memory, window); the scanner knows every vector and
looks for pieces of it at every byte. It is shown to have teeth: it finds all of them while the window is open, and
after it where wiping is left out.
"""

import dataclasses
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from mien.core import MienError
from mien.models.vision.faces.identity import WIDTH, FaceRes
from mien.models.weights import resolve

PLANTED = 200
CHILD = r"""
import json, sys
import numpy as np
from mien.core import Boxes, Faces, Frames
from mien.models.vision.faces.identity import FaceRes
from mien.models.weights import open_adapter
from mien.pipeline.stages import identity

class Planted:
    seed = 1000
    def into(self, x, out):  # what the network returns: written in place, no copy anywhere
        if x.any():
            np.random.default_rng(self.seed).standard_normal(out=out.reshape(-1), dtype=np.float32)
            self.seed += 1
    def close(self): pass

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


def fullest(pieces: list[np.ndarray]) -> int:
    """The piece with most values that are not zero (real vectors are sparse): as good as a fingerprint."""
    return max(range(len(pieces)), key=lambda i: (pieces[i][1] != 0, np.count_nonzero(pieces[i])))


def needles(vectors: dict[str, np.ndarray]) -> dict[str, list[bytes]]:
    """Pieces of each vector, as floats of three widths, raw and of length one."""
    found = {}
    for name, vector in vectors.items():
        at = fullest([vector[i : i + 8] for i in range(len(vector) - 8)])
        length = np.float32(1 / float(np.sqrt(np.dot(vector, vector))))
        both = (vector[at : at + 8], np.multiply(vector, length)[at : at + 8])
        found[name] = [v.astype(t).tobytes()[:32] for v in both for t in ("<f2", "<f4", "<f8")]
    return found


def search(data: bytes, wanted: dict[str, list[bytes]]) -> list[tuple[str, int]]:
    """(name, offset) of every needle in data, at any byte: one look at all 4-byte words, then the candidates.

    A needle is known by its second word: the first of a float32 kept as float64 is nearly always zero.
    """
    by_word: dict[int, list[tuple[str, bytes]]] = {}
    for name, pieces in wanted.items():
        for piece in pieces:
            by_word.setdefault(int.from_bytes(piece[4:8], "little"), []).append((name, piece))
    words = np.array(sorted(by_word), np.uint32)
    coarse = np.zeros(1 << 16, bool)
    coarse[words & 0xFFFF] = True
    hits = []
    for first, last in filled(data):
        for shift in range(4):
            here = np.frombuffer(data, np.uint32, max(0, last - first - shift) // 4, first + shift)
            maybe = np.flatnonzero(coarse[here.astype(np.uint16)])
            for i in maybe[np.isin(here[maybe], words)].tolist():
                at = first + 4 * i + shift - 4
                hits += [(name, at) for name, piece in by_word[int(here[i])] if at >= 0 and data.startswith(piece, at)]
    return hits


def filled(data: bytes, block: int = 1 << 16) -> list[tuple[int, int]]:
    """Blocks that are not all zero: most of a process's writable memory was never touched."""
    nothing = bytes(block)
    starts = (at for at in range(0, len(data), block) if not nothing.startswith(data[at : at + block]))
    return [(at, min(at + block + 8, len(data))) for at in starts]


def scan(pid: int, wanted: dict[str, list[bytes]]) -> dict[str, list[int]]:
    """Name → addresses, over all writable memory of a process; skips where the system forbids the look."""
    found: dict[str, list[int]] = {}
    seen = 0
    try:
        with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as memory:
            for line in maps:
                place, rights, *rest = line.split()
                if not rights.startswith("rw") or (rest[3:] and rest[3].startswith("[v")):
                    continue
                first, last = (int(x, 16) for x in place.split("-"))
                try:
                    memory.seek(first)
                    data = memory.read(last - first)
                except OSError:  # a guard page
                    continue
                seen += len(data)
                for name, at in search(data, wanted):
                    found.setdefault(name, []).append(first + at)
    except (FileNotFoundError, PermissionError) as error:
        pytest.skip(f"the memory of another process cannot be read here: {error}")
    if seen < 1 << 20:
        pytest.skip("the memory of another process cannot be read here")
    return found


@dataclasses.dataclass
class Looked:
    """What lay in the child's memory while the window was open and one second after it, and what it said."""

    open: dict[str, list[int]]
    closed: dict[str, list[int]]
    block: range
    joined: list
    flags: set[str]
    core_bytes: str


def look(kind: str, mutant: str, file: Path, wanted: dict[str, list[bytes]]) -> Looked:
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, kind, mutant, str(file)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=file.parent,
        env=os.environ | {"TMPDIR": str(file.parent)},
    )  # fmt: skip
    assert child.stdin
    assert child.stdout
    with child:
        try:
            address, size = json.loads(child.stdout.readline() or "[0, 0]")
            assert size, "the child came to nothing"
            before = scan(child.pid, wanted)
            flags, core = flags_of(child.pid, address), core_limit(child.pid)
            child.stdin.write("\n")
            child.stdin.flush()
            joined = json.loads(child.stdout.readline())
            time.sleep(1)
            return Looked(before, scan(child.pid, wanted), range(address, address + size), joined, flags, core)
        finally:
            child.kill()


def flags_of(pid: int, address: int) -> set[str]:
    inside = False
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        head = line.split()[0]
        if "-" in head and not head.endswith(":"):
            first, last = (int(x, 16) for x in head.split("-"))
            inside = first <= address < last
        elif inside and head == "VmFlags:":
            return set(line.split()[1:])
    return set()


def core_limit(pid: int) -> str:
    (line,) = (x for x in Path(f"/proc/{pid}/limits").read_text().splitlines() if x.startswith("Max core file size"))
    return line.split()[4]


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """200 faces that each get their own vector of random numbers."""
    file = tmp_path_factory.mktemp("planted") / "faces.npz"
    rng = np.random.default_rng(1)
    np.savez(
        file,
        pixels=rng.integers(1, 255, (PLANTED, 32, 32, 3), np.uint8),
        xyxy=np.tile(np.array([4, 4, 28, 28], np.float32), (PLANTED, 1)),
        points=np.tile(np.array([[10, 12], [22, 12]], np.float32), (PLANTED, 1, 1)),
    )
    vectors = {
        f"planted {i}": np.random.default_rng(1000 + i).standard_normal(WIDTH, dtype=np.float32) for i in range(PLANTED)
    }
    return file, needles(vectors)


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
    assert seen.joined == []


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
