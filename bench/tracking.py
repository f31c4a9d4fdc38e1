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


def sparse(video: Path, slot: str, fps: float, calm_every: int) -> tuple[Scene, str]:
    """What the pipeline has of a video, tracks by frame number from 1; and in words: calls of the detector per frame,
    the share of the boxes that a call on every frame gives which it has at IoU ≥ 0.5, and the IoU of those."""
    from mien.core import Boxes, Frames
    from mien.evaluate.mot import iou
    from mien.media import Decoder
    from mien.models.weights import open_adapter
    from mien.pipeline.config import Stack
    from mien.pipeline.stages.boxes import TRACKERS, detector

    class Asked:
        """Notes what it was asked."""

        calls = 0

        def run(self, frames: Frames) -> Boxes:
            self.calls += len(frames)
            return model.run(frames)

    model: Any = open_adapter(getattr(Stack(), slot))  # pyright: ignore[reportCallIssue]
    asked, out, frames_n, wanted, had = Asked(), {}, 0, 0, list[float]()
    least = TRACKERS[slot].new
    eye = detector(asked, slot, Tracker(TRACKERS[slot]), calm_every=calm_every, objects_every=2)
    with Decoder(video) as decoder:
        rate = decoder.probe().fps or 25.0
        for frames in decoder.frames(Span(0, 600_000_000), fps, 1280):
            seen, every = eye.run(frames), model.run(frames)
            frames_n += len(frames)
            label = every.names.index("person" if slot == "objects" else "face")
            people = (seen.track >= 0) & (seen.boxes.label == label)
            solid = (every.score >= least) & (every.label == label)
            for i, t_us in enumerate(frames.t_us):
                mine = people & (seen.boxes.frame == i)
                out[round(t_us * rate / 1e6) + 1] = (seen.boxes.xyxy[mine].astype(np.float64), seen.track[mine])
                truth = every.xyxy[solid & (every.frame == i)]
                wanted += len(truth)
                got = seen.boxes.xyxy[seen.boxes.frame == i]
                if len(truth) and len(got):
                    best = iou(truth.astype(np.float64), got.astype(np.float64)).max(1)
                    had += best[best >= 0.5].tolist()
    model.close()
    low = np.percentile(had, 5) if had else float("nan")
    return out, (
        f"{asked.calls / frames_n:.2f} calls a frame; {len(had)} of {wanted} boxes of a call on every frame are there, "
        f"IoU {np.mean(had):.3f}, the lowest 5 % below {low:.3f}"
    )


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
    lines += ["", "**Asked only where something changes** (5 frames/s; `calm_every` 1 and the default)"]
    for calm in (1, 4):
        for name, from_, to in (("vtest.avi", truth, range(1, 796, 2)), ("TUD-Campus/TUD-Campus.mp4", None, None)):
            answer, said = sparse(DATA / name, "objects", 5, calm)
            score = f"{evaluate_tracks(from_, answer, to)}; " if from_ is not None and to is not None else ""
            lines.append(f"- people, {name.split('/')[-1]}, {calm}: {score}{said}")
        _, said = sparse(DATA / "one-by-one-person-detection.mp4", "objects", 5, calm)
        lines.append(f"- people, one at a time, {calm}: {said}")
        for film in ("short_hamilton_clip.mp4", "single_face.mp4", "face_noface.mov", "hungry.mkv", "sorry.mkv"):
            _, said = sparse(DATA.parent / "video_faces" / film, "faces", 5, calm)
            lines.append(f"- faces, {film}, {calm}: {said}")
    lines.append("")
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
