"""× real time of the whole stack at two sizes, with and without each part, and the cost of one call of each model.

The input is the demo footage with read speech and laughter under it, scaled and looped; 1920×1080 is the same footage
enlarged, so it costs what large frames cost and shows nothing new. Every configuration is one `mien run` of a fresh
process in a fresh project, set through `MIEN_…` variables. What a part costs is told by the processor time of the run
and its children, which a neighbour on the machine moves less than the clock on the wall.
"""

from __future__ import annotations

import os
import resource
import shutil
import tempfile
import time
import wave
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bench.run import footage, subprocess_run
from mien.core import SAMPLE_RATE_HZ, US, Boxes, Device, Embeddings, Faces, Frames, MienError, People, Sound, Span
from mien.models.weights import expand, load_adapters, open_adapter, resolve, select
from mien.pipeline.config import Config, Project
from mien.pipeline.stack import GEOMETRY, Stack
from mien.testing.composite import LAUGHING_FROM_S

SIZES = ((640, 360), (1920, 1080))
TOGETHER = (  # useless without each other
    ("vad", "pitch"),
    ("voice_embedding", "voice_affect", "voice_arousal", "voice_cues"),
)
SECONDS = 40.0
COSTS = "costs"
DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class Configuration:
    """A name for the table, and what the environment of `mien run` holds besides the defaults."""

    name: str
    env: dict[str, str] = field(default_factory=dict)


def main(args: list[str]) -> list[str]:
    """`[SECONDS] [CONFIGURATION …]`, default 40 and all of them; `costs`: only the models, one by one."""
    seconds = next((float(a) for a in args if a.replace(".", "").isdigit()), SECONDS)
    wanted = [a for a in args if not a.replace(".", "").isdigit()]
    known = configurations()
    names = [COSTS, *(c.name for c in known)]
    if unknown := [w for w in wanted if w not in names]:
        raise SystemExit(f"no configuration is called {unknown[0]!r}; there are: {'; '.join(names)}")
    chosen = [c for c in known if not wanted or c.name in wanted]
    lines = [f"load of the machine before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores", ""]
    return [*lines, *(speeds(seconds, chosen) if chosen else []), *cost()]


def untouched() -> Config:
    """What a project is that nobody has configured."""
    return Config(project=Project(context="research", name=""), adapters={}, annotate={})  # pyright: ignore[reportCallIssue]


def carried() -> set[str]:
    """Adapters whose weights package registries carry, without terms to accept: what can be measured anywhere."""
    return {a for e in select(expand(["tests"], ())) for a in e.adapters}


def configurations() -> list[Configuration]:
    """The default, then each slot left out, switched on, filled otherwise, and each opinion left out or added."""
    base, here = untouched(), carried()
    on = Stack(base)
    filled = base.stack.model_dump()
    groups = [*TOGETHER, *((slot,) for slot in filled if not any(slot in g for g in TOGETHER))]
    out = [Configuration(DEFAULT)]
    for group in groups:
        used = [slot for slot in group if on.has(slot)]
        if used:
            out.append(Configuration(f"without {', '.join(used)}", {_stack(slot): "off" for slot in used}))
    for slot, name in filled.items():
        others = [n for n, cls in sorted(load_adapters().items()) if cls.spec.slot == slot and n in here and n != name]
        if not on.has(slot):
            if name == "off" and not others:
                continue  # only models whose files users bring
            gated = name != "off"  # named, and waiting for a section of its own to enable it
            env = {f"MIEN_{slot.upper()}__ENABLED": "true"} if gated else {_stack(slot): others[0]}
            out.append(Configuration(f"with {name if gated else others[0]}", env))
        elif slot in base.opinions.model_dump():
            pooled = base.opinions.model_dump()[slot]
            key = f"MIEN_OPINIONS__{slot.upper()}"
            out.append(Configuration(f"{name} alone", {key: "[]"}))
            for more in [n for n in (*others, GEOMETRY) if n not in pooled]:
                listed = ", ".join(f'"{n}"' for n in (*pooled, more))
                out.append(Configuration(f"with {more}", {key: f"[{listed}]"}))
        else:
            out += [Configuration(f"{n} for {name}", {_stack(slot): n}) for n in others]
    return out


def _stack(slot: str) -> str:
    return f"MIEN_STACK__{slot.upper()}"


