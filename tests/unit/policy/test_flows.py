"""10,000 flows against an oracle that knows nothing of the code: no illegal one passes, and no legal one is refused."""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Literal, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mien.core import Consent, ConsentScope, Context, Observation, Source, Span
from mien.core.records import Assent
from mien.export.selection.gate import clip_withheld, source_rules, source_withheld
from mien.policy.consent import moment, permission, scopes_at, stated
from mien.policy.flow import Target
from mien.policy.uses import PolicyTerms, Use

T = TypeVar("T")
Kind = Literal["video", "image", "audio"]

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
CONTEXTS: tuple[Context, ...] = ("care", "research", "studio")
USES: tuple[Use, ...] = ("view", "train", "share", "publish")
TARGETS: tuple[Target, ...] = ("understanding", "generation")
LICENCES = {  # uses of a recording under it, written down by hand
    None: "view train share", "something": "view train share", "CC-BY-4.0": "view train share publish",
    "CC-BY-SA-4.0": "view train share publish", "CC-BY-NC-4.0": "view train share publish",
    "CC-BY-ND-4.0": "view train", "all rights reserved": "view", "research only": "view train share",
    "MIT OR CC-BY-ND-4.0": "view train share publish", "MIT AND CC-BY-ND-4.0": "view train",
}  # fmt: skip
WORDS = (None, "", "yes", "signed by P-7", "no", "Withdrawn 2026-01-02", "export", "train, export, publish, analyse")
MINED = (
    (), (("mining.ai_training", "notAllowed"),), (("mining.data_mining", "allowed"),),
    (("mining.ai_generative_training", "constrained"),), (("mining.ai_inference", "constrained: ask"),),
    (("mining.unread", "no reader"),), (("mining.ai_training", "allowed"), ("mining.odd", "perhaps")),
)  # fmt: skip
SCOPES: tuple[tuple[ConsentScope, ...], ...] = (
    (), ("analyse",), ("analyse", "export"), ("analyse", "train"), ("analyse", "export", "train", "publish")
)  # fmt: skip
DAYS = (-400, -30, -1, 1, 30)
ENDS = (None, -2, 0, 3)
ASSENTS: tuple[Assent, ...] = ("yes", "no", "not-able", "not-asked")
SCORES = (None, float("nan"), 0.01, 0.19, 0.2, 0.9)
AGES = (None, (50.0, 2.0), (26.0, 2.0), (16.0, 1.0), (24.0, 9.0))
KINDS: tuple[Kind, ...] = ("video", "image", "audio")


@dataclass(frozen=True)
class Row:
    scopes: tuple[ConsentScope, ...]
    day: int
    ends: int | None
    assent: Assent


@dataclass(frozen=True)
class Flow:
    source: Context
    project: Context
    target: Target
    use: Use
    licence: str | None
    words: str | None
    mined: tuple[tuple[str, str], ...]
    rows: tuple[Row, ...]
    score: float | None
    age: tuple[float, float] | None
    kind: Kind
    strict: bool


def flow_of(number: int) -> Flow:
    """A flow from the digits of a number's hash: small numbers are no simpler flows than large ones."""
    number = int.from_bytes(hashlib.sha256(str(number).encode()).digest(), "big")

    def take(options: Sequence[T]) -> T:
        nonlocal number
        number, digit = divmod(number, len(options))
        return options[digit]

    # Weighted: most flows must be nearly legal, or the one rule that matters would rarely be the one that decides.
    same = take((True, True, False))
    source = take(CONTEXTS)
    project = source if same else take(CONTEXTS)
    rows = tuple(Row(take(SCOPES), take(DAYS), take(ENDS), take(ASSENTS)) for _ in range(take((0, 0, 1, 2))))
    return Flow(
        source, project, take(TARGETS), take(USES), take(tuple(LICENCES)), take(WORDS), take((*MINED, (), ())), rows,
        take((*SCORES, 0.01, 0.01)), take((*AGES, (50.0, 2.0))), take(KINDS), take((False, False, True)),
    )  # fmt: skip


