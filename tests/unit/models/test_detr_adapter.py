"""RT-DETR and RF-DETR exports: seeded networks of the published architectures against their own post-processing."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from mien.core import Device, Frames, MienError, WeightFiles
from mien.models.vision.objects.detr import COCO_NUMBERS, Detr, as_input, squeezed
from mien.models.vision.objects.nanodet import COCO

SIZE = (96, 128)  # of the networks' input, (h, w)
Q = 12


def picture(h=200, w=300):
    """Smooth, so that a px more or less changes little."""
    y, x = np.mgrid[:h, :w] / 20
    waves = np.stack([np.sin(x + y), np.cos(x - 2 * y), np.sin(x * y / 9)], -1)
    return (127 + 120 * waves).astype(np.uint8)


def frames(*pixels):
    return Frames(np.stack(pixels), np.arange(len(pixels), dtype=np.int64))


def opened(path, **settings):
    return Detr.open(WeightFiles({"detr.onnx": path}), Detr.Config(**settings), Device(threads=1))


def coded(code, *words):
    return pytest.raises(MienError, match=rf"\[{code}\]" + "".join(f"(?s:.*){w}" for w in words))


# ---------------------------------------------------------------- real architectures, seeded


def rt_detr():
    import torch
    from transformers import RTDetrConfig, RTDetrForObjectDetection, RTDetrResNetConfig

    torch.set_num_threads(1)
    torch.manual_seed(4)
    backbone = RTDetrResNetConfig(
        embedding_size=16, hidden_sizes=[16, 32, 48, 64], depths=[1, 1, 1, 1], layer_type="basic",
        out_features=["stage2", "stage3", "stage4"],
    )  # fmt: skip
    tokens = sum((SIZE[0] // s) * (SIZE[1] // s) for s in (8, 16, 32))  # all are queries: none is chosen by a hair
    config = RTDetrConfig(
        backbone_config=backbone, encoder_in_channels=[32, 48, 64], feat_strides=[8, 16, 32], encoder_hidden_dim=32,
        encoder_ffn_dim=64, d_model=32, num_queries=tokens, decoder_in_channels=[32, 32, 32], decoder_ffn_dim=64,
        decoder_layers=2, encoder_attention_heads=4, decoder_attention_heads=4, num_labels=80, num_denoising=0,
    )  # fmt: skip
    return RTDetrForObjectDetection(config).eval()


def rf_detr():
    import torch
    from transformers import RfDetrConfig, RfDetrDinov2Config, RfDetrForObjectDetection

    torch.set_num_threads(1)
    torch.manual_seed(5)
    backbone = RfDetrDinov2Config(
        hidden_size=32, num_hidden_layers=4, num_attention_heads=2, image_size=SIZE, patch_size=16, num_windows=2,
        out_features=["stage2", "stage4"],
    )  # fmt: skip
    tokens = (SIZE[0] // 16) * (SIZE[1] // 16)
    model = RfDetrForObjectDetection(
        RfDetrConfig(backbone_config=backbone, d_model=32, num_queries=tokens, num_labels=91)
    )
    embeddings = next(m for m in model.modules() if hasattr(m, "interpolate_pos_encoding"))
    # At the trained size there is nothing to interpolate, and ONNX does not know this interpolation.
    embeddings.interpolate_pos_encoding = lambda e, h, w: embeddings.position_embeddings
    return model.eval()


def louder(model):
    """Class scores that spread over 0..1: as made they lie close to 0.01."""
    import torch

    calm = torch.Generator().manual_seed(6)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "class_embed" in name and name.endswith("weight"):
                parameter.normal_(0, 0.4, generator=calm)
            if "class_embed" in name and name.endswith("bias"):
                parameter.fill_(-4.0)
    return model


def wrapped(model, kind):
    """What is exported: the logits and boxes, or (RT-DETR's own tool) the best of them, in px of the frame."""
    import torch

    class Raw(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, images):
            out = self.model(images)
            return (out.pred_boxes, out.logits) if kind == "rf-detr" else (out.logits, out.pred_boxes)

    class Chosen(Raw):
        def forward(self, images, orig_target_sizes):
            logits, boxes = super().forward(images)
            corners = torch.cat([boxes[..., :2] - boxes[..., 2:] / 2, boxes[..., :2] + boxes[..., 2:] / 2], -1)
            corners = corners * orig_target_sizes.repeat(1, 2)[:, None]
            scores, index = torch.topk(logits.sigmoid().flatten(1), 300)
            rows = (index // logits.shape[2])[..., None].expand(-1, -1, 4)
            return index % logits.shape[2], corners.gather(1, rows), scores

    return (Chosen() if kind == "rt-detr" else Raw()).eval()  # the exporter leaves it as it found it


NAMES = {
    "rt-detr": (["images", "orig_target_sizes"], ["labels", "boxes", "scores"]),
    "rt-detr-raw": (["pixel_values"], ["logits", "pred_boxes"]),
    "rf-detr": (["input"], ["dets", "labels"]),
}


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    torch = pytest.importorskip("torch")
    pytest.importorskip("transformers")
    made = {}
    for kind, (inputs, outputs) in NAMES.items():
        model = louder(rf_detr() if kind == "rf-detr" else rt_detr())
        given = (torch.rand(1, 3, *SIZE), torch.tensor([[300, 200]]))[: len(inputs)]
        path = tmp_path_factory.mktemp("detr") / f"{kind}.onnx"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the exporter's own, and what it says of every traced branch
            torch.onnx.export(
                wrapped(model, kind), given, path, input_names=inputs, output_names=outputs, opset_version=17,
                dynamo=False,
            )  # fmt: skip
        made[kind] = (model, path)
    return made


def reference(model, kind, pixels, threshold):
    """The published network and the published post-processing."""
    import torch
    from transformers.models.rt_detr.image_processing_pil_rt_detr import RTDetrImageProcessorPil

    with torch.inference_mode():
        x = torch.from_numpy(as_input(pixels, SIZE, kind == "rf-detr"))[None]
        out = model(x)
        sizes = torch.tensor([pixels.shape[:2]])
        (said,) = RTDetrImageProcessorPil().post_process_object_detection(out, threshold, sizes)
    return {name: value.numpy() for name, value in said.items()}


@pytest.mark.parametrize("kind", NAMES)
def test_the_published_post_processing_says_the_same(networks, kind):
    model, path = networks[kind]
    pixels = picture()
    scores = np.sort(reference(model, kind, pixels, 0.0)["scores"])[::-1][20:100]
    gap = int(np.argmax(scores[:-1] - scores[1:]))
    threshold = float(scores[gap] + scores[gap + 1]) / 2  # where no score is near
    want = reference(model, kind, pixels, threshold)
    adapter = opened(path, min_score=threshold)
    found = adapter.run(frames(pixels))
    if kind == "rf-detr":
        used = np.isin(want["labels"], COCO_NUMBERS)
        want = {name: value[used] for name, value in want.items()}
        want["labels"] = np.searchsorted(COCO_NUMBERS, want["labels"])
    corners = np.clip(want["boxes"], 0, [300, 200, 300, 200])
    area = (corners[:, 2:] > corners[:, :2]).all(1)
    order = np.lexsort((want["labels"][area], -want["scores"][area].round(4)))
    mine = np.lexsort((found.label, -found.score.round(4)))
    assert len(found) == area.sum() >= 10
    np.testing.assert_array_equal(found.label[mine], want["labels"][area][order])
    np.testing.assert_allclose(found.score[mine], want["scores"][area][order], atol=2e-5)
    np.testing.assert_allclose(found.xyxy[mine], corners[area][order], atol=0.02)
    print(
        f"{kind}: {len(found)} boxes, {np.abs(found.xyxy[mine] - corners[area][order]).max():.1e} px, "
        f"score {np.abs(found.score[mine] - want['scores'][area][order]).max():.1e}"
    )
    assert found.names == COCO
    other = adapter.run(frames(np.ascontiguousarray(pixels[:, ::-1]), pixels))
    np.testing.assert_allclose(other.of_frame(1).xyxy, found.xyxy, atol=1e-4)
    assert len(other.of_frame(0)) != len(found) or np.abs(other.of_frame(0).xyxy - found.xyxy).max() > 1


@pytest.mark.parametrize(("h", "w"), [(200, 300), (480, 640), (60, 64), (96, 128)])
def test_frames_are_squeezed_as_the_published_preprocessing_does(h, w):
    from PIL import Image

    pixels = np.random.default_rng(1).integers(0, 256, (h, w, 3), dtype=np.uint8)
    want = np.asarray(Image.fromarray(pixels).resize(SIZE[::-1], Image.Resampling.BILINEAR), np.float32)
    assert np.abs(squeezed(pixels, SIZE) - want).max() <= 1.01  # it rounds twice
    x = as_input(pixels, SIZE, True)
    np.testing.assert_allclose(x[0], (squeezed(pixels, SIZE)[..., 0] / 255 - 0.485) / 0.229, atol=1e-5)


# ---------------------------------------------------------------- planted answers


def planted(path, inputs, **outputs):
    """An ONNX file that answers what was planted."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    types = {np.dtype(np.int64): TensorProto.INT64, np.dtype(np.float32): TensorProto.FLOAT}
    held = [numpy_helper.from_array(np.ascontiguousarray(v), f"held/{n}") for n, v in outputs.items()]
    nodes = [helper.make_node("Identity", [f"held/{n}"], [n]) for n in outputs]
    entries = [
        helper.make_tensor_value_info(n, TensorProto.INT64 if len(s) == 2 else TensorProto.FLOAT, s)
        for n, s in inputs.items()
    ]
    exits = [helper.make_tensor_value_info(n, types[v.dtype], v.shape) for n, v in outputs.items()]
    graph = helper.make_graph(nodes, "planted", entries, exits, held)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


IMAGE = {"input": [1, 3, *SIZE]}


def queries(columns=91, **at):
    """Boxes in the upper left of the frame, and logits of -9 but where said: class_NUMBER=logit."""
    boxes = np.tile(np.array([0.25, 0.375, 0.25, 0.5], np.float32), (1, Q, 1))
    logits = np.full((1, Q, columns), -9, np.float32)
    for i, (name, value) in enumerate(at.items()):
        logits[0, i, int(name.removeprefix("class_"))] = value
    return {"dets": boxes, "labels": logits}


def test_the_ninety_one_numbers_of_coco_become_its_eighty_names(tmp_path):
    assert len(COCO_NUMBERS) == len(COCO)
    path = planted(tmp_path / "f.onnx", IMAGE, **queries(class_1=3.0, class_90=2.0, class_13=1.0, class_12=4.0))
    found = opened(path).run(frames(picture()))
    assert [found.names[i] for i in found.label] == ["person", "toothbrush", "stop sign"]
    np.testing.assert_allclose(found.score, 1 / (1 + np.exp([-3.0, -2.0, -1.0])), atol=1e-6)
    np.testing.assert_allclose(found.xyxy[0], [37.5, 25, 112.5, 125], atol=1e-3)


def test_one_query_may_be_two_things_and_nothing_is_suppressed(tmp_path):
    answer = queries(80, class_0=3.0, class_1=2.0)
    answer["labels"][0, 0, 7] = 2.5
    path = planted(tmp_path / "f.onnx", IMAGE, logits=answer["labels"], pred_boxes=answer["dets"])
    found = opened(path).run(frames(picture()))
    assert found.label.tolist() == [0, 7, 1]
    assert (found.xyxy == found.xyxy[0]).all()


def test_masks_of_rf_detr(tmp_path):
    masks = np.full((1, Q, 24, 32), -1, np.float32)
    masks[0, 1, :6] = 1  # the upper quarter of the frame: 50 px
    path = planted(tmp_path / "f.onnx", IMAGE, **queries(class_1=2.0, class_2=3.0), masks=masks)
    found = opened(path).run(frames(picture()))
    assert [found.names[i] for i in found.label] == ["bicycle", "person"]
    assert [m.shape for m in found.masks] == [(100, 76), (100, 76)]
    assert found.masks[0][:22].all()
    assert not found.masks[0][28:].any()
    assert not found.masks[1].any()


def test_names_of_the_user(tmp_path):
    path = planted(tmp_path / "f.onnx", IMAGE, **queries(3, class_2=3.0))
    assert opened(path).run(frames(picture())).names == ("class-0", "class-1", "class-2")
    assert opened(path, names=("a", "b", "cup")).run(frames(picture())).names[2] == "cup"
    with coded("models.wrong-names", "3 classes", "2 names"):
        opened(path, names=("a", "b"))
    answer = {"labels": np.full((1, Q), 80, np.int64), "boxes": np.ones((1, Q, 4), np.float32)}
    answer["scores"] = np.full((1, Q), 0.9, np.float32)
    path = planted(tmp_path / "g.onnx", {"images": [1, 3, *SIZE], "orig_target_sizes": [1, 2]}, **answer)
    with coded("models.wrong-names", "class 80 of 80"):
        opened(path).run(frames(picture()))


def test_what_cannot_be_used_is_refused(tmp_path):
    answer = queries(80, class_0=3.0)
    with coded("models.unknown-layout", r"one \[1, 12, 4\], two \[1, 12, 80\]"):
        opened(planted(tmp_path / "a.onnx", IMAGE, one=answer["dets"], two=answer["labels"]))
    with coded("models.unknown-layout", r"x \[1, 16000\]"):
        opened(planted(tmp_path / "b.onnx", {"x": [1, 16000]}, **answer))
    with coded("models.unknown-layout", "no rt-detr"):
        opened(planted(tmp_path / "c.onnx", IMAGE, **answer), layout="rt-detr")
    answer["dets"][0, 3] = np.nan
    with coded("models.not-finite"):
        opened(planted(tmp_path / "d.onnx", IMAGE, **answer)).run(frames(picture()))
    (tmp_path / "e.onnx").write_bytes(b"no network")
    with coded("weights.unreadable"):
        opened(tmp_path / "e.onnx")
