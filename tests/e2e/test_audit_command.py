"""`mien audit` and `mien show --why` on a project whose claims are written from invented evidence, and made wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mien.core import Source
from mien.pipeline import Project
from mien.reason import Ledger, reason
from mien.store import StageResult, Store
from mien.testing.ledgers import invented

WHEN: dict[str, Any] = {"run_id": "run-1", "at_utc": "2026-01-01T00:00:00Z"}


def command(root: Path, *args: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "mien", "-C", str(root), *args], capture_output=True, text=True, check=False
    )
    assert "Traceback" not in done.stderr
    return done


def project(root: Path, spoil: bool) -> list[str]:
    """Two clips; with `spoil`, one claim of the second says the opposite. Ids of their claims that give a reading."""
    Project.init(root, "research").close()
    held: list[str] = []
    with Store(root, write=True) as store:
        for n in (1, 2):
            made = invented(n)
            source = Source(made.clip.source_sha, f"{n}.mp4", "video", 1, 1, 640, 360, 25.0, None, None, "research")
            store.commit(StageResult(source.sha256, "clips", "k", [source, made.clip]), **WHEN)
            store.commit(StageResult(made.clip.id, "faces", "k", [*made.tracks, *made.observations]), **WHEN)
            store.commit(StageResult(made.clip.id, "assess", "k", list(made.assessments)), **WHEN)
            ledger = Ledger(made.clip, made.tracks, made.observations, made.assessments, made.missing)
            trace, claims = reason(ledger)
            held += [c.id for c in claims if c.predicate.startswith("posterior.top")]
            if spoil and n == 2:
                i = next(i for i, c in enumerate(claims) if c.predicate.startswith("change("))
                words = ("rise", "fall") if " = rise" in claims[i].predicate else ("fall", "rise")
                claims[i] = replace(claims[i], predicate=claims[i].predicate.replace(f"= {words[0]}", f"= {words[1]}"))
            store.commit(StageResult(made.clip.id, "claims", "k", [trace, *claims]), **WHEN)
    return held


def test_an_auditable_project_says_so_and_a_claim_is_set_against_its_evidence(tmp_path):
    (claim, *_) = project(tmp_path, spoil=False)
    done = command(tmp_path, "audit", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    (engine,) = found["engines"]
    assert engine["auditable"] == {
        "value": 1.0,
        "low": pytest.approx(0.342, abs=0.01),
        "high": 1.0,
        "n": 2,
        "sources": 2,
    }
    assert engine["deletions"]["gap"]["value"] > 0.1
    assert found["queue"] == []
    shown = json.loads(command(tmp_path, "show", claim, "--why", "--json").stdout)
    assert shown["checked"]["found"] == "supported"
    assert shown["evidence"]
    assert shown["gaps"]
    assert all(row["cited"] and row["log_odds"] < 0 for row in shown["against"])
    assert "the ledger says: supported" in command(tmp_path, "show", claim, "--why").stdout


def test_a_claim_made_wrong_is_in_the_queue_with_its_reason(tmp_path):
    project(tmp_path, spoil=True)
    done = command(tmp_path, "audit", "--json")
    assert done.returncode == 1
    found = json.loads(done.stdout)
    assert found["engines"][0]["auditable"]["value"] == 0.5
    (failed,) = found["queue"]
    assert {f["check"] for f in failed["findings"]} == {"grounding", "sentence"}
    told = command(tmp_path, "audit", failed["trace_id"])
    assert told.returncode == 1
    assert "direction is" in told.stderr


def test_what_is_not_there_is_said(tmp_path):
    Project.init(tmp_path, "research").close()
    done = command(tmp_path, "audit")
    assert done.returncode == 1
    assert "audit.nothing" in done.stderr
    assert command(tmp_path, "audit", "trace-none").returncode == 2


@pytest.mark.parametrize("spoil", [False, True])
def test_the_report_says_of_each_claim_whether_the_record_bears_it(tmp_path, spoil):
    """Claim, evidence, contradiction and gap on the page; a reversed claim is named as such, and only that one."""
    from mien.export.report import render
    from mien.export.report.collect import collect

    project(tmp_path, spoil)
    opened = Project.open(tmp_path)
    try:
        held = collect(opened, pictures=False)
    finally:
        opened.close()
    found = [check.found for view in held.clips for check in view.checks.values()]
    assert found.count("contradicted") == spoil
    assert found.count("supported") == len(found) - spoil
    assert len(found) == sum(len(view.claims) for view in held.clips)
    assert sorted(bool(view.failed) for view in held.clips) == [False, spoil]
    weighed = [c for view in held.clips for c in view.checks.values() if c.against]
    assert weighed  # the invented evidence holds contrary rows
    assert all(set(c.cited) <= set(c.against) for c in weighed)
    page = render(held, "", "")
    assert page.count("✗ the record says otherwise") == spoil
    assert ("The audit fails:" in page) == spoil
    assert f"{2 - spoil} of 2 traces pass the audit" in page
    assert "Not looked at, or not to be had: " in page
