"""The arithmetic of the plan, on a scripted ledger and clock: no model, no decoding, no time measured."""

from functools import partial

import pytest

from mien.core import Clip, MienError, Run, Source, Span, clip_id, digest
from mien.media import CUTTER, shot_detector
from mien.pipeline.config import load
from mien.pipeline.forecast import forecast
from mien.pipeline.plan import STAGES, applies
from mien.pipeline.rates import (
    HERE,
    REFERENCE_MS,
    REFERENCE_OVERHEAD,
    SHARING,
    SHIPPED,
    START_S,
    UNKNOWN_MS,
    WORKER_START_S,
    Rates,
    Todo,
    line_ms,
    rates_of,
)
from mien.pipeline.rows import table
from mien.pipeline.stack import Stack
from mien.pipeline.stale import ABSENT, states_of
from mien.store import StageResult, StageRow, Store

OFF = ("words", "events", "descriptors", "actions")  # by default

RUN = "run-1"
AT = {"run_id": RUN, "at_utc": "2026-01-01T00:00:00.000+00:00"}
MS = {"objects": 2000.0, "faces": 1000.0, "landmarks": 500.0, "motion": 100.0, "sound": 800.0, "signals": 50.0}


def config_of(context="research", **flags):
    return load(None, {"project": {"context": context}, **flags})[0]


def source(sha="a" * 64, seconds=10, kind="video", sound=True) -> Source:
    rate = 16_000 if sound else None
    return Source(sha, f"/m/{sha[:2]}.mp4", kind, 9, seconds * 1_000_000, 640, 360, 25.0, rate, 1, "research")


def ledger(seconds=10, wall_s=None, config=None) -> tuple[Store, Clip]:
    """One clip whose stages are all done under their right keys, with scripted times."""
    config = config or config_of()
    store, held = Store(None), source(seconds=seconds)
    cutter = f"{CUTTER}+{shot_detector()}"
    clip = Clip(
        clip_id(held.sha256, Span(0, held.duration_us), cutter),
        held.sha256,
        Span(0, held.duration_us),
        "s",
        "e",
        cutter,
    )
    key = digest("clips", cutter, held.sha256, round(config.analysis.max_clip_s * 1e6))
    store.commit(StageResult(held.sha256, "clips", key, [held, clip]), **AT)
    frames = table({"t_us": list(range(0, held.duration_us, 200_000))})
    for name, stage_key in keys_of(clip, held, config).items():
        tables = {f"motion/{clip.id}": frames} if name == "motion" else {}
        store.commit(StageResult(clip.id, name, stage_key, (), tables, ms=MS.get(name, 1.0)), **AT)
    if wall_s is not None:
        done = f"2026-01-01T00:{wall_s // 60:02}:{wall_s % 60:02}.000+00:00"
        store.put([Run(RUN, "2026-01-01T00:00:00.000+00:00", done, "run", "0", "research", "c")], unit=RUN, stage="run")
    return store, clip


def keys_of(clip, held, config):
    """The keys of a finished run, by the rule that plan.py states."""
    stack, keys = Stack(config), {}
    sections = config.model_dump(mode="json")
    analysis = sections | sections["analysis"]
    for stage in sorted(STAGES, key=lambda s: s.kind == "derived"):
        if applies(stage, held, stack.has):
            params = {n: analysis[n] for n in stage.params}
            labels = [stack.label(slot) for slot in (*stage.slots, *stage.maybe)]
            read = [keys.get(n, ABSENT) for n in stage.needs]
            keys[stage.name] = digest(stage.name, stage.version, params, clip.id, read, labels)
    return keys


def row(name, key, state="ok"):
    return StageRow("clip", name, key, state, None, None, 1)


def test_a_finished_project_has_nothing_to_do():
    store, _ = ledger()
    found = forecast(store, config_of())
    assert {s.state for s in found.stages if s.stage not in OFF} == {"done"}
    assert (found.predicted_s, found.predicted_mb, found.clips, found.media_s) == (0.0, 0.0, 0, 0.0)
    assert found.time_basis == "nothing to do"
    assert found.inputs == ()


def test_what_a_changed_setting_makes_stale_and_nothing_else():
    store, _ = ledger()
    fused = {s.stage: s.state for s in forecast(store, config_of(fusion={"thresholds": {"commit": 0.6}})).stages}
    assert {s for s, state in fused.items() if state == "to do"} == {"assess", "claims"}
    off = {s.stage: s.state for s in forecast(store, config_of(stack={"age": "off"})).stages}
    assert off["age"] == "off"
    assert {s for s, state in off.items() if state == "to do"} == set()
    other = {s.stage: s.state for s in forecast(store, config_of(stack={"expression": "off"})).stages}
    assert {s for s, state in other.items() if state == "to do"} == {"assess", "claims"}
    faster = {s.stage: s.state for s in forecast(store, config_of(analysis={"window_s": 4.0})).stages}
    assert faster["motion"] == faster["explicit"] == "done"
    assert {"objects", "faces", "landmarks", "sound", "claims"} <= {s for s, st in faster.items() if st == "to do"}


