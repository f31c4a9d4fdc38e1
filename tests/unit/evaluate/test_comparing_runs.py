"""Two scripted runs with planted differences: the comparison finds exactly these, either way round."""

import json
import math

import pytest

from mien.core import Assessment, Clip, Item, MienError, Observation, Run, Source, Span, Track, digest
from mien.evaluate.comparing import compare
from mien.evaluate.sides import alone, pick, runs_of
from mien.pipeline import Project
from mien.store import StageResult, Store

SHAS = ("a" * 64, "b" * 64, "c" * 64)
RUNS = ("run-2026-01-01T00:00:00.000+00:00", "run-2026-01-02T00:00:00.000+00:00", "run-2026-01-03T00:00:00.000+00:00")
WINDOW = 2_000_000
# (class in A, class in B) of windows of a source: 20 yes/yes, 5 yes/no, 10 no/yes, 15 no/no in all: κ = 0.4
PAIRS = [("yes", "yes")] * 20 + [("yes", "no")] * 5 + [("no", "yes")] * 10 + [("no", "no")] * 15
EXACT = {"agreement": 1.0, "kappa": 1.0, "divergence": 0.0, "bias": 0.0, "sd": 0.0, "iou": 1.0, "lead_changed": 0.0}
FACE = (0.1, 0.1, 0.5, 0.9)


def dist(lead: str, p: float) -> tuple[tuple[str, float], ...]:
    return tuple((name, p if name == lead else 1 - p) for name in ("yes", "no"))


def seen(clip: Clip, track: str, k: int, target: str, adapter: str, **more) -> Observation:
    span = Span(k * WINDOW, (k + 1) * WINDOW)
    fields = {"value": None, "sd": None, "unit": "", "dist": ()} | more
    return Observation(
        f"obs-{clip.id}-{target}-{k}-{adapter}", clip.id, track, span, target, fields["value"], fields["sd"],
        fields["unit"], fields["dist"], 1.0, 1, adapter,
    )  # fmt: skip


def answers(clip: Clip, track: str, side: int, bias: float) -> list:
    """What a side says of a clip: classes as planted, a value `bias` higher in B, two states of which one flips."""
    mine, sure = "AB"[side], (0.8, 0.9)[side]
    made = [seen(clip, track, k, "mood", mine, dist=dist(pair[side], sure)) for k, pair in enumerate(PAIRS)]
    made += [
        seen(clip, track, k, "level", mine, value=k / 50 + bias * side, sd=0.1, unit="-1..1") for k in range(len(PAIRS))
    ]
    if side:
        made.append(seen(clip, track, 90, "mood", mine, dist=dist("yes", sure)))  # only in B
    for k, states in enumerate((("calm", "calm"), ("calm", "distress"))):
        lead = states[side]
        posterior = ((lead, 0.9), ("distress" if lead == "calm" else "calm", 0.1))
        reason = "conflict" if side and k else ""
        name, span = f"assess-{clip.id}-{k}-{side}", Span(k * WINDOW, (k + 1) * WINDOW)
        figures = (0.1, 0.1, 0.1, bool(reason), reason)
        made.append(Assessment(name, clip.id, track, span, (), posterior, (), *figures, "fusion@1"))
    return made


