"""What the documents say is true: the README runs, its commands exist, commands are documented, nothing leaks."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mien.pipeline import Project

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
TUTORIAL = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.S)


def test_the_python_of_the_readme_runs(short_real_clip, tmp_path, monkeypatch):
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    monkeypatch.chdir(tmp_path)
    (tmp_path / "clip.mp4").write_bytes(short_real_clip.read_bytes())
    (code,) = blocks("python")
    exec(compile(code, "README.md", "exec"), {})  # noqa: S102 - this is the test
    assert (tmp_path / "report.html").stat().st_size > 10_000
    assert (tmp_path / "my-project" / "mien.db").exists()
    pyplot.close("all")


@pytest.mark.parametrize(
    "line", [line for block in blocks("sh") for line in block.splitlines() if line.startswith("mien ")]
)
def test_the_commands_of_the_readme_exist(line):
    words = [w for w in line.split("#")[0].split() if not w.startswith(("-", '"', "."))][1:3]
    groups = {"models", "config", "train", "labels"}
    command = words if words[0] in groups else words[:1]
    done = subprocess.run(
        [sys.executable, "-m", "mien", *command, "--help"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Usage" in done.stdout


def test_every_command_is_in_the_readme():
    done = subprocess.run([sys.executable, "-m", "mien", "--help"], capture_output=True, text=True, check=True)
    commands = re.findall(r"^│ ([a-z]+) ", done.stdout.partition("Commands")[2], re.M)
    assert len(commands) >= 10
    assert [c for c in commands if f"mien {c}" not in README and c != "train"] == []


def test_the_two_commands_are_make_targets():
    makefile = (ROOT / "Makefile").read_text()
    first = blocks("sh")[0]
    assert re.findall(r"^make (\w+)", first, re.M) == ["demo", "test"]
    assert all(re.search(rf"^{t}:", makefile, re.M) for t in ("demo", "test", "lint", "types", "imports"))


def test_the_repository_names_no_machine_and_no_registry():
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    hosts = ("pypi" + ".org", "npm" + "js.org", "python" + "hosted.org")
    for name in tracked:
        path = ROOT / name
        if path.suffix in (".py", ".md", ".toml", ".html", ".js", ".css", "") and path.is_file():
            text = path.read_text(encoding="utf-8", errors="ignore")
            assert not [h for h in hosts if h in text], name
            assert ("/wo" + "rk/") not in text, name


def test_the_tutorial_can_be_followed(tmp_path, monkeypatch, capsys):
    """Its files are made and its commands run as they stand, one after another; only the claim's id is another."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    makefile = (ROOT / "Makefile").read_text()
    told: dict[str, list[str]] = {}
    for kind, title, text in re.findall(r"```(\w+)(?: title=\"(.+?)\")?\n(.*?)```", TUTORIAL, re.S):
        if title == "in a checkout":
            assert all(re.search(rf"^{t}:", makefile, re.M) for t in re.findall(r"^make (\w+)", text, re.M))
        elif title:
            with (tmp_path / title).open("a", encoding="utf-8") as file:
                file.write("\n" + text)
        elif kind == "python":
            exec(compile(text, "docs/tutorial.md", "exec"), {})  # noqa: S102 - this is the test
        elif kind == "sh":
            for line in filter(str.strip, text.splitlines()):
                ours = re.sub(r"claim-\w+", lambda _: _claim(tmp_path / "diary"), line)
                run = subprocess.run(["bash", "-c", ours], capture_output=True, text=True, check=False)
                assert run.returncode == 0, (line, run.stderr)
                assert "Traceback" not in run.stderr
                told.setdefault(line, []).append(run.stdout + run.stderr)
    first, again = (
        int(re.findall(r"(\d+) stage\(s\) done", told[line][0])[0])
        for line in ("mien -C diary run videos", "mien -C diary run")
    )
    assert first > again > 0
    assert re.findall(r"^(\d+) stage\(s\) done", TUTORIAL, re.M) == [str(again)]
    assert "evidence" in next(out[0] for line, out in told.items() if "--why" in line)
    corrected = next(out[0] for line, out in told.items() if "FROM verdicts" in line)
    assert corrected.count("pleasure") >= 4
    assert "Dr. A" in corrected
    crying, laughing = map(float, capsys.readouterr().out.splitlines()[0].split())
    assert crying < laughing
    for name in ("report.html", "exports/csv/signals.csv", "exports/webvtt/laughing.mp4.vtt", "exports/csv/NOTICE.txt"):
        assert (tmp_path / "diary" / name).stat().st_size > 0


def _claim(root: Path) -> str:
    project = Project.open(root)
    ((found,),) = project.store.query("SELECT id FROM claims WHERE kind = 'inference' LIMIT 1")[1]
    project.close()
    return found


def test_every_page_is_in_the_navigation_of_the_site():
    listed = re.findall(r": (\S+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.M)
    assert sorted(listed) == sorted(p.relative_to(ROOT / "docs").as_posix() for p in (ROOT / "docs").rglob("*.md"))
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    assert [n for n in listed if n != "index.md" and f"({n})" not in index] == []


@pytest.fixture
def site(tmp_path) -> Path:
    """The sources of the site in a folder of their own, where building leaves nothing behind."""
    if importlib.util.find_spec("zensical") is None:
        pytest.skip("needs the builder of the site: pip install 'mien[docs]'")
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    (tmp_path / "bench").mkdir()
    for name in ("mkdocs.yml", "bench/RESULTS.md"):
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def build(site: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "zensical", "build", "--strict"]
    return subprocess.run(command, cwd=site, capture_output=True, text=True, check=False)


def test_the_site_builds_strictly_and_loads_nothing_from_elsewhere(site):
    done = build(site)
    assert done.returncode == 0, done.stdout + done.stderr
    pages = {p.relative_to(site / "build/site"): p.read_text("utf-8") for p in (site / "build/site").rglob("*.html")}
    assert {Path("index.html"), Path("tutorial.html"), Path("decisions/0001-dependencies.html")} <= set(pages)
    for name, text in pages.items():
        assert "```" not in text, f"{name}: a block of code is not shown as one"
        assert not re.search(r"<(?:script|link|img)[^>]+(?:src|href)=\"https?:", text), name
    assert "Each section is written by the command it names" in pages[Path("results.html")]


@pytest.mark.parametrize("link", ["nowhere.md", "inputs.md#nowhere"])
def test_a_broken_link_stops_the_build(site, link):
    with (site / "docs" / "log.md").open("a", encoding="utf-8") as file:
        file.write(f"\n[broken]({link})\n")
    assert build(site).returncode != 0
