"""The registry clients' own configuration: pip's (asked of pip, or its environment), npm's (.npmrc; no Node needed)."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit

# The default registry that npm itself falls back to, assembled so that the repository names no registry host.
NPM_DEFAULT = "https://registry.{}js.org/".format("npm")


@dataclass(frozen=True, slots=True)
class Pip:
    """`places`: (kind, address) with kind "index" or "links", local ones first; each may or may not have a file."""

    places: tuple[tuple[str, str], ...]
    cert: str = ""
    proxy: str = ""
    trusted: tuple[str, ...] = ()
    timeout_s: float = 30


def pip() -> Pip:
    """What pip would use here: its configuration files and PIP_* variables; without pip, the variables alone.

    Every pinned file is checked by its sha256, so that the order of places cannot change what is installed: local
    places come first because they cost nothing.
    """
    values = _pip_values()
    indexes = (
        []
        if values.get("no-index", "").lower() in ("1", "true", "yes", "on")
        else [*(values.get("index-url", "") or _pip_default()).split(), *values.get("extra-index-url", "").split()]
    )
    places = [("links", p) for p in values.get("find-links", "").split()] + [("index", p) for p in indexes]
    timeout = values.get("timeout") or values.get("default-timeout") or "30"
    return Pip(
        places=tuple(sorted(dict.fromkeys(places), key=lambda p: is_remote(p[1]))),
        cert=values.get("cert", ""),
        proxy=values.get("proxy", ""),
        trusted=tuple(values.get("trusted-host", "").split()),
        timeout_s=float(timeout) if timeout.replace(".", "", 1).isdigit() else 30,
    )


def is_remote(address: str) -> bool:
    return address.startswith(("http://", "https://"))


def _pip_values() -> dict[str, str]:
    asked = subprocess.run(
        [sys.executable, "-m", "pip", "--disable-pip-version-check", "config", "list"],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    # files first, the `download` and `install` sections over `global`, the environment over all: pip's own order
    layers: dict[str, dict[str, str]] = {"global": {}, "download": {}, "install": {}, ":env:": {}}
    for line in asked.stdout.splitlines() if asked.returncode == 0 else []:
        key, _, value = line.partition("=")
        section, _, name = key.partition(".")
        if section in layers:
            layers[section][name.lstrip(".")] = str(ast.literal_eval(value))
    if asked.returncode != 0:  # no pip in this environment (uv, distribution packages)
        own = {k[4:].lower().replace("_", "-"): v for k, v in os.environ.items() if k.startswith("PIP_")}
        layers[":env:"].update(own)
    merged: dict[str, str] = {}
    for layer in layers.values():
        merged |= layer
    return merged


def _pip_default() -> str:
    try:
        from pip._internal.models.index import PyPI  # pyright: ignore[reportMissingImports]

        return str(PyPI.simple_url)
    except ImportError:
        from pypi_simple import PYPI_SIMPLE_ENDPOINT

        return PYPI_SIMPLE_ENDPOINT


@dataclass(frozen=True, slots=True)
class Npm:
    """npm's settings, merged: environment over project, user and global .npmrc."""

    values: Mapping[str, str]

    def registry(self, package: str) -> str:
        """The registry of a package, by its scope; ends with a slash."""
        scope = package.partition("/")[0] if package.startswith("@") else ""
        address = self.values.get(f"{scope}:registry") if scope else None
        return (address or self.values.get("registry") or NPM_DEFAULT).rstrip("/") + "/"

    def manifest(self, package: str, version: str = "") -> str:
        """Address of a package's document, or of one version's."""
        return self.registry(package) + quote(package, safe="@") + (f"/{version}" if version else "")

    def tarball(self, package: str, listed: str) -> str:
        """The tarball's address; as npm does, the default registry's host is replaced by the configured one."""
        registry = urlsplit(self.registry(package))
        if urlsplit(listed).netloc == urlsplit(NPM_DEFAULT).netloc != registry.netloc:
            return f"{registry.scheme}://{registry.netloc}{registry.path.rstrip('/')}{urlsplit(listed).path}"
        return listed

    def credentials(self, url: str) -> tuple[str, str] | None:
        """(scheme, token) for an address: `//host/path/:_authToken=` or `:_auth=`, the longest path first."""
        parts = urlsplit(url)
        path = parts.path
        while True:
            path = path[: path.rfind("/") + 1]
            for key, scheme in (("_authToken", "Bearer"), ("_auth", "Basic")):
                token = self.values.get(f"//{parts.netloc}{path}:{key}")
                if token:
                    return scheme, token
            if path in ("", "/"):
                return None
            path = path[:-1]

    @property
    def cert(self) -> str:
        return self.values.get("cafile", "")

    @property
    def proxy(self) -> str:
        return self.values.get("https-proxy") or self.values.get("proxy") or ""


def npm() -> Npm:
    """npm's settings as it would find them from the current folder."""
    environment = {
        name[11:] if name.startswith(("npm_config_//", "npm_config_@")) else name[11:].lower().replace("_", "-"): value
        for name, value in os.environ.items()
        if name.lower().startswith("npm_config_") and value
    }
    user = Path(environment.get("userconfig") or Path.home() / ".npmrc")
    merged: dict[str, str] = {}
    for file in (_npm_global(environment), user, Path.cwd() / ".npmrc"):
        if file is not None:
            merged |= _npmrc(file)
    return Npm(merged | environment)


def _npm_global(environment: Mapping[str, str]) -> Path | None:
    if named := environment.get("globalconfig"):
        return Path(named)
    node = shutil.which("node")
    prefix = environment.get("prefix") or os.environ.get("PREFIX") or (str(Path(node).parent.parent) if node else "")
    return Path(prefix) / "etc" / "npmrc" if prefix else None


def _npmrc(file: Path) -> dict[str, str]:
    """An ini file without sections; `${VAR}` is the environment's, and stays as it is where that is not set."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return {}
    values: dict[str, str] = {}
    for line in lines:
        key, sign, value = line.strip().partition("=")
        if not sign or key.startswith(("#", ";")):
            continue
        value = value.strip()
        if value.startswith('"') and value.endswith('"') and len(value) > 1:
            value = str(json.loads(value))
        values[_expand(key.strip())] = _expand(value)
    return values


def _expand(text: str) -> str:
    return re.sub(r"\$\{([^}]+)\}", lambda m: os.environ.get(m[1].rstrip("?"), m[0]), text)
