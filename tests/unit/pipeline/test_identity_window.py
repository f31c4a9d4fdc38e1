"""The identity window with vectors of known people: who is joined, who never is, and what is left in memory."""

import numpy as np
import pytest

from mien.core import Boxes, Faces, Frames, MienError
from mien.pipeline.stages.identity import WIDTH, Arena, IdentityWindow, Rejoin, WindowConfig, link, renumber
from mien.policy.identity import IdentityTerms, identity_permit

S = 1_000_000
RNG = np.random.default_rng(11)
PEOPLE = np.abs(RNG.standard_normal((6, WIDTH))).astype(np.float32)


def picture(person, noise=0.3, rng=None):
    rng = rng or np.random.default_rng(person)
    return (PEOPLE[person] + noise * rng.standard_normal(WIDTH)).astype(np.float32)


def play(tracks, config=None, rng=None):
    """tracks: (number, person or list of vectors, first s, last s), one picture a second; what is joined."""
    rng = rng or np.random.default_rng(5)
    seen = sorted((t, number, who) for number, who, first, last in tracks for t in range(first, last + 1))
    window = IdentityWindow(config)
    for t, number, who in seen:
        index, t_us = np.array([number]), np.array([t * S])
        window.see(index, t_us)
        vector = picture(who, rng=rng) if isinstance(who, int) else who.pop(0)
        window.add(index, t_us, vector[None])
    return window.close()


def test_a_person_who_comes_back_has_one_number():
    joined = play([(0, 0, 0, 5), (1, 1, 2, 20), (2, 0, 9, 15), (3, 2, 10, 12), (4, 0, 20, 25)])
    assert joined == {2: 0, 4: 0}
    np.testing.assert_array_equal(renumber(np.array([-1, 0, 1, 2, 4]), joined), [-1, 0, 1, 0, 0])


def test_tracks_in_view_together_are_never_joined():
    assert play([(0, 0, 0, 5), (1, 0, 5, 9)]) == {}, "they share one frame"
    assert play([(0, 0, 0, 5), (1, 0, 6, 9)]) == {1: 0}
    twins = play([(0, 0, 0, 5), (1, 0, 3, 9), (2, 0, 20, 25)])
    assert twins == {}, "the third fits both, who are two people"


def test_a_group_never_holds_two_who_were_seen_together():
    joined = play([(0, 0, 0, 3), (1, 0, 6, 9), (2, 0, 8, 12), (3, 0, 15, 18)])
    together = [{k, v} for k, v in joined.items()]
    assert {1, 2} not in together
    roots = {i: joined.get(i, i) for i in range(4)}
    assert roots[1] != roots[2]


def test_two_people_are_never_joined():
    for seed in range(20):
        rng = np.random.default_rng(seed)
        assert play([(i, i, 10 * i, 10 * i + 5) for i in range(6)], rng=rng) == {}


def test_shuffled_embeddings_join_nothing():
    tracks = [(i, i % 4, 10 * i, 10 * i + 5) for i in range(8)]
    assert play(tracks) == {i: i - 4 for i in range(4, 8)}
    for seed in range(5):
        rng = np.random.default_rng(seed)
        mixed = [picture(i % 4, rng=rng) for i in range(8) for _ in range(6)]
        rng.shuffle(mixed)
        assert play([(i, mixed[6 * i : 6 * i + 6], 10 * i, 10 * i + 5) for i in range(8)]) == {}


def test_a_track_that_holds_two_people_is_joined_with_nobody():
    rng = np.random.default_rng(3)
    mixed = [picture(i % 2, rng=rng) for i in range(6)]
    assert play([(0, 0, 0, 5), (1, mixed, 10, 15)], WindowConfig(threshold=0.75)) == {}


def test_windows_do_not_know_each_other():
    config = WindowConfig(window_s=30)
    assert play([(0, 0, 0, 5), (1, 0, 10, 15)], config) == {1: 0}
    assert play([(0, 0, 0, 5), (1, 0, 31, 35)], config) == {}
    assert play([(0, 0, 0, 5), (1, 0, 20, 35), (2, 0, 40, 45)], config) == {1: 0}, "1 may not carry 0 into the next"
    assert play([(0, 0, 0, 5), (1, 0, 31, 35), (2, 0, 40, 45)], config) == {2: 1}


def test_a_face_is_looked_at_once_a_second():
    window = IdentityWindow(WindowConfig(every_s=1.0))
    due = [len(window.see(np.array([0, -1, 1]), np.full(3, t * 200_000))) for t in range(11)]
    assert due == [2, 0, 0, 0, 0, 2, 0, 0, 0, 0, 2]


def test_a_full_window_leaves_further_tracks_alone():
    tracks = [(0, 0, 0, 1), (1, 1, 3, 4), (2, 0, 6, 7), (3, 1, 9, 10)]
    assert play(tracks) == {2: 0, 3: 1}
    assert play(tracks, WindowConfig(most=3)) == {2: 0}


def test_rows_that_are_not_measured_count_for_nothing():
    hole = np.full(WIDTH, np.nan, np.float32)
    zero = np.zeros(WIDTH, np.float32)
    assert play([(0, [picture(0), hole], 0, 1), (1, [zero, picture(0)], 5, 6), (2, [hole], 9, 9)]) == {1: 0}


