"""What models cost here, and which mode that allows."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mien.core import MienError
from mien.pipeline import preflight, rates
from mien.pipeline.config import Config, Project
from mien.pipeline.preflight import BASE, Cost, Mode, Needs, fits
from mien.pipeline.stack import Stack

NEEDS = Needs(300, 100, {"objects": 40, "faces": 60})  # 500 together, 460 with the largest alone


@pytest.mark.parametrize(
    ("free", "most", "mode"),
    [
        (10_000, 4, Mode("clip", 4, 2000, True)),
        (10_000, 64, Mode("clip", 20, 10_000, True)),
        (1_499, 4, Mode("clip", 2, 1000, True)),
        (500, 4, Mode("clip", 1, 500, True)),
        (499, 4, Mode("stage", 1, 460, True)),
        (460, 4, Mode("stage", 1, 460, True)),
        (459, 4, Mode("stage", 1, 460, False)),
    ],
)
def test_memory_decides_the_mode(free, most, mode):
    assert fits(NEEDS, free, most) == mode


mb = st.floats(1, 5000)


@given(mb, mb, st.dictionaries(st.text(min_size=1, max_size=3), mb, max_size=6), st.floats(0, 1e6), st.integers(1, 99))
def test_what_is_said_to_fit_does(base, decoder, models, free, most):
    needs = Needs(base, decoder, models)
    mode = fits(needs, free, most)
    assert 1 <= mode.workers <= most
    assert mode.fits == (mode.needed_mb <= free or mode.needed_mb == pytest.approx(free))
    if mode.order == "clip":
        assert mode.fits
    else:
        assert needs.together_mb > free
        assert mode.workers == 1
    more = fits(needs, 2 * free, most)  # more memory never means fewer workers, nor the slower mode
    assert (more.order, more.workers) == ("clip", more.workers) or mode.order == "stage"
    assert more.workers >= mode.workers


def test_a_machine_that_does_not_tell_its_memory_gets_all_workers():
    assert fits(NEEDS, float("inf"), 3) == Mode("clip", 3, 1500, True)


@pytest.fixture
def stack(tmp_path, monkeypatch):
    monkeypatch.setenv("MIEN_CACHE", str(tmp_path / "cache"))
    return Stack(Config(project=Project(context="research", name="")))


def put(stack: Stack, slot: str, cost: Cost) -> None:
    place = preflight._place(stack, slot)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(cost.model_dump_json())


def test_a_plan_predicts_with_what_was_measured_and_only_if_all_was(stack):
    slots = ["objects", "faces"]
    guessed, basis = rates.predicted_mb(slots, stack)
    assert "reference" in basis
    for slot, mb in ((BASE, 100), ("objects", 30)):
        put(stack, slot, Cost(open_s=0, open_mb=mb, call_mb=1, call_ms=1))
    assert rates.predicted_mb(slots, stack) == (guessed, basis)
    put(stack, "faces", Cost(open_s=0, open_mb=10, call_mb=-3, call_ms=1))
    said = 100 + 31 + 10 + preflight.DECODER_MB + preflight.FRAMES_MB
    assert rates.predicted_mb(slots, stack) == (said, "measured on this machine")
    preflight._place(stack, "faces").write_text("{}")
    assert rates.predicted_mb(slots, stack)[1] == basis


def test_other_weights_settings_or_devices_were_not_measured(stack):
    put(stack, BASE, Cost(open_s=0, open_mb=1, call_mb=0, call_ms=0))
    put(stack, "faces", Cost(open_s=0, open_mb=1, call_mb=0, call_ms=0))
    assert preflight.known(stack, ["faces"])
    terms = {"project": {"context": "research", "name": ""}}
    for change in (
        {"adapters": {"face.centerface": {"long_side_px": 640}}},
        {"stack": {"faces": "face.blazeface"}},
        {"analysis": {"device": "cuda"}},
    ):
        assert preflight.known(Stack(Config(**terms, **change)), ["faces"]) is None


def test_real_models_are_measured_in_a_child(tmp_path, monkeypatch):
    config = Config(project=Project(context="research", name=""))
    place = preflight._place
    monkeypatch.setattr(preflight, "_place", lambda stack, slot: tmp_path / place(stack, slot).name)
    found = preflight.measure(config, ["faces", "pitch", "voice_arousal"])
    assert set(found) == {BASE, "faces", "pitch", "voice_arousal"}
    assert found[BASE].open_mb > 50
    assert found["faces"].mb > 5
    assert found["faces"].call_ms > 0
    assert preflight.known(Stack(config), ["faces", "pitch"]) == {k: found[k] for k in (BASE, "faces", "pitch")}


def test_a_child_that_dies_is_an_error_and_nothing_is_kept(stack, monkeypatch):
    monkeypatch.setattr(preflight.sys, "executable", "/bin/false")
    with pytest.raises(MienError) as caught:
        preflight.measure(Config(project=Project(context="research", name="")))
    assert caught.value.code == "preflight.failed"
    assert not preflight.home().exists()


def test_models_whose_weights_are_not_here_are_left_out(tmp_path):
    order = json.dumps({"config": {"project": {"context": "research", "name": ""}}, "slots": ["faces"]})
    command = [sys.executable, "-P", "-m", "mien.pipeline.preflight"]
    env = os.environ | {"MIEN_CACHE": str(tmp_path)}
    done = subprocess.run(command, input=order, capture_output=True, text=True, check=True, env=env)
    assert set(json.loads(done.stdout.splitlines()[-1])) == {BASE}
