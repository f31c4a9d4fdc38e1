"""What the documents say is true: the README runs, its commands exist, commands are documented, nothing leaks."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


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
    groups = {"models", "config", "train"}
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
