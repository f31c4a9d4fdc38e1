"""A registry on 127.0.0.1 that can misbehave, and an environment in which only it is configured."""

from __future__ import annotations

import hashlib
import io
import os
import random
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from mien.core import Asset, Licences, Weights


class Registry:
    """Serves `files` by path. `ranges`, `cut` (bytes per answer, then the connection breaks), `down` (503), `token`."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.ranges, self.cut, self.down, self.token = True, 0, False, ""
        self.log: list[tuple[str, str, str]] = []
        self.sent = 0
        registry = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                pass

            def do_HEAD(self) -> None:
                self.answer(body=False)

            def do_GET(self) -> None:
                self.answer(body=True)

            def answer(self, *, body: bool) -> None:
                wanted = self.headers.get("Range", "") if registry.ranges else ""
                registry.log.append((self.command, self.path, self.headers.get("Range", "")))
                data = registry.files.get(self.path)
                if registry.token and self.headers.get("Authorization") != f"Bearer {registry.token}":
                    return self.status(401)
                if registry.down:
                    return self.status(503)
                if data is None:
                    return self.status(404)
                first, last = 0, len(data) - 1
                if wanted:
                    low, _, high = wanted.removeprefix("bytes=").partition("-")
                    first = int(low) if low else max(0, len(data) - int(high))
                    last = min(int(high), last) if low and high else last
                    if first > last:
                        self.send_response(416)
                        self.send_header("Content-Range", f"bytes */{len(data)}")
                        self.send_header("Content-Length", "0")
                        self.end_headers()
                        return None
                self.send_response(206 if wanted else 200)
                if wanted:
                    self.send_header("Content-Range", f"bytes {first}-{last}/{len(data)}")
                self.send_header("Content-Type", "text/html" if self.path.endswith("/") else "application/octet-stream")
                self.send_header("Content-Length", str(last + 1 - first))
                self.end_headers()
                part = data[first : last + 1]
                if registry.cut and len(part) > registry.cut:
                    part = part[: registry.cut]
                try:
                    for at in range(0, len(part) if body else 0, 1 << 14):
                        registry.sent += self.wfile.write(part[at : at + (1 << 14)])
                except OSError:
                    pass  # the client left early
                return None

            def status(self, code: int) -> None:
                self.send_response(code)
                self.send_header("Content-Length", "0")
                self.end_headers()

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def gets(self, path: str) -> list[str]:
        """Range headers of the GETs of one path, in order."""
        return [r for method, p, r in self.log if method == "GET" and p == path]

    def wheel(self, filename: str, members: dict[str, bytes], *, stored: bool = False) -> bytes:
        """Serve a wheel, and list it in the simple index."""
        data, project = wheel_bytes(members, stored=stored), filename.partition("-")[0].replace("_", "-")
        self.files[f"/files/{filename}"] = data
        page = self.files.get(f"/simple/{project}/", b"")
        self.files[f"/simple/{project}/"] = page + f'<a href="/files/{filename}">{filename}</a><br>'.encode()
        return data

    def tarball(self, package: str, version: str, members: dict[str, bytes]) -> str:
        """Serve an npm package; gives the tarball's path."""
        path = f"/{package}/-/{package.rpartition('/')[2]}-{version}.tgz"
        self.files[path] = tarball_bytes(members)
        document = f'{{"dist": {{"tarball": "{self.url}{path}"}}}}'
        self.files[f"/{package.replace('/', '%2F')}/{version}"] = document.encode()
        return path


def noise(seed: int, size: int) -> bytes:
    """Seeded bytes that compress to about their half."""
    return bytes(b & 0x0F for b in random.Random(seed).randbytes(size))


def wheel_bytes(members: dict[str, bytes], *, stored: bool = False) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return out.getvalue()


def tarball_bytes(members: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz", compresslevel=1) as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def asset(member: str, data: bytes, source: str = "wheel", name: str = "fake-model", version: str = "1.0") -> Asset:
    sha = hashlib.sha256(data).hexdigest()
    return Asset(member.rpartition("/")[2], source, name, version, member, sha, len(data))  # pyright: ignore[reportArgumentType]


def model(name: str, *assets: Asset, runtime: tuple[str, ...] = ()) -> Weights:
    return Weights(name, assets, Licences("MIT", "MIT", "none"), runtime or tuple(a.file for a in assets))


@pytest.fixture
def registry() -> Iterator[Registry]:
    held = Registry()
    yield held
    held.close()


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home, cache and working folder; no registry is configured."""
    for name in list(os.environ):
        if name.lower().startswith(("pip_", "npm_config_", "hf_")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MIEN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("npm_config_globalconfig", os.devnull)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def configured(here: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`here`, with pip and npm set to the local registry."""
    monkeypatch.setenv("PIP_INDEX_URL", f"{registry.url}/simple")
    monkeypatch.setenv("npm_config_registry", registry.url)
    return here