def legal(f: Flow) -> bool:  # noqa: PLR0911 - one rule, one return
    """The rules once more, in words."""
    # where it may flow
    if f.source == "care" and (f.project != "care" or f.target == "generation" or f.use == "publish"):
        return False
    if f.source == "research" and f.project == "studio":
        return False
    if f.project == "care" and f.target == "generation":
        return False
    if f.use == "publish" and (f.source != f.project or (f.source == "research" and f.target == "generation")):
        return False
    # licence
    unknown = f.licence in (None, "something")
    if f.use not in LICENCES[f.licence].split() or (unknown and f.strict and f.use != "view"):
        return False
    # the file's own words
    for _, value in (m for m in f.mined if m[0] != "mining.unread"):
        if value in ("notAllowed", "constrained", "perhaps") and f.use != "view":
            return False
        if value.startswith("constrained:") and f.use == "publish":
            return False
    if f.use == "publish" and any(key == "mining.unread" for key, _ in f.mined):
        return False
    return agreed(f) and passes(f)


def agreed(f: Flow) -> bool:
    need = {"view": "analyse", "train": "train", "share": "export", "publish": "publish"}[f.use]
    if f.words in ("no", "Withdrawn 2026-01-02"):
        return False
    listed = {"export": {"export"}, "train, export, publish, analyse": {"train", "export", "publish", "analyse"}}
    said = [listed[f.words]] if f.words in listed else []
    if f.rows:
        past = [r for r in f.rows if r.day <= 0]
        if not past:
            return False
        last = max(r.day for r in past)
        for row in f.rows:  # the newest, all of its instant, and what the future already takes back
            if row.day == last or row.day > 0:
                dead = row.assent == "no" or (row.ends is not None and row.ends <= 0)
                said.append(set() if dead else set(row.scopes))
    return all(need in s for s in said) if said else f.use != "publish"


def passes(f: Flow) -> bool:
    if f.kind == "audio":
        return True
    # (a clip that no gate has looked at is not shown to be harmless)
    if f.score is None or f.score != f.score or f.score >= 0.2:
        return False
    return not (f.target == "generation" and f.age is not None and f.age[0] - f.age[1] < 18)


def decided(f: Flow) -> tuple[bool, str]:
    """What the exporter's own gate says: (whether it leaves, the code of why not)."""
    source = Source("a" * 64, "x", f.kind, 1, 1, 1, 1, 1.0, None, None, f.source, licence=f.licence)
    rows = [
        Consent(f"c{i}", "P", r.scopes, at(r.day), at(r.ends) if r.ends is not None else None, "me", r.assent)
        for i, r in enumerate(f.rows)
    ]
    terms = PolicyTerms.model_validate({"unknown_licence": "refuse" if f.strict else "warn"})
    consent = permission("x", (f.words,), rows, NOW)
    rules = source_rules("x", source, f.project, f.target, consent, f.mined, terms)
    barred = source_withheld("x", rules, f.use)
    if barred is None:
        barred = clip_withheld("x", source, f.project, list(seen(f)), f.use, f.target)
    return barred is None, barred.code if barred else ""


def at(days: int) -> str:
    return (NOW + timedelta(days=days)).isoformat()


def seen(f: Flow):
    blank = Observation("o", "c", None, Span(0, 1), "explicit.max", f.score, None, "0..1", (), None, 1, "gate@1")
    if f.score is not None:
        yield blank
    yield replace(blank, target="presence", value=1.0)
    if f.age is not None:
        yield replace(blank, target="age", value=f.age[0], sd=f.age[1])


COUNTED: Counter[str] = Counter()


@settings(max_examples=100, deadline=None, database=None, derandomize=True)
@given(st.lists(st.integers(0, 2**62), min_size=100, max_size=100))
def test_ten_thousand_flows(numbers):
    for number in numbers:
        f = flow_of(number)
        leaves, code = decided(f)
        assert leaves == legal(f), (f, code)
        COUNTED[code or "leaves"] += 1