def test_rates_come_from_the_ledger_and_say_so():
    store, _ = ledger(seconds=10)
    rates = rates_of(store, config_of())
    assert rates.stage("objects") == (200.0, HERE)
    assert rates.stage("sound") == (80.0, HERE)
    assert rates.stage("never.seen") == (UNKNOWN_MS, SHIPPED)
    assert rates_of(Store(None), config_of()).stage("objects") == (REFERENCE_MS["objects"], SHIPPED)
    twice = config_of(analysis={"fps": 10.0})
    assert rates_of(store, twice).stage("objects") == (pytest.approx(400.0), HERE), "twice the frames"
    assert rates_of(store, twice).stage("sound") == (80.0, HERE)
    assert rates_of(Store(None), twice).stage("faces") == (2 * REFERENCE_MS["faces"], SHIPPED)
    assert rates_of(Store(None), twice).stage("explicit") == (REFERENCE_MS["explicit"], SHIPPED), "one frame a second"


def test_lines_run_side_by_side_and_derived_stages_after_them():
    assert line_ms({"objects": 2000, "faces": 1000, "landmarks": 500, "motion": 100, "sound": 800}) == 2000
    assert line_ms({"faces": 1000, "landmarks": 500, "expression": 600, "objects": 2000, "signals": 50}) == 2150
    assert line_ms({"sound": 800, "voice": 10, "signals": 50}) == 860
    assert line_ms({}) == 0


def test_predicted_time_is_start_plus_overhead_times_lines():
    rates = Rates({"objects": 200.0, "sound": 80.0, "signals": 5.0}, 1.5, 5.0)
    work = [Todo(10.0, ("objects", "sound", "signals")), Todo(20.0, ("sound",)), Todo(99.0, ())]
    seconds, basis = rates.predict(work)
    assert seconds == pytest.approx(START_S + 1.5 * (10 * 0.205 + 20 * 0.080))
    assert basis == "measured in this project"
    seconds, basis = Rates({}, None, 5.0).predict([Todo(10.0, ("objects",))])
    assert seconds == pytest.approx(START_S + REFERENCE_OVERHEAD * REFERENCE_MS["objects"] / 100)
    assert "reference" in basis


def test_several_processes_share_all_the_work_where_they_are_called_for():
    rates = Rates({"objects": 200.0, "sound": 80.0}, 1.5, 5.0, lambda media_s: 2 if media_s > 90 else 0)
    one, two = Todo(50.0, ("objects", "sound")), Todo(50.0, ("objects",))
    assert rates.predict([one])[0] == pytest.approx(START_S + 1.5 * 50 * 0.2)
    share_s = (50 * 0.28 + 50 * 0.2) / 2
    assert rates.predict([one, two])[0] == pytest.approx(START_S + WORKER_START_S + SHARING * share_s)


def test_a_similar_input_is_predicted_from_the_first_ones_wall_time(tmp_path):
    """10 s took 12 s by the scripted clock: 20 s of the like take twice its work, and the start once."""
    store, _ = ledger(seconds=10, wall_s=12)
    config = config_of()
    rates = rates_of(store, config)
    lines_s = line_ms({n: MS.get(n, 1.0) for n in keys_of(*clip_and_source(store), config)}) / 1000
    assert rates.overhead == pytest.approx(min(3.0, (12 - START_S) / lines_s))
    store.put([source("b" * 64, seconds=20)], unit="b" * 64, stage="register")
    found = forecast(store, config)
    assert found.predicted_s == pytest.approx(START_S + rates.overhead * 2 * lines_s)
    assert found.time_basis == "measured in this project"
    assert (found.sources, found.clips, found.clips_estimated, found.media_s) == (1, 1, True, 20.0)
    assert {s.state for s in found.stages if s.stage not in OFF} == {"to do"}
    assert found.stages[0].clips == {"done": 1, "to do": 1}


def clip_and_source(store):
    return store.all(Clip)[0], store.all(Source)[0]


