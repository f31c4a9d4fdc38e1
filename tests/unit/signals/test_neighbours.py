"""Anomaly scores and near-duplicates on planted outliers and planted copies."""

import cv2
import numpy as np
import pytest

from mien.signals.neighbours import anomalies, frame_hash, near_duplicates, scaled

RNG = np.random.default_rng


def cloud(n=40, d=6, seed=0):
    return RNG(seed).normal(size=(n, d)).astype(np.float32)


def test_a_planted_outlier_ranks_first_wherever_it_stands():
    for at in (0, 17, 39):
        x = cloud()
        x[at] = 9
        found = anomalies(x)
        assert found[at].percentile == 1
        assert sum(a.percentile == 1 for a in found) == 1
        assert found[at].distance > 2 * max(a.distance for i, a in enumerate(found) if i != at)


def test_distance_is_the_mean_to_the_k_nearest_by_hand():
    x = np.array([[0.0], [1.0], [3.0], [7.0], [20.0]])
    found = anomalies(x, k=2, n_min=5)
    assert [a.distance for a in found] == [2.0, 1.5, 2.5, 5.0, 15.0]
    assert [a.neighbours for a in found] == [(1, 2), (0, 2), (1, 0), (2, 1), (3, 2)]
    assert [a.percentile for a in found] == [0.25, 0.0, 0.5, 0.75, 1.0]


def test_order_of_the_clips_changes_nothing():
    x = cloud(50)
    order = RNG(1).permutation(50)
    straight, turned = anomalies(x), anomalies(x[order])
    for place, i in enumerate(order):
        assert turned[place].distance == pytest.approx(straight[i].distance)
        assert turned[place].percentile == pytest.approx(straight[i].percentile)
        assert {int(order[j]) for j in turned[place].neighbours} == set(straight[i].neighbours)


def test_large_projects_go_in_blocks_and_give_the_same():
    x = cloud(1100)
    found = anomalies(x, k=3)
    plain = np.linalg.norm(x[:, None].astype(float) - x[None], axis=2)
    np.fill_diagonal(plain, np.inf)
    np.testing.assert_allclose([a.distance for a in found], np.sort(plain, 1)[:, :3].mean(1), rtol=1e-6)


def test_a_long_odd_video_does_not_make_itself_normal():
    x = np.concatenate([cloud(30), cloud(12, seed=1) * 0.1 + 9])
    own = [*(f"s{i}" for i in range(30)), *["long"] * 12]
    apart, together = anomalies(x, own), anomalies(x)
    assert min(a.percentile or 0 for a in apart[30:]) > max(a.percentile or 0 for a in apart[:30])
    assert max(a.percentile or 0 for a in together[30:]) < 0.5, "without the sources it hides among its own clips"


def test_copies_of_an_outlier_do_not_hide_it():
    x = np.concatenate([cloud(30), np.full((6, 6), 9) + 0.01 * cloud(6)])
    group = [*range(30), *[30] * 6]
    assert min(a.percentile or 0 for a in anomalies(x, duplicates=group)[30:]) > 0.8
    assert max(a.percentile or 0 for a in anomalies(x)[30:]) < 0.5


def test_too_few_says_why_instead_of_guessing():
    assert {(a.percentile, a.reason) for a in anomalies(cloud(19))} == {(None, "too-few-clips")}
    assert all(a.percentile is not None for a in anomalies(cloud(20)))
    one = anomalies(cloud(25), ["only"] * 25)
    assert {(a.percentile, a.reason) for a in one} == {(None, "too-few-sources")}
    assert all(np.isnan(a.distance) and a.neighbours == () for a in one)
    assert anomalies(np.zeros((0, 4), np.float32)) == ()
    assert {a.reason for a in anomalies(cloud(5), k=5, n_min=2)} == {"too-few-clips"}
    assert {a.reason for a in anomalies(cloud(6), k=5, n_min=2)} == {None}


def test_a_clip_without_a_vector_is_left_out_for_everyone():
    x = cloud(30)
    holed = np.insert(x, 7, np.nan, axis=0)
    found, plain = anomalies(holed), anomalies(x)
    assert found[7].reason == "not-measured"
    assert [a.percentile for i, a in enumerate(found) if i != 7] == [a.percentile for a in plain]
    assert anomalies(np.insert(cloud(19), 0, np.nan, axis=0))[1].reason == "too-few-clips"


def test_ranks_are_even_where_nothing_is_odd():
    """Every clip is judged by the same rule: without an outlier the ranks fill 0..1 evenly."""
    shares = np.array([a.percentile for a in anomalies(cloud(400))], float)
    assert shares.mean() == pytest.approx(0.5)
    assert np.histogram(shares, 4, (0, 1))[0].tolist() == [100] * 4
    same = anomalies(np.ones((25, 3)))
    assert {a.percentile for a in same} == {0.5}


