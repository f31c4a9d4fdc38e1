"""From prior to posterior in steps, and the same sound in several contexts: planted numbers, real fusion."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sample import clip_view, sample  # pyright: ignore[reportMissingImports]

from mien.core import Assessment
from mien.export.report import render
from mien.export.report.contexts import same_sounds
from mien.export.report.page import clip_page
from mien.export.report.steps import alone, steps
from mien.fusion import FusionConfig, SourceEvidence, assess

FLAT = (1 / 3, 1 / 3, 1 / 3)
VOICE = SourceEvidence("voice", (0.45, 0.42, 0.13), FLAT, 0.4)
FACES = {
    "crying": SourceEvidence("face", (0.57, 0.001, 0.429), FLAT, 0.76),
    "laughing": SourceEvidence("face", (0.001, 0.914, 0.085), FLAT, 0.78),
}
SAMPLE = sample()


def made(*sources: SourceEvidence, like: Assessment = SAMPLE.clips[0].assessments[0]) -> Assessment:
    a = assess(FusionConfig(), sources)
    return replace(
        like, prior=a.prior, posterior=a.posterior, contributions=a.contributions, ambiguity=a.ambiguity,
        conflict=a.conflict, vacuity=a.vacuity, abstained=a.abstained, reason=a.reason,
    )  # fmt: skip


def clips(*held: tuple[SourceEvidence, ...]) -> list[Assessment]:
    return [made(*sources) for sources in held]


def pages(*held: tuple[SourceEvidence, ...]):
    views = [clip_view(SAMPLE.sources[0], 100.0 * n, n) for n in range(len(held))]
    return [
        clip_page(replace(v, assessments=(made(*sources, like=v.assessments[0]),)), n, 300)
        for n, (v, sources) in enumerate(zip(views, held, strict=True), 1)
    ]


shares = st.lists(st.floats(0.01, 1), min_size=3, max_size=3).map(lambda x: tuple(v / sum(x) for v in x))


@given(shares, shares, st.floats(0.05, 0.9), st.floats(0.05, 0.6))
def test_each_bar_times_the_next_gives_the_bar_after_it(seen, heard, by_face, by_voice) -> None:
    a = made(SourceEvidence("voice", heard, FLAT, by_voice), SourceEvidence("face", seen, FLAT, by_face))
    way = steps(a)
    assert [s.kind for s in way] == ["prior", "likelihood", "held", "likelihood", "posterior"]
    assert [s.name for s in way if s.kind == "likelihood"] == ["face", "voice"]  # what is seen comes first
    held = dict(way[0].shares)
    for factor, after in ((way[1], way[2]), (way[3], way[4])):
        product = {s: held[s] * p for s, p in factor.shares}
        held = dict(after.shares)
        assert held == pytest.approx({s: p / sum(product.values()) for s, p in product.items()}, abs=1e-9)


def test_what_a_source_says_alone_does_not_depend_on_its_weight_or_on_the_others() -> None:
    a, b = made(VOICE), made(FACES["crying"], VOICE.weighing(0.13))
    for held in (a, b):
        said = alone(held, next(c for c in held.contributions if c.source == "voice"))
        assert [p for _, p in said] == pytest.approx(VOICE.dist, abs=1e-6)


def test_without_any_source_the_posterior_is_the_prior_and_says_so() -> None:
    way = steps(made())
    assert [s.kind for s in way] == ["prior", "posterior"]
    assert way[1].note == "no source had weight"


def test_the_same_sound_is_found_in_its_contexts_and_another_sound_is_not() -> None:
    other = SourceEvidence("voice", (0.46, 0.41, 0.13), FLAT, 0.4)
    silent = (FACES["laughing"],)
    found = same_sounds(
        pages((VOICE,), (FACES["crying"], VOICE), (FACES["laughing"], VOICE.weighing(0.2)), (other,), silent)
    )
    (sound,) = found
    assert [m.page.number for m in sound.members] == [2, 3, 1]  # those with a picture first
    assert [p for _, p in sound.voice] == pytest.approx(VOICE.dist, abs=1e-6)
    assert [m.moment.assessment.abstained for m in sound.members] == [False, False, True]


def test_a_copy_in_the_same_context_is_no_comparison() -> None:
    assert same_sounds(pages((FACES["crying"], VOICE), (FACES["crying"], VOICE))) == []


def test_the_page_draws_the_steps_in_words_and_compares_the_contexts() -> None:
    views = [clip_view(SAMPLE.sources[0], 100.0 * n, n) for n in range(2)]
    held = [(FACES["crying"], VOICE), (FACES["laughing"], VOICE)]
    data = replace(
        SAMPLE,
        clips=tuple(
            replace(v, assessments=(made(*h, like=v.assessments[0]),)) for v, h in zip(views, held, strict=True)
        ),
    )
    html = render(data, "var uPlot;", ".u{}")
    assert "One sound, 2 contexts" in html
    labels = re.findall(r'class="stack"[^>]*aria-label="([^"]*)"', html)
    a = data.clips[0].assessments[0]
    told = ", ".join(f"{s} {100 * p:.0f} %" for s, p in a.posterior)
    assert f"After: posterior: {told}" in labels
    assert sum(label.startswith("voice multiplies by: ") for label in labels) == 4  # overview and moment, twice
    assert math.isclose(sum(p for _, p in a.posterior), 1, abs_tol=1e-9)
    assert "One sound" not in render(SAMPLE, "var uPlot;", ".u{}")
