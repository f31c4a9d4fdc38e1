"""MiVOLO beside its makers' own code on timm, with the same seeded weights, crops and all.

The trunk needs timm (`pip install --no-deps timm`); the rest also a checkout of WildChlamydia/MiVOLO. Neither uses
torchvision or ultralytics in what is compared here: where they are missing, empty stand-ins let the imports pass.
"""

import importlib
import inspect
import os
import sys
import types
import warnings
from pathlib import Path

import numpy as np
import pytest

from mien.core import Boxes, Device, FacePeople, Frames, WeightFiles
from mien.models.vision.people.mivolo import SIDE, MiVolo2, body_of, pair_of
from mien.signals.pairing import pair_faces
from mien.testing import seeded

pytestmark = pytest.mark.peer
torch = pytest.importorskip("torch")

NARROW = {"layers": (2, 1, 2, 1), "img_size": 64, "stem_hidden_dim": 16, "embed_dims": (24, 48, 48, 48),
          "num_heads": (2, 4, 4, 4)}  # fmt: skip
D1 = {"layers": (4, 4, 8, 2), "img_size": 384, "embed_dims": (192, 384, 384, 384), "num_heads": (6, 12, 12, 12)}
ABSENT = ("torchvision", "torchvision.transforms", "torchvision.transforms.functional", "torchvision.datasets",
          "torchvision.ops", "torchvision.ops.misc", "torchvision.models", "torchvision.models.feature_extraction",
          "ultralytics", "ultralytics.engine", "ultralytics.engine.results", "ultralytics.utils",
          "ultralytics.utils.plotting")  # fmt: skip


