"""Face detectors beside each other: recall at no false positive, small faces planted in a frame, ms per frame.

Truth: pictures with one face at their middle; the same faces planted at a known place and height in frames of a video
without people; frames without a face. Needs the shared data (`../shared/data`).
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from mien.core import Boxes, Device, Frames, Strict
from mien.models.vision.faces.blazeface import BlazeFace
from mien.models.vision.faces.detection import CenterFace
from mien.models.weights import open_adapter

DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data"
HEIGHTS_PX = (16, 24, 32, 48, 96)
CANDIDATES: tuple[tuple[str, Strict], ...] = (
    *(("face.centerface", CenterFace.Config(long_side_px=side, min_score=0.2)) for side in (256, 320, 384, 448, 640)),
    ("face.blazeface", BlazeFace.Config(min_score=0.2)),
)


def main(args: list[str]) -> list[str]:
    pictures = [read(p) for p in sorted((DATA / "face_expression_muxspace").glob("*.jpg"))]
    empty = [*video(DATA / "video_faces/no_face.mp4", 3), *video(DATA / "video_faces/face_noface.mov", 6)[14:]]
    empty += [read(DATA / "face_pictures" / name) for name in ("no-faces.jpg", "free-mountain-vector-01.jpg")]
    planted = plant(pictures, video(DATA / "video_faces/no_face.mp4", 6))
    speed = resized(video(DATA / "video_faces/single_face.mp4", 30)[0], 640, 360)
    lines = [
        f"{len(pictures)} pictures with a face at the middle; {len(empty)} frames without a face; {len(planted)} "
        f"frames of 640x360 px with a planted face of {', '.join(map(str, HEIGHTS_PX))} px height.",
        "Columns: highest score on a frame without a face; recall on the pictures at score 0.35 and at 0.5; recall of "
        "planted faces (IoU ≥ 0.4, score ≥ 0.35) by height, and boxes on nothing there; median ms of a 640x360 frame "
        "on one thread, and per frame of a batch on two.",
        "",
        "| detector | worst empty | r .35 | r .5 | "
        + " | ".join(f"{h} px" for h in HEIGHTS_PX)
        + " | false .35 | ms 1 | ms 2 |",
        "|---" * (7 + len(HEIGHTS_PX)) + "|",
    ]
    for name, config in CANDIDATES:
        model = open_adapter(name, config, Device(threads=2))
        worst = max(best(model.run(one(frame))) for frame in empty)
        middle = np.array([at_middle(model.run(one(p)), p) for p in pictures])
        found, false = planted_recall(model, planted)
        ms = [milliseconds(open_adapter(name, config, Device(threads=n)), speed, n) for n in (1, 2)]
        side = getattr(config, "long_side_px", 256)
        lines.append(
            f"| {name} {side} | {worst:.2f} | {(middle >= 0.35).mean():.3f} | {(middle >= 0.5).mean():.3f} | "
            + " | ".join(f"{found[h]:.2f}" for h in HEIGHTS_PX)
            + f" | {false} | {ms[0]:.1f} | {ms[1]:.1f} |"
        )
    return lines


# ---------------------------------------------------------------- truth


def plant(pictures: list[np.ndarray], scenes: list[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray, int]]:
    """Frames 640x360 with one face at a known place: (frame, xyxy px, height px). The face is shrunk and blended in."""
    import cv2

    rng = np.random.default_rng(7)
    finder = open_adapter("face.centerface", CenterFace.Config(long_side_px=224), Device())
    out = []
    for picture in [p for p in pictures if min(p.shape[:2]) >= 300][:60]:
        boxes = finder.run(one(picture))
        if len(boxes) != 1:
            continue
        x1, y1, x2, y2 = (float(v) for v in boxes.xyxy[0])
        for height in HEIGHTS_PX:
            scale = height / (y2 - y1)
            small = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
            h, w = small.shape[:2]
            frame = resized(scenes[rng.integers(len(scenes))], 640, 360).copy()
            if h >= 360 or w >= 640:
                continue
            x, y = int(rng.integers(640 - w)), int(rng.integers(360 - h))
            frame[y : y + h, x : x + w] = small
            out.append((frame, np.array([x1, y1, x2, y2]) * scale + [x, y, x, y], height))
    return out


def planted_recall(model: object, planted: list[tuple[np.ndarray, np.ndarray, int]]) -> tuple[dict[int, float], int]:
    """Recall by height at score 0.35, and how many boxes hit nothing."""
    hits: dict[int, list[bool]] = {h: [] for h in HEIGHTS_PX}
    false = 0
    for frame, box, height in planted:
        boxes = model.run(one(frame))  # pyright: ignore[reportAttributeAccessIssue]
        over = overlap(boxes.xyxy[boxes.score >= 0.35], box)
        hits[height].append(bool((over >= 0.4).any()))
        false += int((over < 0.4).sum())
    return {h: float(np.mean(v)) for h, v in hits.items()}, false


def overlap(boxes: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Intersection over union of each box `[n 4]` with one."""
    side = np.maximum(np.minimum(boxes[:, 2:], box[2:]) - np.maximum(boxes[:, :2], box[:2]), 0)
    shared = side.prod(1)
    return shared / ((boxes[:, 2:] - boxes[:, :2]).prod(1) + (box[2:] - box[:2]).prod() - shared)


def at_middle(boxes: Boxes, picture: np.ndarray) -> float:
    """The score of the best box that holds the middle of the picture, 0 where none does."""
    middle = np.array([picture.shape[1], picture.shape[0]]) / 2
    holds = (boxes.xyxy[:, :2] < middle).all(1) & (boxes.xyxy[:, 2:] > middle).all(1)
    return best(boxes.take(np.flatnonzero(holds)))


def best(boxes: Boxes) -> float:
    return float(boxes.score.max()) if len(boxes) else 0.0


# ---------------------------------------------------------------- files and time


def one(pixels: np.ndarray) -> Frames:
    return Frames(pixels[None], np.zeros(1, np.int64))


def read(path: Path) -> np.ndarray:
    import cv2

    picture = cv2.imread(str(path))
    assert picture is not None, f"{path.name} cannot be read"
    return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)


def resized(pixels: np.ndarray, width: int, height: int) -> np.ndarray:
    import cv2

    return cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)


def video(path: Path, every: int) -> list[np.ndarray]:
    """Every n-th frame as RGB."""
    import av

    with av.open(str(path)) as container:
        frames = enumerate(container.decode(video=0))
        return [frame.to_ndarray(format="rgb24") for index, frame in frames if index % every == 0]


def milliseconds(model: object, frame: np.ndarray, threads: int, repeats: int = 9) -> float:
    """Median wall time per frame of batches as large as the number of threads."""
    batch = Frames(np.stack([frame] * threads), np.zeros(threads, np.int64))
    took = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        model.run(batch)  # pyright: ignore[reportAttributeAccessIssue]
        took.append((time.perf_counter() - start) / threads)
    return 1e3 * float(np.median(took[1:]))
