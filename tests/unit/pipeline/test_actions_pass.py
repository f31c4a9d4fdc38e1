"""Windows on the source's clock: who is asked about what, when, and what is kept of the answer."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mien.core import Distribution, Frames, Span, Windows
from mien.models.vision.people.actions import Actions
from mien.pipeline.stages.actions import ActionsPass, likeliest, spans

S = 1_000_000
LABELS = tuple(f"action {i}" for i in range(8))


class Spy:
    """Answers with how bright each window is, and keeps what it was given."""

    def __init__(self) -> None:
        self.given: list[Frames] = []

    def run(self, batch: Windows) -> Distribution:
        self.given += batch.frames
        probs = np.full((len(batch), 8), 0.05, np.float32)
        for i, frames in enumerate(batch.frames):
            probs[i, int(frames.pixels.mean()) // 32] = 0.65
        return Distribution(probs, LABELS)


def play(span: Span, fps: float, model: Any, chunk: int = 7) -> tuple[list[Any], dict[str, Any]]:
    """Frames get lighter by 32 every 2 s."""
    clip: Any = SimpleNamespace(id="clip_x", span=span)
    stack: Any = SimpleNamespace(get=lambda slot: model, label=lambda slot: "spy@1")
    at = ActionsPass(clip, stack, SimpleNamespace())  # pyright: ignore[reportArgumentType]
    t = np.arange(span.start_us, span.end_us, round(S / fps), dtype=np.int64)
    pixels = np.broadcast_to((t // (2 * S) * 32 % 256).astype(np.uint8)[:, None, None, None], (len(t), 8, 8, 3))
    for i in range(0, len(t), chunk):
        at.feed(Frames(np.ascontiguousarray(pixels[i : i + chunk]), t[i : i + chunk]), None)
        assert len(at._frames) <= 3 * 8 + 1, "no more than a window and a step is held"
    return at.finish()


def test_windows_lie_on_the_clock_of_the_source():
    assert spans(Span(0, 4 * S)) == [Span(0, 2 * S), Span(S, 3 * S), Span(2 * S, 4 * S)]
    assert spans(Span(300_000, 3_900_000)) == [Span(S, 3 * S)]
    assert spans(Span(300_000, 2_500_000)) == [Span(300_000, 2_300_000)]
    assert spans(Span(300_000, 900_000)) == [Span(300_000, 900_000)]
    late = spans(Span(5_500_000, 20 * S))
    assert set(late) <= set(spans(Span(0, 60 * S)))


@pytest.mark.parametrize("chunk", [1, 7, 1000])
def test_every_window_is_asked_about_once_with_its_own_frames(chunk):
    spy = Spy()
    records, tables = play(Span(0, 8 * S), 25, spy, chunk)
    assert [r.span for r in records] == spans(Span(0, 8 * S))
    for frames, span in zip(spy.given, spans(Span(0, 8 * S)), strict=True):
        assert span.start_us <= frames.t_us[0] < span.start_us + 125_000
        assert span.end_us - 125_000 <= frames.t_us[-1] < span.end_us
        assert len(frames) == 16
    whole = [r.dist[0] for r in records if r.span.start_us % (2 * S) == 0]
    assert whole == [(f"action {i}", 0.65) for i in range(4)]  # planted: lighter every two seconds
    held = tables["actions/clip_x"].to_pydict()
    assert held["t_us"][::5] == [r.span.start_us for r in records]
    assert held["action"][::5] == [r.dist[0][0] for r in records]


def test_few_frames_are_what_there_is_and_none_is_not_measured():
    records, _ = play(Span(0, 6 * S), 1, Spy())
    assert [r.n for r in records] == [2] * 5
    clip: Any = SimpleNamespace(id="clip_x", span=Span(0, 3 * S))
    stack: Any = SimpleNamespace(get=lambda slot: Spy(), label=lambda slot: "spy@1")
    records, tables = ActionsPass(clip, stack, SimpleNamespace()).finish()  # pyright: ignore[reportArgumentType]
    assert [(r.dist, r.reason) for r in records] == [((), "no-frames")] * 2
    assert len(tables["actions/clip_x"]) == 0


def test_the_likeliest_and_all_others_add_up_to_one():
    probs = np.array([0.1, 0.3, 0.05, 0.2, 0.05, 0.15, 0.1, 0.05], np.float32)
    said = likeliest(LABELS, probs)
    assert [name for name, _ in said] == ["action 1", "action 3", "action 5", "action 0", "action 6", "other"]
    assert sum(p for _, p in said) == pytest.approx(1)
    assert likeliest(LABELS, probs * np.nan) == []
    assert likeliest(LABELS[:2], np.array([0.4, 0.6])) == [("action 1", 0.6), ("action 0", 0.4)]


def test_the_adapter_fits_the_stage():
    records, _ = play(Span(0, 4 * S), 10, Actions.tiny())
    assert all(r.dist for r in records)
    assert {name for r in records for name, _ in r.dist} <= set(Actions.tiny().labels)
