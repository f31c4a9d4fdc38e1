"""The probe on FaceNet's embedding: planted directions are found on people kept apart, shuffled labels are chance."""

import numpy as np
import pytest

from mien.core import MienError
from mien.models.tensors import read
from mien.models.vision.faces.expression import LABELS
from mien.models.vision.faces.facenet import PROBE_FILE, WIDTH, Probe
from mien.train.probe import MIN_PEOPLE, fit

pytest.importorskip("sklearn")


def planted(people=MIN_PEOPLE, seed=0, shown=0.5):
    """Unit vectors: mostly who it is, a little what it shows."""
    rng = np.random.default_rng(seed)
    what = np.random.default_rng(99).standard_normal((len(LABELS), WIDTH))
    who = rng.standard_normal((people, WIDTH))
    person, label = np.repeat(np.arange(people), len(LABELS)), np.tile(np.arange(len(LABELS)), people)
    vectors = who[person] + shown * what[label] + 0.5 * rng.standard_normal((len(label), WIDTH))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float32), label, person


def test_what_is_planted_is_found_in_people_never_seen(tmp_path):
    fitted = fit(*planted())
    assert fitted.uar > 0.9
    assert fitted.people == MIN_PEOPLE
    vectors, label, _ = planted(seed=5)
    probs = fitted.probe.probs(vectors)
    assert (probs.argmax(1) == label).mean() > 0.9
    fitted.save(tmp_path / PROBE_FILE)
    np.testing.assert_allclose(Probe.read(tmp_path / PROBE_FILE).probs(vectors), probs, atol=1e-6)
    assert read(tmp_path / PROBE_FILE)[1]["people"] == str(MIN_PEOPLE)


def test_shuffled_labels_are_chance_and_the_probe_knows_it():
    vectors, label, person = planted()
    fitted = fit(vectors, np.random.default_rng(1).permutation(label), person)
    assert fitted.uar == pytest.approx(1 / 7, abs=0.1)
    assert fitted.log_loss == pytest.approx(np.log(7), abs=0.1)


def test_people_are_kept_apart():
    """Every person shows one class only: who it is tells the class, to those who may look, and nothing else does."""
    vectors, _, person = planted(people=28, shown=0)
    assert fit(vectors, person % len(LABELS), person).uar < 0.3


def test_too_little_is_refused():
    vectors, label, person = planted(people=MIN_PEOPLE - 1)
    with pytest.raises(MienError) as error:
        fit(vectors, label, person)
    assert error.value.code == "train.too-few-people"
    vectors, label, person = planted()
    keep = label != 1
    with pytest.raises(MienError, match="disgust") as error:
        fit(vectors[keep], label[keep], person[keep])
    assert error.value.code == "train.missing-class"


def test_rows_that_could_not_be_measured_are_left_out():
    vectors, label, person = planted()
    hurt = np.vstack([vectors, np.full((3, WIDTH), np.nan, np.float32)])
    more = fit(hurt, np.append(label, [0, 0, 0]), np.append(person, [90, 91, 92]))
    assert (more.faces, more.people) == (len(label), MIN_PEOPLE)
