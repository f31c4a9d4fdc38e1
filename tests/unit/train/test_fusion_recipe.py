"""`mien train fusion`: planted sources of known worth and confusions, people kept apart, tables that do not fit."""

import csv
import json

import numpy as np
import pytest
from typer.testing import CliRunner

from mien.core import MienError
from mien.fusion import Confirmed, FusionConfig
from mien.train.calibrating import Recipe, fit
from mien.train.fusion import OURS, conformal, losses, prototypes, train
from mien.train.learnt import Confirmation, Named, held, with_people, with_sets, write
from mien.train.votes import Rows, folds, read

STATES = ("distress", "pleasure", "calm")


def planted(people=8, each=30, seed=0) -> Rows:
    """`face` mostly names the next state instead, `voice` is fair and often missing, `noise` knows nothing."""
    rng = np.random.default_rng(seed)
    n = people * each
    state = rng.integers(0, 3, n)
    seen = {
        "face": np.array([[0.2, 0.6, 0.2], [0.2, 0.2, 0.6], [0.6, 0.2, 0.2]]),
        "voice": np.array([[0.6, 0.2, 0.2], [0.2, 0.6, 0.2], [0.2, 0.2, 0.6]]),
        "noise": np.full((3, 3), 1 / 3),
    }
    votes = {name: np.array([rng.multinomial(4, p[c]) for c in state]).astype(float) for name, p in seen.items()}
    votes["voice"][::5] = np.nan
    person = np.repeat([f"p{i}" for i in range(people)], each)
    return Rows(STATES, person, np.eye(3)[state], votes, np.full(n, ""), np.full((n, 2), np.nan))


def only(rows, name):
    return {n: x if n == name else x * np.nan for n, x in rows.sources.items()}


def test_what_was_planted_is_found():
    rows, fresh = planted(12, 60), planted(12, 60, seed=1)
    matrix = fit(rows.sources, rows.truth, Recipe("matrix", 0.001))
    mine = losses(matrix(fresh.sources), fresh.truth).mean()
    one = fit(rows.sources, rows.truth, Recipe("weight", 0.0))
    assert mine < losses(one(fresh.sources), fresh.truth).mean() - 0.05
    heard = {name: np.abs(matrix(only(fresh, name)) - matrix.prior).mean() for name in fresh.sources}
    assert heard["noise"] < 0.25 * heard["face"]
    gone = {name: x * np.nan for name, x in fresh.sources.items()}
    np.testing.assert_allclose(matrix(gone), np.tile(matrix.prior, (len(fresh), 1)), atol=1e-12)  # missing: nothing
    wrong = {**fresh.sources, "voice": fresh.sources["voice"][::-1]}
    assert losses(matrix(wrong), fresh.truth).mean() > mine + 0.1  # another clip's voice is no evidence


def test_the_slope_is_the_slope():
    """Steps of the search against differences, for every kind: a wrong gradient would only fit badly, and quietly."""
    from mien.train.calibrating import _Term

    rows, rng = planted(4, 10), np.random.default_rng(3)
    for kind in ("weight", "vector", "matrix"):
        term = _Term("voice", rows.sources["voice"], 3, Recipe(kind, 0.1), np.full(len(rows), 1 / len(rows)))
        theta = term.start() + rng.normal(0, 0.1, term.size)
        error = rng.normal(size=(int(term.there.sum()), 3))

        def value(t, term=term, error=error):
            return float((error * term.forward(t)[0]).sum()) + term.backward(t, error, term.forward(t)[1])[1]

        slope, _ = term.backward(theta, error, term.forward(theta)[1])
        steps = np.eye(term.size) * 1e-6
        near = [(value(theta + s) - value(theta - s)) / 2e-6 for s in steps]
        np.testing.assert_allclose(slope, near, atol=1e-5)


def test_training_keeps_people_apart_and_writes_what_it_measured():
    rows = planted(5)
    trained = train(rows, level=0.8)
    by = {x.name: x for x in trained.lines}
    assert set(by) >= {OURS, "voice alone", "product", "logistic stacking", "Dempster-Shafer, normalised"}
    assert by[OURS].log_loss < by["mean of probabilities"].log_loss
    assert by[OURS].log_loss < by["face alone"].log_loss
    assert by[OURS].interval[0] < by[OURS].log_loss < by[OURS].interval[1]
    config = trained.config
    assert (config.made.people, config.made.rows, set(config.calibration)) == (5, 150, {"face", "voice", "noise"})
    assert (config.weights.face, config.weights.others["noise"], config.weights.expected) == (
        1.0, 1.0, ("face", "noise", "voice"),
    )  # fmt: skip
    assert config.conformal is not None
    assert (config.conformal.people, config.conformal.out_of_fold) == (5, True)
    for fit_rows, test_rows in folds(rows.person):
        assert not set(rows.person[fit_rows]) & set(rows.person[test_rows])


def test_people_that_cannot_certify_a_level():
    rows = planted(8)
    flat = np.full((len(rows), 3), 1 / 3)
    sets, note = conformal(rows, flat, None)
    assert sets is None
    assert "88.9 %" in note
    with pytest.raises(MienError, match="certify at most"):
        conformal(rows, flat, 0.9)
    with pytest.raises(MienError, match="people"):
        train(planted(3, 5))


