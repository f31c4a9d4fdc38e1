"""Scene vectors, anomaly ranks and near-duplicates on real pictures and videos."""

from functools import cache

import numpy as np
import pytest

from mien.core import Device, Faces, Frames, MienError
from mien.models.vision.scene import without
from mien.models.weights import open_adapter
from mien.signals.neighbours import POSITIONS, anomalies, frame_hash, near_duplicates

pytestmark = pytest.mark.peer
PEOPLE = 30


@cache
def real(name):
    try:
        return open_adapter(name, None, Device(threads=1))
    except MienError as error:
        if error.code == "weights.missing":
            pytest.skip(f"{error.message}: run 'mien models pull'")
        raise


def one(pixels):
    return Frames(pixels[None], np.zeros(1, np.int64))


def read(path):
    import cv2

    return cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)


def video(path, at):
    """The frames with these numbers."""
    import av

    found = []
    with av.open(str(path)) as container:
        for number, frame in enumerate(container.decode(video=0)):
            if number in at:
                found.append(frame.to_ndarray(format="rgb24"))
            if number >= max(at):
                break
    return found


def vector(pixels):
    return real("scene.nanodet").run(one(pixels)).vectors[0]


@pytest.fixture(scope="module")
def portraits(shared_data):
    """The first picture of each of 40 people: 30 make the project, 10 are newcomers."""
    files = {p.stem.rsplit("_", 1)[0]: p for p in sorted((shared_data / "face_expression_muxspace").glob("*_0*.jpg"))}
    pictures = [read(p) for p in list(files.values())[: PEOPLE + 10]]
    return pictures, np.stack([vector(p) for p in pictures])


def rank(project, newcomer):
    return anomalies(np.vstack([project, newcomer]))[-1].percentile


def test_planted_scenes_stand_out_of_a_project_of_portraits_and_people_do_not(portraits, shared_data):
    _, vectors = portraits
    project, newcomers = vectors[:PEOPLE], vectors[PEOPLE:]
    ordinary = [rank(project, v) for v in newcomers]
    street = video(shared_data / "tracking/vtest.avi", {0, 60})
    empty = video(shared_data / "video_faces/no_face.mp4", {20})
    black = np.full((360, 640, 3), 4, np.uint8)
    odd = [rank(project, vector(p)) for p in (*street, *empty, black)]
    assert min(odd) == 1
    assert 0.3 < np.mean(ordinary) < 0.7, ordinary
    assert np.mean(np.array(ordinary) < 0.95) >= 0.7


def test_the_rank_comes_from_the_vector_of_that_clip(portraits, shared_data):
    """With the rows mixed up, the planted place is as ordinary as any other."""
    _, vectors = portraits
    (street,) = video(shared_data / "tracking/vtest.avi", {0})
    rows = np.vstack([vectors[:PEOPLE], vector(street)])
    draws = [anomalies(np.random.default_rng(s).permutation(rows))[-1].percentile for s in range(30)]
    assert np.mean(draws) < 0.7
    assert anomalies(rows)[-1].percentile == 1


def test_a_covered_face_leaves_the_vector(portraits):
    """Two people's faces in one picture: covered, the vectors are the same; uncovered, they are far apart."""
    import cv2

    pictures, _ = portraits
    finder, model = real("face.centerface"), real("scene.nanodet")
    apart, covered = [], []
    for host, guest in zip(pictures[:6], pictures[6:12], strict=True):
        box = finder.run(one(host)).take(np.array([0]))
        x1, y1, x2, y2 = (int(v) for v in box.xyxy[0])
        swapped = host.copy()
        theirs = finder.run(one(guest)).xyxy[0].astype(int)
        face = guest[max(0, theirs[1]) : theirs[3], max(0, theirs[0]) : theirs[2]]
        swapped[y1:y2, x1:x2] = cv2.resize(face, (x2 - x1, y2 - y1))
        a, b = (Faces(one(p), box) for p in (host, swapped))
        va, vb = (model.run(f.frames).vectors[0] for f in (a, b))
        apart.append(np.linalg.norm(va - vb))
        va, vb = (model.run(without(f.frames, f.boxes)).vectors[0] for f in (a, b))
        covered.append(np.linalg.norm(va - vb))
    assert max(covered) == 0, covered
    assert min(apart) > 0.1, apart


def hashes(path, first, length, change=lambda p: p):
    numbers = {first + int(p * length) for p in POSITIONS}
    return [frame_hash(np.ascontiguousarray(change(p))) for p in video(path, numbers)]


def test_changed_copies_of_real_clips_are_found_and_other_clips_are_not(shared_data):
    import cv2

    def coded(p):
        return cv2.imdecode(cv2.imencode(".jpg", cv2.resize(p, None, fx=0.5, fy=0.5))[1], cv2.IMREAD_COLOR)

    names = ("video_faces/single_face.mp4", "video_faces/hungry.mkv", "video_faces/sorry.mkv", "tracking/vtest.avi")
    clips = [hashes(shared_data / name, 0, 40) for name in names]
    copies = [hashes(shared_data / name, 0, 40, coded) for name in names]
    bright = [hashes(shared_data / name, 0, 40, lambda p: np.clip(p * 1.3, 0, 255).astype(np.uint8)) for name in names]
    found = near_duplicates([*clips, *copies, *bright])
    assert found.group == (0, 1, 2, 3) * 3


def test_one_recording_under_two_names_is_found(shared_data):
    """`face_noface.mov` starts with the recording of `single_face.mp4`, in another size and coding."""
    folder = shared_data / "video_faces"
    a, b = (hashes(folder / name, 0, 40) for name in ("single_face.mp4", "face_noface.mov"))
    assert len(near_duplicates([a, b], ["single", "noface"]).pairs) == 1
