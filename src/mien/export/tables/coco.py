"""COCO (Lin et al., 2014; the data format of cocodataset.org): detections as annotations, frames as references.

`images` are analysed frames, also those where nothing was found: `file_name` is a media fragment (`clip.mp4#t=1.2`),
`t_us` its time; no pixels are copied. Boxes are `[x, y, width, height]` in px of the recording's upright frame. Extra
keys beside COCO's: `score`, `track_id` (null: not tracked), `source_sha256`, `t_us`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from mien.core import VERSION, MienError
from mien.export.selection.folder import write_text
from mien.export.selection.scope import ClipRows, Scope
from mien.pipeline.stages.boxes import BOX, POINTS, track_id

FILE = "coco.json"
# As CenterFace gives them: left and right of the picture, not of the person.
FACE_POINTS = ("image_left_eye", "image_right_eye", "nose", "image_left_mouth_corner", "image_right_mouth_corner")
KINDS = ("objects", "faces")


def write(scope: Scope, folder: Path) -> dict[str, int]:
    """Write `coco.json`; gives its number of annotations.

    The clips are read three times (names, images, annotations), so that only one clip's boxes are ever in memory.
    """
    if all(s.kind == "audio" for s in scope.sources.values()):
        raise MienError("export.nothing", "no recording of this project has a picture", "mien export csv")
    names: set[str] = set()
    frames = 0
    for part in scope.parts:
        rows = scope.rows(part)
        frames += len(_times(scope, rows))
        for kind in KINDS:
            held = scope.project.store.table(f"{kind}/{part.clip.id}")
            names |= set(held["label"].to_pylist()) if held is not None else set()
    if not frames:
        raise MienError("export.nothing", "no frame of this project was analysed", "mien run")
    categories = {name: i for i, name in enumerate(sorted(names - {"face"} | {"person"}), 1)}
    categories["face"] = len(categories) + 1
    counted = _Counter()
    write_text(folder / FILE, _document(scope, categories, counted))
    return {FILE: counted.n}


class _Counter:
    n = 0


def _document(scope: Scope, categories: dict[str, int], counted: _Counter) -> Iterator[str]:
    licences = sorted({s.licence or "not stated" for s in scope.sources.values() if s.kind != "audio"})
    numbers = {name: i for i, name in enumerate(licences, 1)}
    said = "Detections of models, not checked by people. Boxes in px of the upright frame; frames are references."
    yield "{\n"
    yield f'"info": {_json({"description": said, "version": "1", "contributor": f"mien {VERSION}"})},\n'
    yield f'"licenses": {_json([{"id": i, "name": n, "url": ""} for n, i in numbers.items()])},\n'
    yield f'"categories": {_json([_category(n, i) for n, i in categories.items()])},\n'
    yield '"images": [\n'
    yield from _joined(_images(scope, numbers))
    yield '\n],\n"annotations": [\n'
    yield from _joined(_annotations(scope, categories, counted))
    yield "\n]\n}\n"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _joined(rows: Iterable[dict[str, Any]]) -> Iterator[str]:
    for i, row in enumerate(rows):
        yield (",\n" if i else "") + _json(row)


def _category(name: str, number: int) -> dict[str, Any]:
    if name == "face":
        points = {"keypoints": list(FACE_POINTS), "skeleton": []}
        return {"id": number, "name": name, "supercategory": "person", **points}
    return {"id": number, "name": name, "supercategory": "person" if name == "person" else "object"}


def _images(scope: Scope, licences: dict[str, int]) -> Iterator[dict[str, Any]]:
    number = 0
    for part in scope.parts:
        rows = scope.rows(part)
        width, height = _size(scope, rows)
        for t_us in _times(scope, rows).tolist():
            number += 1
            still = part.source.kind == "image"
            yield {
                "id": number,
                "file_name": part.name if still else f"{part.name}#t={t_us / 1e6:.6f}".rstrip("0").rstrip("."),
                "width": width,
                "height": height,
                "license": licences[part.source.licence or "not stated"],
                "source_sha256": part.source.sha256,
                "t_us": t_us,
            }


def _annotations(scope: Scope, categories: dict[str, int], counted: _Counter) -> Iterator[dict[str, Any]]:
    before = 0
    for rows in scope.clips():
        times = _times(scope, rows)
        width, height = _size(scope, rows)
        for kind in KINDS:
            for box in _boxes(scope, rows, kind):
                image = before + 1 + int(np.searchsorted(times, box["t_us"]))
                found = _annotation(box, width, height, categories)
                if found:
                    counted.n += 1
                    yield {"id": counted.n, "image_id": image, **found}
        before += len(times)


def _annotation(box: dict[str, Any], width: int, height: int, categories: dict[str, int]) -> dict[str, Any] | None:
    """One detection in px of the upright frame, cut to it; None where nothing of it lies inside."""
    sx, sy = width / box["frame_px"][0], height / box["frame_px"][1]
    x1, x2 = (min(max(box[k] * sx, 0.0), float(width)) for k in ("x1", "x2"))
    y1, y2 = (min(max(box[k] * sy, 0.0), float(height)) for k in ("y1", "y2"))
    if not (x2 > x1 and y2 > y1):
        return None
    w, h = x2 - x1, y2 - y1
    out: dict[str, Any] = {
        "category_id": categories[box["label"]],
        "bbox": [round(v, 2) for v in (x1, y1, w, h)],
        "area": round(w * h, 2),
        "iscrowd": 0,
        "score": round(box["score"], 4),
        "track_id": box["track_id"],
        "measured": box.get("measured", True),
    }
    if "p0x" in box:
        points: list[float] = []
        for i in range(len(FACE_POINTS)):
            x, y = box[f"p{i}x"] * sx, box[f"p{i}y"] * sy
            points += [round(x, 2), round(y, 2), 2] if math.isfinite(x) and math.isfinite(y) else [0, 0, 0]
        out |= {"keypoints": points, "num_keypoints": sum(v == 2 for v in points[2::3])}
    return out


def _boxes(scope: Scope, rows: ClipRows, kind: str) -> Iterator[dict[str, Any]]:
    """Stored boxes of a clip in order, with their track. Where a person refused, boxes of unknown people stay too."""
    clip = rows.part.clip
    held = scope.project.store.table(f"{kind}/{clip.id}")
    if held is None or not held.num_rows:
        return
    size = _frame_px(held)
    allowed = {t.id for t in rows.tracks}
    columns = ["t_us", "track", "score", "label", *BOX, *(POINTS if kind == "faces" else ())]
    columns += [name for name in ("measured",) if name in held.column_names]
    named: dict[int, str] = {
        i: track_id(clip, "face" if kind == "faces" else "object", i) for i in set(held["track"].to_pylist()) if i >= 0
    }
    for row in held.select(columns).to_pylist():
        track = named.get(row["track"])
        if (track is None and not rows.hidden) or track in allowed:
            yield row | {"track_id": track, "frame_px": size}


def _times(scope: Scope, rows: ClipRows) -> Any:
    """Times of the analysed frames of a clip, int64 µs `[n]`, rising; the frames where nothing was found among them."""
    tables = (scope.project.store.table(f"{stage}/{rows.part.clip.id}") for stage in ("motion", "explicit", *KINDS))
    found = [t["t_us"].to_numpy() for t in tables if t is not None]
    return np.unique(np.concatenate(found)) if found else np.zeros(0, np.int64)


def _frame_px(table: Any) -> tuple[int, int]:
    """(width, height) of the frames the boxes were found in: the table's own metadata."""
    width, _, height = (table.schema.metadata or {}).get(b"frame_px", b"").decode().partition("x")
    if not (width.isdigit() and height.isdigit() and int(width) > 1):
        raise MienError("export.no-frame-size", "stored boxes do not say their frame's size", "run again: mien run")
    return int(width), int(height)


def _size(scope: Scope, rows: ClipRows) -> tuple[int, int]:
    """(width, height) of the upright frame; that of the analysed frames where the source states none."""
    source = rows.part.source
    if source.width_px and source.height_px:
        return source.width_px, source.height_px
    for kind in KINDS:
        held = scope.project.store.table(f"{kind}/{rows.part.clip.id}")
        if held is not None and held.num_rows:
            return _frame_px(held)
    return 1, 1
