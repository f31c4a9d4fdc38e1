"""Stretches of sound and their classes: planted curves come out as what was planted, when it was."""

from types import SimpleNamespace
from typing import Any

import numpy as np

from mien.core import Clip, Curve, Sound, Span
from mien.pipeline.stages.hearing import LEAST, descriptors_pass, events_pass

HOP = 480_000
CLIP = Clip("c", "s", Span(1_000_000, 11_000_000), "start", "end", "cut")
SOUND = Sound(np.zeros(160_000, np.float32), 1_000_000)


def heard(values: Any, names: tuple[str, ...]) -> tuple[list[Any], Any]:
    curve = Curve(np.asarray(values, np.float32), names, 1_000_000, HOP)
    stack: Any = SimpleNamespace(get=lambda _: SimpleNamespace(run=lambda _: curve), label=lambda _: "tagger@1")
    records, tables = events_pass(CLIP, SOUND, stack)
    return records, next(iter(tables.values()))


def test_stretches_are_those_that_were_planted():
    values = np.full((20, 3), 0.05, np.float32)
    values[2:5, 0] = (0.4, 0.9, 0.5)
    values[10, 0] = LEAST
    values[4:6, 2] = 0.7
    records, table = heard(values, ("laughter", "speech", "crying"))
    said = sorted((r.dist[0][0], r.span.start_us, r.span.end_us, round(r.value, 3)) for r in records)
    at = [1_000_000 + k * HOP for k in range(21)]
    assert said == [
        ("crying", at[4], at[6], 0.7), ("laughter", at[2], at[5], 0.9), ("laughter", at[10], at[11], 0.3),
    ]  # fmt: skip
    assert len({r.id for r in records}) == 3
    first = {n: table[n].to_pylist() for n in table.column_names}
    assert next(e for t, e in zip(first["t_us"], first["event"], strict=True) if t == at[3]) == "laughter"


def test_nothing_beyond_the_clip_and_nothing_made_up():
    values = np.full((40, 2), 0.6, np.float32)
    records, _ = heard(values, ("a", "b"))
    assert all(CLIP.span.start_us <= r.span.start_us < r.span.end_us <= CLIP.span.end_us for r in records)
    quiet, _ = heard(np.zeros((20, 2)), ("a", "b"))
    assert quiet == []
    (none,), _ = heard(np.zeros((0, 2)), ("a", "b"))
    assert none.reason == "too-short"


def test_descriptors_keep_their_own_clock_and_names():
    curve = Curve(np.arange(30, dtype=np.float32).reshape(10, 3), ("f0", "hnr", "jitter"), 500_000, 250_000)
    stack: Any = SimpleNamespace(get=lambda _: SimpleNamespace(run=lambda _: curve), label=lambda _: "praat@1")
    _, tables = descriptors_pass(CLIP, SOUND, stack)
    (table,) = tables.values()
    assert table["t_us"].to_pylist() == [1_000_000 + 250_000 * k for k in range(8)]
    assert table["hnr"].to_pylist() == [7.0 + 3 * k for k in range(8)]
