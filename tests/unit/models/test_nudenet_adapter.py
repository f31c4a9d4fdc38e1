"""NudeNet: which regions count, planted tables in a real ONNX file, and what it may never be told to leave out.

Everything explicit here is a number in a planted table; no picture shows anything.
"""

from __future__ import annotations

import numpy as np
import pytest

from mien.core import Device, Frames, MienError, WeightFiles
from mien.models.vision.objects.nudenet import ALWAYS, REGIONS, NudeNet, prepared

ROWS = 2100


def planted(path, *found):
    """An ONNX file that answers (region, score, x, y, w, h) in px of its 320 × 320 px, whatever it sees."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    table = np.zeros((1, 4 + len(REGIONS), ROWS), np.float32)
    for row, (region, score, *box) in enumerate(found):
        table[0, :4, row] = box
        table[0, 4 + REGIONS.index(region), row] = score
    entry = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 3, "height", "width"])
    out = helper.make_tensor_value_info("output0", TensorProto.FLOAT, table.shape)
    node = helper.make_node("Identity", ["table"], ["output0"])
    graph = helper.make_graph([node], "planted", [entry], [out], [numpy_helper.from_array(table, "table")])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return WeightFiles({path.name: path})


def frames(n=1, h=200, w=400):
    return Frames(np.full((n, h, w, 3), 90, np.uint8), np.arange(n, dtype=np.int64))


def opened(path, *found, **settings):
    return NudeNet.open(planted(path, *found), NudeNet.Config(**settings), Device(threads=1))


def test_the_largest_score_of_a_region_that_counts_is_the_frames(tmp_path):
    belly, hidden = ("BELLY_EXPOSED", 0.9, 100, 60, 40, 40), ("FEMALE_BREAST_COVERED", 0.8, 50, 50, 20, 20)
    bare = ("BUTTOCKS_EXPOSED", 0.31, 102, 61, 40, 40)
    path = tmp_path / "n.onnx"
    assert opened(path, belly, hidden).run(frames(2)).value.tolist() == [0, 0]
    given = opened(path, belly, hidden, bare).run(frames())
    np.testing.assert_allclose(given.value, 0.31, atol=1e-6)
    assert np.isnan(given.sd).all()
    np.testing.assert_allclose(
        opened(path, belly, counts=(*ALWAYS, "BELLY_EXPOSED")).run(frames()).value, 0.9, atol=1e-6
    )


@pytest.mark.parametrize("region", REGIONS)
def test_of_each_region_it_is_known_whether_it_counts(tmp_path, region):
    score = opened(tmp_path / "n.onnx", (region, 0.5, 100, 60, 40, 40)).run(frames()).value[0]
    assert (score > 0) == (region in ALWAYS)
    assert region not in ALWAYS or region.endswith("EXPOSED")


def test_regions_lie_in_px_of_the_frame_and_suppress_each_other(tmp_path):
    """A frame 400 px wide lies in the upper left of a square of 400 px, which is 320 px to the network."""
    model = opened(
        tmp_path / "n.onnx",
        ("FACE_FEMALE", 0.5, 160, 80, 80, 40),
        ("FACE_MALE", 0.6, 161, 80, 80, 40),
        ("FEET_EXPOSED", 0.4, 20, 150, 60, 60),
        ("FEET_EXPOSED", 0.2, 200, 20, 10, 10),
    )
    found = model.regions(frames(2))
    assert [found.names[i] for i in found.of_frame(1).label] == ["FACE_MALE", "FEET_EXPOSED"]
    np.testing.assert_allclose(found.of_frame(0).xyxy, [[151.25, 75, 251.25, 125], [0, 150, 62.5, 200]], atol=1e-3)


def test_the_picture_reaches_the_network_blue_first_in_the_corner_of_a_black_square():
    pixels = np.zeros((40, 80, 3), np.uint8)
    pixels[...] = (255, 102, 51)
    x = prepared(pixels)
    assert x.shape == (1, 3, 320, 320)
    np.testing.assert_allclose(x[0, :, 10, 300], [0.2, 0.4, 1], atol=1e-6)
    assert (x[0, :, 170:] == 0).all()


def test_the_gate_may_be_made_stricter_and_never_looser():
    with pytest.raises(ValueError, match="ANUS_EXPOSED"):
        NudeNet.Config(counts=tuple(r for r in ALWAYS if r != "ANUS_EXPOSED"))
    with pytest.raises(ValueError, match="counts"):
        NudeNet.Config.model_validate({"counts": [*ALWAYS, "KNEES"]})
    assert NudeNet.Config.model_validate({"counts": [*ALWAYS, "FEET_EXPOSED"]}).counts[-1] == "FEET_EXPOSED"


def test_a_network_that_answers_nan_is_no_empty_frame(tmp_path):
    model = opened(tmp_path / "n.onnx", ("FEET_EXPOSED", np.nan, 20, 150, 60, 60))
    for ask in (model.run, model.regions):
        with pytest.raises(MienError, match=r"\[models.not-finite\]"):
            ask(frames())


def test_its_terms_must_be_accepted():
    assert NudeNet.spec.weights.licences.accept == "AGPL-3.0"
