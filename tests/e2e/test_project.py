"""The main job on real footage (crying, calm, laughing), with the real weights: one run, looked at from all sides."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import mien
from mien.core import Assessment, Claim, MienError, Observation, Signal, Track
from mien.pipeline import Project
from mien.policy import forbidden_words

AFFECT_STAGES = {"expression", "voice", "affect", "assess"}


def command(*args, root=None, code=0) -> subprocess.CompletedProcess:
    where = ["-C", str(root)] if root else []
    run = subprocess.run(
        [sys.executable, "-m", "mien", *where, *map(str, args)], capture_output=True, text=True, check=False
    )
    assert run.returncode == code, run.stderr
    assert "Traceback" not in run.stderr
    return run


@pytest.fixture(scope="module")
def demo(demo_composite, tmp_path_factory):
    root = tmp_path_factory.mktemp("demo")
    command("init", root, "--context", "research")
    command("run", demo_composite, root=root)
    with mien.open(root) as project:
        yield project


def test_everything_ran(demo):
    status = demo.status()
    assert status["failures"] == []
    assert set(status["stages"]) == {"ok"}
    (source,) = status["sources"]
    assert source["state"] == "ok"
    assert source["coverage"] == pytest.approx(1.0, abs=0.02)
    assert source["duration_s"] == pytest.approx(19.7, abs=0.1)


def test_valence_is_higher_in_the_laughing_than_in_the_crying_part(demo):
    valence = demo.signals("valence")
    crying, laughing = valence.mean(0, 8), valence.mean(12, 19.7)
    assert laughing > crying + 0.3
    assert ((valence.value >= -1) & (valence.value <= 1)).all()
    assert (valence.sd > 0.1).all()
    assert all("derived" in signal.accuracy for signal, _ in valence)


def test_the_assessment_has_two_independent_sources(demo):
    rows = [a for clip in demo.clips for a in clip.assessments]
    both = [a for a in rows if {c.source for c in a.contributions if c.weight > 0} == {"face", "voice"}]
    assert both
    for a in rows:
        assert sum(p for _, p in a.posterior) == pytest.approx(1)
        assert 0 <= a.vacuity <= 1
        for c in a.contributions:
            assert sum(v for _, v in c.log_odds) == pytest.approx(0, abs=1e-9)
    laughing = [a for a in rows if a.span.start_us >= 12e6 and not a.abstained]
    assert laughing
    assert all(max(a.posterior, key=lambda p: p[1])[0] == "pleasure" for a in laughing)


def test_every_claim_cites_rows_that_exist_and_overlap_it(demo):
    held = {o.id: o for clip in demo.clips for o in clip.observations}
    claims = demo.claims
    assert {"inference", "observation", "uncertainty"} <= {c.kind for c in claims}
    for claim in claims:
        assert forbidden_words(claim.text) == []
        assert claim.evidence_ids or claim.predicate.startswith("missing")
        for evidence in claim.evidence_ids:
            row = held[evidence]
            assert row.span.overlap_us(claim.span) > 0
            assert row.track_id in (claim.track_id, None)


def test_records_carry_fingerprints_and_content_ids(demo):
    store = demo.project.store
    for record in (Observation, Signal, Assessment):
        rows = store.all(record)
        assert rows
        assert all("@" in r.adapter for r in rows)
        assert len({r.id for r in rows}) == len(rows)
    track = next(t for t in store.all(Track) if t.kind == "face")
    assert track.subject_id == "unassigned"
    assert all(0 <= g <= 1 for g in track.geometry)


def test_a_second_run_in_another_process_gives_the_same_results(demo, demo_composite):
    from mien.store import canonical_dump

    with mien.analyse(demo_composite) as again:
        assert canonical_dump(again.project.store) == canonical_dump(demo.project.store)


def test_arrow_pandas_and_plot_come_out(demo):
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    curves = demo.signals("valence")
    table = curves.to_arrow()
    assert {"t_us", "value", "sd", "gap", "clip_id", "track_id"} == set(table.column_names)
    frame = curves.to_pandas()
    assert len(frame) == table.num_rows == len(curves.value)
    axes = curves.plot()
    assert axes.get_ylabel() == "valence (-1..1)"
    pyplot.close("all")
    counts = demo.query("SELECT count(*) AS n FROM claims")
    assert counts["n"].to_pylist() == [len(demo.claims)]
    with pytest.raises(MienError, match="signal.unknown"):
        demo.signals("happines")


def test_clips_can_be_narrowed(demo):
    clips = demo.clips
    assert len(clips.where(source="*.mp4")) == len(clips)
    assert len(clips.where(source="*.wav")) == 0
    assert len(clips.where(state="pleasure", observed="vocal.kind")) >= 1
    assert len(clips.where(lambda c: c.duration_s > 1000)) == 0
    assert len(clips.where(min_s=1)[:1]) == 1


def test_show_why_leads_from_a_claim_to_models_and_licences(demo):
    root = demo.project.root
    claim = next(c for c in demo.claims if c.kind == "inference")
    found = json.loads(command("show", claim.id, "--why", "--json", root=root).stdout)
    assert found["record"]["text"] == claim.text
    assert {e["id"] for e in found["evidence"]} == set(claim.evidence_ids)
    assert found["assessments"]
    assert all(m["licences"]["weights"] for m in found["models"])
    assert {"expression.minixception"} <= {m["name"] for m in found["models"]}
    plain = command("show", claim.id[:14], "--why", root=root).stdout
    assert claim.text in plain
    assert "λ" in plain
    assert "show.unknown" in command("show", "claim-nothing", root=root, code=2).stderr


def test_query_status_and_doctor_speak_json(demo):
    root = demo.project.root
    rows = json.loads(
        command("query", "SELECT target, count(*) AS n FROM observations GROUP BY 1", "--json", root=root).stdout
    )
    assert {"expression", "vocal.kind", "presence"} <= {r["target"] for r in rows}
    assert "query.not-read-only" in command("query", "DELETE FROM clips", root=root, code=2).stderr
    assert json.loads(command("status", "--json", root=root).stdout)["context"] == "research"
    assert all(not row["bad"] for row in json.loads(command("doctor", "--json", root=root).stdout))
    origins = {r["key"]: r["origin"] for r in json.loads(command("config", "show", "--json", root=root).stdout)}
    assert origins["project.context"] == "file"
    assert origins["analysis.fps"] == "default"


def test_the_report_is_one_file_with_blurred_pictures_and_all_licences(demo):
    html = Path(command("report", root=demo.project.root).stdout.strip()).read_text(encoding="utf-8")
    assert "data:image/jpeg;base64" in html
    assert "http-equiv" in html
    assert 'src="http' not in html
    for name in ("object.nanodet", "face.centerface", "expression.minixception", "voice.whisper", "explicit.opennsfw"):
        assert name in html
    for claim in demo.claims:
        assert claim.id in html


def test_the_same_laughter_under_the_crying_part_is_a_conflict_and_not_an_average(
    demo, demo_video, demo_laugh, tmp_path
):
    """The face alone leads to distress there, the laughter to pleasure: both readings must survive."""
    from mien.testing.composite import with_sound

    moved = with_sound(demo_video, demo_laugh, (3.6,), tmp_path / "moved.mp4")
    with mien.analyse(moved) as result:
        rows = [a for clip in result.clips for a in clip.assessments]
        (hit,) = [a for a in rows if a.span.start_us == 4_000_000]
        assert {c.source for c in hit.contributions} == {"face", "voice"}
        assert hit.abstained
        assert hit.reason == "conflict"
        said = {c.source: max(c.dist, key=lambda p: p[1])[0] for c in hit.contributions}
        assert said == {"face": "distress", "voice": "pleasure"}
        assert any("face → distress" in c.text and "voice → pleasure" in c.text for c in result.claims)
    agreeing = [a for clip in demo.clips for a in clip.assessments if a.span.start_us == 12_000_000]
    assert agreeing[0].conflict < hit.conflict / 2
    assert not agreeing[0].abstained


def test_the_silent_footage_says_that_it_is_silent(demo_video):
    with mien.analyse(demo_video) as result:
        assert any("digital silence" in c.text for c in result.claims)
        rows = [a for clip in result.clips for a in clip.assessments]
        assert all({c.source for c in a.contributions} <= {"face"} for a in rows)
        assert all(a.vacuity > 0.3 for a in rows)


def test_the_voice_head_stays_out_of_speech(demo_speech):
    """It was trained on bursts without words; read speech must not become an emotion."""
    with mien.analyse(demo_speech) as result:
        heard = [o for clip in result.clips for o in clip.observations if o.target == "vocal.kind"]
        assert len(heard) >= 5
        weights = [
            c.weight for clip in result.clips for a in clip.assessments for c in a.contributions if c.source == "voice"
        ]
        assert sum(weights) < 0.1
        assert all(a.abstained for clip in result.clips for a in clip.assessments)


def test_in_care_affect_waits_and_observables_run(short_real_clip, tmp_path):
    root = tmp_path / "care"
    command("init", root, "--context", "care")
    command("run", short_real_clip, root=root)
    with mien.open(root) as project:
        status = project.status()
        assert set(status["waiting"]["stages"]) == AFFECT_STAGES
        assert "consent" in status["waiting"]["needs"]
        targets = {o.target for o in project.project.store.all(Observation)}
        assert {"presence", "vocal.kind", "face.mouth_corner_raise"} <= targets
        assert not targets & {"expression", "valence.derived", "arousal.derived", "voice.state", "voice.arousal"}
        assert project.project.store.all(Assessment) == []
        assert not {s.name for s in project.project.store.all(Signal)} & {"valence", "arousal"}
        assert any("no person is enrolled" in c.text for c in project.project.store.all(Claim))
        html = project.report(root / "report.html").read_text()
    assert "data:image/jpeg" not in html
    assert "enrolled" in html


def test_a_project_of_observables_says_no_word_of_feelings_and_opens_no_model_of_affect(short_real_clip, tmp_path):
    """Also where affect had been inferred before: the readings go, and what was observed stays to the bit."""
    from mien.export.report.collect import collect
    from mien.export.report.render import render
    from mien.pipeline import Stack
    from mien.pipeline.plan import STAGES
    from mien.pipeline.stack import AFFECT_SLOTS
    from mien.policy import emotion_words

    root = tmp_path / "p"
    Project.init(root, "research").close()
    with mien.open(root) as opened:
        project = opened.project
        project.run([short_real_clip])
        assert project.store.all(Assessment)
        seen = {o.id for o in project.store.all(Observation) if o.target in ("presence", "vocal.kind")}
    toml = root / "mien.toml"
    toml.write_text(toml.read_text().replace("[project]", "[project]\nobservables_only = true"))
    with mien.open(root) as opened:
        project = opened.project
        outcome = project.run()
        assert outcome.failures == ()
        assert outcome.waiting == 0
        states = {(s.stage, s.state) for s in project.store.stages() if s.stage in AFFECT_STAGES}
        assert {state for _, state in states} <= {"off"}
        assert not project.store.all(Assessment)
        assert not [s for s in project.store.all(Signal) if s.name in ("valence", "arousal")]
        targets = {o.target for o in project.store.all(Observation)}
        assert not {t for t in targets if t.split(".")[0] in ("expression", "valence", "arousal")}
        assert {t for t in targets if t.startswith("voice.")} <= {"voice.source", "voice.synchrony"}
        assert seen <= {o.id for o in project.store.all(Observation)}
        assert project.store.query("SELECT count(*) FROM past WHERE stage IN ('expression', 'voice', 'assess')")[1] == [
            (0,)
        ]
        claims = project.store.all(Claim)
        assert claims
        assert [c.text for c in claims if emotion_words(c.text)] == []
        shown = collect(project, pictures=False)
        assert all(view.trace and view.trace.conclusion.startswith("Observables only") for view in shown.clips)
        assert not AFFECT_SLOTS.intersection(m.slot for m in shown.models)
        assert "consistent with" not in render(shown, "", "").split('id="reading"')[0]
        stack = Stack(project.config)
        of_affect = {slot for s in STAGES if s.affect for slot in (*s.slots, *s.maybe, *s.also)}
        others = {slot for s in STAGES if not s.affect for slot in (*s.slots, *s.maybe, *s.also)}
        assert of_affect - others <= AFFECT_SLOTS
        assert not AFFECT_SLOTS.intersection(stack.slots())


@pytest.mark.parametrize("place", ["workplace", "education"])
def test_at_work_and_in_schools_nobodys_feelings_are_inferred_without_a_basis_and_who_answers_for_it(tmp_path, place):
    from mien.pipeline.config import load

    toml = tmp_path / "mien.toml"
    base = f'[project]\ncontext = "research"\nplace = "{place}"\n'
    for more in ("", 'basis = "medical"\n', 'approver = "Dr. A"\n', 'basis = "safety"\napprover = " "\n'):
        toml.write_text(base + more)
        with pytest.raises(MienError, match="AI Act") as caught:
            load(tmp_path)
        assert caught.value.code == "config.invalid"
    for more in ("observables_only = true\n", 'basis = "medical"\napprover = "Dr. A"\n'):
        toml.write_text(base + more)
        assert load(tmp_path)[0].project.place == place


def test_the_version_is_told():
    assert command("--version").stdout.strip() == f"mien {mien.__version__}"


def test_nothing_runs_without_a_context(tmp_path):
    run = command("init", tmp_path / "p", code=2)
    assert [word for word in ("care", "research", "studio") if f"\n  {word}" in run.stderr] == [
        "care",
        "research",
        "studio",
    ]
    assert not (tmp_path / "p" / "mien.toml").exists()
    assert "config.unknown-context" in command("init", tmp_path / "p", "--context", "school", code=2).stderr
    assert "project.not-found" in command("run", root=tmp_path, code=2).stderr
    (tmp_path / "mien.toml").write_text('[project]\nname = "x"\n')
    assert "config.no-context" in command("status", root=tmp_path, code=2).stderr


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ('[project]\ncontext = "research"\n[analysis]\nfsp = 3\n', "config.invalid"),
        ('[project]\ncontext = "research"\n[analysis]\nfps = "fast"\n', "config.invalid"),
        ('[project]\ncontext = "research"\n[stack]\nfaces = "face.centreface"\n', "models.unknown"),
        ('[project]\ncontext = "research"\n[stack]\nfaces = "vad.silero"\n', "config.wrong-slot"),
        ('[project]\ncontext = "research"\n[adapters."face.centerface"]\nmin_scroe = 0.3\n', "config.invalid"),
        ("[project\n", "config.not-toml"),
    ],
)
def test_a_wrong_configuration_is_named(tmp_path, text, code, short_real_clip):
    (tmp_path / "mien.toml").write_text(text)
    run = command("run", short_real_clip, root=tmp_path, code=2)
    assert code in run.stderr


def test_sound_alone_is_assessed_by_the_voice_alone(tmp_path):
    import wave

    rate, seconds = 16_000, 4
    t = np.arange(rate * seconds) / rate
    tone = 0.3 * np.sin(2 * np.pi * 220 * t) * (np.sin(2 * np.pi * 0.5 * t) > 0)
    path = tmp_path / "tone.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((tone * 32767).astype("<i2").tobytes())
    with mien.analyse(path) as result:
        assert {t.kind for c in result.clips for t in c.tracks} == set()
        pitch = result.signals("pitch").value
        assert np.nanmedian(pitch) == pytest.approx(220, rel=0.02)
        rows = [a for c in result.clips for a in c.assessments]
        assert rows
        assert all({c.source for c in a.contributions} <= {"voice"} for a in rows)
        assert any("faces: there is no picture" in c.text for c in result.claims)


def test_failures_are_rows_and_retry_does_only_those(tmp_path, short_real_clip):
    project = Project.init(tmp_path / "p", "research")
    late = tmp_path / "late.mp4"
    outcome = project.run([late, short_real_clip])
    assert [f.code for f in outcome.failures] == ["media.not-found"]
    assert outcome.done > 10
    assert project.retry().failures[0].attempt == 2
    late.write_bytes(short_real_clip.read_bytes() + b"\0")
    looked: list[list[str]] = []

    def look(_: object) -> None:
        if len(looked) < 3:
            with mien.open(tmp_path / "p") as other:
                looked.append(other.status()["unfinished_runs"])

    again = project.retry(listener=look)
    assert looked == [[], [], []]  # the run that goes on now was not interrupted
    assert again.failures == ()
    assert again.done > 10
    assert project.run().done == 0
    project.close()
