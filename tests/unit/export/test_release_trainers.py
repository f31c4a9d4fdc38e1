"""Releases with trainers' folders over real films: files of an example are its own, and canaries are in no file."""

import json
import os
import subprocess
import sys

import pytest
from releasing import AGREED
from studio import studio

import mien
from mien.export import release
from mien.export.trainers import trainers
from mien.media import hash_file
from mien.store.sealing import check
from mien.testing.media import Recipe


def film(seed, **more):
    source = AGREED | more.pop("source", {})
    return {"recipe": Recipe(2, 15, 256, 256, seed=seed), "source": source} | more


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    return tmp_path_factory.mktemp("films")


@pytest.fixture(scope="module")
def filmed(films):
    held = studio(
        films,
        {
            "plain": film(1),
            "second": film(2),
            "explicit": film(3, explicit=0.9, age=40.0),
            "minor": film(4, explicit=0.9, age=15.0),
            "ward": film(5, source={"context": "care"}),
            "refused": film(6, source={"consent": "withdrawn"}),
        },
    )
    yield held
    held.close()


@pytest.mark.parametrize("name", ["trl", "diffusers"])
def test_media_of_an_example_are_its_own_and_canaries_are_nowhere(filmed, films, name):
    if name not in trainers():
        pytest.skip(f"the trainer {name} is not there")
    order = release.Order(f"films-{name}", "1.0.0", (name,), tables=True, licence="CC-BY-4.0")
    made = release.build(filmed, order)
    assert check(made.folder)[1] == []
    held = mien.load_release(made.folder)
    ours = {hash_file(films / f"{n}.mp4") for n in ("plain", "second")}
    assert {e.source for e in held} == ours
    assert all(e.media for e in held)
    assert all(m.read() for e in held for m in e.media)
    first, second = ({m.file.path for m in e.media} for e in held)
    assert not first & second
    every = b"\n".join(p.read_bytes() for p in made.folder.rglob("*") if p.is_file())
    for canary in ("explicit", "minor", "ward", "refused"):
        assert hash_file(films / f"{canary}.mp4").encode() not in every
        assert f"{canary}.mp4".encode() not in every
    assert len(made.withheld) == 4
    again = json.loads((made.folder / "MANIFEST.json").read_text())["about"]
    assert again["trainers"] == [name]
    assert again["withheld"] == 4


@pytest.mark.slow
def test_encoded_films_have_one_root_on_one_core_and_on_all(films, filmed, tmp_path):
    order = release.Order("films", "1.0.0", ("hf", "musubi"), licence="CC-BY-4.0")
    here = release.build(filmed, order, tmp_path / "here").root
    code = (
        "import os, sys; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "from pathlib import Path; from mien.export import release; from mien.pipeline import Project\n"
        "order = release.Order('films', '1.0.0', ('musubi', 'hf'), licence='CC-BY-4.0')\n"
        "print(release.build(Project.open(Path(sys.argv[1])), order, Path(sys.argv[2])).root)"
    )
    words = [sys.executable, "-c", code, str(films / "p"), str(tmp_path / "there")]
    env = {**os.environ, "TZ": "Asia/Tokyo", "PYTHONHASHSEED": "5", "LC_ALL": "C"}
    assert subprocess.run(words, env=env, capture_output=True, text=True, check=True).stdout.strip() == here


def test_a_trainer_nobody_knows(filmed):
    with pytest.raises(mien.MienError, match=r"export\.unknown-trainer"):
        release.build(filmed, release.Order("films", "1.0.0", ("nobody",)))
