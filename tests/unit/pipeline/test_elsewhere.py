"""Media fetched by URL: the frames are those of the file, what was exchanged is refused, and nothing stays behind."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import shutil
import subprocess
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from mien.core import MienError, Source, Span
from mien.media import Decoder
from mien.media.files import hash_file
from mien.pipeline import Project
from mien.pipeline.config import Stack, load
from mien.pipeline.engine import elsewhere
from mien.pipeline.engine.elsewhere import Elsewhere
from mien.store import Store, canonical_dump
from mien.testing.media import Recipe, make

pytest.importorskip("fsspec", reason="needs the extra: pip install 'mien[ray]'")
HTTP = pytest.mark.skipif(importlib.util.find_spec("aiohttp") is None, reason="fsspec reads http with aiohttp")


@pytest.fixture
def source(tmp_path) -> Source:
    """Registered at a path of another machine; the file lies in `bucket`."""
    path = tmp_path / "bucket" / "day 1" / "film.mp4"
    path.parent.mkdir(parents=True)
    make(path, Recipe(seconds=2.0))
    size, seen = path.stat().st_size, "/there/media/day 1/film.mp4"
    return Source(hash_file(path), seen, "video", size, 2_000_000, 160, 120, 25.0, 44_100, 1, "care")


@pytest.fixture
def temporary(tmp_path, monkeypatch) -> Path:
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


@pytest.fixture
def served(tmp_path):
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path / "bucket"))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def frames(path: Path) -> np.ndarray:
    with Decoder(path) as decoder:
        return np.concatenate([f.pixels for f in decoder.frames(Span(0, 2_000_000), 5.0)])


@pytest.mark.parametrize("kind", ["file", pytest.param("http", marks=HTTP)])
def test_frames_are_those_of_the_file_and_nothing_stays(source, tmp_path, temporary, kind, request):
    url = (tmp_path / "bucket").as_uri() if kind == "file" else request.getfixturevalue("served")
    there = Elsewhere("/there/media", url, held=2)
    path = there.path(source)
    assert there.path(source) == path, "fetched once"
    assert np.array_equal(frames(path), frames(tmp_path / "bucket" / "day 1" / "film.mp4"))
    if sys.platform == "linux":
        assert not [*temporary.iterdir()], "a file without a name: whoever is killed leaves nothing"
    there.close()
    assert not path.exists()
    assert not [*temporary.iterdir()]


def test_a_file_that_is_there_is_not_fetched(source, tmp_path):
    here = dataclasses.replace(source, path=str(tmp_path / "bucket" / "day 1" / "film.mp4"))
    assert Elsewhere("/there/media", "file:///nowhere", held=1).path(here) == Path(here.path)


def test_no_more_files_are_held_than_are_worked_on(source, tmp_path, temporary):
    there = Elsewhere("/there/media", (tmp_path / "bucket").as_uri(), held=2)
    paths = []
    for n in range(4):
        copy = tmp_path / "bucket" / f"{n}.mp4"
        make(copy, Recipe(seconds=0.5, seed=n))
        other = {"sha256": hash_file(copy), "bytes": copy.stat().st_size, "path": f"/there/media/{n}.mp4"}
        paths.append(there.path(dataclasses.replace(source, **other)))
    assert paths[2] != paths[3]
    assert [hash_file(p) for p in paths[2:]] == [hash_file(tmp_path / "bucket" / f"{n}.mp4") for n in (2, 3)]
    assert len(there._held) == 2
    there.close()


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda p: p.write_bytes(p.read_bytes()[:-1]), "media.changed"),
        (lambda p: p.write_bytes(p.read_bytes() + b"more"), "media.changed"),
        (lambda p: p.write_bytes(p.read_bytes()[:-1] + b"?"), "media.changed"),
        (lambda p: p.unlink(), "media.not-found"),
        (lambda p: (p.unlink(), p.mkdir()), "media.unreachable"),
    ],
)
def test_what_was_exchanged_or_is_not_there_is_refused(source, tmp_path, temporary, change, code):
    change(tmp_path / "bucket" / "day 1" / "film.mp4")
    with pytest.raises(MienError) as refused:
        Elsewhere("/there/media", (tmp_path / "bucket").as_uri(), held=1).path(source)
    assert refused.value.code == code
    assert refused.value.hint
    assert not [*temporary.iterdir()]


def test_only_what_lies_under_the_root_is_asked_for(source):
    with pytest.raises(MienError, match="not under run.media_root") as refused:
        Elsewhere("/there/other", "file:///", held=1).path(source)
    assert refused.value.code == "media.not-found"


@HTTP
def test_a_server_that_is_gone_is_worth_a_retry(source, temporary):
    with pytest.raises(MienError) as refused:
        Elsewhere("/there/media", "http://127.0.0.1:9", held=1).path(source)
    assert (refused.value.code, refused.value.retryable) == ("media.unreachable", True)


@HTTP
def test_nobody_is_sent_on_to_another_host(source, tmp_path, temporary, served):
    """A host that is on the list may not lead to one that is not."""
    target = f"{served}/day%201/film.mp4"

    class Leading(SimpleHTTPRequestHandler):
        def do_GET(self):
            self.send_response(302)
            self.send_header("Location", target)
            self.end_headers()

        def do_HEAD(self):
            self.do_GET()

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Leading) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with pytest.raises(MienError) as refused:
            Elsewhere("/there/media", f"http://127.0.0.1:{server.server_address[1]}", held=1).path(source)
        server.shutdown()
    assert refused.value.code in ("media.changed", "media.unreachable", "media.not-found")


def test_a_store_without_its_package_says_so(source, temporary, monkeypatch):
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(MienError, match="s3fs") as refused:
        Elsewhere("/there/media", "s3://bucket", held=1).path(source)
    assert (refused.value.code, refused.value.retryable) == ("install.missing-extra", False)


def config_of(url: str, context: str = "research", root: str = "/there/media", **egress):
    return load(
        None, {"project": {"context": context}, "run": {"media_url": url, "media_root": root}, "egress": egress}
    )[0]


def test_workers_fetch_only_from_where_the_project_lets_them():
    store, agreed = "s3.amazonaws.com:443", {"agreement": "2026-11-01", "approver": "A. Nurse"}
    for config in (
        config_of(""),
        config_of("file:///mnt/media", "care"),
        config_of("s3://bucket/media", allow=[store]),
        config_of("s3://bucket/media", "care", allow=[store], **agreed),
        config_of("http://127.0.0.1:8000/media", allow=["127.0.0.1:8000"]),
    ):
        elsewhere.allowed(config)
    for config, code in (
        (config_of("s3://bucket/media"), "egress.refused"),
        (config_of("s3://key:secret@bucket/media", allow=[store]), "config.invalid"),
        (config_of("https://127.0.0.1/media?token=1", allow=["127.0.0.1:443"]), "config.invalid"),
        (config_of("ftp://127.0.0.1/media"), "config.invalid"),
        (config_of("media"), "config.invalid"),
        (config_of("file:///mnt/media", root="media"), "config.invalid"),
        (config_of("s3://bucket/media", "care", allow=[store]), "egress.care-refused"),
        (config_of("http://8.8.8.8/media", allow=["8.8.8.8:80"]), "egress.plain-http"),
    ):
        with pytest.raises(MienError) as refused:
            elsewhere.allowed(config)
        assert refused.value.code == code
        assert refused.value.hint


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs the extra: pip install 'mien[ray]'")
def test_ray_without_the_files_gives_what_this_machine_gives_with_them(tmp_path):
    """The media go away once their clips are known; what changed meanwhile is done by actors that fetch them."""
    media, moved = tmp_path / "media", tmp_path / "bucket"
    media.mkdir()
    film = make(media / "film.mp4", Recipe(seconds=4.0)).path
    off = "".join(f'{slot} = "off"\n' for slot in Stack.model_fields)
    found = []
    for name in ("here", "there"):
        root = tmp_path / name
        Project.init(root, "research").close()
        text = (root / "mien.toml").read_text().split("[analysis]")[0]
        (root / "mien.toml").write_text(f"{text}[analysis]\nmax_clip_s = 2.0\n[stack]\n{off}")
        run(root, film, fps=5)
        if name == "there":
            shutil.move(media, moved)
        terms = {"RUN__RUNNER": "ray", "RUN__WORKERS": 1, "RUN__MEDIA_ROOT": media, "RUN__MEDIA_URL": moved.as_uri()}
        run(root, *([film] if name == "here" else []), fps=10, **({} if name == "here" else terms))
        with Store(root) as store:
            found.append(canonical_dump(store))
    assert "motion" in found[0]
    assert found[0] == found[1]


def run(root: Path, *inputs: Path, fps: int, **terms) -> None:
    given = {f"MIEN_{k}": str(v) for k, v in {"RUN__RUNNER": "inline", "ANALYSIS__FPS": fps, **terms}.items()}
    command = [sys.executable, "-m", "mien", "-C", str(root), "run", "--json", *map(str, inputs)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **given}, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
