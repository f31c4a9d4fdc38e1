"""Body models: planted bodies through the stand-ins, the decoding against the published graph, the real weights."""

from functools import cache

import cv2
import numpy as np
import pytest

from mien.core import COCO_POINTS, Boxes, Device, Frames, MienError, People
from mien.models.vision.geometry import Square
from mien.models.vision.net import StandIn
from mien.models.vision.people import blazepose
from mien.models.vision.people.blazepose import FINDER_SIDE, LEVELS, ORDER, BlazePose, decode_finder
from mien.models.vision.people.pose import _FIGURE, GRAPH, HEADS, MoveNet, MoveNetThunder, decode, shortened
from mien.models.weights import open_adapter, resolve
from mien.models.weights.converting.tfjs import read

REAL = ("pose.movenet", "pose.movenet-thunder", "pose.blazepose")
OTHER = {"left": "right", "right": "left"}
SWAP = [COCO_POINTS.index("_".join(OTHER.get(w, w) for w in name.split("_"))) for name in COCO_POINTS]


def people(pixels, *boxes) -> People:
    zero = np.zeros(len(boxes), np.int64)
    xyxy = np.array(boxes, np.float32).reshape(-1, 4)
    return People(
        Frames(pixels[None], np.zeros(1, np.int64)),
        Boxes(zero, xyxy, np.ones(len(boxes), np.float32), zero, ("person",)),
    )


def spot(x: int, y: int, side: int = 8) -> np.ndarray:
    """A dark frame 320x240 with a light square, its corner at (x, y)."""
    pixels = np.zeros((240, 320, 3), np.uint8)
    pixels[y : y + side, x : x + side] = 255
    return pixels


# ---------------------------------------------------------------- planted bodies


@pytest.mark.parametrize(("x", "y", "half"), [(100, 80, 48), (200, 120, 48), (150, 100, 80)])
def test_a_planted_body_comes_back_in_px_of_the_frame(x, y, half):
    """The stand-in stands a figure around the light: each joint lies its cells away, times the cell's size."""
    middle = np.array([x + 4, y + 4])
    found = MoveNet.tiny().run(people(spot(x, y), [*(middle - half), *(middle + half)]))
    cell = 2 * half * 1.25 / 48
    np.testing.assert_allclose(found.points[0, :, :2] - middle, _FIGURE[:, ::-1] * cell, atol=1.5 * cell)
    assert found.names == COCO_POINTS
    assert found.score[0] > 0.5
    assert (MoveNet.tiny().run(people(spot(x, y) * 0, [*(middle - half), *(middle + half)])).score < 0.1).all()


def test_the_person_of_the_box_is_taken_and_not_a_brighter_neighbour():
    pixels = spot(60, 100)
    pixels[100:108, 60:68] = 150
    pixels[100:108, 140:148] = 255
    found = MoveNet.tiny().run(people(pixels, [40, 40, 90, 170], [120, 40, 170, 170]))
    nose = found.points[:, COCO_POINTS.index("nose"), 0]
    np.testing.assert_allclose(nose, [64, 144], atol=6)


def test_points_outside_the_frame_are_not_visible_and_boxes_outside_it_are_not_measured():
    pixels = spot(10, 10)
    found = MoveNet.tiny().run(people(pixels, [-26, -26, 54, 54], [400, 20, 480, 120], [0, 0, 60, 60]))
    outside = (found.points[0, :, :2] < 0).any(1)
    assert outside.any()
    assert (found.points[0, outside, 2] == 0).all()
    assert (found.points[0, ~outside, 2] > 0).any()
    assert np.isnan(found.points[1]).all()
    assert np.isnan(found.score[1])
    assert np.isfinite(found.points[2]).all()


def finder_heads(anchor: tuple[int, int, int], head, hips, reach, logit: float = 9.0) -> list[np.ndarray]:
    """A finder's answer with one body at (level, row, column); places as shares of what it sees."""
    heads = blazepose._nobody(np.zeros(1))
    level, row, column = anchor
    stride, _ = LEVELS[level]
    cell = (np.array([column, row]) + 0.5) * stride / FINDER_SIDE
    heads[level][0, row, column, 0] = logit
    values = np.zeros((6, 2))
    values[[0, 2, 3]] = (np.array([head, hips, reach]) - cell) * FINDER_SIDE
    heads[3 + level][0, row, column, :12] = values.reshape(-1)
    return heads


@pytest.mark.parametrize("anchor", [(0, 10, 12), (1, 3, 9), (2, 6, 0)])
def test_the_finder_decodes_a_planted_body(anchor):
    score, points = decode_finder(finder_heads(anchor, (0.4, 0.2), (0.5, 0.6), (0.5, 0.1)))
    assert (score > 0.5).sum() == 1
    np.testing.assert_allclose(points[score.argmax()][[0, 2, 3]], [(0.4, 0.2), (0.5, 0.6), (0.5, 0.1)], atol=1e-6)


