"""Head pose on real photographs through the real mesh: the picture turned or mirrored turns or mirrors the pose.

No picture here has a measured head pose, so this shows consistency, not accuracy.
"""

from pathlib import Path

import numpy as np
import pytest

from mien.core import Faces, Frames
from mien.models.weights import load_adapters, open_adapter, present
from mien.signals.head import HeadPose, direction, head_pose

MODELS = ("face.blazeface", "landmarks.facemesh")


def _reason() -> str:
    adapters = load_adapters()
    missing = [m for m in MODELS if (w := adapters[m].spec.weights) and not present(w)]
    return f"needs the weights of {', '.join(missing)}: mien models pull" if missing else ""


pytestmark = [pytest.mark.peer, pytest.mark.skipif(bool(_reason()), reason=_reason())]


@pytest.fixture(scope="module")
def poses(shared_data: Path) -> dict[str, HeadPose]:
    """Pose of the best face of forty pictures: as they are, mirrored, and turned clockwise by 15 and 30 degrees."""
    import cv2

    detector, mesh = (open_adapter(name) for name in MODELS)
    pictures = []
    for path in sorted((shared_data / "face_expression_muxspace").glob("*_000[1-5].jpg"))[:40]:
        picture = cv2.imread(str(path))
        if picture is not None:
            pictures.append(np.ascontiguousarray(picture[:, :, ::-1]))
    found: dict[str, HeadPose] = {}
    for name in ("plain", "mirrored", "turned 15", "turned 30"):
        rows = []
        for picture in pictures:
            shown = picture
            if name == "mirrored":
                shown = np.ascontiguousarray(picture[:, ::-1])
            elif name != "plain":
                h, w = picture.shape[:2]
                # OpenCV turns counterclockwise for positive angles
                turn = cv2.getRotationMatrix2D((w / 2, h / 2), -float(name.split()[1]), 1.0)
                shown = cv2.warpAffine(picture, turn, (w, h), borderMode=cv2.BORDER_REPLICATE)
            frames = Frames(shown[None], np.zeros(1, np.int64))
            boxes = detector.run(frames)
            if len(boxes):
                pose = head_pose(mesh.run(Faces(frames, boxes.take(np.array([boxes.score.argmax()])))))
                rows.append([pose.yaw[0], pose.pitch[0], pose.roll[0], pose.misfit[0]])
            else:
                rows.append([np.nan] * 4)
        values = np.array(rows, np.float32)
        found[name] = HeadPose(values[:, 0], values[:, 1], values[:, 2], values[:, 3], ("",) * len(values))
    detector.close()
    mesh.close()
    return found


def test_most_faces_have_a_pose_and_fit_the_neutral_head(poses: dict[str, HeadPose]) -> None:
    plain = poses["plain"]
    assert np.isfinite(plain.yaw).mean() > 0.9
    assert np.nanmedian(plain.misfit) < 0.1
    towards = direction(plain)
    print("directions:", {d: towards.count(d) for d in sorted(set(towards))})
    assert towards.count("centre") > len(towards) / 3


def test_a_mirrored_picture_mirrors_yaw_and_roll(poses: dict[str, HeadPose]) -> None:
    plain, mirrored = poses["plain"], poses["mirrored"]
    for name, sign in (("yaw", -1), ("roll", -1), ("pitch", 1)):
        a, b = getattr(plain, name), getattr(mirrored, name)
        both = np.isfinite(a) & np.isfinite(b)
        off = np.abs(b - sign * a)[both]
        print(f"{name}: off by {np.median(off):.2f} deg (median), {np.percentile(off, 90):.2f} (90 %), n={both.sum()}")
        assert np.median(off) < 3
        if name != "pitch":
            assert np.corrcoef(a[both], b[both])[0, 1] < -0.8


@pytest.mark.parametrize("degrees", [15, 30])
def test_a_turned_picture_turns_the_roll_and_little_else(poses: dict[str, HeadPose], degrees: int) -> None:
    plain, turned = poses["plain"], poses[f"turned {degrees}"]
    rolled, yawed, pitched = (getattr(turned, k) - getattr(plain, k) for k in ("roll", "yaw", "pitch"))
    print(
        f"roll turns by {np.nanmedian(rolled):.1f}, yaw is off by {np.nanmedian(np.abs(yawed)):.1f}, "
        f"pitch by {np.nanmedian(np.abs(pitched)):.1f} deg"
    )
    assert np.isfinite(rolled).mean() > 0.8
    assert np.nanmedian(np.abs(rolled - degrees)) < 2.5
    assert np.nanmedian(np.abs(yawed)) < 3
    assert np.nanmedian(np.abs(pitched)) < 4