def test_vectors_given_are_zero_afterwards_and_so_is_the_block():
    window = IdentityWindow()
    given = np.stack([picture(0), picture(1)])
    window.add(np.array([0, 1]), np.array([0, 0]), given)
    assert not given.any()
    assert window._arena.rows.any()
    window.close()
    assert not window._arena.rows.any()
    assert window.close() == {}


def test_an_error_on_the_way_leaves_nothing():
    window = IdentityWindow()

    def fail():
        with window:
            window.add(np.array([0]), np.array([0]), picture(0)[None])
            assert window._arena.rows.any()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert not window._arena.rows.any()

    class Broken:
        width = 1024

        def embed(self, batch, out):
            out[:] = 1
            raise RuntimeError

        def forget(self):
            self.forgot = True

    model = Broken()
    with pytest.raises(RuntimeError), Rejoin(model) as rejoin:
        rejoin.feed(one_face(0), np.array([0]))
    assert not rejoin._window._arena.rows.any()
    assert model.forgot


def one_face(t_us):
    boxes = Boxes(np.zeros(1, np.int64), np.array([[0, 0, 40, 40]], np.float32), np.ones(1, np.float32),
                  np.zeros(1, np.int64), ("face",))  # fmt: skip
    return Faces(Frames(np.zeros((1, 48, 48, 3), np.uint8), np.array([t_us])), boxes)


def test_the_network_forgets_with_the_window_and_only_then():
    calls = []
    window = IdentityWindow(WindowConfig(window_s=10), on_wipe=lambda: calls.append(1))
    window.close()
    assert not calls, "nothing to forget"
    for t in (0, 5, 11):
        window.see(np.array([0 if t < 10 else 1]), np.array([t * S]))
        assert len(calls) == (t > 10)
    window.close()
    assert len(calls) == 2


def test_the_block_is_whole_pages_and_wiped_when_let_go():
    with Arena(3, 8) as arena:
        rows = arena.rows
        rows[:] = 7
    assert not rows.any()
    rows[:] = 7
    del arena
    assert not rows.any()
    assert rows.ctypes.data % 4096 == 0


def test_links_of_a_known_table():
    similar = np.array([[1, 0.9, 0.2], [0.9, 1, 0.3], [0.2, 0.3, 1]])
    apart, ones = np.zeros((3, 3), bool), np.ones(3, np.int64)
    assert link(similar, ones, apart, 0.7, 0.05) == [0, 0, 2]
    assert link(similar, ones, apart, 0.95, 0.05) == [0, 1, 2]
    apart[0, 1] = apart[1, 0] = True
    assert link(similar, ones, apart, 0.7, 0.05) == [0, 1, 2]
    assert link(np.zeros((0, 0)), np.zeros(0, np.int64), np.zeros((0, 0), bool), 0.7, 0.05) == []


def test_average_linkage_weighs_by_pictures():
    # 0 and 1 join at .9; their mean to 2 is (3·.8 + 1·.4)/4 = .70 with weights 3 and 1, and .60 with equal ones
    similar = np.array([[1, 0.9, 0.8], [0.9, 1, 0.4], [0.8, 0.4, 1]])
    apart = np.zeros((3, 3), bool)
    assert link(similar, np.array([3, 1, 1]), apart, 0.69, 0.0) == [0, 0, 0]
    assert link(similar, np.array([1, 1, 1]), apart, 0.69, 0.0) == [0, 0, 2]


def test_a_pair_with_a_near_rival_is_left_alone():
    similar = np.array([[1, 0.2, 0.8], [0.2, 1, 0.77], [0.8, 0.77, 1]])
    apart = np.zeros((3, 3), bool)
    ones = np.ones(3, np.int64)
    assert link(similar, ones, apart, 0.7, 0.05) == [0, 1, 2]
    assert link(similar, ones, apart, 0.7, 0.02) == [0, 1, 0]


# ---------------------------------------------------------------- policy


def test_off_by_default_everywhere():
    for context in ("care", "research", "studio"):
        assert identity_permit(context, IdentityTerms()) is None


def test_care_refuses_until_somebody_answers_for_it():
    for terms in (
        IdentityTerms(enabled=True),
        IdentityTerms(enabled=True, approver="A. Person"),
        IdentityTerms(enabled=True, allow_in_care=True),
        IdentityTerms(enabled=True, allow_in_care=True, approver="  "),
    ):
        with pytest.raises(MienError) as caught:
            identity_permit("care", terms)
        assert caught.value.code == "policy.identity-refused"
        assert "identity." in caught.value.hint
    said = identity_permit("care", IdentityTerms(enabled=True, allow_in_care=True, approver="A. Person"))
    assert said is not None
    assert "A. Person" in said


def test_outside_care_asking_is_enough_and_the_window_is_short():
    for context in ("research", "studio"):
        assert "120 s" in (identity_permit(context, IdentityTerms(enabled=True)) or "")
    with pytest.raises(ValueError, match="300"):
        IdentityTerms(enabled=True, window_s=3600)