def test_places_of_states_are_learnt_known_or_refused():
    rows = planted(4, 20)
    rng = np.random.default_rng(0)
    at = np.array([[-0.6, 0.3], [0.7, 0.5], [0.1, -0.4]])
    plane = rows.truth @ at + rng.normal(0, 0.1, (len(rows), 2))
    got = prototypes(Rows(STATES, rows.person, rows.truth, rows.sources, rows.kind, plane.clip(-1, 1)), FusionConfig())
    np.testing.assert_allclose([[s.valence, s.arousal] for s in got], at, atol=0.1)
    assert prototypes(rows, FusionConfig()) == FusionConfig().states
    named = Rows(("anger", "happy", "bored"), rows.person, rows.truth, rows.sources, rows.kind, rows.plane)
    with pytest.raises(MienError, match="'bored' has no place"):
        prototypes(named, FusionConfig())


def test_confirmations_count_for_a_person_and_for_everybody():
    found = [Confirmation("P1", "face", i < 3) for i in range(12)] + [Confirmation("", "face", True)] * 12
    config = with_people(FusionConfig(), found, "ab")
    assert config.people == {"P1": {"face": Confirmed(windows=12, right=3)}}
    assert config.reliability.population == {"face": 15 / 24}
    assert config.made.labels_sha256 == "ab"
    assert with_people(FusionConfig(), found[:5], "").reliability.population == {}  # too few to say of everybody


def test_confirmations_move_the_sets_and_the_file_keeps_that(tmp_path):
    rows = planted(12, 20)
    sets, note = conformal(rows, fit(rows.sources, rows.truth, Recipe())(rows.sources), 0.8)
    assert sets is not None, note
    assert set(sets.by_type) == set()
    base = FusionConfig(conformal=sets)
    sure = (("distress", 0.98), ("pleasure", 0.01), ("calm", 0.01))
    missed = with_sets(base, [Named(sure, "calm", "face")] * 15)
    assert missed.conformal is not None
    assert missed.conformal.miss_rate < 0.15
    foreign = Named((("a", 0.5), ("b", 0.5)), "a", "face")
    assert (
        with_sets(base, [foreign, Named(sure, "unheard", "face")]).conformal == sets
    )  # nothing of ours: nothing moves
    assert with_sets(FusionConfig(), [Named(sure, "calm", "face")]) == FusionConfig()
    write(tmp_path / "fusion.toml", missed)
    assert held(tmp_path / "fusion.toml") == missed


def table(path, rows: Rows, drop=(), **changed):
    header = ["person", "label", *(f"{n}.{s}" for n in rows.sources for s in rows.states)]
    with path.open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow([c for c in header if c not in drop] + list(changed))
        for i in range(len(rows)):
            cells = dict(zip(header, [rows.person[i], rows.states[rows.truth[i].argmax()]], strict=False))
            for name, x in rows.sources.items():
                cells |= {f"{name}.{s}": "" if np.isnan(v) else v for s, v in zip(rows.states, x[i], strict=True)}
            out.writerow([v for c, v in cells.items() if c not in drop] + list(changed.values()))
    return path


def test_a_table_is_read_as_it_was_written(tmp_path):
    rows = planted(4, 5)
    got = read(table(tmp_path / "rows.csv", rows))
    assert (got.states, got.person.tolist()) == (STATES, rows.person.tolist())
    np.testing.assert_array_equal(got.truth, rows.truth)
    assert set(got.kind) == {"face+noise", "face+noise+voice"}  # by the sources a row has, where no type is given
    for name, x in rows.sources.items():
        np.testing.assert_array_equal(got.sources[name], x)


@pytest.mark.parametrize(
    ("drop", "changed", "code", "words"),
    [
        (("person",), {}, "train.bad-columns", "person"),
        (("label",), {}, "train.bad-columns", "label"),
        (("face.calm",), {}, "train.bad-columns", "face"),
        ((), {"mood": 1}, "train.bad-columns", "mood"),
        (("person",), {"person": ""}, "train.bad-row", "row 1: person is empty"),
        (("label",), {"label": "glee"}, "train.bad-row", "no state"),
        (("face.calm",), {"face.calm": -1}, "train.bad-row", "below 0"),
    ],
)
def test_a_table_that_does_not_fit_says_where(tmp_path, drop, changed, code, words):
    with pytest.raises(MienError, match=words) as caught:
        read(table(tmp_path / "rows.csv", planted(4, 3), drop, **changed))
    assert caught.value.code == code
    assert caught.value.hint


def test_the_command_writes_a_file_that_a_project_reads(tmp_path, monkeypatch):
    from mien.cli.app import app
    from mien.pipeline.config import load

    monkeypatch.chdir(tmp_path)
    (tmp_path / "mien.toml").write_text('[project]\ncontext = "research"\n')
    path = table(tmp_path / "rows.csv", planted(4, 10))
    done = CliRunner().invoke(app, ["train", "fusion", str(path), "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["lines"][0]["name"] == OURS
    config, origins = load(tmp_path)
    assert config.fusion == held(tmp_path / "fusion.toml")
    assert origins["fusion.calibration.voice.concentration"] == "fusion.toml"
    assert "leave" not in (tmp_path / "fusion-card.md").read_text()
    assert "4 people" in (tmp_path / "fusion-card.md").read_text()
    assert CliRunner().invoke(app, ["train", "fusion", str(tmp_path / "none.csv")]).exit_code != 0
