"""Real faces that leave and come back, found, tracked and rejoined by the real parts; and how it must fail."""

from functools import cache

import numpy as np
import pytest

from mien.core import Device, Faces, Frames, MienError
from mien.models.weights import open_adapter
from mien.pipeline.stages.boxes import TRACKERS
from mien.pipeline.stages.identity import WIDTH, Rejoin, WindowConfig
from mien.signals.tracking import Tracker

pytestmark = pytest.mark.peer
FPS = 5
# who, first and last frame, left or right: two people at a time, each away long enough for the tracker to let go
SCENES = (("man", 0, 14, 0), ("signer", 5, 20, 1), ("obama", 26, 38, 0), ("man", 44, 56, 1), ("signer", 47, 60, 0),
          ("biden", 66, 75, 1))  # fmt: skip


@cache
def real(name):
    try:
        return open_adapter(name, None, Device(threads=1))
    except MienError as error:
        if error.code == "weights.missing":
            pytest.skip(f"{error.message}: run 'mien models pull'")
        raise


def frames_of(path, n):
    import av

    with av.open(str(path)) as container:
        decoded = [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]
    return [decoded[i] for i in np.linspace(0, len(decoded) - 1, n).astype(int)]


def head(pixels, side=170):
    """The head of a picture, cut out square."""
    import cv2

    boxes = real("face.centerface").run(Frames(pixels[None], np.zeros(1, np.int64)))
    x1, y1, x2, y2 = boxes.xyxy[int(np.prod(boxes.xyxy[:, 2:] - boxes.xyxy[:, :2], axis=1).argmax())]
    reach = int(0.95 * max(x2 - x1, y2 - y1))
    x, y = int(x1 + x2) // 2, int(y1 + y2) // 2
    wide = np.pad(pixels, ((reach, reach), (reach, reach), (0, 0)), mode="edge")
    return cv2.resize(wide[y : y + 2 * reach, x : x + 2 * reach], (side, side), interpolation=cv2.INTER_AREA)


@pytest.fixture(scope="module")
def heads(shared_data):
    import cv2

    def still(name):
        pixels = cv2.cvtColor(cv2.imread(str(shared_data / "face_pictures" / name)), cv2.COLOR_BGR2RGB)
        return [head(pixels)]

    return {
        "man": [head(p) for p in frames_of(shared_data / "video_faces/single_face.mp4", 6)],
        "signer": [head(p) for p in frames_of(shared_data / "video_faces/sorry.mkv", 6)],
        "obama": still("obama.jpg"),
        "biden": still("biden.jpg"),
    }


def picture(heads, t):
    """One frame `[360 640 3]`: heads drift a little, tremble in brightness, and show another picture each second."""
    canvas = np.full((360, 640, 3), 120, np.uint8)
    for who, first, last, side in SCENES:
        if first <= t <= last:
            mine = heads[who][(t // FPS) % len(heads[who])].astype(np.int16) + 6 * (t % 3) - 6
            x, y = 80 + 300 * side + 2 * (t - first), 90 + 3 * (t % 4)
            canvas[y : y + mine.shape[0], x : x + mine.shape[1]] = np.clip(mine, 0, 255)
    return canvas


def watch(heads, model, config=None):
    """Scene index → its tracks, and what was joined."""
    tracker = Tracker(TRACKERS["faces"])
    owners: dict[int, list[int]] = {}
    with Rejoin(model, config) as rejoin:
        for t in range(SCENES[-1][2] + 1):
            t_us = np.array([t * 1_000_000 // FPS])
            batch = Frames(picture(heads, t)[None], t_us)
            found = real("face.centerface").run(batch)
            track = tracker.update(int(t_us[0]), found.xyxy, found.score, found.label)
            for index, box in zip(track.tolist(), found.xyxy, strict=True):
                if index >= 0:
                    side = int((box[0] + box[2]) / 2 > 340)
                    (scene,) = [i for i, s in enumerate(SCENES) if s[1] <= t <= s[2] and s[3] == side]
                    owners.setdefault(index, []).append(scene)
            rejoin.feed(Faces(batch, found), track)
        joined = rejoin.close()
        assert not rejoin._window._arena.rows.any()
    assert all(len(set(scenes)) == 1 for scenes in owners.values()), "the tracker itself mixes nobody"
    return {index: scenes[0] for index, scenes in owners.items()}, joined


def test_who_comes_back_is_rejoined_and_nobody_else(heads):
    owners, joined = watch(heads, real("identity.faceres"))
    assert len(owners) >= len(SCENES), "without the window everybody who returns is somebody new"
    people = {index: SCENES[scene][0] for index, scene in owners.items()}
    assert all(people[later] == people[first] for later, first in joined.items())
    groups = {}
    for index, who in people.items():
        groups.setdefault(who, set()).add(joined.get(index, index))
    assert {who: len(numbers) for who, numbers in groups.items()} == {"man": 1, "signer": 1, "obama": 1, "biden": 1}


def test_another_window_does_not_know_them(heads):
    owners, joined = watch(heads, real("identity.faceres"), WindowConfig(window_s=8))
    assert len(owners) >= len(SCENES)
    assert joined == {}


class Shuffled:
    """The real embeddings, each given to the wrong face."""

    def __init__(self):
        self.rng, self.held = np.random.default_rng(1), []

    width = 1024

    def embed(self, batch, out):
        real("identity.faceres").embed(batch, out)
        self.held.append(out.copy())
        out[:] = self.held[self.rng.integers(len(self.held))]

    def forget(self):
        pass


class Noise:
    """An embedding that knows nothing of faces, as alike to each other as two strangers."""

    rng = np.random.default_rng(2)

    width = 1024

    def embed(self, batch, out):
        out[:] = np.abs(self.rng.standard_normal((len(batch), WIDTH)))

    def forget(self):
        pass


@pytest.mark.parametrize("fake", [Shuffled, Noise])
def test_fake_embeddings_join_nobody(heads, fake):
    owners, joined = watch(heads, fake())
    assert len(owners) >= len(SCENES)
    assert joined == {}


def test_other_photographs_of_a_person_are_nearer_than_strangers(shared_data):
    """Other photographs of a person; the window's own task, seconds apart, is easier. Chance is 0.5."""
    import cv2

    folder = shared_data / "face_expression_muxspace"
    names = ("Lleyton_Hewitt", "George_W_Bush", "Colin_Powell", "Kim_Clijsters", "Tony_Blair", "Laura_Bush")
    rows, who = [], []
    for name in names:
        for path in sorted(folder.glob(f"{name}_*.jpg")):
            pixels = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
            batch = Frames(pixels[None], np.zeros(1, np.int64))
            boxes = real("face.centerface").run(batch)
            if len(boxes):
                rows.append(real("identity.faceres").run(Faces(batch, boxes.take(np.array([0])))).vectors[0])
                who.append(name)
    unit = np.array(rows) / np.linalg.norm(rows, axis=1, keepdims=True)
    cosine, (i, j) = unit @ unit.T, np.triu_indices(len(who), 1)
    same = np.array(who)[i] == np.array(who)[j]
    alike, strange = cosine[i, j][same], cosine[i, j][~same]
    assert len(alike) >= 20
    assert (alike[:, None] > strange[None]).mean() > 0.95
    assert (strange >= WindowConfig().threshold).mean() < 0.01
