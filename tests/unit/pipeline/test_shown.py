"""Pictures that may be shown: what a blurred face is, and that `care` shows none."""

from __future__ import annotations

from typing import Any

import numpy as np

from mien.core import Clip, Observation, Source, Span
from mien.pipeline.shown import blurred, stills


def test_what_a_model_is_shown_of_a_face_is_a_few_cells():
    image = np.random.default_rng(0).integers(0, 255, (120, 120, 3), dtype=np.uint8)
    out = blurred(image, np.array([[40, 40, 80, 80]], np.float32))
    assert np.array_equal(out[:20], image[:20])
    seen, true = (np.abs(np.diff(x[40:80, 40:80].astype(float), axis=0)).mean() for x in (out, image))
    assert seen < 0.1 * true
    assert image is not out


def test_without_a_gate_or_in_care_no_file_is_even_opened():
    clip = Clip("clip-1", "sha", Span(0, 4_000_000), "start", "end", "c")
    source = Source("sha", "/nowhere.mp4", "video", 1, 4_000_000, 64, 64, 25.0, None, None, "care")
    nobody: Any = None  # a stack that would fail if it were asked
    passed = Observation("o", "clip-1", None, clip.span, "explicit.max", 0.01, None, "", (), 1.0, 4, "g@1")
    for context, rows, word in (("care", [passed], "care"), ("research", [], "gate")):
        found = stills(nobody, context, source, clip, rows, count=4, side_px=64)  # type: ignore[arg-type]
        assert found.frames is None
        assert word in (found.why or "")
