"""`mien models try`: one model's answer to one file. Numbers and words only: no picture is shown, nothing is kept."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np

from mien.cli.talk import give, say, table
from mien.core import (
    Affect,
    Ask,
    Asks,
    Boxes,
    Curve,
    Device,
    Distribution,
    Embeddings,
    FacePeople,
    Faces,
    Frames,
    Keypoints,
    Landmarks,
    Message,
    MienError,
    People,
    Replies,
    Scalars,
    Sound,
    Span,
    States,
    Windows,
    Words,
    clock,
)
from mien.models import weights as room

MAX_S, MAX_SIDE_PX = 60.0, 1280
WIDE = 5  # columns that fit a terminal
Row = dict[str, Any]


def attempt(name: str, path: Path | None, text: str, frames: int, device: Device, as_json: bool) -> None:
    """Open a model, run it on a file (or a text), print its answer, close it.

    Raises:
        MienError: `models.unknown`, `licence.not-accepted`, `weights.missing`, `models.no-input`, `device.unavailable`,
            and what the media or the model itself raises.
    """
    cls: Any = room.load_adapters().get(name) or _one_of(name)
    spec = cls.spec
    if spec.weights:
        say(f"{spec.name} ({spec.weights.model}): {room.licence_words(spec.weights)}")
    with _Models(device) as models:
        model = models.open(spec.name)
        given, where = _input(spec.takes, path, text, frames, models)
        if isinstance(given, (Faces, People, FacePeople)) and not len(given):
            say("nobody was found in it, so there is nothing to answer")
        answer = model.run(given)
    rows = told(answer, where)
    if as_json:
        licences = dataclasses.asdict(spec.weights.licences) if spec.weights else None
        give({"model": spec.name, "slot": spec.slot, "licences": licences, "answer": rows})
        return
    columns = list(dict.fromkeys(key for row in rows for key in row))
    if len(columns) <= WIDE:
        table(columns, [[_cell(row.get(key)) for key in columns] for row in rows])
    for row in rows if len(columns) > WIDE else ():
        print("  ".join(f"{key} {_cell(value)}" for key, value in row.items()))
    say("nothing of this was kept")


def _one_of(name: str) -> Any:
    """The adapter behind the name of a model."""
    (entry,) = room.select([name])
    if not entry.adapters:
        raise MienError("models.unknown", f"{name!r} is no model that runs", "'mien models list' shows all")
    return room.load_adapters()[entry.adapters[0]]


class _Models:
    """The models of one attempt: opened when needed, closed together."""

    def __init__(self, device: Device) -> None:
        self._device, self._open = device, list[Any]()

    def open(self, name: str, device: Device | None = None) -> Any:
        model: Any = room.open_adapter(name, device=device or self._device)
        self._open.append(model)
        return model

    def default(self, slot: str) -> Any:
        """The default model of a slot, on the processor: it only prepares what the other is asked about."""
        from mien.pipeline.config import Stack

        return self.open(Stack.model_fields[slot].default, Device())

    def __enter__(self) -> _Models:
        return self

    def __exit__(self, *_: object) -> None:
        for model in self._open:
            model.close()


# ---------------------------------------------------------------- what goes in


def _input(  # noqa: PLR0911 - one return for each record
    takes: type, path: Path | None, text: str, frames: int, models: _Models
) -> tuple[Any, list[Row]]:
    """The record a model takes, and for each of its rows where that is in the file."""
    if takes is Asks:
        words = text or (path.read_text(encoding="utf-8") if path else "")
        if not words.strip():
            raise MienError("models.no-input", "a model of language needs text", "give a text file, or --text")
        return Asks((Ask((Message("user", words),)),)), [{}]
    if path is None:
        raise MienError("models.no-input", f"this model takes {takes.__name__}", "give a picture, a video or a sound")
    if takes in (Sound, list, Embeddings):
        sound = _sound(path)
        if takes is Sound:
            return sound, []
        if takes is list:
            return [sound], [{}]
        return models.default("voice_embedding").run([sound]), [{}]
    seen = frames_of(path, frames)
    where: list[Row] = [{"time": clock(int(t))} for t in seen.t_us]
    if takes is Frames:
        return seen, where
    if takes is Windows:
        return Windows((seen,)), [{}]
    if takes in (Faces, FacePeople):
        faces = models.default("faces").run(seen)
        places = [where[int(f)] | {"box": _box(b)} for f, b in zip(faces.frame, faces.xyxy, strict=True)]
        if takes is Faces:
            return Faces(seen, faces), places
        return FacePeople(seen, faces, bodies_of(faces, _people(models, seen))), places
    if takes is People:
        people = _people(models, seen)
        places = [where[int(f)] | {"box": _box(b)} for f, b in zip(people.frame, people.xyxy, strict=True)]
        return People(seen, people), places
    raise MienError("models.no-input", f"'mien models try' cannot make {takes.__name__}", "use it in a run")


def bodies_of(faces: Boxes, people: Boxes) -> np.ndarray[Any, Any]:
    """For each face the smallest person's box of its frame that holds its middle; float32 `[n 4]`, NaN without one."""
    body = np.full((len(faces), 4), np.nan, np.float32)
    sides = people.xyxy[:, 2:] - people.xyxy[:, :2]
    for i, (frame, box) in enumerate(zip(faces.frame, faces.xyxy, strict=True)):
        middle = (box[:2] + box[2:]) / 2
        inside = (people.frame == frame) & (people.xyxy[:, :2] <= middle).all(1) & (people.xyxy[:, 2:] >= middle).all(1)
        if inside.any():
            area = np.where(inside, sides.prod(1), np.inf)
            body[i] = people.xyxy[int(area.argmin())]
    return body


