"""facenet-pytorch's own network and crop, on the same seeded weights and the same boxes.

Its files are loaded by their paths: the package's front door needs torchvision, of which they use one conversion.
"""

import importlib
import importlib.util
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from mien.core import Boxes, Device, Faces, Frames, WeightFiles
from mien.models.vision.faces.facenet import FILE, WIDTH, FaceNet
from mien.models.weights.reading import tensors

pytestmark = pytest.mark.peer


@pytest.fixture(scope="module")
def package():
    """The package's modules, as the package `published`."""
    torch = pytest.importorskip("torch")
    found = importlib.util.find_spec("facenet_pytorch")
    if found is None or found.origin is None:
        pytest.skip("needs the package facenet-pytorch (pip install --no-deps facenet-pytorch)")
    torch.set_num_threads(1)
    root = Path(found.origin).parent

    def to_tensor(picture):
        return torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1)))

    with pytest.MonkeyPatch.context() as patch:
        for name, folder in (("published", root), ("published.models", root / "models")):
            module = types.ModuleType(name)
            module.__path__ = [str(folder)]
            patch.setitem(sys.modules, name, module)
        stubs = {
            "torchvision": {}, "torchvision.transforms": {"functional": types.SimpleNamespace(to_tensor=to_tensor)},
            "torchvision.ops": {}, "torchvision.ops.boxes": {"batched_nms": None},
        }  # fmt: skip
        for name, parts in stubs.items():
            module = types.ModuleType(name)
            vars(module).update(parts)
            patch.setitem(sys.modules, name, module)
        net = importlib.import_module("published.models.inception_resnet_v1")
        cut = importlib.import_module("published.models.utils.detect_face")
        yield types.SimpleNamespace(torch=torch, net=net, cut=cut, root=root)


@pytest.fixture(scope="module")
def both(package, tmp_path_factory):
    """The published network with seeded weights whose answers differ from face to face, and ours from its state."""
    torch, rng = package.torch, np.random.default_rng(0)
    theirs = package.net.InceptionResnetV1(classify=False).eval()
    for name, value in theirs.state_dict().items():
        shape = tuple(value.shape)
        if name.endswith("num_batches_tracked"):
            continue
        if name.endswith("running_var") or (name.endswith("weight") and len(shape) == 1):
            made = rng.uniform(0.8, 1.2, shape)
        elif name.endswith("weight"):
            made = rng.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))
        else:
            made = 0.05 * rng.standard_normal(shape)
        value.copy_(torch.from_numpy(made.astype(np.float32)))
    held = []
    hook = theirs.last_linear.register_forward_hook(lambda _, __, out: held.append(out))
    with torch.inference_mode():
        theirs(torch.from_numpy(rng.uniform(-1, 1, (8, 3, 160, 160)).astype(np.float32)))
    hook.remove()
    theirs.last_bn.running_mean.copy_(held[0].mean(0))
    theirs.last_bn.running_var.copy_(held[0].var(0))
    theirs.logits = torch.nn.Linear(WIDTH, 11)  # as in the published file: a classifier that nobody asks
    folder = tmp_path_factory.mktemp("facenet")
    kinds = {torch.float32: "F32", torch.int64: "I64"}
    with (folder / FILE).open("wb") as out:
        rows = [
            tensors.Tensor(n, kinds[v.dtype], tuple(v.shape), lambda v=v: iter([v.detach().numpy().tobytes()]))
            for n, v in theirs.state_dict().items()
        ]
        tensors.write(out, rows, {})
    ours = FaceNet.open(WeightFiles({FILE: folder / FILE}), FaceNet.Config(min_face_px=8), Device())
    yield theirs, ours
    ours.close()


def faces(pixels, *boxes):
    rows = np.zeros(len(boxes), np.int64)
    xyxy = np.array(boxes, np.float32)
    return Faces(Frames(pixels[None], rows[:1]), Boxes(rows, xyxy, np.ones(len(boxes), np.float32), rows, ("face",)))