def test_a_leaning_body_is_cut_out_upright_and_its_points_turned_back():
    """The finder says: hips at the middle, the body leans right by 90°. What the second network calls 'up' is right."""
    seen = []

    def landmarks(x):
        seen.append(x)
        points = np.full((39, 5), 0.0)
        points[:, :2] = 128  # the middle, and the nose a quarter of the cut-out above it
        points[ORDER[0], 1] = 64
        return [points.reshape(1, -1), np.array([[0.9]])]

    finder = StandIn(lambda _: finder_heads((1, 5, 8), (0.7, 0.5), (0.5, 0.5), (0.7, 0.5)))
    found = BlazePose(StandIn(landmarks), finder, BlazePose.Config()).run(people(spot(0, 0), [100, 60, 200, 160]))
    middle, reach = (150, 110), 0.2 * 125
    np.testing.assert_allclose(found.points[0, 1, :2], middle, atol=1e-3)
    np.testing.assert_allclose(found.points[0, 0, :2], (middle[0] + 2 * reach * 1.25 / 4, middle[1]), atol=1e-3)
    assert found.score[0] == pytest.approx(0.9)
    assert seen[0].shape == (1, 256, 256, 3)


def test_a_body_whose_head_lies_outside_the_box_is_somebody_elses():
    model = BlazePose.tiny()
    model._finder = StandIn(lambda _: finder_heads((1, 5, 8), (0.02, 0.5), (0.5, 0.5), (0.7, 0.5)))
    found = model.run(people(spot(146, 106), [100, 60, 200, 160]))
    assert found.score[0] == pytest.approx(0, abs=1e-6)
    model._finder = StandIn(lambda _: finder_heads((1, 5, 8), (0.5, 0.3), (0.5, 0.5), (0.7, 0.5)))
    assert model.run(people(spot(146, 106), [100, 60, 200, 160])).score[0] > 0.01


@pytest.mark.parametrize(
    "square", [Square(140, 130, 1100, 0.3), Square(5, 230, 700, -0.6), Square(160, 120, 300), Square(310, 4, 190, 0.1)]
)
def test_a_cut_is_the_mean_of_what_lies_under_each_pixel(square: Square):
    """Against sampling sixteen times as finely and averaging; one pixel off would be five times as far."""
    rng = np.random.default_rng(0)
    pixels = np.kron(rng.integers(0, 255, (12, 16, 3)), np.ones((20, 20, 1))).astype(np.uint8)
    fine = Square(square.x, square.y, square.side, square.roll)
    corners = np.array([[0.0, 0.0], [1024, 0.0], [0.0, 1024]])
    target = fine.to_frame(corners, 1024)
    matrix = cv2.getAffineTransform((target - 0.5).astype(np.float32), (corners - 0.5).astype(np.float32))
    wanted = cv2.resize(cv2.warpAffine(pixels, matrix, (1024, 1024)), (64, 64), interpolation=cv2.INTER_AREA)
    got = square.cut(pixels, 64).astype(int)
    apart = np.abs(got - wanted).mean()
    assert apart < 4
    assert np.abs(got - np.roll(wanted, 1, 0)).mean() > 3 * apart


# ---------------------------------------------------------------- the published graphs


def weights_of(cls):
    try:
        return resolve(cls.spec.weights)
    except MienError as error:
        if error.code == "weights.missing":
            pytest.skip(f"{error.message}: run 'mien models pull'")
        raise


def tail(graph, heads: dict[str, np.ndarray]) -> np.ndarray:
    """What the published graph makes of its own heads: its last operations, evaluated one by one in numpy."""
    ops = {
        "Reshape": lambda n, x, s: x.reshape(s.astype(int)),
        "ArgMax": lambda n, x, axis: x.argmax(int(axis)),
        "FloorDiv": lambda n, a, b: a // b,
        "Cast": lambda n, x: x.astype(np.float32 if n.attrs["DstT"]["type"] == "DT_FLOAT" else np.int64),
        "Pack": lambda n, *x: np.stack(np.broadcast_arrays(*x), n.attr("axis", 0)),
        "Unpack": lambda n, x: [np.take(x, i, n.attr("axis", 0)) for i in range(x.shape[n.attr("axis", 0)])],
        "GatherNd": lambda n, x, at: x[tuple(np.moveaxis(at, -1, 0))],
        "ExpandDims": lambda n, x, axis: np.expand_dims(x, int(axis)),
        "ConcatV2": lambda n, *x: np.concatenate(x[:-1], int(x[-1])),
        "SquaredDifference": lambda n, a, b: (a - b) ** 2,
        "Sqrt": lambda n, x: np.sqrt(x),
        "RealDiv": lambda n, a, b: a / b,
        "AddV2": lambda n, a, b: a + b,
        "Sub": lambda n, a, b: a - b,
        "Mul": lambda n, a, b: a * b,
        "Identity": lambda n, x: x,
    }
    values = dict(heads)

    def value(name: str):
        base, _, index = name.partition(":")
        if base not in values:
            node = graph.nodes[base]
            known = node.op == "Const"
            values[base] = graph.weights[base] if known else ops[node.op](node, *(value(i) for i in node.inputs))
        return values[base][int(index or 0)] if isinstance(values[base], list) else values[base]

    return value("Identity")


