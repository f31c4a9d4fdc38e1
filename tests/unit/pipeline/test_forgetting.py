"""After `forget` a byte scan of the whole project finds nothing, the log verifies, and nobody else has changed."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mien.core import (
    Assignment,
    Attribute,
    Clip,
    Item,
    MienError,
    Observation,
    Source,
    Span,
    Track,
    Verdict,
    label_key,
)
from mien.pipeline import Project
from mien.pipeline.enrolling import add, assign, consent
from mien.pipeline.forgetting import forget
from mien.pipeline.rows import table
from mien.store import StageResult, Store, arrays, canonical_dump
from mien.store.revocation import root_key, source_key, subject_key, withdrawn_key

SHAS = {name: name * 64 for name in "abc"}  # a: of P-mary-77 alone; b: of both; c: of P-john-12 alone
GONE, STAYS = "P-mary-77", "P-john-12"
FIGURE = 0.123456789012345
PIXELS = bytes(range(7, 107)) * 3
WHEN = {"run_id": "run-2026-01-01T00:00:00.000+00:00", "at_utc": "2026-01-01T00:00:00.000+00:00"}
STEPS = ("planned", "files", "revoked", "rows", "nameless", "scrubbed", "ended")


def seen(clip: str, track: str | None, target: str, value: float) -> Observation:
    return Observation(
        f"obs-{clip}-{track}-{target}", clip, track, Span(0, 10), target, value, None, "", (), 1.0, 1, "m@1"
    )


def plant(root: Path) -> Project:
    """Three recordings and two people, with every kind of thing that a project keeps of them."""
    Project.init(root, "research").close()
    big = table({"t_us": np.arange(40_000, dtype=np.int64), "v": np.full(40_000, FIGURE) + np.arange(40_000)})
    with Store(root, write=True) as store:
        for name, sha in SHAS.items():
            held = Source(sha, f"/films/film-of-{name}.mp4", "video", 9, 10, 64, 48, 25.0, None, None, "research")
            clip = Clip(f"clip-{name * 15}", sha, Span(0, 10), "start", "end", "x")
            faces = [Track(f"track-{name}{i}", clip.id, "face", "face", Span(0, 10), box, 9) for i, box in BOXES[name]]
            store.commit(StageResult(sha, "clips", "k", [held, clip]), **WHEN)
            for turn in ("k", "k2"):  # the second puts the first into history
                rows = [*faces, seen(clip.id, faces[0].id, "told", FIGURE + ord(name))]
                where = WHEN | {"run_id": WHEN["run_id"].replace("00.000", "00.001" if turn == "k2" else "00.000")}
                tables = {
                    f"faces/{clip.id}": big.slice(0, 50),
                    f"big/{clip.id}": big.append_column("who", [[name] * 40_000]),
                }
                store.commit(StageResult(clip.id, "faces", turn, rows, tables, ms=1.0), **where)
            item = Item(f"item-{name}", held.path, (sha,), given="/films")
            store.put(
                [item, Attribute(item.id, "diary", "text", f"what happened in {name}-room")],
                unit=item.id,
                stage="input",
            )
            label = label_key(sha, Span(0, 10), faces[0].geometry)
            store.put([Verdict(label, "state", f"state-of-{name}", "C1", "2026-01-01")], unit=sha, stage="labels")
        store.put_config("f" * 64, json.dumps({"fusion": {"people": {GONE: {}}}}))
        store.commit(StageResult("project", "neighbours", "k", [], {"like/project": table({"a": [SHAS["a"]]})}), **WHEN)
    made = Project.open(root)
    for who in (GONE, STAYS):
        add(made, who)
        consent(made, who, ("analyse", "train"), "C1", expires="2030-01-01")
    left, right = (0.0, 0.0, 0.5, 1.0), (0.5, 0.0, 1.0, 1.0)
    assign(made, GONE, SHAS["a"], "C1")
    assign(made, GONE, SHAS["b"], "C1", zone=left)
    assign(made, STAYS, SHAS["b"], "C1", zone=right)
    assign(made, STAYS, SHAS["c"], "C1")
    for name in ("a", "c"):
        folder = root / "media" / SHAS[name][:2]
        folder.mkdir(parents=True)
        (folder / f"{SHAS[name]}.mp4").write_bytes(PIXELS + name.encode() * 40)
        out = root / "exports" / name
        out.mkdir(parents=True)
        (out / "rows.parquet").write_bytes(parquet(SHAS[name]))
        who = {"a": GONE, "c": STAYS}[name]
        made.store.register("export", out, [SHAS[name]], [who], "0" * 64, "2026-01-02")
    (root / "report.html").write_text(f"<p>{GONE} {base64.b64encode(SHAS['a'].encode()).decode()}</p>")
    (root / "profile.json.gz").write_bytes(b"x" + SHAS["a"].encode())
    made.store.register(
        "release", Path("/releases/rooms-1.0"), [SHAS["a"], SHAS["c"]], [GONE, STAYS], "9" * 64, "2026-01-03"
    )
    made.store.register("adapter", Path("/models/lora-1"), [SHAS["a"]], [GONE], "8" * 64, "2026-01-03")
    (root / "fusion.toml").write_text(f"format = 1\n[people.{GONE}.face]\nwindows = 20\nright = 4\n")
    return made


LEFT, RIGHT = (0.1, 0.1, 0.3, 0.3), (0.6, 0.1, 0.8, 0.3)
BOXES = {"a": [(0, LEFT)], "b": [(0, LEFT), (1, RIGHT)], "c": [(0, RIGHT)]}


def parquet(text: str) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    out = io.BytesIO()
    pq.write_table(pa.table({"sha256": [text] * 9}), out, compression="zstd")
    return out.getvalue()


def everything(root: Path) -> bytes:
    """All bytes of a project: as they lie on disk, and what can be unpacked of them."""
    import pyarrow.parquet as pq

    found = [str(p.relative_to(root)).encode() for p in root.rglob("*")]
    for path in (p for p in root.rglob("*") if p.is_file()):
        found.append(path.read_bytes())
        if path.suffix == ".parquet":
            found.append(repr(pq.read_table(path).to_pydict()).encode())
    db = sqlite3.connect(root / "mien.db")
    for name, body in db.execute("SELECT name, body FROM packed"):
        found.append(repr(arrays.unpack(body, name).to_pydict()).encode())
    db.close()
    return b"\n".join(found)


def traces(root: Path, name: str, *texts: str) -> list[str]:
    """What of these is found, raw, as base64, and as the bytes of the digest."""
    held, sha = everything(root), SHAS[name]
    wanted = [sha, f"clip-{name * 15}", f"track-{name}0", f"film-of-{name}", f"{name}-room", f"state-of-{name}", *texts]
    forms = [(w, w.encode()) for w in wanted] + [(w, base64.b64encode(w.encode()).rstrip(b"=")[:-1]) for w in wanted]
    forms += [("digest", bytes.fromhex(sha)), ("pixels", PIXELS + name.encode() * 40)]
    forms += [
        ("figure", np.float64(FIGURE + ord(name)).tobytes()),
        ("figure", np.float64(FIGURE + ord(name)).tobytes()[::-1]),
    ]
    return [what for what, raw in forms if raw in held]


def others(project: Project, name: str) -> list[str]:
    """The canonical lines of one recording."""
    wanted = (SHAS[name], f"clip-{name * 15}")
    return [line for line in canonical_dump(project.store).splitlines() if any(w in line for w in wanted)]


def test_the_scan_finds_what_is_there(tmp_path):
    plant(tmp_path / "p").close()
    found = traces(tmp_path / "p", "a", GONE)
    assert {SHAS["a"], "film-of-a", "a-room", "state-of-a", "pixels", "figure", GONE} <= set(found)


def test_a_forgotten_person_is_nowhere_and_nobody_else_has_changed(tmp_path):
    root = tmp_path / "p"
    project = plant(root)
    before = others(project, "c")
    would = forget(project, GONE, dry_run=True)
    assert (would.removed["sources"], would.commitment) == (1, None)
    assert traces(root, "a", GONE)  # a dry run removes nothing
    receipt = forget(project, GONE)
    assert traces(root, "a", GONE, "mary") == []
    assert receipt.releases == ("rooms-1.0",)
    assert (receipt.outside, receipt.adapters) == (("/releases/rooms-1.0",), ("/models/lora-1",))
    assert receipt.originals == ("/films/film-of-a.mp4",)
    assert "mary" not in json.dumps(receipt.removed)
    assert project.store.verify_log() == []
    assert (others(project, "c"), traces(root, "c", STAYS)) == (before, traces(root, "c", STAYS))
    assert project.store.all(Observation, "clip_id = ?", ("clip-" + "c" * 15,))
    assert (root / "exports" / "c" / "rows.parquet").is_file()
    shared = "clip-" + "b" * 15  # it stays a clip, and all that was found in it is found again
    assert project.store.all(Clip, "id = ?", (shared,))
    assert not project.store.all(Observation, "clip_id = ?", (shared,))
    assert not project.store.all(Track, "clip_id = ?", (shared,))
    assert not project.store.stages_of(shared)
    revoked = json.loads((root / "revoked.json").read_text())
    assert list(revoked["releases"]) == ["rooms-1.0"]
    assert revoked["releases"]["rooms-1.0"]["root_sha256"] == root_key("9" * 64)
    names = (SHAS["a"], subject_key(GONE))  # digests under the root, and nothing that can be tried without it
    assert set(revoked["withdrawn"]) == {withdrawn_key("9" * 64, name) for name in names}
    assert not {"sources", "subjects"} & set(revoked)
    for bare in (*names, source_key(SHAS["a"]), "9" * 64):
        assert bare not in (root / "revoked.json").read_text()
    project.close()
    assert Project.open(root).config.fusion.people == {}


def test_a_forgotten_recording_takes_nobody_with_it(tmp_path):
    root = tmp_path / "p"
    project = plant(root)
    before = others(project, "b"), others(project, "c")
    forget(project, "film-of-a.mp4")
    assert traces(root, "a") == []
    assert (others(project, "b"), others(project, "c")) == before
    assert {a.source_sha for a in project.store.all(Assignment)} == {
        SHAS["b"],
        SHAS["c"],
    }
    assert project.store.verify_log() == []
    with pytest.raises(MienError, match=r"forget\.unknown"):
        forget(project, "film-of-a.mp4")
    project.close()


KILLED = """
import os, signal, sys
from mien.pipeline import Project
from mien.pipeline.forgetting import forget
from pathlib import Path
def after(step):
    if step == sys.argv[2]:
        os.kill(os.getpid(), signal.SIGKILL)
