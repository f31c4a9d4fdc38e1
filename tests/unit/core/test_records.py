import pytest

from mien.core import MienError, Span, clip_id, content_id, label_key
from mien.core.errors import missing_extra

S = 1_000_000


def test_labels_survive_a_new_cutter_and_a_new_tracker():
    """The key knows the source, the time to 0.1 s and the place to 5 % of the frame, and nothing of our ids."""
    key = label_key("sha", Span(2 * S, 4 * S), (0.10, 0.20, 0.30, 0.40))
    assert key == label_key("sha", Span(2 * S + 20_000, 4 * S - 20_000), (0.11, 0.21, 0.31, 0.39))
    assert key != label_key("other", Span(2 * S, 4 * S), (0.10, 0.20, 0.30, 0.40))
    assert key != label_key("sha", Span(2 * S, 5 * S), (0.10, 0.20, 0.30, 0.40))
    assert key != label_key("sha", Span(2 * S, 4 * S), (0.60, 0.20, 0.80, 0.40))
    assert key != label_key("sha", Span(2 * S, 4 * S), None)


def test_ids_are_content_and_never_random():
    assert clip_id("s", Span(0, 1), "c") == clip_id("s", Span(0, 1), "c")
    assert clip_id("s", Span(0, 1), "c") != clip_id("s", Span(0, 2), "c")
    assert content_id("x", 1, "2") != content_id("x", "1", 2)
    with pytest.raises(TypeError, match="plain values"):
        content_id("x", object())


def test_spans_are_half_open():
    span = Span(0, 10)
    assert span.contains(0)
    assert not span.contains(10)
    assert span.overlap_us(Span(10, 20)) == 0
    with pytest.raises(ValueError, match="must end after it starts"):
        Span(2, 1)


def test_errors_carry_code_and_hint_through_a_pickle():
    import pickle

    error = pickle.loads(pickle.dumps(MienError("a.b", "did not", "do this", retryable=True)))  # noqa: S301 - our own
    assert (error.code, error.message, error.hint, error.retryable) == ("a.b", "did not", "do this", True)
    assert str(error) == "[a.b] did not\n  → do this"
    assert "pip install 'mien[plot]'" in str(missing_extra("matplotlib", "plot"))
