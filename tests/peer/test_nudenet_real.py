"""NudeNet's real weights against the published package, on real pictures of dressed people.

Needs the weights ('mien models pull nudenet', terms to accept), and for the comparison a Python of its own with
`nudenet` (MIEN_PEER_PYTHON).
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from mien.core import Frames, MienError
from mien.models.vision.objects.nudenet import NudeNet
from mien.models.weights import open_adapter

pytestmark = pytest.mark.peer
SHOWN = ("face_pictures/*.jpg", "face_expression_muxspace/[A-D]*.jpg")
PEER = (
    "import json, sys; from nudenet import NudeDetector; d = NudeDetector(); "
    "print(json.dumps([d.detect(p) for p in json.load(sys.stdin)]))"
)


@pytest.fixture(scope="module")
def paths(shared_data: Path) -> list[Path]:
    return [p for pattern in SHOWN for p in sorted(shared_data.glob(pattern))]


@pytest.fixture(scope="module")
def model():
    try:
        return open_adapter("explicit.nudenet")
    except MienError as error:
        if error.code not in ("weights.missing", "licence.not-accepted"):
            raise
        pytest.skip(f"{error.message}: mien models pull nudenet --accept-licence AGPL-3.0")


def picture(path: Path) -> Frames:
    import cv2

    return Frames(cv2.imread(str(path))[None, ..., ::-1].copy(), np.zeros(1, np.int64))


def test_the_published_package_finds_the_same_regions(model: NudeNet, paths: list[Path]) -> None:
    python = os.environ.get("MIEN_PEER_PYTHON", "")
    if not python or subprocess.run([python, "-c", "import nudenet"], check=False, capture_output=True).returncode:
        pytest.skip("needs a Python with nudenet, named by MIEN_PEER_PYTHON")
    asked = json.dumps([str(p) for p in paths])
    done = subprocess.run([python, "-c", PEER], check=True, input=asked, capture_output=True, text=True)
    compared, px, score = 0, 0.0, 0.0
    for path, theirs in zip(paths, json.loads(done.stdout), strict=True):
        mine = model.regions(picture(path))
        assert [mine.names[i] for i in mine.label] == [r["class"] for r in theirs], path.name
        for i, region in enumerate(theirs):
            x, y, w, h = region["box"]  # cut down to whole px; at the upper and left edge its far side is not
            if x > 0 and y > 0:
                px = max(px, float(np.abs(mine.xyxy[i] - np.array([x, y, x + w, y + h])).max()))
                compared += 1
            score = max(score, abs(float(mine.score[i]) - region["score"]))
    print(f"{compared} regions in {len(paths)} pictures, {px:.2f} px (the package gives whole px), score {score:.1e}")
    assert compared >= 20
    assert px < 2
    assert score < 1e-4


def test_faces_are_found_and_dressed_people_are_seldom_explicit(model: NudeNet, paths: list[Path]) -> None:
    """Of pictures that a face fills one in six reaches 0.2, most as genitalia: a known weakness, not to grow."""
    scores = np.array([model.run(picture(p)).value[0] for p in paths])
    faces = [model.regions(picture(p)) for p in paths]
    with_face = np.mean([any(f.names[i].startswith("FACE") for i in f.label) for f in faces])
    crops = np.array([p.parent.name == "face_expression_muxspace" for p in paths])
    alarms = [np.mean(scores[rows] >= 0.2) for rows in (crops, ~crops)]
    print(f"faces in {with_face:.2f} of {len(paths)}; at 0.2: {alarms[0]:.3f} of crops, {alarms[1]:.3f} of pictures")
    assert with_face > 0.7
    assert alarms[0] < 0.2
    assert alarms[1] == 0
    assert ((scores >= 0) & (scores <= 1)).all()


def test_people_in_a_street_are_not_explicit(model: NudeNet, shared_data: Path) -> None:
    import av

    with av.open(str(shared_data / "tracking/vtest.avi")) as container:
        shown = [f.to_ndarray(format="rgb24") for i, f in enumerate(container.decode(video=0)) if i % 20 == 0]
    scores = model.run(Frames(np.stack(shown), np.arange(len(shown), dtype=np.int64))).value
    print(f"{len(shown)} frames, largest score {scores.max():.3f}")
    assert (scores < 0.2).all()
