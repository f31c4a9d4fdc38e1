"""Splits: nothing leaks, growth moves nothing, order changes nothing, what ties two splits together is left out."""

import dataclasses
import itertools
import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from planted import SOUND, VIDEO, observation, project

from mien.core import Clip, Item, MienError, Subject
from mien.export.selection.scope import scope_of
from mien.export.selection.splits import Unit, assign, leaks
from mien.export.selection.together import splits_of, units_of
from mien.store import Store
from mien.store.drawn import SPLITS, Draw, forget, read

MARKS = st.frozensets(st.sampled_from([f"subject:{i}" for i in range(8)] + ["copy:a", "copy:b", "item:c"]), max_size=3)
UNITS = st.dictionaries(st.integers(0, 30).map("s{}".format), MARKS, max_size=16)
DRAWS = st.builds(Draw, st.sampled_from([0.1, 0.3]), st.sampled_from([0.1, 0.3]), st.text(max_size=4))


def units(held):
    return [Unit(source, marks) for source, marks in held.items()]


@given(UNITS, st.lists(UNITS, max_size=3), DRAWS, st.randoms(use_true_random=False))
def test_growth_never_leaks_never_moves_and_order_is_irrelevant(first, later, draw, shuffler):
    """Also where people are assigned afterwards: a source of before comes back with other marks."""
    kept, of, world = {}, {}, {}
    for more in [first, *later]:
        world |= more
        rows = units(world)
        found = assign(rows, kept, draw)
        again = rows.copy()
        shuffler.shuffle(again)
        assert assign(again, kept, draw) == found
        assert leaks(rows, found.of) == ()
        assert set(found.of) | set(found.left_out) == set(world)
        assert not set(found.of) & set(found.left_out)
        assert all(found.of[s] == split for s, split in of.items() if s in found.of), "an assignment was moved"
        assert found.kept.items() >= kept.items()
        assert assign(rows, found.kept, draw) == found, "a second call changes nothing"
        for a, b in itertools.combinations(rows, 2):
            if a.marks & b.marks and a.source in found.of and b.source in found.of:
                assert found.group[a.source] == found.group[b.source]
        kept, of = found.kept, of | dict(found.of)


def test_the_fractions_are_about_those_asked_for_and_the_salt_draws_anew():
    rows = [Unit(f"s{i}") for i in range(3000)]
    found = [assign(rows, {}, Draw(0.2, 0.1, salt)).of for salt in ("", "other")]
    for of in found:
        share = {s: sum(v == s for v in of.values()) / len(of) for s in SPLITS}
        assert share["test"] == pytest.approx(0.1, abs=0.03)
        assert share["validation"] == pytest.approx(0.2, abs=0.03)
    assert found[0] != found[1]


def test_a_source_that_ties_two_splits_together_is_left_out_and_moves_nobody():
    draw = Draw(0.3, 0.3)
    rows = [Unit(f"s{i}", frozenset({f"subject:{i}"})) for i in range(40)]
    before = assign(rows, {}, draw)
    one = next(s for s, v in before.of.items() if v == "train")
    two = next(s for s, v in before.of.items() if v == "test")
    tie = Unit("tie", frozenset({f"subject:{one[1:]}", f"subject:{two[1:]}"}))
    after = assign([*rows, tie], before.kept, draw)
    assert after.left_out["tie"].code == "split.would-leak"
    assert {s: after.of[s] for s in before.of} == before.of
    joined = assign([*rows, Unit("tie", frozenset({f"subject:{one[1:]}"}))], before.kept, draw)
    assert joined.of["tie"] == "train"
    everyone = [dataclasses.replace(u, marks=u.marks | {"subject:late"}) for u in rows if u.source in (one, two)]
    late = assign(everyone, before.kept, draw)
    assert set(late.left_out) == {two}, "what training has seen stays, the test loses it"


def test_the_leak_check_trusts_nobody():
    rows = [Unit("a", frozenset({"subject:x"})), Unit("b", frozenset({"subject:x"}))]
    assert leaks(rows, {"a": "train", "b": "test"}) == ("a subject is in more than one split",)
    assert leaks(rows, {"a": "train", "b": "train"}) == ()
    assert leaks(rows, {"a": "train"}) == ()


def test_people_sessions_copies_and_labels_tie_sources_of_a_project(tmp_path):
    made = project(tmp_path / "p")
    scope = scope_of(made)
    assert all(not u.marks for u in units_of(scope))
    (video,) = [c for c in made.store.all(Clip, "source_sha = ?", (VIDEO,)) if c.span.start_us == 0]
    (sound,) = made.store.all(Clip, "source_sha = ?", (SOUND,))
    for planted in (
        [Item("item-both", "x", (VIDEO, SOUND))],
        [Item("item-1", "x", (VIDEO,), subject_id="P-1"), Item("item-2", "y", (SOUND,), subject_id="P-1")],
        [observation(sound, "copy.of", sound.span, dist=((video.id, 1.0),))],
    ):
        with Store(made.root, write=True) as store:
            store.put(planted, unit="planted", stage="planted")
        held = units_of(scope_of(made))
        assert held[0].marks & held[1].marks, planted
        with Store(made.root, write=True) as store:
            store.drop_unit("planted")
    made.close()


def test_what_was_drawn_is_kept_without_names_and_damage_is_said(tmp_path):
    made = project(tmp_path / "p", subject="P-07")
    with Store(made.root, write=True) as store:
        store.put([Subject("P-07", "analyse, export, train")], unit="P-07", stage="enrol")
    scope = scope_of(made)
    preview = splits_of(made, scope, keep=False)
    assert not (made.root / "splits.json").exists()
    found = splits_of(made, scope)
    assert found == preview
    text = (made.root / "splits.json").read_text()
    assert "P-07" not in text
    assert VIDEO not in text
    assert splits_of(made, scope) == found
    flipped = json.loads(text)
    flipped["marks"] = dict.fromkeys(flipped["marks"], "test")
    (made.root / "splits.json").write_text(json.dumps(flipped))
    assert set(splits_of(made, scope).of.values()) == {"test"}, "what was drawn counts, not the hash"
    assert forget(made.root / "splits.json", ["subject:P-07", f"source:{VIDEO}"], Draw()) == 2
    assert len(read(made.root / "splits.json", Draw())) == 1
    with pytest.raises(MienError, match=r"splits\.other-salt"):
        read(made.root / "splits.json", Draw(salt="x"))
    (made.root / "splits.json").write_text("{")
    with pytest.raises(MienError, match=r"splits\.damaged"):
        splits_of(made, scope)
    made.close()


def test_units_do_not_depend_on_the_order_of_rows(tmp_path):
    order = ["a", "b", "c"]
    found = set()
    for seed in range(4):
        random.Random(seed).shuffle(order)
        found.add(tuple(sorted(assign([Unit(s, frozenset({"item:x"})) for s in order], {}, Draw()).of.items())))
    assert len(found) == 1
