"""DeepFace itself on the same seeded weights: the whole way from picture and box, and the file that Keras writes."""

import json
import os
import subprocess
import sys
import types

import numpy as np
import pytest

from mien.core import Boxes, Device, Faces, Frames, WeightFiles
from mien.models.vision.faces.deepface import FILE, DeepFaceEmotion
from mien.models.weights.reading import tensors

pytestmark = pytest.mark.peer

KERAS = r"""
import os, sys
os.environ |= {"TF_USE_LEGACY_KERAS": "1", "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
import numpy as np
from deepface.commons import weight_utils
from deepface.models.demography.tf import Emotion
folder = sys.argv[1]
path = os.path.join(folder, ".deepface", "weights", "facial_expression_model_weights.h5")
os.makedirs(os.path.dirname(path), exist_ok=True)
whole = weight_utils.load_model_weights, weight_utils.download_weights_if_necessary
weight_utils.load_model_weights = lambda model, weight_file: model
weight_utils.download_weights_if_necessary = lambda **_: ""
model = Emotion.load_model()
rng = np.random.default_rng(0)
model.set_weights([
    (rng.standard_normal(w.shape) * (np.sqrt(2 / np.prod(w.shape[:-1])) if w.ndim > 1 else 0.1)).astype(np.float32)
    for w in model.get_weights()
])
model.save_weights(path)
weight_utils.load_model_weights, weight_utils.download_weights_if_necessary = whole
client = Emotion.EmotionClient()
pictures = rng.uniform(0, 1, (4, 224, 224, 3)).astype(np.float32)
np.savez(os.path.join(folder, "said.npz"), pictures=pictures, probs=np.stack([client.predict(p) for p in pictures]))
"""


def converted(folder, arrays):
    with (folder / FILE).open("wb") as out:
        tensors.write(
            out,
            [
                tensors.Tensor(n, "F32", v.shape, lambda v=v: iter([np.ascontiguousarray(v).tobytes()]))
                for n, v in arrays
            ],
            {},
        )
    return DeepFaceEmotion.open(WeightFiles({FILE: folder / FILE}), DeepFaceEmotion.Config(), Device())


