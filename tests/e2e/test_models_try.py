"""`mien models try` on real models and real media: numbers and licences, no picture, nothing kept."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mien.cli.trying import bodies_of
from mien.core import Boxes


def attempt(cwd: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mien", "models", "try", *words]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


def test_faces_are_found_first_and_crying_is_told_from_laughing(demo_video: Path, tmp_path: Path) -> None:
    done = attempt(tmp_path, "expression.faceapi", str(demo_video), "--frames", "2", "--json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["licences"]["weights"].startswith("MIT")
    assert "weights MIT" in done.stderr
    crying, laughing = answer["answer"]
    assert crying["sadness"] > 0.5 > crying["happiness"]
    assert laughing["happiness"] > 0.5 > laughing["sadness"]
    assert len(crying["box"]) == 4
    assert list(tmp_path.iterdir()) == [], "nothing is kept"


@pytest.mark.parametrize("model", ["object.nanodet", "pose.movenet", "age.ageandgender"])
def test_pictures_give_numbers(demo_video: Path, tmp_path: Path, model: str) -> None:
    done = attempt(tmp_path, model, str(demo_video), "--frames", "1")
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith(model)
    assert any(character.isdigit() for character in done.stdout)
    assert list(tmp_path.iterdir()) == []


def test_of_an_embedding_only_its_size_is_said(demo_video: Path, tmp_path: Path) -> None:
    done = attempt(tmp_path, "identity.faceres", str(demo_video), "--frames", "1", "--json")
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)["answer"]
    assert set(row) == {"time", "box", "numbers", "length"}


def test_sounds_give_curves_and_states(demo_speech: Path, demo_laugh: Path, tmp_path: Path) -> None:
    done = attempt(tmp_path, "pitch.swiftf0", str(demo_speech), "--json")
    assert len(json.loads(done.stdout)["answer"]) > 500
    done = attempt(tmp_path, "voice.state", str(demo_laugh), "--json")
    (row,) = json.loads(done.stdout)["answer"]
    assert row["pleasure"] > row["distress"]


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("expression.faceapy", "SPEECH"), "models.unknown"),
        (("expression.faceapi", "SPEECH"), "models.no-input"),
        (("vlm.qwen3vl", "--text", "hello"), "weights.missing"),
        (("expression.faceapi", "nowhere.png"), "weights.no-file"),
        (("expression.faceapi",), "models.no-input"),
        (("sample.demo-video", "SPEECH"), "models.unknown"),
        (("object.nanodet", "SPEECH", "--device", "cuda"), "device.unavailable"),
    ],
)
def test_what_cannot_be_tried_says_why(demo_speech: Path, tmp_path: Path, words: tuple[str, ...], code: str) -> None:
    done = attempt(tmp_path, *(str(demo_speech) if word == "SPEECH" else word for word in words))
    if code == "device.unavailable" and done.returncode == 0:
        pytest.skip("this machine has CUDA")
    assert done.returncode in (1, 2)
    assert f"[{code}]" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_face_is_given_the_smallest_body_that_holds_it() -> None:
    def boxes(*rows: tuple[int, float, float, float, float]) -> Boxes:
        n = len(rows)
        xyxy = np.array([row[1:] for row in rows], np.float32).reshape(n, 4)
        frame = np.array([row[0] for row in rows], np.int64)
        return Boxes(frame, xyxy, np.ones(n, np.float32), np.zeros(n, np.int64), ("x",))

    faces = boxes((0, 10, 10, 20, 20), (0, 80, 10, 90, 20), (1, 10, 10, 20, 20))
    people = boxes((0, 0, 0, 60, 100), (0, 5, 5, 30, 90), (1, 50, 0, 90, 100))
    body = bodies_of(faces, people)
    assert body[0].tolist() == [5, 5, 30, 90]
    assert np.isnan(body[1:]).all()
