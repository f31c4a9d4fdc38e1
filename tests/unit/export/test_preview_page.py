"""The page before an export: frames as they will be trained, what is dropped; no picture where none may be."""

import re
import shutil
import subprocess

import cv2
import numpy as np
import pytest
from studio import job, studio

from mien.export.diffusion import TRAINERS
from mien.export.preview import write_preview
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
