"""Every filed adapter, through `tiny()`: shapes, types, order, empty batch, batch size, close. No weights are read.

What is a row differs (a frame, a face, a person, a sound, a vector, a question), so each kind says how to make a batch
of n, take some of its rows and read the answers as one array per row.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pytest

from mien.core import (
    COCO_POINTS,
    SAMPLE_RATE_HZ,
    Affect,
    Ask,
    Asks,
    Boxes,
    Curve,
    Distribution,
    Embeddings,
    FacePeople,
    Faces,
    Frames,
    Keypoints,
    Landmarks,
    Message,
    People,
    Replies,
    Scalars,
    Sound,
    States,
    Strict,
    Windows,
    Words,
    fingerprint,
)
from mien.models.weights import load_adapters

ADAPTERS = load_adapters()
WIDTH = 2438  # of the voice embedding


def frames(n: int) -> Frames:
    """Dark frames, each with one light square at its own place."""
    pixels = np.random.default_rng(3).integers(0, 20, (n, 96, 160, 3), dtype=np.uint8)
    for i in range(n):
        x, y = 16 * (1 + i % 7), 16 * (1 + i % 3)
        pixels[i, y : y + 24, x : x + 24] = (250, 240 - 20 * (i % 4), 230 - 30 * (i % 5))
    return Frames(pixels, np.arange(n, dtype=np.int64) * 40_000)


def rows_of_frames(batch: Frames, rows: list[int]) -> Frames:
    return Frames(batch.pixels[rows], batch.t_us[rows])


def faces(n: int) -> Faces:
    """One face a frame, at the light square, its eyes level."""
    x = np.array([16.0 * (1 + i % 7) for i in range(n)], np.float32)
    y = np.array([16.0 * (1 + i % 3) for i in range(n)], np.float32)
    eyes = np.stack([np.stack([x + 7, y + 8], -1), np.stack([x + 17, y + 8], -1)], 1).reshape(n, 2, 2)
    boxes = Boxes(
        frame=np.arange(n, dtype=np.int64),
        xyxy=np.stack([x, y, x + 24, y + 24], 1).astype(np.float32).reshape(n, 4),
        score=np.ones(n, np.float32),
        label=np.zeros(n, np.int64),
        names=("face",),
        points=eyes.astype(np.float32),
    )
    return Faces(frames(n), boxes)


def rows_of_faces(batch: Faces, rows: list[int]) -> Faces:
    boxes = batch.boxes.take(np.array(rows, np.intp))
    moved = Boxes(np.arange(len(rows), dtype=np.int64), boxes.xyxy, boxes.score, boxes.label, boxes.names, boxes.points)
    return Faces(rows_of_frames(batch.frames, rows), moved)


def people(n: int) -> People:
    """One person a frame, at the light square."""
    seen = faces(n)
    return People(seen.frames, seen.boxes)


def rows_of_people(batch: People, rows: list[int]) -> People:
    part = rows_of_faces(Faces(batch.frames, batch.boxes), rows)
    return People(part.frames, part.boxes)


def face_people(n: int) -> FacePeople:
    """One face a frame at the light square and the body below it; every third has none."""
    seen = faces(n)
    body = seen.boxes.xyxy + np.array([-20, -4, 20, 60], np.float32)
    body[2::3] = np.nan
    return FacePeople(seen.frames, seen.boxes, body)


def rows_of_face_people(batch: FacePeople, rows: list[int]) -> FacePeople:
    part = rows_of_faces(Faces(batch.frames, batch.boxes), rows)
    return FacePeople(part.frames, part.boxes, batch.body[rows])


def windows(n: int) -> Windows:
    """Half a second each of a light square that moves its own way."""
    seen: list[Frames] = []
    for i in range(n):
        pixels = np.zeros((8, 96, 160, 3), np.uint8)
        for t in range(8):
            x, y = 68 + (t - 4) * (i % 3 - 1) * 8, 36 + (t - 4) * (i % 2) * 4 + 2 * i
            pixels[t, y : y + 24, x : x + 24] = 250
        seen.append(Frames(pixels, i * 500_000 + np.arange(8, dtype=np.int64) * 62_500))
    return Windows(tuple(seen))


def sounds(n: int) -> list[Sound]:
    t = np.arange(SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ
    return [Sound((0.3 * np.sin(2 * np.pi * (120 + 60 * i) * t)).astype(np.float32), 0) for i in range(n)]


def vectors(n: int) -> Embeddings:
    return Embeddings(np.random.default_rng(5).normal(size=(n, WIDTH)).astype(np.float32))


SCHEMA = {
    "type": "object",
    "properties": {"tone": {"enum": ["calm", "upset", None]}, "words": {"type": ["string", "null"]}},
    "required": ["tone", "words"],
    "additionalProperties": False,
}


def asks(n: int) -> Asks:
    """Questions of text alone; every other one wants JSON, every third one thinking."""
    kinds = [{"schema": SCHEMA if i % 2 else None, "think": i % 3 == 0} for i in range(n)]
    return Asks(tuple(Ask((Message("user", f"What is {i}?"),), **kind) for i, kind in enumerate(kinds)))


def of_replies(given: Replies) -> list[tuple[np.ndarray, ...]]:
    """Each reply as numbers, so that two of them can be compared."""
    for reply in given.rows:
        assert reply.status == "ok", reply
        assert reply.text
    return [(np.frombuffer(hashlib.sha256(repr(r).encode()).digest(), np.uint8).astype(np.int64),) for r in given.rows]


@dataclass(frozen=True)
class Kind:
    make: Callable[[int], Any]
    take: Callable[[Any, list[int]], Any]


KINDS: dict[type, Kind] = {
    Frames: Kind(frames, rows_of_frames),
    Faces: Kind(faces, rows_of_faces),
    People: Kind(people, rows_of_people),
    FacePeople: Kind(face_people, rows_of_face_people),
    list: Kind(sounds, lambda batch, rows: [batch[i] for i in rows]),
    Asks: Kind(asks, lambda batch, rows: Asks(tuple(batch.rows[i] for i in rows))),
    Windows: Kind(windows, lambda batch, rows: Windows(tuple(batch.frames[i] for i in rows))),
    Embeddings: Kind(vectors, lambda batch, rows: Embeddings(batch.vectors[rows])),
}
BATCHED = sorted(name for name, cls in ADAPTERS.items() if cls.spec.takes in KINDS)
OF_SOUND = sorted(name for name, cls in ADAPTERS.items() if cls.spec.takes is Sound)


def answers(given: Any, n: int) -> list[tuple[np.ndarray, ...]]:
    """The answer of each row: of a detector, its boxes in that frame."""
    if isinstance(given, Boxes):
        assert (np.diff(given.frame) >= 0).all()
        parts = [given.of_frame(i) for i in range(n)]
        return [(p.xyxy, p.score, p.label, p.points) for p in parts]
    if isinstance(given, Words):
        assert (np.diff(given.sound) >= 0).all()
        return [(w.span_us, w.score) for w in (given.of_sound(i) for i in range(n))]
    assert len(given) == n
    if isinstance(given, Replies):
        return of_replies(given)
    arrays = [getattr(given, f.name) for f in fields(given)]
    return [tuple(a[i] for a in arrays if isinstance(a, np.ndarray)) for i in range(n)]


def assert_same(a: list[tuple[np.ndarray, ...]], b: list[tuple[np.ndarray, ...]], tolerance: float = 1e-5) -> None:
    assert len(a) == len(b)
    for left, right in zip(a, b, strict=True):
        for x, y in zip(left, right, strict=True):
            assert x.shape == y.shape
            np.testing.assert_allclose(x, y, rtol=tolerance, atol=tolerance)


def test_every_adapter_is_of_a_kind_this_suite_knows():
    assert ADAPTERS
    assert sorted(BATCHED + OF_SOUND) == sorted(ADAPTERS)


@pytest.mark.parametrize("name", BATCHED)
def test_answers_one_row_each_of_the_promised_type(name: str):
    spec, model, kind = ADAPTERS[name].spec, ADAPTERS[name].tiny(), KINDS[ADAPTERS[name].spec.takes]
    given = model.run(kind.make(5))
    assert type(given) is spec.gives
    rows = answers(given, 5)
    assert all(len(row) for row in rows)
    for row in rows:
        for array in row:
            assert array.dtype in (np.float32, np.int64)
    _meaningful(given)


def _meaningful(given: Any) -> None:
    if isinstance(given, Boxes):
        assert len(given) >= 5, "the stand-in sees every light square"
        assert (given.xyxy[:, 2:] > given.xyxy[:, :2]).all()
        assert given.xyxy.min() >= 0
        assert (given.xyxy <= np.array([160, 96, 160, 96])).all()
        assert ((given.score >= 0) & (given.score <= 1)).all()
        assert given.label.max() < len(given.names)
    if isinstance(given, Distribution):
        assert (given.probs >= 0).all()
        np.testing.assert_allclose(given.probs.sum(1), 1, atol=1e-5)
    if isinstance(given, Affect):
        np.testing.assert_allclose(given.probs.sum(1), 1, atol=1e-5)
        for value in (given.valence, given.arousal):  # some of these networks measure neither
            assert (np.abs(value) <= 1).all() or np.isnan(value).all()
        assert (np.isnan(given.sd) | (given.sd > 0)).all()
    if isinstance(given, Landmarks):
        assert ((given.score >= 0) & (given.score <= 1)).all()
    if isinstance(given, Keypoints):
        assert given.names[: len(COCO_POINTS)] == COCO_POINTS
        assert ((given.score >= 0) & (given.score <= 1)).all()
        assert ((given.points[..., 2] >= 0) & (given.points[..., 2] <= 1)).all()
    if isinstance(given, Scalars):
        assert (np.isnan(given.sd) | (given.sd > 0)).all()


@pytest.mark.parametrize("name", BATCHED)
def test_order_of_the_batch_is_kept_and_rows_differ(name: str):
    model, kind = ADAPTERS[name].tiny(), KINDS[ADAPTERS[name].spec.takes]
    batch, order = kind.make(5), [3, 0, 4, 1, 2]
    straight = answers(model.run(batch), 5)
    shuffled = answers(model.run(kind.take(batch, order)), 5)
    assert_same([straight[i] for i in order], shuffled)
    differ = any(not np.array_equal(x, y) for x, y in zip(straight[0], straight[1], strict=True))
    assert differ, "an adapter that answers the same to everything is no adapter"


@pytest.mark.parametrize("name", BATCHED)
def test_batch_size_changes_nothing_and_no_state_is_kept(name: str):
    model, kind = ADAPTERS[name].tiny(), KINDS[ADAPTERS[name].spec.takes]
    batch = kind.make(5)
    whole = answers(model.run(batch), 5)
    alone = [answers(model.run(kind.take(batch, [i])), 1)[0] for i in range(5)]
    assert_same(whole, alone)
    assert_same(whole, answers(model.run(batch), 5), 0)


@pytest.mark.parametrize("name", BATCHED)
def test_empty_batch_gives_an_empty_answer(name: str):
    spec, model, kind = ADAPTERS[name].spec, ADAPTERS[name].tiny(), KINDS[ADAPTERS[name].spec.takes]
    given = model.run(kind.make(0))
    assert type(given) is spec.gives
    assert len(given) == 0


@pytest.mark.parametrize("name", OF_SOUND)
def test_sound_gives_rows_on_its_own_clock(name: str):
    spec, model = ADAPTERS[name].spec, ADAPTERS[name].tiny()
    (sound,) = sounds(1)
    given = model.run(sound)
    assert type(given) is spec.gives
    assert spec.gives in (Curve, States)
    if isinstance(given, States):
        assert given.field_us >= given.hop_us
        assert given.layers == tuple(sorted(set(given.layers)))
        assert not np.array_equal(given.values[0], given.values[-1]), "layers differ"
    assert given.hop_us > 0
    assert abs(len(given) * given.hop_us - 1_000_000) <= 100_000
    later = model.run(Sound(sound.samples, 5_000_000))
    assert later.t0_us - given.t0_us == 5_000_000
    np.testing.assert_array_equal(later.values, given.values)
    assert len(model.run(Sound(np.zeros(0, np.float32), 0))) <= 1


@pytest.mark.parametrize("name", sorted(ADAPTERS))
def test_close_may_be_called_twice(name: str):
    model = ADAPTERS[name].tiny()
    model.close()
    model.close()


@pytest.mark.parametrize("name", sorted(ADAPTERS))
def test_spec_is_complete(name: str):
    spec, config = ADAPTERS[name].spec, ADAPTERS[name].Config()
    assert spec.name == name
    assert spec.slot
    assert isinstance(config, Strict)
    assert str(fingerprint(spec, config)).startswith(f"{name}@{spec.version}+")
    if spec.weights is None:  # whatever has no weights here asks an endpoint, under the rules of the way out
        assert "egress" in type(config).model_fields
        return
    if not spec.weights.runtime:  # the rules of a package that the user installs
        assert (spec.weights.assets, spec.weights.bring) == ((), ())
        assert "pip install 'mien[" in spec.weights.note
    for asset in spec.weights.assets:
        assert len(asset.sha256) == 64
        assert asset.bytes > 0
    assert all((spec.weights.licences.code, spec.weights.licences.weights, spec.weights.licences.training_data))
    for measured in spec.measured:
        assert measured.figure
        assert measured.on
        assert measured.command.startswith(("python -m bench ", "mien "))


def test_importing_adapters_loads_no_runtime():
    heavy = (
        "onnxruntime",
        "cv2",
        "av",
        "ctranslate2",
        "onnx",
        "torch",
        "pyarrow",
        "transformers",
        "opensmile",
        "parselmouth",
    )
    code = (
        "import sys; from mien.models.weights import load_adapters; load_adapters(); "
        f"print([m for m in {heavy!r} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_stand_in_detectors_find_the_square_where_it_is():
    for name in ("object.nanodet", "face.centerface", "face.blazeface"):
        model = ADAPTERS[name].tiny()
        for i, want in enumerate(frames(5).pixels):
            y, x = (int(v.mean()) for v in np.nonzero(want.min(-1) > 100))
            found = model.run(Frames(want[None], np.zeros(1, np.int64)))
            middle = (found.xyxy[:, :2] + found.xyxy[:, 2:]) / 2
            assert (np.abs(middle - (x, y)).max(1) <= 16).all(), (name, i)


def test_unmeasurable_boxes_are_nan_and_leave_the_others_alone():
    batch = faces(3)
    xyxy = batch.boxes.xyxy.copy()
    xyxy[1] = (20, 20, 21, 21)
    boxes = batch.boxes
    hurt = Boxes(boxes.frame, xyxy, boxes.score, boxes.label, boxes.names, boxes.points)
    for name in BATCHED:
        takes = ADAPTERS[name].spec.takes
        if takes not in (Faces, People, FacePeople):
            continue
        body = [face_people(3).body] if takes is FacePeople else []
        model = ADAPTERS[name].tiny()
        good, bad = (answers(model.run(takes(batch.frames, given, *body)), 3) for given in (boxes, hurt))
        assert all(np.isnan(array).all() for array in bad[1]), name
        assert_same([good[0], good[2]], [bad[0], bad[2]])
