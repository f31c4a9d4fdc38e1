"""`mien models new` and the page that builds an adapter with it: both run as they stand."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "howto-adapter.md").read_text(encoding="utf-8")


def run(line: str, cwd: Path, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["bash", "-c", line], cwd=cwd, env=env, capture_output=True, text=True, check=False)


def installed(package: Path, name: str, site: Path) -> None:
    """What `pip install -e` leaves behind: the folder on the path, and the entry point in its metadata."""
    module = name.replace("-", "_")
    info = site / f"{module}-0.1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.1.0\n")
    declared = (package / "pyproject.toml").read_text()
    points = re.search(r'\[project\.entry-points\."mien\.models"\]\n(.+ = ".+")', declared)
    assert points
    (info / "entry_points.txt").write_text("[mien.models]\n" + points[1].replace('"', "") + "\n")
    shutil.copy(package / f"{module}.py", site)


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """A path with this environment's commands, and a folder that installed packages come to."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return os.environ | {"PATH": path, "PYTHONPATH": str(tmp_path / "site"), "PYTHONDONTWRITEBYTECODE": "1"}


@pytest.mark.parametrize(("name", "slot"), [("expression.one", ""), ("age.two", ""), ("mine.three-x", "explicit")])
def test_the_test_of_the_skeleton_passes_as_written(tmp_path: Path, env: dict[str, str], name: str, slot: str) -> None:
    done = run(f"mien models new {name} made {f'--slot {slot}' if slot else ''}", tmp_path, env)
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.split()) == sorted(f"made/{p.name}" for p in (tmp_path / "made").iterdir())
    tested = run("python -m pytest -q -p no:cacheprovider -W error .", tmp_path / "made", env)
    assert "3 passed" in tested.stdout, tested.stdout + tested.stderr
    (module,) = (p for p in (tmp_path / "made").glob("mien_*.py"))
    module.write_text(module.read_text().replace("self._net.run(cells(cut))", "self._net.run(cells(cut) * 0)"))
    broken = run("python -m pytest -q -p no:cacheprovider .", tmp_path / "made", env)
    assert " failed" in broken.stdout, "an adapter that looks at nothing must fail its test"


@pytest.mark.parametrize(
    ("call", "code"),
    [
        ("Expression.Mine", "models.bad-name"),
        ("expression.faceapi", "models.duplicate-name"),
        ("vad.mine", "models.no-template"),
        ("expression.mine full", "models.folder-taken"),
    ],
)
def test_mistakes_are_sentences(tmp_path: Path, env: dict[str, str], call: str, code: str) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    done = run(f"mien models new {call}", tmp_path, env)
    assert done.returncode != 0
    assert f"[{code}]" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_page_can_be_followed(tmp_path: Path, env: dict[str, str], demo_video: Path) -> None:
    import cv2

    from mien.media import Decoder
    from mien.models.weights import cache_dir, select

    with Decoder(demo_video) as decoder:
        (still,) = decoder.stills([15_000_000]).pixels
    cv2.imwrite(str(tmp_path / "face.jpg"), still[..., ::-1])
    # the cache is the real one, seen from a folder of this test: what is added here stays here
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "weights").mkdir()
    for entry in select([]):
        real = cache_dir() / "weights" / entry.model
        if real.exists():
            (tmp_path / "cache" / "weights" / entry.model).symlink_to(real)
    env = env | {"MIEN_CACHE": str(tmp_path / "cache")}
    told: dict[str, str] = {}
    for kind, title, text in re.findall(r"```(\w+)(?: title=\"(.+?)\")?\n(.*?)```", PAGE, re.S):
        if title:
            with (tmp_path / title).open("a", encoding="utf-8") as file:
                file.write("\n" + text)
            continue
        assert kind == "sh"
        for line in filter(str.strip, text.splitlines()):
            if line.startswith("pip install -e "):
                package = line.removeprefix("pip install -e ").strip()
                installed(tmp_path / package, package, tmp_path / "site")
                continue
            done = run(line, tmp_path, env)
            assert done.returncode == 0, (line, done.stdout, done.stderr)
            told[line] = done.stdout + done.stderr
    assert "no, bring it" in told["mien models list expression.mine"]
    assert "happiness" in told["mien models try expression.mine face.jpg"]
    assert "expression.mine@1+" in next(out for line, out in told.items() if "query" in line)
    assert not (cache_dir() / "weights" / "expression-mine").exists()
