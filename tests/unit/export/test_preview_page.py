"""The page before an export: frames as they will be trained, what is dropped; no picture where none may be."""

import base64
import html
import json
import re
import shutil
import subprocess

import cv2
import learnable
import numpy as np
import pytest
from studio import job, studio

from mien.core import Claim, Clip
from mien.export.diffusion import TRAINERS
from mien.export.preview import write_preview
from mien.export.trainers import export_for, job_of, trainer
from mien.store import Store
from mien.testing.media import Recipe

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
MUSUBI = next(t for t in TRAINERS if t.name == "musubi")


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    root = tmp_path_factory.mktemp("seen")
    brief = Recipe(1.5, 16, 256, 256, sound=False)
    films = {"a": {}, "tiny": {"recipe": Recipe(1.5, 16, 64, 64, sound=False)}, "canary": {"explicit": 0.9}}
    held = studio(root, films, recipe=brief)
    yield write_preview(job(held), MUSUBI, root / "out")
    held.close()


def test_it_shows_the_clips_that_leave_and_why_others_do_not(page):
    text = page.read_text()
    assert len(re.findall("<img ", text)) == 1
    assert "clip.too-small" in text
    assert "gate.quarantined" in text
    assert "16fps-17f-256x256" in text
    assert "<script" not in text
    assert not re.search(r'(src|href)="(?!data:)', text)
    sheet = cv2.imread(str(page.with_name("sheet.png")))
    lit = np.abs(sheet.astype(int) - 24).sum(axis=2) > 30
    assert lit[:, : 3 * 160].mean() > 0.5  # one strip of three frames
    assert lit[:, 3 * 160 + 8 :].mean() == 0


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed (Debian: apt-get install chromium)")
def test_a_browser_draws_it(page, tmp_path):
    flags = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--window-size=900,900")
    shot = tmp_path / "shot.png"
    subprocess.run([CHROMIUM, *flags, f"--screenshot={shot}", page.as_uri()], check=True, capture_output=True)
    assert cv2.imread(str(shot)).std() > 10


# ---------------------------------------------------------------- conversations about clips


@pytest.fixture(scope="module")
def talked(tmp_path_factory):
    """Three recordings: one with everything, one whose states were not decided, one the scripted gate closes."""
    root = tmp_path_factory.mktemp("talked")
    held = learnable.project(root / "p", (1, 2, 3), explicit={1: 0.0, 2: 0.0, 3: 0.9})
    ids = {c.id for c in held.store.all(Clip) if c.source_sha == learnable.sha_of(root / "p", 2)}
    with Store(held.root, write=True) as store:
        store._db.execute("UPDATE assessments SET abstained = 1 WHERE clip_id = ?", tuple(ids))
        store._db.commit()
    made = {
        name: write_preview(job_of(held, name, keep=False), trainer(name), root / name) for name in ("trl", "ms-swift")
    }
    export_for(held, "trl", root / "export")
    yield root, made
    held.close()


def test_each_clip_is_shown_with_its_pictures_and_what_is_said_of_it(talked):
    root, made = talked
    text = html.unescape(made["trl"].read_text())
    rows = [json.loads(x) for p in (root / "export").glob("*.jsonl") for x in p.read_text().splitlines()]
    told = [r for r in rows if "messages" in r]
    assert told
    for row in told:
        question, answer = (m["content"] for m in row["messages"])
        assert question in text
        assert answer in text
    drawn = [base64.b64decode(x) for x in re.findall(r'src="data:image/jpeg;base64,([^"]+)"', text)]
    written = {p.read_bytes() for p in (root / "export" / "images").rglob("*.jpg")}
    assert set(drawn) == written  # the very pictures that are trained on, no other
    assert len(drawn) == 4


def test_masks_soft_labels_and_what_stays_behind_are_told_with_their_reasons(talked):
    _, made = talked
    for page in made.values():
        text = page.read_text()
        assert "state.abstained" in text
        assert re.search(r"<s>Which of these states", text)
        assert "gate.quarantined" in text
        assert "±" in text
        assert "<meter" in text
        assert "<script" not in text
        assert "Anna" not in text
        assert not re.search(r'(src|href)="(?!data:)', text)


def test_what_people_write_is_shown_as_text(tmp_path):
    held = learnable.project(tmp_path / "p", (1,))
    with Store(held.root, write=True) as store:
        for claim in held.store.all(Claim):
            store._db.execute(
                "UPDATE claims SET text = ? WHERE id = ?", (f"<img src=x onerror=1> {claim.text}", claim.id)
            )
        store._db.commit()
    text = write_preview(job_of(held, "trl", keep=False), trainer("trl"), tmp_path / "o").read_text()
    assert "<img src=x" not in text
    held.close()


def test_no_picture_of_care_and_none_of_a_file_that_was_exchanged(tmp_path):
    care = learnable.project(tmp_path / "c", (1,), "care")
    for held, name in ((care, "c"), (learnable.project(tmp_path / "d", (1, 2)), "d")):
        if name == "d":
            one, two = sorted((tmp_path / "d").glob("Anna*.mp4"))
            one.write_bytes(two.read_bytes())
        text = write_preview(job_of(held, "trl", keep=False), trainer("trl"), tmp_path / f"o{name}").read_text()
        assert text.count("<img ") == (4 if name == "d" else 0)
        assert ("media.changed" in text) == (name == "d")
        held.close()


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed (Debian: apt-get install chromium)")
def test_a_browser_draws_the_conversations(talked, tmp_path):
    _, made = talked
    flags = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--window-size=900,1600")
    shot = tmp_path / "shot.png"
    subprocess.run([CHROMIUM, *flags, f"--screenshot={shot}", made["trl"].as_uri()], check=True, capture_output=True)
    pixels = cv2.imread(str(shot)).astype(int)
    assert pixels.std() > 10
    grey = (np.abs(pixels - pixels.mean(axis=2, keepdims=True)).max(axis=2) < 6) & (np.abs(pixels[..., 0] - 80) < 12)
    assert grey.mean() > 0.005  # the grey of the generated film: its pictures are drawn, not only words