def scene(seed=0):
    import cv2

    small = np.random.default_rng(seed).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    return cv2.resize(small, (640, 480), interpolation=cv2.INTER_CUBIC)


BOXES = (
    (100.6, 80.2, 261.9, 310.4),
    (300.0, 40.0, 360.0, 110.0),
    (-30.5, 20.0, 120.0, 180.0),
    (200, 250, 560.7, 479.9),
)


@pytest.mark.parametrize("margin", [0, 14, 32])
def test_a_face_gets_the_embedding_of_facenet_pytorch(package, both, margin):
    """Its crop, its standardisation and its network, from a frame and a box."""
    torch, (theirs, ours) = package.torch, both
    pixels, model = scene(), FaceNet(ours._net, FaceNet.Config(min_face_px=8, margin_px=margin))
    said = model.run(faces(pixels, *BOXES)).vectors
    worst = 0.0
    for row, box in enumerate(np.array(BOXES, np.float32)):
        face = package.cut.extract_face(pixels, box, 160, margin)
        with torch.inference_mode():
            want = theirs(((face - 127.5) / 128)[None]).numpy()[0]
        worst = max(worst, float(np.abs(said[row] - want).max()))
    apart = said @ said.T
    print(f"largest difference {worst:.1e}; cosines of different crops {apart[np.triu_indices(4, 1)].round(2)}")
    assert worst < 1e-5
    assert apart[np.triu_indices(4, 1)].max() < 0.99, "else the bar above proves little"


def test_the_standardisation_is_theirs(package):
    source = (package.root / "models" / "mtcnn.py").read_text()
    assert "(image_tensor - 127.5) / 128.0" in source


def test_swapped_channels_or_a_neighbouring_crop_are_far_away(both):
    _, ours = both
    pixels = scene()
    right = ours.run(faces(pixels, BOXES[0])).vectors[0]
    swapped = ours.run(faces(pixels[:, :, ::-1].copy(), BOXES[0])).vectors[0]
    moved = ours.run(faces(pixels, np.array(BOXES[0]) + 4)).vectors[0]
    assert np.abs(right - swapped).max() > 1e-2
    assert np.abs(right - moved).max() > 1e-3


def test_a_file_without_the_classifier_is_taken_and_one_of_another_width_is_not(both, tmp_path):
    from mien.core import MienError
    from mien.models.vision.faces.facenet_net import network
    from mien.models.vision.graphs import Tensors

    theirs, _ = both
    held = {n: v.detach().numpy() for n, v in theirs.state_dict().items() if not n.startswith("logits.")}
    network(Tensors(held, FILE))
    with pytest.raises(MienError, match="logits") as error:
        network(Tensors(held | {"logits.weight": np.ones(3, np.float32)}, FILE))
    assert error.value.code == "weights.wrong-keys"


def test_from_the_published_kind_of_file_to_an_answer(package, both, tmp_path, monkeypatch):
    """What `torch.save` of the package's network writes, through `mien models add`, for both adapters."""
    from mien.models.vision.faces.facenet import LABELS, PROBE_FILE, Probe
    from mien.models.weights import add_local, open_adapter

    theirs, ours = both
    monkeypatch.setenv("MIEN_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "20180402-114759-vggface2.pt"
    package.torch.save(theirs.state_dict(), path)
    add_local("facenet", path)
    given = faces(scene(), *BOXES)
    model = open_adapter("identity.facenet")
    np.testing.assert_allclose(model.run(given).vectors, ours.run(given).vectors, atol=1e-6)
    model.close()
    Probe.seeded().write(tmp_path / PROBE_FILE, {})
    add_local("facenet-probe", path)
    add_local("facenet-probe", tmp_path / PROBE_FILE)
    probs = open_adapter("expression.facenet").run(given).probs
    np.testing.assert_allclose(probs, Probe.seeded().probs(ours.run(given).vectors), atol=1e-5)
    assert probs.shape == (len(BOXES), len(LABELS))