def planted(root, *, sides=(0, 1), context="research", bias=0.25, subjects=("",) * 3, box=FACE, shas=SHAS) -> Project:
    """A project with one scripted run for each of `sides`, the later replacing the earlier one's results."""
    Project.init(root, context).close()
    with Project.open(root).store as read:
        assert read.history_size() == (0, 0)
    said = Project.open(root).config.model_dump(mode="json")
    with Store(root, write=True) as store:
        for n, side in enumerate(sides):
            config = json.loads(json.dumps(said))
            config["stack"]["expression"] = ("expression.faceapi", "expression.facex")[side]
            sha = digest(config)
            store.put_config(sha, json.dumps(config))
            when = {"run_id": RUNS[n], "at_utc": "t"}
            store.put([Run(RUNS[n], RUNS[n][4:], RUNS[n][4:], "run", "0", context, sha)], unit=RUNS[n], stage="run")
            for at, source in enumerate(shas):
                clip = Clip(f"clip-{source[:4]}", source, Span(0, 200_000_000), "start", "end", "x")
                if n == 0:
                    file = Source(
                        source, f"/m/{source[0]}.mp4", "video", 1, 200_000_000, 64, 64, 25.0, None, None, context
                    )
                    store.commit(StageResult(source, "clips", "k", [file, clip]), **when)
                    item = Item(f"item-{at}", file.path, (source,), subject_id=subjects[at] or "unassigned")
                    store.put([item], unit=item.id, stage="input")
                # another tracker's id and a moved box in B
                track = f"track-{source[:4]}-{side}"
                x = 0.02 * side
                where = (box[0] + x, box[1], box[2] + x, box[3])
                face = Track(track, clip.id, "face", "face", clip.span, where, 9)
                made = answers(clip, track, side, bias)
                key = f"k{side}"
                store.commit(StageResult(clip.id, "faces", key, [face], ms=1000.0 * (1 + side)), **when)
                rows = [o for o in made if isinstance(o, Observation)]
                store.commit(StageResult(clip.id, "expression", key, rows, ms=500.0), **when)
                store.commit(StageResult(clip.id, "assess", key, [o for o in made if o not in rows], ms=1.0), **when)
                store.commit(StageResult(clip.id, "motion", "same", [], ms=100.0), **when)
    return Project.open(root)


def row(found, target):
    (held,) = [r for r in found.rows if r.target == target]
    return held


def test_planted_differences_are_found(tmp_path):
    project = planted(tmp_path / "p")
    found = compare(pick("1", project), pick("2", project))
    mood, level, state = row(found, "mood"), row(found, "level"), row(found, "state")
    assert (mood.matched, mood.only_a, mood.only_b) == (150, 0, 3)
    assert mood.measures["agreement"].value == pytest.approx(0.7)
    assert mood.measures["kappa"].value == pytest.approx(0.4)
    assert mood.confusion[0] == ("yes", "yes", 60)
    assert ("no", "yes", 30) in mood.confusion
    assert mood.clusters == "3 sources"
    assert level.measures["bias"].value == pytest.approx(0.25)
    assert (level.measures["bias"].low, level.measures["bias"].high) == pytest.approx((0.25, 0.25))
    assert level.measures["pearson"].value == pytest.approx(1.0)
    assert level.measures["ccc"].value < 0.8
    assert state.measures["lead_changed"].value == pytest.approx(0.5)
    assert state.measures["abstention_changed"].value == pytest.approx(0.5)
    assert (state.measures["conflict_a"].value, state.measures["conflict_b"].value) == (0.0, 0.5)
    faces = row(found, "tracks: face")
    assert (faces.f1, faces.measures["iou"].value) == (1.0, pytest.approx(0.38 / 0.42))
    assert found.config == (("stack.expression", "expression.faceapi", "expression.facex"),)
    assert found.adapters == (("expression", ("A",), ("B",)),)
    cost = {c.stage: (c.ms_per_s_a, c.ms_per_s_b, c.same) for c in found.cost}
    assert cost["faces"] == (5.0, 10.0, 0)
    assert cost["motion"] == (0.5, 0.5, 3)
    (models,) = found.models
    assert models.slot == "expression"
    assert models.bytes_b > models.bytes_a > 0