def test_lengths_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="one group a clip"):
        anomalies(cloud(), ["a"])
    with pytest.raises(ValueError, match="k and n_min"):
        anomalies(cloud(), k=0)


def test_scaling():
    x = cloud(30, 5) * [1, 10, 100, 0, 2] + 3
    np.testing.assert_allclose(np.linalg.norm(scaled(x, "unit"), axis=1), 1)
    z = scaled(x, "standard")
    np.testing.assert_allclose(z.std(0), [1, 1, 1, 0, 1], atol=1e-6)
    w = scaled(x, "whitened", 3)
    assert w.shape == (30, 3)
    np.testing.assert_allclose(w.T @ w / 30, np.eye(3), atol=1e-6)
    x[4] = np.nan
    for how in ("unit", "standard", "whitened"):
        y = scaled(x, how)
        assert np.isnan(y[4]).all()
        assert np.isfinite(np.delete(y, 4, 0)).all()


# ---------------------------------------------------------------- copies


def scene(seed, h=240, w=320):
    coarse = RNG(seed).uniform(0, 255, (9, 12, 3)).astype(np.float32)
    return np.clip(cv2.resize(coarse, (w, h), interpolation=cv2.INTER_CUBIC), 0, 255).astype(np.uint8)


def bits(a, b):
    return int(frame_hash(a) ^ frame_hash(b)).bit_count()


CHANGES = {
    "smaller": lambda p: cv2.resize(p, None, fx=0.4, fy=0.4, interpolation=cv2.INTER_AREA),
    "another shape": lambda p: cv2.resize(p, (200, 200), interpolation=cv2.INTER_AREA),
    "darker": lambda p: (p * 0.6).astype(np.uint8),
    "paler": lambda p: (p * 0.7 + 60).astype(np.uint8),
    "coded": lambda p: cv2.imdecode(cv2.imencode(".jpg", p, [cv2.IMWRITE_JPEG_QUALITY, 20])[1], cv2.IMREAD_COLOR),
    "grey": lambda p: np.repeat(p @ [0.299, 0.587, 0.114], 3).reshape(p.shape).astype(np.uint8),
    "cut by 2 %": lambda p: p[5:-5, 6:-6],
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_copy_moves_few_bits(change):
    apart = [bits(scene(s), CHANGES[change](scene(s))) for s in range(20)]
    assert np.mean(apart) <= 8, apart


def test_other_pictures_move_about_half_of_the_bits():
    apart = [bits(scene(i), scene(j)) for i in range(12) for j in range(i)]
    assert 26 < np.mean(apart) < 38
    assert min(apart) > 12
    assert bits(scene(0), scene(0)[:, ::-1]) > 20, "a mirrored picture is another"


def test_a_picture_without_structure_has_no_hash():
    for value in (0, 17, 255):
        assert frame_hash(np.full((60, 80, 3), value, np.uint8)) is None


def clip(seed, change=None):
    frames = [scene(100 * seed + i) for i in range(5)]
    return [frame_hash(change(f) if change else f) for f in frames]


def test_planted_copies_are_grouped_and_others_are_not():
    changed = [clip(1, CHANGES["coded"]), clip(3), clip(1, CHANGES["darker"]), clip(2, CHANGES["smaller"])]
    clips = [clip(1), clip(2), *changed]
    found = near_duplicates(clips)
    assert found.group == (0, 1, 0, 3, 0, 1)
    assert [(i, j) for i, j, _ in found.pairs] == [(0, 2), (0, 4), (1, 5), (2, 4)]
    assert all(0 <= apart <= 8 for *_, apart in found.pairs)


def test_the_same_frames_in_another_order_are_no_copy():
    assert near_duplicates([clip(1), clip(1)[::-1]]).pairs == ()


def test_clips_of_one_source_are_not_compared():
    assert near_duplicates([clip(1), clip(1)], ["a", "a"]).pairs == ()
    assert len(near_duplicates([clip(1), clip(1)], ["a", "b"]).pairs) == 1


def test_clips_without_pictures_are_like_no_other():
    black, sound = [None] * 5, []
    found = near_duplicates([black, black, sound, sound, clip(1)])
    assert found.pairs == ()
    assert found.group == (0, 1, 2, 3, 4)
    half = [*clip(1)[:2], None, None, None]
    assert near_duplicates([clip(1), half]).pairs == (), "two of five positions are too few"
    most = [*clip(1)[:3], None, None]
    assert [(i, j) for i, j, _ in near_duplicates([clip(1), most]).pairs] == [(0, 1)]
    assert near_duplicates([]).group == ()


def test_a_still_picture_is_compared_with_pictures_only():
    picture = [frame_hash(scene(1))]
    assert [p[:2] for p in near_duplicates([picture, clip(1), picture]).pairs] == [(0, 2)]