@pytest.fixture
def package(monkeypatch, tmp_path):
    """DeepFace with its torch engine and seeded weights, and our adapter on the same tensors."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("deepface", reason="needs the package deepface (pip install --no-deps deepface)")
    pytest.importorskip("tqdm")
    # what it would download and serve with; no picture here comes from a network
    for name, part in (("gdown", "download"), ("werkzeug.datastructures", "FileStorage")):
        module: types.ModuleType = types.ModuleType(name)
        setattr(module, part, type(part, (), {}))
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setenv("DEEPFACE_HOME", str(tmp_path))
    demography = pytest.importorskip("deepface.modules.demography")
    emotion = pytest.importorskip("deepface.models.demography.pytorch.Emotion")
    torch.set_num_threads(1)
    net, rng = emotion.base_model(), np.random.default_rng(0)
    for name, value in net.named_parameters():  # sharper than torch's own start, which answers 1/7 to everything
        gain = np.sqrt((20 if name == "fc_3.weight" else 2) / np.prod(value.shape[1:])) if value.ndim > 1 else 0.1
        value.data = torch.from_numpy((gain * rng.standard_normal(value.shape)).astype(np.float32))
    weights = tmp_path / ".deepface" / "weights"
    weights.mkdir(parents=True)
    torch.save(net.state_dict(), weights / "facial_expression_model_weights.pth")
    ours = converted(tmp_path, [(n, v.numpy()) for n, v in net.state_dict().items()])
    return demography, emotion.EmotionClient(), ours


def analyse(package, monkeypatch, pixels, box, eyes):
    """What `DeepFace.analyze` says of one planted face (`eyes`: the one on the left of the picture first, or None)."""
    demography, client, _ = package
    from deepface.models.Detector import FacialAreaRegion
    from deepface.modules import modeling

    class Planted:
        def detect_faces(self, img):
            down, right = (img.shape[0] - pixels.shape[0]) // 2, (img.shape[1] - pixels.shape[1]) // 2
            x1, y1, x2, y2 = box
            where = [None, None] if eyes is None else [(int(x) + right, int(y) + down) for x, y in eyes]
            area = FacialAreaRegion(
                x=x1 + right, y=y1 + down, w=x2 - x1, h=y2 - y1, right_eye=where[0], left_eye=where[1], confidence=1.0
            )
            return [area]

        def find_eyes(self, img):
            return None, None

    monkeypatch.setattr(
        modeling, "build_model", lambda task, model_name: client if model_name == "Emotion" else Planted()
    )
    (said,) = demography.analyze(
        img_path=np.ascontiguousarray(pixels[:, :, ::-1]), actions=["emotion"], detector_backend="opencv", silent=True
    )
    return np.array(list(said["emotion"].values())) / 100, list(said["emotion"])


def faces(pixels, box, eyes):
    none = np.zeros(1, np.int64)
    points = np.zeros((0, 0, 2), np.float32) if eyes is None else np.array([eyes], np.float32)
    boxes = Boxes(none, np.array([box], np.float32), np.ones(1, np.float32), none, ("face",), points)
    return Faces(Frames(pixels[None], none), boxes)


def scene(seed):
    """Soft blobs, as pictures are: noise would measure interpolation alone."""
    import cv2

    small = np.random.default_rng(seed).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    return cv2.resize(small, (320, 240), interpolation=cv2.INTER_CUBIC)


@pytest.mark.parametrize(
    ("box", "eyes"),
    [
        ((100, 60, 180, 140), None),
        ((40, 30, 131, 190), None),
        ((100, 60, 180, 161), ((120, 95), (160, 95))),
        ((60, 50, 200, 200), ((95, 90), (160, 120))),
        ((61, 50, 200, 201), ((95, 120), (160, 90))),
        ((4, 2, 90, 100), ((25, 30), (65, 45))),
    ],
)
def test_a_face_gets_the_answer_that_deepface_gives(package, monkeypatch, box, eyes):
    """Differences are of rounding while turning: DeepFace turns a part of the picture, we turn once."""
    worst = 0.0
    for seed in range(3):
        pixels = scene(seed)
        theirs, names = analyse(package, monkeypatch, pixels, box, eyes)
        ours = package[2].run(faces(pixels, box, eyes)).probs[0]
        assert names == ["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"]
        worst = max(worst, float(np.abs(theirs - ours).max()))
    print(f"largest difference {worst:.1e}")
    assert worst < 1e-5


def test_another_picture_gets_another_answer(package, monkeypatch):
    said = [analyse(package, monkeypatch, scene(s), (60, 50, 200, 200), None)[0] for s in range(2)]
    assert np.abs(said[0] - said[1]).max() > 1000 * 1e-5, "else the bar above proves nothing"


def test_the_file_that_keras_writes_gives_the_numbers_of_keras(tmp_path):
    """The real package with TensorFlow, in an interpreter of its own (MIEN_PEER_PYTHON)."""
    pytest.importorskip("h5py")
    from mien.models.weights.reading import hdf5

    python = os.environ.get("MIEN_PEER_PYTHON", "")
    if not python:
        pytest.skip("needs MIEN_PEER_PYTHON: an interpreter with tensorflow-cpu, tf_keras and deepface")
    done = subprocess.run(
        [python, "-W", "ignore", "-c", KERAS, str(tmp_path)],
        capture_output=True, text=True, check=False, env=os.environ | {"DEEPFACE_HOME": str(tmp_path)},
    )  # fmt: skip
    if "ModuleNotFoundError" in done.stderr:
        pytest.skip(f"MIEN_PEER_PYTHON lacks a package: {done.stderr.splitlines()[-1]}")
    assert done.returncode == 0, done.stderr[-2000:]
    path = tmp_path / ".deepface" / "weights" / "facial_expression_model_weights.h5"
    with path.open("rb") as file:
        found = hdf5.read(file, path.stat().st_size, "")
        arrays = [(t.name, np.frombuffer(b"".join(t.chunks()), np.float32).reshape(t.shape)) for t in found.tensors]
    print(json.dumps([name for name, _ in arrays]))
    model, said = converted(tmp_path, arrays), np.load(tmp_path / "said.npz")
    for picture, probs in zip(said["pictures"], said["probs"], strict=True):
        import cv2

        grey = cv2.resize(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), (48, 48))
        (ours,) = model._net.run(np.asarray(grey, np.float32)[None, :, :, None])
        np.testing.assert_allclose(ours[0], probs, atol=1e-6)
        print(f"largest difference {np.abs(ours[0] - probs).max():.1e}")
