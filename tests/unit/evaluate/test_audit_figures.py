"""Shares count what failed to parse, engines stay apart, intervals are of sources."""

import math

import pytest

from mien.evaluate.audit import Audited, auroc, auroc_figure, clustered, figures, queue, wilson
from mien.reason import CHECKS, Audit, Finding, attempt_without_trace


def good(engine: str = "ledger@3", trace: str = "t") -> Audit:
    return Audit(trace, "c", engine, "ok", 3, dict.fromkeys(CHECKS, 1.0))


def bad() -> Audit:
    return Audit(
        "t-bad",
        "c",
        "vlm@1",
        "ok",
        3,
        dict.fromkeys(CHECKS, 1.0) | {"grounding": 0.5},
        (Finding("grounding", "x", "no"),),
    )


def test_failed_attempts_are_in_the_denominator_and_engines_are_not_mixed():
    vlm = [
        good("vlm@1"),
        bad(),
        attempt_without_trace("c", "vlm@1", "truncated"),
        attempt_without_trace("c", "vlm@1", "unparsed"),
    ]
    rows = figures([Audited(f"s{n}", a) for n, a in enumerate([*vlm, good(), good()])])
    assert [r.engine for r in rows] == ["ledger@3", "vlm@1"]
    assert (rows[0].auditable.value, rows[1].auditable.value) == (1.0, 0.25)
    assert rows[1].passed["grounding"].value == 0.25
    assert rows[1].passed["citation"].value == 0.5
    assert rows[1].statuses == {"ok": 2, "truncated": 1, "unparsed": 1}
    assert math.isnan(rows[1].deletions["gap"].value)


def test_the_queue_holds_what_failed_with_its_reason():
    held = queue([Audited("s", a) for a in (good(), bad(), attempt_without_trace("c", "vlm@1", "truncated"))])
    assert [a.failed for a in held] == [("truncated",), ("grounding",)] or [a.failed for a in held] == [
        ("grounding",), ("truncated",),
    ]  # fmt: skip
    assert all(a.findings for a in held)


def test_many_traces_of_few_sources_do_not_make_an_interval_narrow():
    values = [float(n % 2) for n in range(200)]
    apart = clustered(values, [str(n) for n in range(200)])
    few = clustered(values, [str(n % 4) for n in range(200)])  # each source is all of one kind
    assert apart.value == few.value == 0.5
    assert few.high - few.low > 3 * (apart.high - apart.low)
    assert apart.low < 0.5 < apart.high


def test_a_share_of_all_or_nothing_has_an_interval_of_its_sources():
    whole = clustered([1.0] * 50, ["a"] * 25 + ["b"] * 25)
    assert (whole.value, whole.high, whole.sources) == (1.0, 1.0, 2)
    assert whole.low == pytest.approx(wilson(1.0, 2)[0])
    assert whole.low < 0.5
    assert math.isnan(clustered([0.3, 0.4], ["a", "a"]).low)
    assert clustered([math.nan], ["a"]).n == 0


def test_auroc_is_that_of_ranks_with_ties():
    assert auroc([0, 0, 0], [1, math.inf]) == 1.0
    assert auroc([0, 1], [0, 1]) == 0.5
    assert auroc([1, 2, 3], [2]) == pytest.approx(0.5)
    with pytest.raises(ValueError, match="both kinds"):
        auroc([], [1])
    found = auroc_figure({"a": [0, 1], "b": [0, 2]}, {"a": [1, 3], "b": [2]})
    assert found.low <= found.value <= found.high
    assert found.sources == 2