def speeds(seconds: float, chosen: list[Configuration]) -> list[str]:
    """A table: one row per configuration, × real time and the processor time it saves (-) or costs (+) at each size."""
    heads = " | ".join(f"{w}×{h}: × real time | processor ms per s | against default | peak MB" for w, h in SIZES)
    lines = [
        f"input: the demo footage with speech and laughter, looped to {seconds:g} s; 5 frames/s; one run each, of the "
        "default the median of three (first, middle, last)",
        "",
        f"| stack | {heads} |",
        "|---|" + "---|" * (4 * len(SIZES)),
    ]
    folder = Path(tempfile.mkdtemp(prefix="mien-bench-"))
    try:
        heard = spoken(folder / "sound.wav")
        videos = [footage(folder / f"{w}.mp4", seconds, (w, h), heard, (0.0,)) for w, h in SIZES]
        subprocess_run(folder / "warm-up", videos[0], {})  # the first run of all reads the models from the disk
        turns = [c for c in chosen if c.name != DEFAULT]
        if len(turns) < len(chosen):
            default = next(c for c in chosen if c.name == DEFAULT)
            turns = [default, *turns[: len(turns) // 2], default, *turns[len(turns) // 2 :], default]
        seen: dict[str, list[list[tuple[float, float, float]]]] = {}
        for number, configuration in enumerate(turns):
            row: list[tuple[float, float, float]] = []
            for at, video in enumerate(videos):
                before = _processor_s()
                wall, _, peak = subprocess_run(folder / f"project-{number}-{at}", video, configuration.env)
                row.append((seconds / wall, 1000 * (_processor_s() - before) / seconds, peak))
            seen.setdefault(configuration.name, []).append(row)
        figures = {name: np.median(rows, axis=0) for name, rows in seen.items()}  # [size, figure]
        for name, held in figures.items():
            change = [f"{x:+.0f}" for x in held[:, 1] - figures[DEFAULT][:, 1]] if DEFAULT in figures else ["–"] * 9
            cells = [f"{x:.2f} | {ms:.0f} | {c} | {mb:.0f}" for (x, ms, mb), c in zip(held, change, strict=False)]
            lines.append(f"| {name} | {' | '.join(cells)} |")
    finally:
        shutil.rmtree(folder)
    return [*lines, ""]


def _processor_s() -> float:
    """Of all children that have ended, and theirs."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def spoken(path: Path) -> Path:
    """A WAV: read speech from the start, laughter where the actor laughs."""
    speech, laugh = (_samples(f"sample.{n}") for n in ("demo-speech", "demo-laugh"))
    track = np.zeros(round(LAUGHING_FROM_S[-1] * SAMPLE_RATE_HZ) + len(laugh), np.float32)
    for start_s, piece in ((0.0, speech), *((s, laugh) for s in LAUGHING_FROM_S)):
        first = round(start_s * SAMPLE_RATE_HZ)
        track[first : first + len(piece)] += piece
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, SAMPLE_RATE_HZ, len(track), "NONE", ""))
        file.writeframes((np.clip(track, -1, 1) * 32767).astype("<i2").tobytes())
    return path


def _samples(model: str) -> np.ndarray[Any, np.dtype[np.float32]]:
    from mien.media import Decoder

    (entry,) = select([model])
    with Decoder(resolve(entry.weights).only) as decoder:
        return decoder.sound(Span(0, decoder.probe().duration_us or 0)).samples


def cost() -> list[str]:
    """Processor time of one call of each model on real input, one thread; the median of several calls."""
    lines = ["One call on one thread:", "", "| model | processor ms | a call is |", "|---|---|---|"]
    given = real_inputs()
    here = carried()
    for name, cls in sorted(load_adapters().items()):
        if name not in here or not (name in given or cls.spec.takes in given):
            continue
        batch, what = given[name] if name in given else given[cls.spec.takes]
        try:
            model: Any = open_adapter(name, None, Device(threads=1))
        except MienError as error:
            lines.append(f"| {name} | not measured: {error.code} | {what} |")
            continue
        model.run(batch)
        times: list[float] = []
        while len(times) < 5 or (sum(times) < 0.5 and len(times) < 25):
            started = time.process_time()
            model.run(batch)
            times.append(time.process_time() - started)
        model.close()
        ms = 1e3 * float(np.median(times))
        lines.append(f"| {name} | {ms:.{1 if ms >= 1 else 3}f} | {what} |")
    return lines


def real_inputs() -> dict[Any, tuple[Any, str]]:
    """What a model takes (or the name of a model) → one real batch and what it is."""
    from mien.media import Decoder

    (entry,) = select(["sample.demo-video"])
    with Decoder(resolve(entry.weights).only) as decoder:
        held = next(iter(decoder.frames(Span(0, US), 5.0)))
    frames = Frames(held.pixels[:1], held.t_us[:1])
    finder: Any = open_adapter("face.centerface")
    detector: Any = open_adapter("object.nanodet")
    faces, things = finder.run(frames), detector.run(frames)
    people: Boxes = things.take(np.flatnonzero(things.label == things.names.index("person"))[:1])
    if not len(faces) or not len(people):
        raise SystemExit("no face or no person was found in the first frame of the demo footage")
    speech, laugh = (Sound(_samples(f"sample.{n}"), 0) for n in ("demo-speech", "demo-laugh"))
    listener: Any = open_adapter("voice.whisper")
    size = f"{frames.pixels.shape[2]}×{frames.pixels.shape[1]} px"
    seconds = f"{len(speech) / SAMPLE_RATE_HZ:.0f} s of speech"
    return {
        Frames: (frames, f"one frame of {size}"),
        Faces: (Faces(frames, faces.take(np.arange(1))), "one face"),
        People: (People(frames, people), "one person"),
        Sound: (speech, seconds),
        list: ([laugh], f"{len(laugh) / SAMPLE_RATE_HZ:.1f} s of laughter"),
        Embeddings: (listener.run([laugh]), "one vector"),
        "words.whisper": ([speech], seconds),
    }
