"""MiVOLO 2: what its makers' preparation does to a frame, its published file, and the years it gives."""

import numpy as np
import pytest

from mien.core import Boxes, Device, FacePeople, Frames, MienError, WeightFiles
from mien.models.vision.net import StandIn
from mien.models.vision.people.mivolo import MEAN, SD, SIDE, MiVolo2, body_of, pair_of, prepared
from mien.testing import seeded

EMPTY = (-MEAN / SD).astype(np.float32)
# The reference network (its makers' code on timm 1.0.31) on the same seeded weights and pictures, width 24, 64 px.
NARROW = {"side": 64, "hidden": 16, "layers": (2, 1, 2, 1), "widths": (24, 48), "heads": (2, 4)}
REFERENCE = [[3.03679, -0.27331, -0.75585], [3.01007, -0.38784, -0.82188]]


def scene(faces, bodies, pixels=None, frame=None):
    n = len(faces)
    at = np.zeros(n, np.int64) if frame is None else np.array(frame, np.int64)
    if pixels is None:
        pixels = np.full((int(at.max(initial=0)) + 1, 300, 400, 3), 200, np.uint8)
    boxes = Boxes(
        at, np.array(faces, np.float32).reshape(n, 4), np.ones(n, np.float32), np.zeros(n, np.int64), ("face",)
    )
    body = np.array([[np.nan] * 4 if b is None else b for b in bodies], np.float32).reshape(n, 4)
    return FacePeople(Frames(pixels, np.arange(len(pixels), dtype=np.int64)), boxes, body)


def black(picture):
    """Box of what is black: left, top, right, bottom."""
    y, x = np.nonzero((picture == 0).all(-1))
    return x.min(), y.min(), x.max() + 1, y.max() + 1


