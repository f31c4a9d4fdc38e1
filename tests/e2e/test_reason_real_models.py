"""Real runtimes through the whole contract: a tiny seeded Qwen3-VL with real pictures, and a real small language model.

Their share is whatever it is; what is held is that every attempt counts, that pictures pass the gate blurred, and that
nothing else in the record changes.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from mien.core import Asks, Device, MienError, Observation, WeightFiles
from mien.evaluate.audit import audit_project, figures
from mien.pipeline import Project
from mien.pipeline.answers import attempts
from mien.pipeline.reasoning import Terms, reason_clips

pytestmark = pytest.mark.slow
sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "models"))


@pytest.fixture(scope="module")
def project(short_real_clip):
    made = Project.in_memory("research")
    made.run([short_real_clip])
    yield made
    made.close()


class Watched:
    """A model whose questions are kept."""

    def __init__(self, model: Any) -> None:
        self.model, self.asked = model, []

    def run(self, batch: Asks) -> Any:
        self.asked += batch.rows
        return self.model.run(batch)


def numbers(project: Project) -> list[Any]:
    kept = project.store.query("SELECT * FROM assessments")[1] + project.store.query("SELECT * FROM observations")[1]
    return kept + project.store.query("SELECT * FROM traces WHERE engine LIKE 'ledger%'")[1]


@pytest.mark.parametrize("role", ["narrator", "opinion"])
def test_a_seeded_qwen3_vl_sees_gated_blurred_pictures_and_all_its_attempts_count(project, tmp_path, role):
    torch = pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from tiny_qwen3vl import build  # pyright: ignore[reportMissingImports]

    from mien.models.language.qwen3vl import Qwen3VL
    from mien.models.weights.folders import INDEX, index

    torch.set_num_threads(1)
    folder = build(tmp_path / "thinking")
    (tmp_path / INDEX).write_bytes(index(folder))
    settings = Qwen3VL.Config(dtype="float32", min_frame_px=1024, max_frame_px=4096, repairs=0, answer_tokens=16)  # type: ignore[call-arg]
    model = Watched(Qwen3VL.open(WeightFiles({INDEX: tmp_path / INDEX}), settings, Device(threads=1)))
    before = numbers(project)
    how: dict[str, Any] = {"pictures": 4, "samples": 2, "think": True, "max_tokens": 24, "budget": 400}
    done = reason_clips(project, Terms("vlm.qwen3vl", role, **how), model=model)
    assert numbers(project) == before
    clips = len(done.asked)
    frames = [m.frames for ask in model.asked for m in ask.messages if m.frames is not None]
    assert len(frames) == len(model.asked) > 0
    assert all(0 < len(f) <= 4 for f in frames)
    (figure,) = [f for f in figures(list(audit_project(project.store))) if f.engine == done.engine]
    assert figure.auditable.n == 2 * clips == sum(map(len, done.asked.values()))
    print(f"tiny Qwen3-VL, {role}: {figure.auditable}, {figure.statuses}")


def test_a_real_small_model_goes_through_the_whole_contract(project):
    pytest.importorskip("xllamacpp", reason="needs xllamacpp: pip install 'mien[llamacpp]'")
    from mien.models.language.llamacpp import SMOLLM2, LlamaCpp
    from mien.models.weights import resolve

    try:
        files = resolve(SMOLLM2)
    except MienError:
        pytest.skip("needs its weights: mien models pull smollm2")
    model = LlamaCpp.open(files, LlamaCpp.Config(context_tokens=8192, repairs=0), Device(threads=2))
    before = numbers(project)
    try:
        done = reason_clips(project, Terms("language.llamacpp", max_tokens=100, budget=200), model=model)
    finally:
        model.close()
    assert numbers(project) == before
    held = [a for _, a in attempts(project.store) if a.engine == done.engine]
    assert {a.status for a in held} <= {"ok", "truncated", "unparsed"}
    (figure,) = [f for f in figures(list(audit_project(project.store))) if f.engine == done.engine]
    assert figure.auditable.n == len(held) >= 1
    print(f"SmolLM2: {figure.auditable}, {figure.statuses}, {json.dumps([a.reason for a in held])}")


def test_a_clip_that_the_gate_holds_back_shows_no_picture(project):
    from mien.pipeline.reasoning import questions

    terms = Terms("vlm.qwen3vl", pictures=4)
    assert all(q.ask.messages[1].frames is not None for q in questions(project, terms))
    rows = project.store.all(Observation, "target = 'explicit.max'")
    for row in rows:
        project.store.put([dataclasses.replace(row, value=0.9)], unit=row.clip_id, stage="gate-test")
    assert [q.ask.messages[1].frames for q in questions(project, terms)] == [None] * len(rows)
    assert all("explicit" in (q.no_pictures or "") for q in questions(project, terms))