forget(Project.open(Path(sys.argv[1])), sys.argv[3], after=after)
"""


@pytest.mark.parametrize("step", STEPS)
def test_a_kill_after_any_step_is_made_good_by_the_same_command(tmp_path, step):
    root = tmp_path / "p"
    project = plant(root)
    before = others(project, "c")
    project.close()
    done = subprocess.run([sys.executable, "-c", KILLED, str(root), step, GONE], env=os.environ, check=False)
    assert done.returncode == -signal.SIGKILL
    with Project.open(root).store as store:
        assert store.verify_log() == []
    project = Project.open(root)
    if step == "ended":
        with pytest.raises(MienError, match=r"forget\.unknown"):
            forget(project, GONE)
    else:
        assert forget(project, GONE).releases == ("rooms-1.0",)
    assert traces(root, "a", GONE) == []
    assert others(project, "c") == before
    assert project.store.verify_log() == []
    assert [e.kind for e in project.store.entries()].count("erasure") == 1
    assert (root / "revoked.json").is_file()
    project.close()


def test_a_run_does_not_go_on_over_half_an_erasure(tmp_path):
    root = tmp_path / "p"
    project = plant(root)
    project.close()
    subprocess.run([sys.executable, "-c", KILLED, str(root), "files", GONE], check=False)
    with pytest.raises(MienError, match=r"forget\.unfinished"):
        Project.open(root).run()


@pytest.mark.parametrize("column", ["commitment", "hash", "prev", "at_utc", "kind", "payload", "salt"])
def test_a_flipped_byte_anywhere_in_the_log_is_found(tmp_path, column):
    root = tmp_path / "p"
    plant(root).close()
    db = sqlite3.connect(root / "mien.db")
    place = "log_payloads" if column in ("payload", "salt") else "log"
    (value,) = db.execute(f"SELECT {column} FROM {place} WHERE n=3").fetchone()  # noqa: S608
    raw = bytearray(value if isinstance(value, bytes) else value.encode())
    raw[2] ^= 1
    db.execute(f"UPDATE {place} SET {column}=? WHERE n=3", (raw.decode(),))  # noqa: S608
    db.commit()
    db.close()
    with Project.open(root).store as store:
        assert any(re.search(r"entry 3\b", said) for said in store.verify_log())


def test_a_log_that_lost_its_end_does_not_verify(tmp_path):
    root = tmp_path / "p"
    plant(root).close()
    db = sqlite3.connect(root / "mien.db")
    db.executescript(
        "DELETE FROM log_payloads WHERE n=(SELECT max(n) FROM log); DELETE FROM log WHERE n=(SELECT max(n) FROM log)"
    )
    db.close()
    with Project.open(root).store as store:
        assert store.verify_log() == ["the log does not end where the record says: entries are missing at its end"]


def test_a_project_of_version_5_gets_the_new_tables(tmp_path):
    Project.init(tmp_path, "research").close()
    db = sqlite3.connect(tmp_path / "mien.db")
    for name in ("log", "log_payloads", "registry", "erasures", "consents", "assignments"):
        db.execute(f"DROP TABLE {name}")
    db.execute("PRAGMA user_version=5")
    db.close()
    project = Project.open(tmp_path)
    add(project, "P1")
    consent(project, "P1", ("analyse",), "C1")
    assert project.store.verify_log() == []
    assert [e.kind for e in project.store.entries()] == ["person", "consent"]
    project.close()


@pytest.mark.parametrize("name", ["Mary Smith", "", "unassigned", "a/b", "x" * 65])
def test_what_looks_like_a_name_is_no_pseudonym(tmp_path, name):
    project = Project.init(tmp_path, "research")
    with pytest.raises(MienError, match=r"people\.not-a-pseudonym"):
        add(project, name)
    project.close()


def test_the_commands_speak_json_and_say_what_to_do(tmp_path, capsys):
    from typer.testing import CliRunner

    from mien.cli.app import app

    plant(tmp_path / "p").close()

    def said(*given: str):
        done = CliRunner().invoke(app, ["-C", str(tmp_path / "p"), *given])
        return done.exit_code, done.stdout

    assert [p["id"] for p in json.loads(said("people", "list", "--json")[1])] == [STAYS, GONE]
    shown = json.loads(said("people", "show", GONE, "--json")[1])
    assert [c["id"] for c in shown["clips"]] == [f"clip-{name * 15}" for name in "ab"]
    assert json.loads(said("people", "consent", GONE, "--withdraw", "--by", "C1", "--json")[1])["scopes"] == []
    given = ("people", "assign", STAYS, "--source", "film-of-b.mp4", "--by", "C1", "--json", "--track")
    made = json.loads(said(*given, "face 1")[1])
    assert (made["kind"], made["zone"]) == ("track", list(LEFT))
    assert said(*given, "face 9")[0] == 1
    assert json.loads(said("forget", GONE, "--dry-run", "--json")[1])["removed"]["sources"] == 1
    assert json.loads(said("forget", GONE, "--json")[1])["commitment"]
    assert said("forget", GONE)[0] == 1


def test_what_was_drawn_for_splits_goes_too_and_nobody_elses_line_moves(tmp_path):
    """Also where the salt has changed since: then nobody can tell whose a line is, and the file goes."""
    from mien.pipeline.forgetting import _redrawn
    from mien.store.drawn import Draw, read, write
    from mien.store.erasure import Plan

    for salt in ("", "another"):
        root = tmp_path / (salt or "plain")
        Project.init(root, "research").close()
        draw = Draw(salt=salt)
        marks = {"subject:P1": "train", "source:" + "a" * 64: "test", "subject:P2": "validation"}
        write(root / "splits.json", {draw.digest(m): s for m, s in marks.items()}, draw)
        plan = Plan("subject", ("P1",), ("a" * 64,), (), (), (), (), (), ())
        with Store(root, write=True) as store:
            _redrawn(store, root, plan)
        if salt:
            assert not (root / "splits.json").exists()
        else:
            assert read(root / "splits.json", draw) == {draw.digest("subject:P2"): "validation"}