def test_the_flows_reach_every_rule():
    if not COUNTED:
        test_ten_thousand_flows()
    assert sum(COUNTED.values()) >= 10_000
    rng = random.Random(11)
    for f in (flow_of(rng.getrandbits(62)) for _ in range(10_000)):  # which flows are drawn is hypothesis' to choose
        leaves, code = decided(f)
        assert leaves == legal(f), (f, code)
        COUNTED[code or "leaves"] += 1
    assert COUNTED["leaves"] > 100
    wanted = {
        "consent.refused", "consent.no-assent", "consent.expired", "consent.withdrawn", "consent.not-stated",
        "context.mixed", "context.generation", "context.not-published", "mining.not-allowed", "mining.constrained",
        "mining.unread", "licence.unknown", "licence.no-derivatives", "licence.no-sharing", "licence.no-training",
        "licence.no-publishing", "gate.not-run", "gate.permanent", "gate.quarantined", "gate.minor",
    }  # fmt: skip
    assert wanted <= set(COUNTED), wanted - set(COUNTED)


@pytest.mark.parametrize("broken", ["context", "licence", "consent", "mined", "gate"])
def test_a_gate_that_forgot_a_rule_would_be_found(broken, monkeypatch):
    """Takes one rule away and looks whether the oracle notices."""
    from mien.export.selection import gate
    from mien.policy.uses import FREE

    names = {"context": "flow", "licence": "permitted", "mined": "mining"}
    if broken in names:
        monkeypatch.setattr(gate, names[broken], lambda *a, **k: FREE)
    elif broken == "consent":
        monkeypatch.setitem(globals(), "permission", lambda *a, **k: FREE)
    else:
        monkeypatch.setitem(globals(), "clip_withheld", lambda *a, **k: None)
    rng = random.Random(7)
    flows = [flow_of(rng.getrandbits(62)) for _ in range(1500)]
    assert any(decided(f)[0] and not legal(f) for f in flows)


# ---------------------------------------------------------------- consent in detail


def row(scopes: str, when: str, ends: str | None = None, assent: Assent = "not-asked") -> Consent:
    every: tuple[ConsentScope, ...] = ("analyse", "export", "train", "publish")
    kept = tuple[ConsentScope, ...](s for s in every if s in scopes.split())
    return Consent("c", "P", kept, when, ends, "me", assent)


@pytest.mark.parametrize(
    ("rows", "scopes"),
    [
        ([], None),
        ([row("analyse export", "2026-01-01")], "analyse export"),
        ([row("analyse", "2026-01-01"), row("", "2026-02-01")], ""),
        ([row("", "2026-02-01"), row("analyse", "2026-03-01")], "analyse"),
        ([row("analyse", "2026-01-01", "2026-06-01")], ""),
        ([row("analyse", "2026-01-01", "2026-06-01T14:00:01+02:00")], "analyse"),
        ([row("analyse", "2026-01-01", "soon")], ""),
        ([row("analyse", "yesterday")], ""),
        ([row("analyse", "2027-01-01")], ""),
        ([row("analyse export", "2026-01-01"), row("analyse", "2027-01-01")], "analyse"),
        ([row("analyse", "2026-01-01"), row("analyse export", "2027-01-01")], "analyse"),
        ([row("analyse export", "2026-01-01"), row("analyse train", "2026-01-01")], "analyse"),
        ([row("analyse export", "2026-01-01", assent="no")], ""),
        ([row("analyse", "2026-01-01", assent="no"), row("analyse", "2026-02-01", assent="yes")], "analyse"),
    ],
)  # fmt: skip
def test_which_record_counts(rows, scopes):
    expected = None if scopes is None else frozenset(scopes.split())
    assert scopes_at(rows, NOW) == expected
    assert scopes_at(rows[::-1], NOW) == expected


def test_words_are_scopes_only_where_they_are_nothing_else():
    assert stated("export, train") == {"export", "train"}
    assert stated("Publish") == {"publish"}
    for text in (None, "", "not for export", "export except faces", "yes"):
        assert stated(text) is None


def test_times_without_a_zone_are_utc():
    assert moment("2026-06-01T12:00:00") == NOW == moment("2026-06-01T14:00:00+02:00") == moment("2026-06-01T12:00:00Z")
    assert moment("tomorrow") is None
