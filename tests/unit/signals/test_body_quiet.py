"""Ten minutes in which nothing on the list happens: standing, sitting, talking with the hands, walking through."""

import random

import pytest

from mien.signals.body import BodySeries, events
from mien.testing.skeletons import Act, skeleton


def _gestures() -> tuple[Act, ...]:
    rng = random.Random(1)
    starts = range(3, 590, 12)
    return tuple(Act("gesturing", s, s + rng.uniform(1, 6), side=rng.choice(("left", "right", "both"))) for s in starts)


def _sways() -> tuple[Act, ...]:
    rng = random.Random(2)
    return tuple(
        Act("swaying", s, s + rng.uniform(1.5, 4), amplitude=rng.uniform(-0.3, 0.3)) for s in range(3, 590, 15)
    )


def _walks() -> tuple[Act, ...]:
    rng = random.Random(3)
    return tuple(
        Act("walking", s, s + rng.uniform(5, 18)) if i % 3 else Act("approaching", s, s + rng.uniform(4, 6))
        for i, s in enumerate(range(5, 570, 30))
    )


@pytest.mark.parametrize(
    ("what", "acts", "options"),
    [
        ("standing", (), {}),
        ("sitting, points lost now and then", (), {"sitting": True, "dropout": 0.03}),
        ("talking with the hands, points jitter", _gestures(), {"jitter": 0.03}),
        ("bending aside", _sways(), {}),
        ("walking through", _walks(), {}),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_ten_minutes_without_an_event(what: str, acts: tuple[Act, ...], options: dict) -> None:
    figure = skeleton(600, acts, seed=len(what), **options)
    found = events(BodySeries(figure.t_us, figure.points, figure.names))
    assert [(e.kind, str(e.span), e.reason) for e in found] == []
