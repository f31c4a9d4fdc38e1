"""YOLO exports: planted tables in real ONNX files of every layout, their metadata, and what cannot be used."""

from __future__ import annotations

import numpy as np
import pytest

from mien.core import COCO_POINTS, Boxes, Device, Frames, MienError, People, WeightFiles
from mien.models.vision.objects.nanodet import COCO
from mien.models.vision.objects.yolo import Settings, YoloObjects, YoloPose, letterbox, matched
from mien.models.vision.objects.yolo_heads import METADATA_CHARS, Layout, Meta, decode, mask_in, read_meta, recognise

SIZE = (64, 96)  # of the canvas; frames are 128 × 192 px, so one px of the canvas is two of the frame
CELLS = 8 * 12 + 4 * 6 + 2 * 3


def export(path, *tables, metadata=None, half=False, batch=1, shape=SIZE):
    """An ONNX file that answers planted tables, each plus nothing times the mean of the picture."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    kind, dtype = (TensorProto.FLOAT16, np.float16) if half else (TensorProto.FLOAT, np.float32)
    zero = numpy_helper.from_array(np.array(0, dtype), "zero")
    nodes = [helper.make_node("ReduceMean", ["images"], ["mean"], keepdims=0)]
    nodes.append(helper.make_node("Mul", ["mean", "zero"], ["nothing"]))
    held, outputs = [zero], []
    for i, table in enumerate(tables):
        held.append(numpy_helper.from_array(np.ascontiguousarray(table, dtype), f"table{i}"))
        nodes.append(helper.make_node("Add", [f"table{i}", "nothing"], [f"output{i}"]))
        outputs.append(helper.make_tensor_value_info(f"output{i}", kind, table.shape))
    entry = helper.make_tensor_value_info("images", kind, [batch, 3, *shape])
    graph = helper.make_graph(nodes, "planted", [entry], outputs, held)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    for key, value in (metadata or {}).items():
        model.metadata_props.add(key=key, value=value)
    onnx.save(model, path)
    return WeightFiles({path.name: path})


def frames(n=1):
    return Frames(np.full((n, 128, 192, 3), 90, np.uint8), np.arange(n, dtype=np.int64))


def rows(classes=80, extras=0):
    """Two objects in px of the canvas, and one that scores too little: cxcywh, class scores, extras `[a ...]`."""
    table = np.zeros((CELLS, 4 + classes + extras), np.float32)
    table[:3, :4] = [[20, 30, 20, 40], [60, 20, 30, 20], [50, 50, 10, 10]]
    table[0, 4], table[1, 4 + classes - 1], table[2, 4] = 0.9, 0.6, 0.2
    return table


WANT = np.array([[20, 20, 60, 100], [90, 20, 150, 60]])  # px of the frame


def seen(tmp_path, *tables, adapter=YoloObjects, shown=frames, **more):
    settings = {k: more.pop(k) for k in ("layout", "names") if k in more}
    model = adapter.open(export(tmp_path / "yolo.onnx", *tables, **more), adapter.Config(**settings), Device(threads=1))
    return model.run(shown())


def coded(code, *words):
    return pytest.raises(MienError, match=rf"\[{code}\]" + "".join(f"(?s:.*){w}" for w in words))


# ---------------------------------------------------------------- planted objects, every layout


def test_decoded_rows_become_boxes_of_the_frame(tmp_path):
    found = seen(tmp_path, rows().T[None])
    np.testing.assert_allclose(found.xyxy, WANT, atol=1e-3)
    np.testing.assert_allclose(found.score, [0.9, 0.6], atol=1e-6)
    assert [found.names[i] for i in found.label] == ["person", "toothbrush"]
    assert found.names == COCO


def test_float16_exports_and_whole_batches_give_the_same(tmp_path):
    want = seen(tmp_path, rows().T[None])
    half = seen(tmp_path, rows().T[None], half=True)
    np.testing.assert_allclose(half.xyxy, want.xyxy, atol=0.1)
    tables = np.stack([rows().T, np.zeros_like(rows().T), rows().T])
    many = seen(tmp_path, tables, shown=lambda: frames(4), batch=3)
    assert many.frame.tolist() == [0, 0, 2, 2, 3, 3]  # three to a call, then one and two grey pictures
    np.testing.assert_array_equal(many.xyxy[:2], want.xyxy)


def test_suppression_is_within_a_class_and_only_where_the_file_leaves_it(tmp_path):
    table = rows()
    table[3], table[4] = table[0], table[0]
    table[3, 4], table[4, 4], table[4, 5] = 0.8, 0.0, 0.7  # the same box again, and as another class
    found = seen(tmp_path, table.T[None])
    assert found.label.tolist() == [0, 1, 79]
    ended = np.zeros((1, 30, 6), np.float32)
    ended[0, :4] = [[10, 10, 30, 50, 0.9, 0], [10, 10, 30, 50, 0.8, 0], [45, 10, 75, 30, 0.6, 79], [1, 1, 9, 9, 0.1, 3]]
    found = seen(tmp_path, ended)
    assert found.label.tolist() == [0, 0, 79]
    np.testing.assert_allclose(found.xyxy[[0, 2]], WANT, atol=1e-3)


def test_yolox_offsets_and_log_sizes(tmp_path):
    """Cells of 8 px come first, row by row; class scores are multiplied with objectness."""
    table = np.zeros((CELLS, 5 + 80), np.float32)
    for (column, row), (x, y, w, h), name in (((2, 3), (20, 30, 20, 40), 0), ((7, 2), (60, 20, 30, 20), 79)):
        cell = table[row * 12 + column]
        cell[:5] = [x / 8 - column, y / 8 - row, np.log(w / 8), np.log(h / 8), 0.9]
        cell[5 + name] = 0.7 if name else 0.8
    first16 = table[96]  # the first cell of the second level, at the corner
    first16[:6] = [0.5, 0.5, 0, 0, 1, 0.5]
    found = seen(tmp_path, table[None])
    np.testing.assert_allclose(found.xyxy[:2], WANT, atol=1e-3)
    np.testing.assert_allclose(found.xyxy[2], [0, 0, 32, 32], atol=1e-3)
    np.testing.assert_allclose(found.score, [0.72, 0.63, 0.5], atol=1e-6)
    decoded = table.copy()
    decoded[:, :4] = 0
    decoded[0, :6] = [20, 30, 20, 40, 0.9, 0.8]
    np.testing.assert_allclose(seen(tmp_path, decoded[None], layout="yolox-decoded").xyxy, WANT[:1], atol=1e-3)
    decoded[0, :4] = 300
    with coded("models.not-finite", "yolox-decoded"):
        seen(tmp_path, decoded[None])


def test_anchors_of_yolov5(tmp_path):
    table = np.zeros((3 * CELLS, 5 + 80), np.float32)
    table[100, :6] = [20, 30, 20, 40, 0.9, 0.8]
    found = seen(tmp_path, table[None], metadata={"stride": "32"})
    np.testing.assert_allclose(found.xyxy, WANT[:1], atol=1e-3)
    np.testing.assert_allclose(found.score, 0.72, atol=1e-6)


@pytest.mark.parametrize("ended", [False, True])
def test_masks_are_cut_to_the_pixels_of_their_boxes(tmp_path, ended):
    """The first plane is the left half of the picture, the second the upper half; each object asks for one of them."""
    planes = np.full((1, 32, 16, 24), -1, np.float32)
    planes[0, 0, :, :8], planes[0, 1, :6] = 1, 1  # up to x 32 of the canvas: 64 px of the frame; up to y 24: 48 px
    table = rows(extras=32)
    table[0, 84], table[1, 85] = 1, 1
    answer = table.T[None]
    if ended:
        answer = np.zeros((1, 20, 38), np.float32)
        answer[0, :2, :6] = [[10, 10, 30, 50, 0.9, 0], [45, 10, 75, 30, 0.6, 79]]
        answer[0, 0, 6], answer[0, 1, 7] = 1, 1
    found = seen(tmp_path, answer, planes)
    np.testing.assert_allclose(found.xyxy, WANT, atol=1e-3)
    assert [m.shape for m in found.masks] == [(80, 40), (40, 60)]
    assert found.masks[0].all()
    assert found.masks[1][:26].all()
    assert not found.masks[1][30:].any()
    assert [m.shape for m in found.take(np.array([1])).masks] == [(40, 60)]


def test_a_mask_lies_where_its_plane_does_whatever_the_letterbox():
    plane = np.full((40, 40), -1.0)
    plane[20:, :] = 1  # the lower half of a canvas of 160 px
    box, scale = np.array([0.4, 0.0, 99.2, 50.0]), np.array([1.6, 1.6])
    mask = mask_in(box, plane, scale, np.array([0.0, 40.0]), (160, 160))
    assert mask.shape == (50, 100)
    assert not mask[:25].any()
    assert mask[25:].all()


# ---------------------------------------------------------------- body points


def body(x, y):
    return np.stack([np.full(17, x), np.linspace(y - 15, y + 15, 17), np.linspace(0, 1, 17)], 1)


def people(*boxes, frame=0, n=1):
    zero = np.full(len(boxes), frame, np.int64)
    return People(
        frames(n), Boxes(zero, np.array(boxes, np.float32), np.ones(len(boxes), np.float32), zero * 0, ("p",))
    )


@pytest.mark.parametrize("ended", [False, True])
def test_points_go_to_the_person_whose_box_they_overlap(tmp_path, ended):
    table = np.zeros((CELLS, 5 + 51), np.float32)
    table[7] = [20, 30, 20, 40, 0.9, *body(20, 30).ravel()]
    table[9] = [60, 30, 20, 40, 0.7, *body(60, 30).ravel()]
    answer = table.T[None]
    if ended:
        answer = np.zeros((1, 9, 6 + 51), np.float32)
        answer[0, 0] = [50, 10, 70, 50, 0.7, 0, *body(60, 30).ravel()]
        answer[0, 1] = [10, 10, 30, 50, 0.9, 0, *body(20, 30).ravel()]
    files = export(tmp_path / "yolo-pose.onnx", answer)
    model = YoloPose.open(files, YoloPose.Config(), Device(threads=1))
    asked = people([102, 24, 138, 96], [18, 16, 62, 104], [16, 16, 64, 110], [150, 0, 190, 40])
    found = model.run(asked)
    assert found.names == COCO_POINTS
    np.testing.assert_allclose(found.points[0, :, :2], 2 * body(60, 30)[:, :2], atol=1e-3)
    np.testing.assert_allclose(found.points[1, :, :2], 2 * body(20, 30)[:, :2], atol=1e-3)
    np.testing.assert_allclose(found.points[1, :, 2], body(0, 0)[:, 2], atol=1e-6)
    np.testing.assert_allclose(found.score[:2], [0.7, 0.9], atol=1e-6)
    assert np.isnan(found.points[2:]).all(), "one body is given once, and none where there is none"
    assert np.isnan(found.score[2:]).all()
    late = model.run(people([18, 16, 62, 104], frame=2, n=3))
    np.testing.assert_allclose(late.points, found.points[1:2])


def test_as_objects_a_pose_export_gives_its_boxes_with_points(tmp_path):
    table = np.zeros((CELLS, 5 + 51), np.float32)
    table[7] = [20, 30, 20, 40, 0.9, *body(20, 30).ravel()]
    said = {"task": "pose", "names": "{0: 'person'}", "kpt_shape": "[17, 3]"}
    found = seen(tmp_path, table.T[None], metadata=said)
    np.testing.assert_allclose(found.points[0], 2 * body(20, 30)[:, :2], atol=1e-3)
    with coded("models.unknown-layout", "56", "52 classes", "pose"):
        seen(tmp_path, table.T[None])
    assert seen(tmp_path, table.T[None], layout="decoded-pose").names == ("class-0",)


def test_pose_needs_cocos_points(tmp_path):
    files = export(tmp_path / "yolo-pose.onnx", np.zeros((1, 4 + 1 + 15, CELLS)), metadata={"kpt_shape": "[5, 3]"})
    with coded("models.unknown-layout", "17 points"):
        YoloPose.open(files, YoloPose.Config(), Device())
    with coded("models.unknown-layout", "17 points"):
        YoloPose.open(
            export(tmp_path / "o.onnx", rows().T[None], metadata={"task": "detect"}), YoloPose.Config(), Device()
        )


def test_pairs_are_one_to_one_and_by_overlap():
    a = np.array([[0, 0, 10, 10], [0, 0, 10, 8]], float)
    assert matched(a, np.array([[0, 0, 10, 8.0]]), 0.3) == [(1, 0)]
    assert matched(a, np.zeros((0, 4)), 0.3) == []
    assert matched(a, np.array([[0, 0, 10, 8.0], [1, 1, 10, 10]]), 0.3) == [(1, 0), (0, 1)]


# ---------------------------------------------------------------- layouts and metadata


@pytest.mark.parametrize(
    ("shapes", "size", "head", "classes"),
    [
        ([(1, 84, 8400)], (640, 640), "decoded", 80),
        ([(1, 22, 2100)], (320, 320), "decoded", 18),
        ([(1, 8400, 85)], (640, 640), "yolox", 80),
        ([(1, 3549, 85)], (416, 416), "yolox", 80),
        ([(1, 25200, 85)], (640, 640), "anchors", 80),
        ([(1, 300, 6)], (640, 640), "end2end", 0),
        ([(1, 116, 8400), (1, 32, 160, 160)], (640, 640), "decoded", 80),
        ([(1, 32, 160, 160), (1, 300, 38)], (640, 640), "end2end", 0),
        ([(1, 300, 57)], (640, 640), "end2end", 0),
        ([(1, 34000, 85)], (1280, 1280), "yolox", 80),
    ],
)
def test_published_shapes_are_recognised(shapes, size, head, classes):
    layout = recognise(shapes, size, Meta())
    assert (layout.head, layout.classes) == (head, classes)
    assert layout.coefficients == (32 if len(shapes) == 2 else 0)
    assert layout.points == (17 if shapes[0][-1] == 57 else 0)


@pytest.mark.parametrize(
    ("shapes", "size"),
    [
        ([(1, 1000)], (224, 224)),
        ([(1, 84, 8400), (1, 84, 8400)], (640, 640)),
        ([(1, 20, 8401)], (640, 640)),
        ([(1, 84, 84)], (64, 64)),
        ([(1, 3, 8400)], (640, 640)),
        ([(1, 300, 7)], (640, 640)),
        ([(1, 56, 8400)], (640, 640)),
        ([(1, 255, 80, 80), (1, 255, 40, 40), (1, 255, 20, 20)], (640, 640)),
    ],
)
def test_other_shapes_are_named_and_refused(shapes, size):
    with coded("models.unknown-layout", str(list(shapes[0])).replace("[", r"\[").replace("]", r"\]")):
        recognise(shapes, size, Meta())


def test_the_user_and_the_files_words_decide_what_the_shapes_leave_open():
    assert recognise([(1, 84, 84)], (64, 64), Meta(), "decoded").head == "decoded"
    assert recognise([(1, 84, 84)], (64, 64), Meta(), "yolox").classes == 79
    assert recognise([(1, 84, 84)], (64, 64), Meta(task="detect", names=COCO)).head == "decoded"
    assert recognise([(1, 84, 6)], (64, 64), Meta(ended=True)).head == "end2end"
    assert recognise([(1, 56, 8400)], (640, 640), Meta(), pose=True) == Layout("decoded", 1, 17)
    with coded("models.unknown-layout", "task is 'obb'"):
        recognise([(1, 20, 8400)], (640, 640), Meta(task="obb"))


def test_names_come_from_the_user_the_file_or_coco(tmp_path):
    table = rows(classes=2).T[None]
    said = {"names": "{0: 'cup', 1: 'hand: (left)'}", "task": "detect", "imgsz": "[64, 96]"}
    assert seen(tmp_path, table, metadata=said).names == ("cup", "hand: (left)")
    assert seen(tmp_path, table, metadata={}).names == ("class-0", "class-1")
    assert seen(tmp_path, table, metadata=said, names=("a", "b")).names == ("a", "b")
    with coded("models.wrong-names", "2 classes", "3 names"):
        seen(tmp_path, table, names=("a", "b", "c"))
    ended = np.zeros((1, 30, 6), np.float32)
    ended[0, 0] = [10, 10, 30, 50, 0.9, 80]
    with coded("models.wrong-names", "class 80"):
        seen(tmp_path, ended)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("names", "__import__('os').system('true')"),
        ("names", "{0: open('x')}"),
        ("names", "{1: 'a', 2: 'b'}"),
        ("names", "{0: 7}"),
        ("names", "'cup'"),
        ("names", "(" * 100_000),
        ("names", "-" * 100_000),
        ("names", "[" + "'a'," * METADATA_CHARS + "]"),
        ("imgsz", "[640]"),
        ("imgsz", "[640, 1e9]"),
        ("kpt_shape", "[17, 9]"),
        ("stride", "'32'"),
    ],
)
def test_metadata_is_data_and_nothing_else(key, value):
    with coded("models.bad-metadata", f"'{key}'"):
        read_meta({key: value})


def test_published_metadata_is_read():
    said = {
        "names": "{0: 'person'}", "imgsz": "[640, 480]", "stride": "32", "task": "pose", "kpt_shape": "[17, 3]",
        "end2end": "False", "args": "{'batch': 1, 'nms': True}",
    }  # fmt: skip
    assert read_meta(said) == Meta(("person",), (640, 480), 32, "pose", 17, 3, True)
    assert read_meta({}) == Meta()


# ---------------------------------------------------------------- bad files, canvases


def test_overflow_in_float16_is_an_error_and_no_empty_frame(tmp_path):
    table = rows()
    table[5, 4 + 3] = np.inf
    with coded("models.not-finite", "float32"):
        seen(tmp_path, table.T[None], half=True)
    with coded("models.not-finite"):
        decode(Layout("decoded", 80), np.full((84, 10), np.nan), SIZE, 0.25)


def test_files_that_are_no_detector_are_refused(tmp_path):
    from onnx import TensorProto, helper, save

    wrong = helper.make_tensor_value_info("sound", TensorProto.FLOAT, [1, 16000])
    out = helper.make_tensor_value_info("o", TensorProto.FLOAT, [1, 16000])
    graph = helper.make_graph([helper.make_node("Identity", ["sound"], ["o"])], "g", [wrong], [out])
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "x.onnx")
    with coded("models.unknown-layout", r"sound \[1, 16000\]"):
        YoloObjects.open(WeightFiles({"x": tmp_path / "x.onnx"}), Settings(), Device())
    (tmp_path / "y.onnx").write_bytes(b"no network")
    with coded("weights.unreadable"):
        YoloObjects.open(WeightFiles({"y": tmp_path / "y.onnx"}), Settings(), Device())


@pytest.mark.parametrize(("h", "w"), [(90, 160), (160, 90), (101, 64), (1, 300)])
def test_the_letterbox_is_centred_grey_and_undone_exactly(h, w):
    pixels = np.full((h, w, 3), 250, np.uint8)
    canvas = letterbox(pixels, (64, 96))
    lit = np.argwhere(canvas.pixels[..., 0] == 250)
    (top, left), (bottom, right) = lit.min(0), lit.max(0) + 1
    np.testing.assert_allclose(
        (np.array([[left, top], [right, bottom]]) - canvas.offset) / canvas.scale, [[0, 0], [w, h]]
    )
    assert set(np.unique(canvas.pixels)) <= {114, 250}
    assert abs((64 - bottom) - top) <= 1
    assert abs((96 - right) - left) <= 1
    assert letterbox(pixels, (64, 96), corner=True).pixels[0, 0, 0] == 250


def test_of_any_size_the_smallest_canvas_is_taken():
    model = YoloObjects.tiny()
    sizes = []
    inner = model._net.run
    model._net.run = lambda x: (sizes.append(x.shape), inner(x))[1]
    model.run(Frames(np.zeros((1, 96, 160, 3), np.uint8), np.zeros(1, np.int64)))
    model.run(Frames(np.zeros((1, 160, 80, 3), np.uint8), np.zeros(1, np.int64)))
    assert sizes == [(1, 3, 96, 160), (1, 3, 160, 96)]
