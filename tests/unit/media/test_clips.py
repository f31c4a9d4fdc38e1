"""Clips cover the source exactly, whatever the cuts."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mien.core import US, Span
from mien.media import Cutter, Found, cut
from mien.media.clips import CELL_US, LENGTH


def test_shots_become_clips_with_reasons() -> None:
    clips = cut(10 * US, [3 * US, 7 * US])
    assert [c.span for c in clips] == [Span(0, 3 * US), Span(3 * US, 7 * US), Span(7 * US, 10 * US)]
    assert [(c.starts, c.ends) for c in clips] == [
        ("start of source", "cut"),
        ("cut", "cut"),
        ("cut", "end of source"),
    ]


def test_short_shots_join_a_neighbour() -> None:
    assert [c.span.end_us for c in cut(10 * US, [100_000, 5 * US, 5_200_000, 9_800_000])] == [5 * US, 10 * US]


def test_long_takes_are_split_where_it_is_quietest() -> None:
    activity = [0.5] * 750  # 150 s
    activity[269:271] = [0.0, 0.0]  # around 54.0 s
    activity[100:102] = [0.0, 0.0]  # 20.2 s: too early in the take to be of use
    clips = cut(150 * US, [10_040_000], activity)
    assert [c.span.start_us for c in clips] == [0, 10_040_000, 54 * US, 113_600_000]
    assert [c.starts for c in clips] == ["start of source", "cut", LENGTH, LENGTH]


def test_what_comes_in_portions_is_cut_as_a_whole() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        duration, longest = int(rng.integers(1, 300 * US)), int(rng.choice([2 * US, 9 * US, 60 * US]))
        activity = tuple(rng.random(duration // CELL_US).tolist())
        cuts = tuple(sorted(rng.integers(0, duration, rng.integers(0, 12)).tolist()))
        cutter, got, told, cells = Cutter(max_us=longest), [], 0, 0
        for settled in sorted(rng.integers(0, duration, 9).tolist()):
            news = tuple(c for c in cuts if told <= c < settled)
            got += cutter.feed(Found(settled, news, activity[cells : settled // CELL_US]))
            told, cells = settled, max(cells, settled // CELL_US)
        got += cutter.feed(Found(duration, tuple(c for c in cuts if c >= told), activity[cells:]))
        assert got + cutter.finish(duration) == cut(duration, cuts, activity, max_us=longest)


def test_a_still_image_is_one_clip_that_holds_its_frame() -> None:
    (clip,) = cut(0, [])
    assert clip.span.contains(0)


def test_sound_only_sources_are_cut_by_length() -> None:
    clips = cut(180 * US, [])
    assert len(clips) > 2
    assert all(30 * US <= c.span.duration_us <= 60 * US for c in clips[:-1])


@given(
    duration=st.integers(1, 400 * US),
    cuts=st.lists(st.integers(-5, 500 * US), max_size=30),
    longest=st.sampled_from([1_200_000, 2 * US, 7_300_000, 60 * US]),
)
def test_any_cuts_give_a_partition(duration: int, cuts: list[int], longest: int) -> None:
    clips = cut(duration, cuts, max_us=longest)
    spans = [c.span for c in clips]
    assert spans[0].start_us == 0
    assert spans[-1].end_us == duration
    assert all(a.end_us == b.start_us for a, b in pairwise(spans))
    assert all(a.ends == b.starts for a, b in pairwise(clips))
    assert all(s.duration_us <= longest for s in spans)
    assert all(c.span.start_us % 200_000 == 0 for c in clips if c.starts == LENGTH)
    assert all(c.span.start_us in cuts for c in clips if c.starts == "cut")
    if len(clips) > 1:
        assert all(s.duration_us >= 400_000 for s in spans)


def test_nonsense_is_refused() -> None:
    with pytest.raises(ValueError, match="duration"):
        cut(-1, [])