def test_the_other_way_round_signs_flip(tmp_path):
    project = planted(tmp_path / "p")
    there, back = (compare(pick(a, project), pick(b, project)) for a, b in (("1", "2"), ("2", "1")))
    for one in there.rows:
        other = row(back, one.target)
        assert (one.matched, one.only_a, one.only_b) == (other.matched, other.only_b, other.only_a)
        for name in ("agreement", "kappa", "divergence", "sd", "ccc", "pearson", "lead_changed", "iou"):
            if name in one.measures:
                assert other.measures[name].value == pytest.approx(one.measures[name].value)
    a, b = row(there, "level").measures, row(back, "level").measures
    assert b["bias"].value == pytest.approx(-a["bias"].value)
    assert b["lower"].value == pytest.approx(-a["upper"].value)
    assert {(y, x, n) for x, y, n in row(there, "mood").confusion} == set(row(back, "mood").confusion)


def test_two_runs_with_the_same_answers_differ_by_exactly_nothing(tmp_path):
    for n in "pq":
        planted(tmp_path / n, sides=(0,)).close()
    found = compare(pick(str(tmp_path / "p"), None), pick(f"{tmp_path / 'q'}@1", None))
    assert found.config == found.adapters == found.models == ()
    for r in found.rows:
        assert (r.f1, r.changed, r.only_a, r.only_b) == (1.0, 0, 0, 0)
        for name in EXACT.keys() & r.measures.keys():
            value = r.measures[name].value
            one_class = name == "kappa" and r.target == "state"  # where nothing varies, there is no κ
            assert math.isnan(value) if one_class else value == EXACT[name], (r.target, name)
    assert all(c.same == 3 and c.ms_per_s_a == c.ms_per_s_b for c in found.cost)


def test_shuffled_answers_lose_the_agreement(tmp_path, monkeypatch):
    """The pairs are matched by time: the same answers at other times agree no better than chance."""
    import random

    monkeypatch.setitem(globals(), "PAIRS", [("yes", "yes")] * 25 + [("no", "no")] * 25)
    project = planted(tmp_path / "p")
    assert row(compare(pick("1", project), pick("2", project)), "mood").measures["kappa"].value == 1.0
    b = [y for _, y in PAIRS]
    random.Random(1).shuffle(b)
    monkeypatch.setitem(globals(), "PAIRS", [(x, y) for (x, _), y in zip(PAIRS, b, strict=True)])
    project = planted(tmp_path / "q")
    assert abs(row(compare(pick("1", project), pick("2", project)), "mood").measures["kappa"].value) < 0.3


def test_subjects_are_the_clusters_where_all_are_known(tmp_path):
    two = planted(tmp_path / "p", subjects=("P1", "P1", "P2"))
    assert row(compare(pick("1", two), pick("2", two)), "mood").clusters == "2 subjects"
    some = planted(tmp_path / "q", subjects=("P1", "P1", ""))
    assert row(compare(pick("1", some), pick("2", some)), "mood").clusters == "3 sources"
    one = planted(tmp_path / "r", shas=SHAS[:1])
    mood = row(compare(pick("1", one), pick("2", one)), "mood")
    assert mood.clusters == "no interval: one source"
    assert mood.measures["kappa"].low is None


def test_labels_say_which_is_better_calibrated(tmp_path):
    """People say "yes" everywhere. A says yes with 0.8 in 25 of 50 windows, B with 0.9 in 30."""
    project = planted(tmp_path / "p")

    def truth(sha, span, box, target):
        assert box is not None
        return {"mood": "yes", "level": "0.5"}.get(target) if sha in SHAS[:2] else None

    found = compare(pick("1", project), pick("2", project), truth)
    held = row(found, "mood").calibration
    assert (held.rows, held.unknown) == (100, 0)
    assert held.a["ece"].value == pytest.approx(0.8 - 0.5)
    assert held.b["ece"].value == pytest.approx(0.9 - 0.6)
    assert held.a["brier"].value == pytest.approx((2 * 0.2**2 + 2 * 0.8**2) / 2)
    values = row(found, "level").calibration
    assert values.rows == 100
    assert values.difference["mae"].value == pytest.approx(values.b["mae"].value - values.a["mae"].value)
    none = compare(pick("1", project), pick("2", project), lambda *_: "neither")
    assert row(none, "mood").calibration is None


