"""pip's and npm's own configuration, read as they read it."""

from __future__ import annotations

from pathlib import Path

import pytest

from mien.models.weights.places import settings


def test_pip_variables_win_over_its_files_and_local_places_come_first(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    conf = here / "pip.conf"
    conf.write_text(
        "[global]\nindex-url = https://one.invalid/simple\nextra-index-url =\n  https://two.invalid/simple\n"
        "  file:///srv/simple\ncert = /ca.pem\ntrusted-host = two.invalid\n[install]\ntimeout = 7\n"
    )
    monkeypatch.setenv("PIP_CONFIG_FILE", str(conf))
    read = settings.pip()
    assert read.places == (
        ("index", "file:///srv/simple"),
        ("index", "https://one.invalid/simple"),
        ("index", "https://two.invalid/simple"),
    )
    assert (read.cert, read.trusted, read.timeout_s) == ("/ca.pem", ("two.invalid",), 7.0)
    monkeypatch.setenv("PIP_INDEX_URL", "https://three.invalid/simple")
    monkeypatch.setenv("PIP_FIND_LINKS", "/srv/wheels")
    assert ("index", "https://three.invalid/simple") in settings.pip().places
    assert ("index", "https://one.invalid/simple") not in settings.pip().places
    assert settings.pip().places[0] == ("links", "/srv/wheels")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    assert settings.pip().places == (("links", "/srv/wheels"),)


@pytest.mark.usefixtures("here")
def test_without_settings_pips_own_default_is_used() -> None:
    from pypi_simple import PYPI_SIMPLE_ENDPOINT

    ((kind, address),) = settings.pip().places
    assert kind == "index"
    assert address.rstrip("/") == PYPI_SIMPLE_ENDPOINT.rstrip("/")


def test_without_pip_its_variables_still_count(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings.sys, "executable", "/bin/false")
    monkeypatch.setenv("PIP_INDEX_URL", "https://three.invalid/simple")
    assert settings.pip().places == (("index", "https://three.invalid/simple"),)


def test_npm_files_in_order_with_scopes_variables_and_comments(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOST", "mirror.invalid")
    (here / "home" / ".npmrc").write_text(
        '; comment\n# comment\nregistry = "https://${HOST}/npm/"\n@mine:registry=https://mine.invalid\ncafile=/ca.pem\n'
        "//mine.invalid/:_authToken=abc\n//mirror.invalid/npm/:_auth=dXNlcg==\nproxy=http://proxy.invalid:1\n"
    )
    npm = settings.npm()
    assert npm.registry("uplot") == "https://mirror.invalid/npm/"
    assert npm.manifest("@mine/models", "1.0.0") == "https://mine.invalid/@mine%2Fmodels/1.0.0"
    assert (npm.cert, npm.proxy) == ("/ca.pem", "http://proxy.invalid:1")
    assert npm.credentials("https://mine.invalid/@mine/models/-/models-1.0.0.tgz") == ("Bearer", "abc")
    assert npm.credentials("https://mirror.invalid/npm/uplot") == ("Basic", "dXNlcg==")
    assert npm.credentials("https://mirror.invalid/other/uplot") is None
    assert npm.credentials("https://else.invalid/uplot") is None
    (here / ".npmrc").write_text("registry=https://project.invalid/\n")
    assert settings.npm().registry("uplot") == "https://project.invalid/"
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", "https://variable.invalid")
    assert settings.npm().registry("uplot") == "https://variable.invalid/"


@pytest.mark.usefixtures("here")
def test_the_default_registrys_host_gives_way_to_a_mirror(monkeypatch: pytest.MonkeyPatch) -> None:
    listed = settings.NPM_DEFAULT + "uplot/-/uplot-1.6.32.tgz"
    assert settings.npm().registry("uplot") == settings.NPM_DEFAULT
    assert settings.npm().tarball("uplot", listed) == listed
    monkeypatch.setenv("npm_config_registry", "https://mirror.invalid/npm")
    assert settings.npm().tarball("uplot", listed) == "https://mirror.invalid/npm/uplot/-/uplot-1.6.32.tgz"
    assert settings.npm().tarball("uplot", "https://files.invalid/u.tgz") == "https://files.invalid/u.tgz"
