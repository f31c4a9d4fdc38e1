"""What a run says of vocal cues: a distribution where the head is sure enough, a reason where it is not."""

import numpy as np
import pytest

from mien.core import Clip, Embeddings, Span
from mien.models.sound.cues import FINEST, Answering, CueHead, VoiceCues
from mien.pipeline.rows import observe
from mien.pipeline.stages.cues import POLARITY, TARGET, cues_of

CLIP = Clip("clip-1", "sha", Span(0, 4_000_000), "start", "end", "cutter")
LABELS = ("Pain", "Desire", "Awe")


class Stack:
    def __init__(self, adapter):
        self.adapter = adapter

    def get(self, slot):
        assert slot == "voice_cues"
        return self.adapter

    def label(self, slot):
        return "voice.cues@test"


def adapter(threshold=0.6, polarity=True):
    member = {"weight_2": np.eye(3, dtype=np.float32), "bias_2": np.zeros(3, np.float32)}
    answers = {FINEST: Answering({n: n for n in LABELS}, threshold=threshold)}
    if polarity:
        answers["polarity"] = Answering({"Pain": "negative", "Desire": "positive"}, threshold=0.9)
    head = CueHead(LABELS, "logistic", "", np.zeros(3, np.float32), np.ones(3, np.float32), (member,), answers)
    return VoiceCues(head, VoiceCues.Config())


def segments(n):
    return [
        observe(
            CLIP, "vocal.kind", Span(i * 1_000_000, i * 1_000_000 + 500_000), "r", dist=(("voice", 1.0),), quality=0.5
        )
        for i in range(n)
    ]


def test_sure_answers_are_given_and_unsure_ones_are_withheld_with_a_reason():
    vectors = np.array([[4, 0, 0], [0.5, 0.4, 0.3], [np.nan] * 3], np.float32)
    rows = cues_of(CLIP, segments(3), Embeddings(vectors), Stack(adapter()))  # pyright: ignore[reportArgumentType]
    told = {(o.target, o.span.start_us // 1_000_000): o for o in rows}
    assert len(told) == 6
    sure = told[TARGET, 0]
    assert dict(sure.dist)["Pain"] == pytest.approx(np.exp(4) / (np.exp(4) + 2), rel=1e-4)
    assert sure.reason is None
    assert dict(told[POLARITY, 0].dist)["negative"] > 0.9
    for target in (TARGET, POLARITY):
        assert (told[target, 1].dist, told[target, 1].reason) == ((), "too-uncertain")
        assert (told[target, 2].dist, told[target, 2].reason) == ((), "sound-not-measurable")
    assert sure.span == segments(1)[0].span


def test_a_head_of_other_labels_has_no_polarity():
    rows = cues_of(CLIP, segments(1), Embeddings(np.eye(3, dtype=np.float32)[:1]), Stack(adapter(0.1, polarity=False)))  # pyright: ignore[reportArgumentType]
    assert [o.target for o in rows] == [TARGET]
    assert [name for name, _ in rows[0].dist] == list(LABELS)
