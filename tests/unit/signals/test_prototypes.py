"""Prototypes of facial actions: a planted prototype is told by its name, and only by its own columns."""

import numpy as np
import pytest

from mien.models.vision.faces import expression as networks
from mien.signals.descriptors import NAMES, Descriptors
from mien.signals.prototypes import LABELS, POPULATION, PROTOTYPES, PrototypeConfig, expression


def face(**by_sd):
    """Descriptors of one face: the median, moved by so many robust sd."""
    values = np.zeros((1, len(NAMES)), np.float32)
    for name, (middle, spread) in POPULATION.items():
        values[0, NAMES.index(name)] = middle + spread * by_sd.get(name, 0)
    return Descriptors(values, ("",))


def said(d, config=None):
    return dict(zip(LABELS, expression(d, config).probs[0], strict=True))


def test_the_classes_are_those_of_the_networks_in_their_order():
    assert networks.LABELS == LABELS
    assert all(len(p) == len(POPULATION) for p in PROTOTYPES.values())


@pytest.mark.parametrize("label", LABELS)
def test_a_planted_prototype_is_told(label):
    answer = said(face(**dict(zip(POPULATION, PROTOTYPES[label], strict=True))))
    assert max(answer, key=answer.get) == label
    assert sum(answer.values()) == pytest.approx(1, abs=1e-6)


def test_columns_in_the_wrong_order_are_noticed():
    right = 0
    for label in LABELS:
        answer = said(face(**dict(zip(reversed(POPULATION), PROTOTYPES[label], strict=True))))
        right += max(answer, key=answer.get) == label
    assert right <= 3


def test_actions_move_the_answer_the_way_the_coding_system_says():
    smiles = [said(face(mouth_corner_raise=x, mouth_width=x))["happiness"] for x in (-1, 0, 1, 2)]
    assert smiles == sorted(smiles)
    assert smiles[-1] > 2 * smiles[0]
    frown, calm = said(face(brow_raise_inner=-2, brow_gap=-2)), said(face())
    assert frown["anger"] > calm["anger"]
    gasp = said(face(brow_raise_outer=2, eye_opening=2, jaw_drop=2, lip_gap=2))
    assert gasp["surprise"] + gasp["fear"] > 0.6


def test_what_is_not_measured_is_nan_and_leaves_the_others_alone():
    one = face().values
    two = Descriptors(np.concatenate([np.full_like(one, np.nan), one]), ("face.turned", ""))
    probs = expression(two).probs
    assert np.isnan(probs[0]).all()
    np.testing.assert_array_equal(probs[1], expression(face()).probs[0])
    none = Descriptors(np.zeros((0, len(NAMES)), np.float32), ())
    assert expression(none).probs.shape == (0, len(LABELS))


def test_an_outlier_counts_no_more_than_three_sd_and_temperature_flattens():
    assert said(face(eye_opening=4)) == said(face(eye_opening=30))
    sharp, flat = (said(face(mouth_corner_raise=2), PrototypeConfig(temperature=t)) for t in (1, 9))
    assert max(sharp.values()) > max(flat.values())