@pytest.mark.parametrize("cls", [MoveNet, MoveNetThunder])
def test_decoding_equals_the_published_graphs_own_last_operations(cls):
    files = weights_of(cls)
    graph = read(files[f"{cls.model}.json"], files.files)
    m = cls.side // 4
    rng = np.random.default_rng(1)
    for _ in range(5):
        heads = [rng.random((m, m, 17)) ** 9, rng.random((m, m, 1)) ** 9, rng.normal(0, 9, (m, m, 34))]
        heads = [head.astype(np.float32) for head in (*heads, rng.random((m, m, 34)))]
        want = tail(graph, {GRAPH + name: head[None] for name, head in zip(HEADS, heads, strict=True)})
        points, _ = decode(heads, np.array([[0, 0], [1, 1]]))
        # The file keeps 1/m in half precision, which is off by 2.5e-4 of the cut-out's side at most.
        np.testing.assert_allclose(points, want[0, 0][:, [1, 0, 2]], atol=3e-4)


def test_a_graph_that_is_not_a_body_model_is_refused(tmp_path):
    files = weights_of(MoveNet)
    with pytest.raises(MienError, match="no node") as caught:
        shortened(files["movenet-lightning.json"], files, ("nowhere",), {})
    assert caught.value.code == "weights.unreadable"


# ---------------------------------------------------------------- real weights on the demonstration video


@cache
def real(name):
    weights_of({a.spec.name: a for a in (MoveNet, MoveNetThunder, BlazePose)}[name])
    return open_adapter(name, None, Device(threads=1))


@pytest.fixture(scope="module")
def demo(demo_video):
    """One frame of the demo 640x360, the box of its person, and the detector's eyes and nose."""
    import av
    import cv2

    with av.open(str(demo_video)) as container:
        pixels = next(container.decode(video=0)).to_ndarray(format="rgb24")
    pixels = cv2.resize(pixels, (640, 360), interpolation=cv2.INTER_AREA)
    batch = Frames(pixels[None], np.zeros(1, np.int64))
    found, face = open_adapter("object.nanodet").run(batch), open_adapter("face.centerface").run(batch)
    return pixels, found.xyxy[found.label == 0][0].astype(float), face.points[0, :3].astype(float)


@pytest.mark.parametrize("name", REAL)
def test_eyes_and_nose_are_where_the_face_detector_has_them_and_sides_are_the_persons_own(demo, name):
    pixels, box, face = demo
    found = real(name).run(people(pixels, box))
    nose, left, right = found.points[0, :3, :2]
    eyes = np.linalg.norm(face[1] - face[0])
    assert np.linalg.norm(np.array([right, left, nose]) - face, axis=1).max() < 0.35 * eyes
    assert left[0] > right[0]
    assert found.score[0] > 0.3


@pytest.mark.parametrize("name", REAL)
def test_a_mirrored_picture_mirrors_the_body_and_exchanges_its_sides(demo, name):
    pixels, box, _ = demo
    a = real(name).run(people(pixels, box)).points[0, :17]
    b = real(name).run(people(np.ascontiguousarray(pixels[:, ::-1]), [640 - box[2], box[1], 640 - box[0], box[3]]))
    back = b.points[0, :17] * [-1, 1, 1] + [640, 0, 0]
    head = range(5)
    eyes = np.linalg.norm(a[1, :2] - a[2, :2])
    assert np.linalg.norm(a[head, :2] - back[SWAP][head, :2], axis=1).max() < 0.5 * eyes
    assert np.linalg.norm(a[head, :2] - back[head, :2], axis=1).max() > 0.8 * eyes


@pytest.mark.parametrize("name", REAL)
def test_nobody_is_present_in_noise_or_black(name):
    noise = np.random.default_rng(2).integers(0, 255, (240, 320, 3), dtype=np.uint8)
    for pixels in (noise, noise * 0):
        assert real(name).run(people(pixels, [80, 20, 220, 230])).score[0] < 0.3