def test_long_takes_count_as_several_clips_and_pictures_as_one_frame():
    store = Store(None)
    store.put([source(seconds=150)], unit="a", stage="register")
    store.put([source("b" * 64, 0, "image", sound=False)], unit="b", stage="register")
    found = forecast(store, config_of())
    assert (found.sources, found.clips) == (2, 4)
    assert found.media_s == pytest.approx(150.2)
    by_name = {s.stage: s for s in found.stages}
    assert by_name["sound"].clips == {"to do": 3, "off": 1}
    assert by_name["faces"].basis == SHIPPED


def test_in_care_affect_waits_and_is_neither_predicted_nor_promised():
    config = config_of("care")
    store = Store(None)
    store.put([source()], unit="a", stage="register")
    found = forecast(store, config)
    states = {s.stage: s.state for s in found.stages}
    assert {n for n, s in states.items() if s == "waiting"} == {s.name for s in STAGES if s.affect}
    assert states["claims"] == "to do"
    assert "enrolled" in found.waiting_for
    full = forecast_of(config_of(), source())
    assert found.predicted_mb < full.predicted_mb, "models that wait are not opened"


def forecast_of(config, *sources):
    store = Store(None)
    for held in sources:
        store.put([held], unit=held.sha256, stage="register")
    return forecast(store, config)


def test_a_failed_stage_is_not_promised_and_what_reads_it_is_judged_as_the_runner_does():
    config = config_of()
    _, clip = ledger()
    held, stack = source(), Stack(config)
    rows = {n: row(n, k) for n, k in keys_of(clip, held, config).items()}
    rows["faces"] = row("faces", rows["faces"].key, "failed")
    on = partial(applies, source=held, has=stack.has)
    states = states_of(clip, config, on, stack.label, rows)
    assert states["faces"] == "failed"
    assert states["landmarks"] == states["expression"] == "failed", "it cannot be made of what is not there"
    assert states["objects"] == states["motion"] == "done"
    rows["faces"] = row("faces", "", "failed")  # what retry leaves
    again = states_of(clip, config, on, stack.label, rows)
    assert again["faces"] == "to do"
    assert again["landmarks"] == "done", "the same faces give the same"


def test_sources_that_were_cut_by_other_rules_are_done_again_and_rejected_ones_never():
    store, _ = ledger()
    again = forecast(store, config_of(analysis={"max_clip_s": 5.0}))
    assert {s.state for s in again.stages if s.stage not in OFF} == {"to do"}
    assert (again.clips, again.clips_estimated) == (2, True)
    bad, held = Store(None), source()
    cutter = f"{CUTTER}+{shot_detector()}"
    key = digest("clips", cutter, held.sha256, 60_000_000)
    bad.fail(held.sha256, "clips", key, MienError("media.corrupt", "x"), [held], **AT)
    assert forecast(bad, config_of()).sources == 0


def test_an_interrupted_source_keeps_what_was_done():
    store, held = Store(None), source(seconds=30)
    cutter, config = f"{CUTTER}+{shot_detector()}", config_of(analysis={"max_clip_s": 10.0})
    store.put([held], unit=held.sha256, stage="register")
    first = Clip(clip_id(held.sha256, Span(0, 10_000_000), cutter), held.sha256, Span(0, 10_000_000), "s", "e", cutter)
    store.put([first], unit=held.sha256, stage="clips")
    for name, key in keys_of(first, held, config).items():
        store.commit(StageResult(first.id, name, key, ms=1.0), **AT)
    found = forecast(store, config)
    assert (found.clips, found.media_s) == (2, 20.0)
    assert found.stages[0].clips == {"done": 1, "to do": 2}


def test_inputs_that_cannot_be_read_are_named_and_nothing_else_suffers(tmp_path):
    (tmp_path / "bad.mp4").write_bytes(b"nothing of a film")
    found = forecast(
        Store(None),
        config_of(),
        [tmp_path / "bad.mp4", tmp_path / "not-there.mp4", ("row 3", MienError("input.no-file", "no such", "look"))],
    )
    assert [(i.name, i.state, i.code) for i in found.inputs] == [
        ("bad.mp4", "rejected", "media.unknown-format"),
        ("not-there.mp4", "rejected", "media.not-found"),
        ("row 3", "rejected", "input.no-file"),
    ]
    assert found.predicted_s == 0.0


def test_missing_weights_are_counted_in_bytes(monkeypatch, tmp_path):
    monkeypatch.setattr("mien.pipeline.forecast.present", lambda weights: weights.model != "centerface")
    found = forecast_of(config_of(), source())
    (missing,) = [m for m in found.models if m.missing_bytes]
    assert (missing.name, missing.missing_bytes) == ("face.centerface", 7_304_518)
    assert missing.licences.weights == "MIT"
    assert not found.ready
    monkeypatch.setattr("mien.pipeline.forecast.present", lambda _: True)
    assert forecast_of(config_of(), source()).ready
