"""Run by a Python that has `ultralytics` (never by mien's own): export networks to ONNX and write down what the tool
itself sees in some pictures. Arguments: a folder to write to, an .npz of pictures (RGB), a checkpoint or "".
"""

import json
import os
import shutil
import sys
from pathlib import Path

FAMILIES = {  # name → how it is exported
    "yolov5n": {},
    "yolov8n": {},
    "yolov9t": {},
    "yolov10n+end": {"nms": False},
    "yolo11n": {"dynamic": True},
    "yolo12n": {"batch": 2},
    "yolo26n": {},
    "yolov8n-seg": {},
    "yolo26n+end": {"nms": False},
    "yolo26n-seg+end": {"nms": False},
    "yolov8n-pose": {"dynamic": True},
    "yolo26n-pose+end": {"nms": False},
    "yolo11n+nms": {"nms": True},
    "yolo11n-seg+nms": {"nms": True},
}
SIDE, CONF, SEEN, MOST = 192, 0.25, 100, 300


def seeded(name, pictures, ended):
    """A network of seeded random weights that sees something: its normalisation is set by real pictures, and its class
    scores spread over 0..1."""
    import torch
    from ultralytics import YOLO

    torch.manual_seed(7)
    model = YOLO(f"{name}.yaml")
    network, calm = model.model, torch.Generator().manual_seed(3)
    if ended:
        network.model[-1].end2end = True
    with torch.no_grad():
        norms = [m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)]
        for norm in norms:
            norm.momentum = None  # the plain mean over what is shown
            norm.reset_running_stats()
            norm.train()
        all_of_them = [torch.from_numpy(p).permute(2, 0, 1)[None] / 255 for p in pictures]
        x = torch.cat([torch.nn.functional.interpolate(p, (SIDE, SIDE), mode="bilinear") for p in all_of_them])
        network(x)
        network.eval()
        levels = [v for kind in ("cv3", "one2one_cv3") for v in getattr(network.model[-1], kind, None) or ()]
        for level in levels:
            level[-1].weight.normal_(0, 0.06, generator=calm)
            level[-1].bias.fill_(-4.0)
        table = network(x)
        while not isinstance(table, torch.Tensor):
            table = table[0]
        score = table[:, :, 4] if ended else table[:, 4 : 4 + network.model[-1].nc].amax(1)
        shift = torch.logit(torch.tensor(CONF)) - torch.logit(score.flatten().sort().values[-SEEN])
        for level in levels:
            level[-1].bias += shift
    return model


def suppression():
    """Where torchvision is built for another torch it has no operators; the one that the tool calls is written here."""
    import torch

    try:
        import torchvision
    except RuntimeError:
        for name in [n for n in sys.modules if n.startswith("torchvision")]:
            del sys.modules[name]
    else:
        return torchvision

    def nms(boxes, scores, iou_threshold):
        order, keep = scores.argsort(descending=True).tolist(), []
        area = (boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(1)
        while order:
            first, rest = order[0], torch.tensor(order[1:], dtype=torch.long)
            keep.append(first)
            low, high = boxes[rest, :2].maximum(boxes[first, :2]), boxes[rest, 2:].minimum(boxes[first, 2:])
            shared = (high - low).clamp(min=0).prod(1)
            order = rest[shared <= iou_threshold * (area[rest] + area[first] - shared)].tolist()
        return torch.tensor(keep, dtype=torch.long)

    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):  # of the second only the name is asked for
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.impl("nms", nms, "CPU")
    import torchvision

    torchvision.extension._has_ops = lambda: True
    return library, torchvision


def main():
    import numpy as np

    held = suppression()
    folder, pictures, checkpoint = Path(sys.argv[1]).resolve(), np.load(sys.argv[2]), sys.argv[3]
    scratch = folder / "scratch"  # the tool writes beside where it stands, or beside the checkpoint
    scratch.mkdir()
    os.chdir(scratch)
    checkpoint = checkpoint and shutil.copy(checkpoint, scratch)
    import ultralytics

    told = {"version": ultralytics.__version__, "held": str(held), "exports": []}
    jobs = [(name, how, None, SIDE) for name, how in FAMILIES.items()]
    if checkpoint:
        for how in ({}, {"dynamic": True}, {"nms": True}):
            jobs.append((f"real{'+' if how else ''}{'-'.join(how)}", how, checkpoint, 640))
    for name, how, path, side in jobs:
        model = (
            ultralytics.YOLO(path)
            if path
            else seeded(name.split("+")[0], [pictures[k] for k in pictures.files], how.get("nms") is False)
        )
        dynamic = bool(how.get("dynamic"))
        keep = {}
        for key in pictures.files:
            bgr = np.ascontiguousarray(pictures[key][..., ::-1])
            (seen,) = model.predict(
                bgr, imgsz=side, conf=CONF, iou=0.7, max_det=MOST, rect=dynamic, retina_masks=True, verbose=False,
                nms=False if how.get("nms") is False else None,
            )  # fmt: skip
            keep[f"{key}/boxes"] = seen.boxes.data.numpy()
            if seen.masks is not None:
                keep[f"{key}/masks"] = seen.masks.data.numpy().astype(bool)
            if seen.keypoints is not None:
                keep[f"{key}/points"] = seen.keypoints.data.numpy()
        np.savez_compressed(folder / f"{name}.npz", **keep)
        more = {"conf": CONF, "iou": 0.7, "max_det": MOST} if how.get("nms") else {}
        file = Path(model.export(format="onnx", imgsz=side, simplify=False, opset=17, verbose=False, **how, **more))
        shutil.move(file, folder / f"{name}.onnx")
        told["exports"].append(name)
    (folder / "told.json").write_text(json.dumps(told))


if __name__ == "__main__":
    main()
