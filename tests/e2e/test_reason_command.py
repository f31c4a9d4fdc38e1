"""`mien reason` on a project on disk: asked over HTTP, kept once, audited per engine, refused where it may not run."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from mien.cli.app import app
from mien.cli.talk import State
from mien.core import Claim, MienError, Source, Trace, clock
from mien.evaluate.audit import audit_project, figures
from mien.pipeline import Project
from mien.pipeline.answers import both_ways, opinions
from mien.pipeline.reasoning import Terms, questions, reason_clips
from mien.reason import Ledger, reason
from mien.store import Store
from mien.testing.chat_server import ChatServer, Turn, plain, say
from mien.testing.ledgers import STATES, invented

MADE = invented(3, faces=1, windows=4)
LEDGER = Ledger(MADE.clip, MADE.tracks, MADE.observations, MADE.assessments, MADE.missing)
TRACE, CLAIMS = reason(LEDGER)


def narrated() -> str:
    """What a narrator says that says what the ledger engine says."""
    rows = [
        {
            "predicate": c.predicate, "who": LEDGER.names.get(c.track_id or "", "the recording"), "text": None,
            "from": clock(c.span.start_us), "to": clock(c.span.end_us), "cites": list(c.evidence_ids),
        }
        for c in CLAIMS
    ]  # fmt: skip
    first = next((i for i, c in enumerate(CLAIMS) if c.predicate.startswith("posterior.top")), -1)
    return json.dumps({"claims": rows, "conclusion": first, "review": True, "review_why": "A second look is due."})


def opined() -> str:
    shares = dict(zip(STATES, (0.2, 0.7, 0.1), strict=True))
    one = {"who": "face 1", "from": "0:00.00", "to": "9:00.00", "shares": shares}
    return json.dumps({"readings": [one], "claims": [], "review": False})


def model(body: dict[str, Any]) -> Turn:
    """Thinks, and answers what it was asked for."""
    blind = "STATES" in body["messages"][-1]["content"]
    return say(opined() if blind else narrated(), reasoning="a thought that is no evidence")


def made(root: Path, server: ChatServer, context: str = "research") -> Path:
    project = Project.init(root / "p", context)
    folder = project.root
    assert folder is not None
    project.close()
    with (folder / "mien.toml").open("a", encoding="utf-8") as file:
        file.write(
            f'\n[egress]\nallow = ["{server.address}"]\n[adapters."language.openai"]\nurl = "{server.url}"\n'
            'model = "scripted"\nserver = "vllm"\ntries = 1\n'
        )
    span = MADE.clip.span.end_us
    source = Source(MADE.clip.source_sha, "a.wav", "audio", 1, span, None, None, None, 16000, 1, context)  # type: ignore[arg-type]
    assessed = MADE.assessments if context != "care" else ()
    with Store(folder, write=True) as store:
        rows = [source, MADE.clip, *MADE.tracks, *MADE.observations, *assessed]
        store.put([*rows, TRACE, *CLAIMS], unit=MADE.clip.id, stage="made")
    return folder


def mien(folder: Path, *words: str) -> Any:
    done = CliRunner().invoke(app, ["-C", str(folder), *words], catch_exceptions=True)
    if isinstance(done.exception, MienError):
        return done.exception
    State.folder = Path()
    return done


def dump(folder: Path, sql: str) -> list[Any]:
    project = Project.open(folder)
    try:
        return project.store.query(sql)[1]
    finally:
        project.close()


def test_a_narrator_is_asked_once_kept_and_audited_apart_from_the_ledger(tmp_path):
    with ChatServer(model) as server:
        folder = made(tmp_path, server)
        before = dump(folder, "SELECT * FROM assessments") + dump(folder, "SELECT * FROM observations")
        done = mien(folder, "reason", "--engine", "language.openai", "--samples", "2", "--json")
        assert done.exit_code == 0, done.output
        (clip,) = json.loads(done.stdout)["clips"]
        assert [a["auditable"] for a in clip["attempts"]] == [True, True]
        assert clip["stability"]["claims"] == 1.0
        assert clip["review"]
        assert any("A second look is due." in why for why in clip["review_why"])
        assert len(server.asked) == 2
        assert {body["seed"] for body in server.asked} == {0, 1}
        assert server.asked[0]["response_format"]["type"] == "json_schema"
        again = mien(folder, "reason", "--engine", "language.openai", "--samples", "2")
        assert again.exit_code == 0
        assert len(server.asked) == 2
        assert dump(folder, "SELECT * FROM assessments") + dump(folder, "SELECT * FROM observations") == before
        project = Project.open(folder)
        named = {f.engine.partition(":")[0]: f for f in figures(list(audit_project(project.store)))}
        assert set(named) == {"ledger@3", "vlm"}
        assert (named["vlm"].auditable.value, named["vlm"].auditable.n) == (1.0, 2)
        assert "thought" not in json.dumps([c.text for c in project.store.all(Claim)])
        project.close()


def test_answers_that_are_none_are_in_the_denominator_and_asked_again_on_request(tmp_path):
    script = [say("I would rather not."), say("Nor now."), plain("{}", status=400), say(narrated())]
    with ChatServer(script) as server:
        folder = made(tmp_path, server)
        project = Project.open(folder)
        terms = Terms("language.openai", samples=1)
        first = reason_clips(project, terms)
        (attempt,) = first.asked[MADE.clip.id]
        assert (attempt.status, attempt.tries) == ("unparsed", 2)
        (figure,) = [f for f in figures(list(audit_project(project.store))) if f.engine == first.engine]
        assert (figure.auditable.value, figure.auditable.n, figure.statuses) == (0.0, 1, {"unparsed": 1})
        assert reason_clips(project, terms).before == 1
        second = reason_clips(project, terms, retry=True).asked[MADE.clip.id]
        assert second[0].status == "no-answer"
        third = reason_clips(project, terms, retry=True).asked[MADE.clip.id]
        assert third[0].status == "ok"
        (figure,) = [f for f in figures(list(audit_project(project.store))) if f.engine == first.engine]
        assert figure.statuses == {"ok": 1}
        project.close()


def test_one_repair_quotes_what_was_wrong(tmp_path):
    bad = json.loads(narrated())
    bad["claims"][0]["predicate"] = "mood = splendid"
    with ChatServer([say(json.dumps(bad)), say(narrated()), say("never asked")]) as server:
        folder = made(tmp_path, server)
        project = Project.open(folder)
        (attempt,) = reason_clips(project, Terms("language.openai")).asked[MADE.clip.id]
        assert (attempt.status, attempt.tries, attempt.errors) == ("ok", 2, ())
        assert "mood = splendid" in server.asked[1]["messages"][-1]["content"]
        assert len(server.asked) == 2
        project.close()


def test_a_blind_opinion_is_shown_beside_the_numbers_and_moves_them_by_no_bit(tmp_path):
    with ChatServer(model) as server:
        folder = made(tmp_path, server)
        done = mien(folder, "reason", "--engine", "language.openai", "--role", "opinion", "--json")
        assert done.exit_code == 0, done.output
        held = json.loads(done.stdout)
        (clip,) = held["clips"]
        assert len(clip["both_ways"]) == len(MADE.assessments)
        assert all(row["with_opinion"] == row["without"] and row["weight"] == 0 for row in clip["both_ways"])
        assert all(dict(row["opinion"])["pleasure"] == pytest.approx(0.7) for row in clip["both_ways"])
        assert clip["attempts"][0]["auditable"], clip["attempts"][0]["fails"]
        project = Project.open(folder)
        assert not project.store.query("SELECT id FROM observations WHERE target = 'blind_opinion'")[1]
        rows = opinions(project.store, MADE.clip.id, held["engine"])
        weights = project.config.fusion.weights.model_copy(update={"others": {"blind_opinion": 0.5}})
        fusion = project.config.fusion.model_copy(update={"weights": weights})
        found = both_ways(fusion, MADE.assessments[0], rows)
        assert dict(found.with_opinion)["pleasure"] > dict(found.without)["pleasure"]
        assert {t.engine.partition(":")[0] for t in project.store.all(Trace)} == {"ledger@3", "vlm-blind"}
        project.close()


def test_a_dry_run_prints_the_question_and_asks_nothing(tmp_path):
    with ChatServer(model) as server:
        folder = made(tmp_path, server)
        done = mien(folder, "reason", "--engine", "language.openai", "--dry-run")
        assert done.exit_code == 0
        assert "ASSESSMENTS" in done.stdout
        assert "FORMS" in done.stdout
        blind = mien(folder, "reason", "--engine", "language.openai", "--role", "opinion", "--dry-run", "--json")
        (one,) = json.loads(blind.stdout)
        assert "ASSESSMENTS" not in one["messages"][1]["text"]
        assert one["no_pictures"] == "none were asked for"
        assert server.asked == []
        assert not dump(folder, "SELECT * FROM stages WHERE stage LIKE 'reason.%'")


def test_in_care_nobody_gives_an_opinion_and_a_narrator_sees_observables_only(tmp_path):
    with ChatServer(model) as server:
        folder = made(tmp_path, server, "care")
        project = Project.open(folder)
        assert reason_clips(project, Terms("language.openai", "opinion")).waiting == 1
        assert server.asked == []
        (asked,) = questions(project, Terms("language.openai", pictures=4, show_faces=True))
        assert asked.observables_only
        text = asked.ask.messages[1].text
        assert asked.ask.messages[1].frames is None
        assert not re.search("|".join((*STATES, "valence", "expression", "voice.state")), text)
        project.close()


@pytest.mark.parametrize(
    ("words", "code"),
    [((), "config.no-engine"), (("--engine", "nobody.here"), "models.unknown"),
     (("--engine", "face.centerface"), "config.wrong-slot"),
     (("--engine", "language.openai", "clip-0"), "show.unknown"),
     (("--engine", "language.openai", "--samples", "0"), "config.invalid")],
)  # fmt: skip
def test_wrong_calls_say_what_to_do(tmp_path, words, code):
    with ChatServer(model) as server:
        done = mien(made(tmp_path, server), "reason", *words)
        text = f"[{done.code}] {done.hint}" if isinstance(done, MienError) else done.output
        assert code in text, text
        assert server.asked == []