def test_what_cannot_be_compared_says_why(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    project = planted(tmp_path / "p", shas=SHAS[:1])
    planted(tmp_path / "other", shas=("d" * 64,)).close()
    planted(tmp_path / "care", context="care", shas=SHAS[:1]).close()
    Project.init(tmp_path / "empty", "research").close()
    for a, b, code in (
        ("1", "1", "diff.same-run"),
        ("1", "9", "diff.unknown-run"),
        ("1", "run-1999", "diff.unknown-run"),
        ("1", "other", "diff.nothing-in-common"),
        ("1", "care", "diff.contexts-differ"),
        ("1", "empty", "diff.unknown-run"),
        ("1", "other@7", "diff.unknown-run"),
    ):
        with pytest.raises(MienError) as caught:
            compare(pick(a, project), pick(b, project))
        assert (caught.value.code, bool(caught.value.hint)) == (code, True)


def test_runs_are_named_by_number_id_or_its_beginning(tmp_path):
    project = planted(tmp_path / "p")
    assert [r.number for r in runs_of(project)] == [1, 2]
    assert {pick(word, project).run_id for word in ("2", RUNS[1], RUNS[1][:14], RUNS[1][4:16])} == {RUNS[1]}
    with Store(tmp_path / "p", write=True) as store:
        store.prune_history(0)
    assert [r.readable for r in runs_of(project)] == [False, True]
    with pytest.raises(MienError, match="diff.not-kept"):
        pick("1", project)


def test_a_model_alone_needs_only_what_its_stages_read(tmp_path):
    Project.init(tmp_path / "p", "research").close()
    config = Project.open(tmp_path / "p").config
    mine = alone(config, "expression", "expression.facex")
    on = {slot for slot, name in mine.stack.model_dump().items() if name != "off"}
    assert on == {"faces", "identity", "expression"}
    assert mine.stack.expression == "expression.facex"
    assert mine.opinions.expression == ()
    assert mine.analysis == config.analysis
    with pytest.raises(MienError, match=r"did you mean 'expression'"):
        alone(config, "expresion", "expression.facex")


def test_labels_of_the_project_are_found_by_the_command(tmp_path):
    """Three labels at the face's place count; the one at another place, and the withdrawn one, do not."""
    from typer.testing import CliRunner

    from mien.cli.app import app
    from mien.export.selection.labelled import Label, Labels, Place, put_labels

    project = planted(tmp_path / "p", shas=SHAS[:1])
    spans = [Span(k * WINDOW, (k + 1) * WINDOW) for k in range(4)]
    said = [Label(Place(SHAS[0], span, FACE), "mood", "yes", "Dr. A", "2026-02-01") for span in spans]
    away = Label(
        Place(SHAS[0], Span(5 * WINDOW, 6 * WINDOW), (0.8, 0.8, 1.0, 1.0)), "mood", "no", "Dr. A", "2026-02-01"
    )
    gone = Label(said[3].where, "mood", "", "Dr. A", "2026-02-02")
    put_labels(project, Labels(()), [*said, away, gone])
    project.close()
    done = CliRunner().invoke(app, ["-C", str(tmp_path / "p"), "diff", "1", "2", "--json"])
    assert done.exit_code == 0, done.output
    (mood,) = [r for r in json.loads(done.stdout)["rows"] if r["target"] == "mood"]
    assert mood["calibration"]["rows"] == 3
    assert mood["calibration"]["a"]["log_loss"]["value"] == pytest.approx(-math.log(0.8))
    assert mood["calibration"]["difference"]["log_loss"]["value"] == pytest.approx(math.log(0.8 / 0.9))
    told = CliRunner().invoke(app, ["-C", str(tmp_path / "p"), "diff", "1", "2"])
    assert "mood against 3 label(s)" in told.stdout
