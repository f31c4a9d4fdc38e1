"""The tracker on PETS09-S2L1's public detections, with mien's own detector on video, and where it must break.

Truth and detections are the MOTChallenge 2015 text files in `../shared/data/tracking`; PETS runs at 7 frames/s by the
challenge's seqinfo (the video file claims 10), TUD-Campus at 25.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from mien.core import Span
from mien.evaluate import MotScore, Scene, evaluate_tracks, read_mot
from mien.signals.tracking import Tracker, TrackerConfig

DATA = Path(__file__).parents[2] / "shared" / "data" / "tracking"
FPS = 7
Detections = dict[int, tuple[np.ndarray, np.ndarray]]


def read_detections(path: Path) -> Detections:
    """MOT detections → frame → (xyxy float32 `[n 4]`, score float32 `[n]`)."""
    rows = np.loadtxt(path, delimiter=",", ndmin=2)
    boxes = np.concatenate([rows[:, 2:4], rows[:, 2:4] + rows[:, 4:6]], axis=1).astype(np.float32)
    mine = {int(f): rows[:, 0] == f for f in np.unique(rows[:, 0])}
    return {f: (boxes[m], rows[m, 6].astype(np.float32)) for f, m in mine.items()}


def track(detections: Detections, frames: range, fps: float, config: TrackerConfig | None = None) -> Scene:
    """Run the tracker over the given frames of a sequence."""
    tracker, out = Tracker(config), {}
    for f in frames:
        boxes, score = detections.get(f, (np.zeros((0, 4), np.float32), np.zeros(0, np.float32)))
        ids = tracker.update(round(f * 1e6 / fps), boxes, score, np.zeros(len(boxes), np.int64))
        out[f] = (boxes[ids >= 0].astype(np.float64), ids[ids >= 0])
    return out


def pets(step: int = 1, config: TrackerConfig | None = None) -> MotScore:
    """Score on every `step`-th frame of PETS09-S2L1, public detections."""
    truth, detections = read_mot(DATA / "PETS09-S2L1_gt.txt"), read_detections(DATA / "PETS09-S2L1_det.txt")
    frames = range(1, 796, step)
    return evaluate_tracks(truth, track(detections, frames, FPS, config), frames)


def own(video: Path, fps: float | None = None, until_s: float = 600) -> tuple[Scene, float]:
    """Tracks of people by mien's own detector and tracker, by frame number from 1, and the video's frame rate."""
    from mien.media import Decoder
    from mien.models.weights import open_adapter
    from mien.pipeline.stages.boxes import TRACKERS

    model: Any = open_adapter("object.nanodet")
    tracker, out = Tracker(TRACKERS["objects"]), {}
    with Decoder(video) as decoder:
        rate = decoder.probe().fps or 25.0
        for frames in decoder.frames(Span(0, round(until_s * 1e6)), fps or rate, 1280):
            found = model.run(frames)
            for i, t_us in enumerate(frames.t_us):
                rows = np.flatnonzero(found.frame == i)
                ids = tracker.update(int(t_us), found.xyxy[rows], found.score[rows], found.label[rows])
                people = (ids >= 0) & (found.label[rows] == found.names.index("person"))
                out[round(t_us * rate / 1e6) + 1] = (found.xyxy[rows][people].astype(np.float64), ids[people])
    model.close()
    return out, rate


def main(args: list[str]) -> list[str]:
    argparse.ArgumentParser(prog="bench tracking", description=__doc__).parse_args(args)
    plain = TrackerConfig(buffer_per_s=0)
    campus = read_mot(DATA / "TUD-Campus" / "gt.txt")
    peer = evaluate_tracks(campus, read_mot(DATA / "TUD-Campus" / "test.txt"), range(1, 72))
    lines = [
        "**Public detections of PETS09-S2L1** (3537 of 4650 people have one at IoU ≥ 0.5)",
        f"- every frame ({FPS}/s): {pets(1)}",
        f"- every 2nd ({FPS / 2}/s): {pets(2)}",
        f"- every 4th ({FPS / 4}/s): {pets(4)}",
        f"- every 2nd, without buffered overlap: {pets(2, plain)}",
        f"- every 4th, without buffered overlap: {pets(4, plain)}",
        "",
        "**Own detector on the video**",
    ]
    truth = read_mot(DATA / "PETS09-S2L1_gt.txt")
    for step in (1, 2, 4):  # 4: what the default looks at, every other of 5 frames a second
        answer, _ = own(DATA / "vtest.avi", 10 / step)
        lines.append(f"- vtest.avi, every {step}. frame: {evaluate_tracks(truth, answer, range(1, 796, step))}")
    answer, _ = own(DATA / "TUD-Campus" / "TUD-Campus.mp4")
    lines += [
        f"- TUD-Campus, every frame: {evaluate_tracks(campus, answer, range(1, 72))}",
        f"- TUD-Campus, another tracker's published output (our figures equal its published ones): {peer}",
    ]
    answer, _ = own(DATA / "one-by-one-person-detection.mp4", 5)
    at_once = [len(ids) for _, ids in answer.values()]
    ids = sorted({int(i) for _, found in answer.values() for i in found})
    longest = [sum(i in found for _, found in answer.values()) / 5 for i in ids]
    lines.append(
        f"- one person at a time, {len(answer) / 5:.0f} s: {len(ids)} ids, at most {max(at_once)} at once, "
        f"{sum(n > 1 for n in at_once)} of {len(answer)} frames with more than one; seconds per id: "
        + ", ".join(f"{s:.1f}" for s in longest)
    )
    return lines