def _people(models: _Models, seen: Frames) -> Boxes:
    found = models.default("objects").run(seen)
    return found.take(np.flatnonzero(found.label == found.names.index("person")))


def frames_of(path: Path, count: int) -> Frames:
    """A picture, or frames at equal distances of the first minute of a video."""
    from mien.media import Decoder

    with Decoder(path) as decoder:
        probe = decoder.probe()
        if probe.kind == "audio":
            raise MienError("models.no-input", f"{path.name} has no picture", "give a picture or a video")
        length = min(probe.duration_us or 0, round(MAX_S * 1e6)) if probe.kind == "video" else 0
        times = [round(length * (i + 0.5) / count) for i in range(count)] if length else [0]
        return decoder.stills(times, MAX_SIDE_PX)


def _sound(path: Path) -> Sound:
    """The first minute of what is heard."""
    from mien.media import Decoder

    with Decoder(path) as decoder:
        probe = decoder.probe()
        if probe.audio_codec is None:
            raise MienError("models.no-input", f"{path.name} has no sound", "give a sound, or a video with sound")
        return decoder.sound(Span(0, min(probe.duration_us or round(MAX_S * 1e6), round(MAX_S * 1e6))))


# ---------------------------------------------------------------- what comes out


def told(answer: Any, where: list[Row]) -> list[Row]:  # noqa: PLR0911 - one return for each record
    """An answer as rows of plain values. Of embeddings only their size and length: a face or voice is told by them."""
    match answer:
        case Boxes():
            rows = zip(answer.frame, answer.label, answer.score, answer.xyxy, strict=True)
            said = (({"what": answer.names[int(n)], "score": _n(s), "box": _box(b)}, int(f)) for f, n, s, b in rows)
            return [where[f] | row for row, f in said]
        case Affect():
            extra = [{"valence": _n(v), "arousal": _n(a)} for v, a in zip(answer.valence, answer.arousal, strict=True)]
            return [row | more for row, more in zip(_classes(answer.probs, answer.labels, where), extra, strict=True)]
        case Distribution():
            return _classes(answer.probs, answer.labels, where)
        case Scalars():
            rows = zip(where, answer.value, answer.sd, strict=True)
            return [row | {"value": _n(v), "sd": _n(s)} for row, v, s in rows]
        case Keypoints():
            rows = zip(where, answer.score, answer.points, strict=True)
            return [
                row | {"score": _n(s)} | {n: [_n(v) for v in p] for n, p in zip(answer.names, points, strict=True)}
                for row, s, points in rows
            ]
        case Landmarks():
            rows = zip(where, answer.score, answer.points, strict=True)
            return [row | {"score": _n(s), "points": len(p)} for row, s, p in rows]
        case Curve():
            times = [clock(answer.t0_us + i * answer.hop_us) for i in range(len(answer))]
            return [
                {"time": t} | {n: _n(v) for n, v in zip(answer.names, row, strict=True)}
                for t, row in zip(times, answer.values, strict=True)
            ]
        case Words():
            rows = zip(answer.text, answer.span_us, answer.score, strict=True)
            return [{"from": clock(int(a)), "to": clock(int(b)), "word": t, "score": _n(s)} for t, (a, b), s in rows]
        case Embeddings():
            rows = zip(where, answer.vectors, strict=True)
            return [row | {"numbers": len(v), "length": _n(np.linalg.norm(v))} for row, v in rows]
        case States():
            rows = zip(answer.layers, answer.values, strict=True)
            return [{"layer": n, "rows": len(v), "numbers": v.shape[-1], "sd": _n(v.std())} for n, v in rows]
        case Replies():
            return [{"status": r.status, "reason": r.reason, "text": r.text, "value": r.value} for r in answer.rows]
    raise MienError("models.no-input", f"'mien models try' cannot print {type(answer).__name__}", "use it in a run")


def _classes(probs: Any, labels: tuple[str, ...], where: list[Row]) -> list[Row]:
    """The likely ones of few classes or many."""
    out: list[Row] = []
    for row, values in zip(where, probs, strict=True):
        best = sorted(zip(labels, values, strict=True), key=lambda pair: -pair[1])[:10]
        out.append(row | {label: _n(p) for label, p in best})
    return out


def _n(value: Any) -> float | None:
    """A number for people; None where it was not measured."""
    return None if np.isnan(value) else float(f"{float(value):.4g}")


def _box(box: Any) -> list[int]:
    return [round(float(side)) for side in box]


def _cell(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, (list, dict)) else value