def test_a_picture_keeps_its_shape_in_the_middle_of_a_black_square():
    picture = np.zeros((50, 100, 3), np.uint8)
    picture[..., 0] = 255
    x = prepared(picture)
    assert x.shape == (3, SIDE, SIDE)
    assert x.dtype == np.float32
    np.testing.assert_allclose(x[:, 0, 0], EMPTY, rtol=1e-6)
    np.testing.assert_allclose(x[:, SIDE // 2, 5], (np.array([1, 0, 0]) - MEAN) / SD, rtol=1e-5)
    red = np.flatnonzero(x[0, :, 7] > 0)
    assert (red[0], red[-1] + 1) == (96, 288)
    np.testing.assert_allclose(prepared(None), np.broadcast_to(EMPTY[:, None, None], x.shape), rtol=1e-6)


def test_out_of_a_body_all_faces_are_cut_its_own_too():
    batch = scene([[60, 20, 80, 50], [105, 100, 115, 120]], [[40, 0, 140, 290], None])
    cut = body_of(batch, 0, batch.frames.pixels[0])
    assert cut is not None
    assert cut.shape == (290, 100, 3)
    gone = (cut == 0).all(-1)
    assert gone[20:50, 20:40].all()
    assert gone[100:120, 65:75].all()
    assert gone.sum() == 30 * 20 + 20 * 10
    assert (batch.frames.pixels == 200).all(), "the frame itself stays whole"


def test_another_body_is_cut_up_to_the_near_edge():
    # It covers the right of the first body from x = 110 on, and from 40 to 280 of 0-290: so from top to bottom.
    batch = scene([[60, 20, 80, 50], [130, 45, 150, 60]], [[40, 0, 140, 290], [110, 40, 200, 280]])
    cut = body_of(batch, 0, batch.frames.pixels[0])
    assert cut is not None
    assert black(cut[:, 45:]) == (25, 0, 55, 290)


def test_others_of_another_frame_do_not_count():
    batch = scene([[60, 20, 80, 50], [60, 60, 80, 90]], [[40, 0, 140, 290], [40, 0, 140, 290]], frame=[0, 1])
    cut = body_of(batch, 0, batch.frames.pixels[0])
    assert cut is not None
    assert black(cut) == (20, 20, 40, 50)


@pytest.mark.parametrize(
    ("faces", "bodies"),
    [
        ([[60, 20, 80, 50]], [None]),
        ([[60, 20, 80, 50]], [[55, 10, 104, 200]]),  # narrower than 50 px
        ([[60, 20, 80, 50], [65, 60, 80, 70]], [[40, 0, 140, 290], [38, 10, 130, 280]]),  # almost all is another's
    ],
)
def test_a_body_of_no_use_is_an_empty_picture_beside_the_face(faces, bodies):
    batch = scene(faces, bodies)
    x = pair_of(batch, 0)
    assert x is not None
    assert x.shape == (6, SIDE, SIDE)
    assert (x[:3, SIDE // 2, SIDE // 2] > 0).all()
    np.testing.assert_allclose(x[3:], np.broadcast_to(EMPTY[:, None, None], (3, SIDE, SIDE)), rtol=1e-6)


def test_years_are_of_the_published_scale_and_stay_with_their_faces():
    """Eleven faces of which two cannot be measured, each of its own brightness; the network says brightness ÷ 1000."""
    n = 11
    pixels = np.zeros((n, 60, 60, 3), np.uint8)
    pixels += np.arange(20, 20 + 20 * n, 20, dtype=np.uint8)[:, None, None, None]
    faces = [[10, 10, 50, 50]] * n
    faces[3], faces[7] = [10, 10, 12, 50], [70, 70, 90, 90]  # too narrow; outside
    batch = scene(faces, [None] * n, pixels, range(n))
    sizes = []

    def answer(x):
        sizes.append(len(x))
        red = x[:, 0, SIDE // 2, SIDE // 2] * SD[0] + MEAN[0]
        return [np.stack([red, red, red * 255 / 1000], 1).astype(np.float32)]

    given = MiVolo2(StandIn(answer), MiVolo2.Config()).run(batch)
    want = np.clip(61 + 122 * np.arange(20, 20 + 20 * n, 20) / 1000, 0, 122)
    want[[3, 7]] = np.nan
    np.testing.assert_allclose(given.value, want, rtol=1e-4)
    np.testing.assert_allclose(given.sd, np.where(np.isnan(want), np.nan, 5.2), rtol=1e-6)
    assert sizes == [8, 1]


def test_the_default_sd_follows_from_the_published_errors():
    within_5 = 1 - np.exp(-5 / 3.65)
    assert abs(within_5 - 0.7448) < 0.005
    assert MiVolo2.Config().floor_sd == pytest.approx(np.sqrt(2) * 3.65, abs=0.05)


def test_importing_needs_no_torch_and_opening_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    with pytest.raises(MienError) as caught:
        MiVolo2.open(WeightFiles({"x": tmp_path / "x"}), MiVolo2.Config(), Device())
    assert caught.value.code == "install.missing-extra"


# ---------------------------------------------------------------- with torch


def published(tmp_path, change=None, *, live=False):
    """A file of the published names and shapes, as the published one is written; seeded weights if `live`, else 0."""
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file

    from mien.models.vision.people.mivolo_net import MiVolo

    torch.set_num_threads(1)
    with torch.device("meta"):
        net = MiVolo()
    held = {n: torch.zeros(t.shape, dtype=t.dtype) for n, t in net.state_dict().items()}
    if live:
        held |= {n: torch.from_numpy(t) for n, t in seeded.weights(seeded.shapes_of(net)).items()}
    if change:
        change(held, torch)
    path = tmp_path / "mivolo-v2.safetensors"
    save_file(held, path, {"format": "pt"})
    return WeightFiles({path.name: path})


def test_the_network_answers_as_its_makers_network_does():
    torch = pytest.importorskip("torch")
    from mien.models.torchnet import fill
    from mien.models.vision.people.mivolo_net import MiVolo

    net = MiVolo(**NARROW)
    names = seeded.shapes_of(net, "mivolo.model.")
    held = {f"mivolo.model.{n}": t for n, t in seeded.weights(names).items()}
    x = torch.from_numpy(seeded.pictures(2, 6, 64)) * 4 - 2
    with torch.inference_mode():
        np.testing.assert_allclose(fill(net, held, "seeded")(x).numpy(), REFERENCE, atol=1e-4)
        for name in ("patch_embed.map.pos_embed.height_rel", "patch_embed.map.qkv_p.weight", "aux_head.weight"):
            other = held | {f"mivolo.model.{name}": np.flip(held[f"mivolo.model.{name}"], 0)}
            assert np.abs(fill(net, other, "seeded")(x).numpy() - REFERENCE).max() > 0.01, name


def test_the_published_file_opens_and_tells_faces_and_bodies_apart(tmp_path):
    files = published(tmp_path, live=True)
    (asset,) = MiVolo2.spec.weights.assets
    assert files.only.stat().st_size == asset.bytes, "the same names, shapes and types as the published file"
    rng = np.random.default_rng(2)
    pixels = np.kron(rng.integers(0, 256, (1, 30, 40, 3)), np.ones((1, 10, 10, 1))).astype(np.uint8)
    batch = scene([[60, 20, 80, 50], [60, 20, 80, 50]], [[40, 0, 140, 290], None], np.repeat(pixels, 2, 0), [0, 1])
    model = MiVolo2.open(files, MiVolo2.Config(floor_sd=6), Device(threads=1))
    given = model.run(batch)
    model.close()
    assert np.isfinite(given.value).all()
    assert given.value[0] != given.value[1], "the body counts"
    np.testing.assert_array_equal(given.sd, [6, 6])


@pytest.mark.parametrize(
    ("change", "code", "name"),
    [
        (lambda h, t: h.pop("mivolo.model.head.bias"), "weights.wrong-keys", "mivolo.model.head.bias"),
        (lambda h, t: h.update(extra=t.zeros(1)), "weights.wrong-keys", "extra"),
        (lambda h, t: h.update({"mivolo.model.cls_token": t.zeros(1, 1, 3)}), "weights.wrong-shape", "cls_token"),
        (lambda h, t: h["mivolo.model.norm.bias"].fill_(float("nan")), "weights.not-finite", "mivolo.model.norm.bias"),
    ],
)
def test_a_wrong_file_is_refused_by_name(tmp_path, change, code, name):
    with pytest.raises(MienError) as caught:
        MiVolo2.open(published(tmp_path, change), MiVolo2.Config(), Device(threads=1))
    assert caught.value.code == code
    assert name in caught.value.message