class Whatever(type):
    def __getattr__(cls, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return name


class Absent(types.ModuleType):
    """A module in which every name is an empty class."""

    __path__ = ()

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return sys.modules.get(f"{self.__name__}.{name}") or Whatever(name, (), {})


def normalize(image, mean, std):
    return (image - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]


@pytest.fixture(scope="module")
def timm():
    torch.set_num_threads(1)
    before = set(sys.modules)
    for name in ABSENT:
        try:
            found = name in sys.modules or importlib.util.find_spec(name) is not None
        except (ImportError, ValueError):
            found = False
        if not found:
            sys.modules[name] = Absent(name)
            if name.endswith("transforms.functional"):
                sys.modules[name].normalize = normalize
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield pytest.importorskip("timm")
    for name in set(sys.modules) - before:
        if name.partition(".")[0] in ("timm", "mivolo", "torchvision", "ultralytics"):
            del sys.modules[name]


@pytest.fixture(scope="module")
def theirs(timm):
    """Their package; on a timm that has more arguments than they knew, theirs are given by name."""
    folder = Path(os.environ.get("MIEN_PEERS", "")) / "WildChlamydia+MiVOLO"
    if not (folder / "mivolo").is_dir():
        pytest.skip("needs MIEN_PEERS: a folder with a checkout of WildChlamydia/MiVOLO in WildChlamydia+MiVOLO")
    from timm.models.volo import VOLO

    sys.path.insert(0, str(folder))
    try:
        held = {n: importlib.import_module(f"mivolo.{n}") for n in ("model.mivolo_model", "data.misc", "structures")}
    finally:
        sys.path.remove(str(folder))
    made = VOLO.__init__
    names = list(inspect.signature(held["model.mivolo_model"].MiVOLOModel.__init__).parameters)[1:]
    VOLO.__init__ = lambda self, *given: made(self, **dict(zip(names, given, strict=True)))
    yield held
    VOLO.__init__ = made


def answers(net, x):
    with torch.inference_mode():
        return net(torch.from_numpy(x)).numpy()


def seed(net):
    held = {n: torch.from_numpy(t) for n, t in seeded.weights(seeded.shapes_of(net)).items()}
    net.load_state_dict(held, strict=False)
    return net.eval()


# ---------------------------------------------------------------- the network


def test_our_trunk_gives_the_numbers_of_timm(timm):
    from timm.models.volo import VOLO

    from mien.models.vision.people.mivolo_net import stem
    from mien.models.vision.people.volo_net import Volo

    class Patches(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.proj = stem(16), torch.nn.Conv2d(16, 24, 4, stride=4)

        def forward(self, x):
            return self.proj(self.conv(x))

    net = seed(VOLO(**NARROW, num_classes=5))
    ours = Volo(Patches(), 8, 5, NARROW["layers"], (24, 48), (2, 4))
    ours.load_state_dict(net.state_dict())
    x = seeded.pictures(3, 3, 64, seed=9) * 4 - 2
    want = answers(net, x)
    apart = float(np.abs(answers(ours.eval(), x) - want).max())
    print(f"trunk: {apart:.1e} apart, answers up to {np.abs(want).max():.2f}")
    assert apart <= 1e-4
    assert np.ptp(want, axis=0).max() > 0.01


@pytest.mark.parametrize("shape", [NARROW, pytest.param(D1, marks=pytest.mark.slow)], ids=["narrow", "d1"])
def test_our_network_gives_their_numbers(theirs, shape):
    from mien.models.vision.people.mivolo_net import MiVolo

    net = seed(theirs["model.mivolo_model"].MiVOLOModel(in_chans=6, num_classes=3, **shape))
    side, hidden = shape["img_size"], shape.get("stem_hidden_dim", 64)
    ours = MiVolo(side, hidden, shape["layers"], shape["embed_dims"][:2], shape["num_heads"][:2])
    ours.load_state_dict({f"mivolo.model.{n}": t for n, t in net.state_dict().items()})
    x = seeded.pictures(2, 6, side, seed=7) * 4 - 2
    want = answers(net, x)
    apart = float(np.abs(answers(ours.eval(), x) - want).max())
    print(f"network, {side} px: {apart:.1e} apart, answers up to {np.abs(want).max():.2f}")
    assert apart <= 1e-4
    assert np.ptp(want, axis=0).max() > 0.01


# ---------------------------------------------------------------- what goes into it


class Detected:
    """What their detector would hand over: faces and people of one picture."""

    names = types.MappingProxyType({0: "person", 1: "face"})

    def __init__(self, faces, people):
        rows = [(1, f) for f in faces] + [(0, p) for p in people]
        self.boxes = [types.SimpleNamespace(cls=c, xyxy=torch.tensor([list(b)], dtype=torch.float32)) for c, b in rows]


def crowd(seed, n=5):
    """A picture of patches with n people who overlap, and their faces."""
    rng = np.random.default_rng(seed)
    pixels = np.kron(rng.integers(30, 256, (24, 32, 3)), np.ones((20, 20, 1))).astype(np.uint8)
    corner = rng.uniform([-20, -20], [560, 250], (n, 2))
    size = rng.uniform([40, 90], [220, 330], (n, 2))
    people = np.concatenate([corner, corner + size], 1).astype(np.float32)
    head = corner + size * rng.uniform([0.3, 0.03], [0.5, 0.15], (n, 2))
    faces = np.concatenate([head, head + size * [0.2, 0.12]], 1).astype(np.float32)
    inside = (faces[:, :2] >= 0).all(1) & (faces[:, 2:] < [640, 480]).all(1)
    return pixels, faces[inside], people[inside]


def batch_of(pixels, faces, people):
    n = len(faces)
    boxes = Boxes(np.zeros(n, np.int64), faces, np.ones(n, np.float32), np.zeros(n, np.int64), ("face",))
    return FacePeople(Frames(pixels[None], np.zeros(1, np.int64)), boxes, people)


def test_crops_are_theirs_to_the_pixel(theirs):
    """Twenty crowds, each face given its own body: the same boxes are cut, the same is black, the same is dropped."""
    seen = dropped = 0
    for number in range(20):
        pixels, faces, people = crowd(number)
        batch = batch_of(pixels, faces, people)
        held = theirs["structures"].PersonAndFaceResult(Detected(faces, people))
        for row in range(len(faces)):
            want = held.crop_object(pixels, len(faces) + row, cut_other_classes=["face", "person"])
            ours = body_of(batch, row, pixels)
            assert (ours is None) == (want is None), (number, row)
            if want is not None:
                np.testing.assert_array_equal(ours, want)
            face = held.crop_object(pixels, row, cut_other_classes=[])
            bgr = [None if c is None else c[..., ::-1] for c in (face, want)]
            given = theirs["data.misc"].prepare_classification_images(bgr, SIDE)
            np.testing.assert_allclose(pair_of(batch, row), given.numpy().reshape(6, SIDE, SIDE), atol=1e-6)
            seen, dropped = seen + 1, dropped + (want is None)
    print(f"{seen} faces, {dropped} bodies dropped")
    assert seen >= 40
    assert 5 <= dropped <= seen - 20


def test_faces_are_paired_with_bodies_as_theirs_are_where_the_scene_is_plain(theirs):
    """Theirs pairs by overlap alone, with no word on where in the body a face is: in plain scenes both must agree."""
    for number in range(20):
        rng = np.random.default_rng(number)
        left = rng.permutation(np.arange(5) * 120 + rng.uniform(0, 20, 5))
        people = np.stack([left, left * 0 + 20, left + 90, left * 0 + 300], 1).astype(np.float32)
        faces = (people[:, [0, 1, 0, 1]] + [30, 10, 60, 45]).astype(np.float32)
        order = rng.permutation(5)
        their, _ = theirs["data.misc"].assign_faces([*torch.from_numpy(people)], [*torch.from_numpy(faces[order])])
        mine = (batch_of(np.zeros((320, 640, 3), np.uint8), f, f).boxes for f in (faces[order], people))
        np.testing.assert_array_equal(pair_faces(*mine), people[their])


# ---------------------------------------------------------------- the whole


@pytest.mark.slow
def test_years_are_theirs_from_frame_to_answer(theirs, tmp_path):
    """Full width and size, seeded weights written as the published file is: their years of real boxes and ours."""
    from safetensors.torch import save_file

    net = seed(theirs["model.mivolo_model"].MiVOLOModel(in_chans=6, num_classes=3, **D1))
    with torch.no_grad():
        net.head.weight.mul_(0.1)  # keep the years within the scale
        net.aux_head.weight.mul_(0.1)
    path = tmp_path / "mivolo-v2.safetensors"
    save_file({f"mivolo.model.{n}": t for n, t in net.state_dict().items()}, path, {"format": "pt"})
    pixels, faces, people = crowd(3)
    held = theirs["structures"].PersonAndFaceResult(Detected(faces, people))
    crops = [held.crop_object(pixels, i, cut_other_classes=[]) for i in range(len(faces))]
    crops += [held.crop_object(pixels, len(faces) + i, cut_other_classes=["face", "person"]) for i in range(len(faces))]
    bgr = [None if c is None else c[..., ::-1] for c in crops]
    both = theirs["data.misc"].prepare_classification_images(bgr, SIDE).numpy()
    want = answers(net, np.concatenate([both[: len(faces)], both[len(faces) :]], 1))[:, 2] * 122 + 61
    model = MiVolo2.open(WeightFiles({path.name: path}), MiVolo2.Config(), Device(threads=1))
    given = model.run(batch_of(pixels, faces, people))
    print(f"years: {np.abs(given.value - want).max():.1e} apart, {want.round(2).tolist()}")
    np.testing.assert_allclose(given.value, np.clip(want, 0, 122), atol=1e-2)
    assert 0 < want.min() <= want.max() < 122
