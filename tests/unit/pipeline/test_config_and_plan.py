import pytest

from mien.core import MienError, Span
from mien.pipeline.config import find_root, flatten, load, starter
from mien.pipeline.plan import STAGES, Stage, check_plan
from mien.pipeline.rows import windows

S = 1_000_000


def project(tmp_path, text=""):
    (tmp_path / "mien.toml").write_text(starter("research", 'a "name"') + text, encoding="utf-8")
    return tmp_path


def test_flag_beats_environment_beats_file_beats_default(tmp_path, monkeypatch):
    root = project(tmp_path)
    (root / "mien.toml").write_text('[project]\ncontext = "research"\n[analysis]\nfps = 4.0\nwindow_s = 1.0\n')
    monkeypatch.setenv("MIEN_ANALYSIS__WINDOW_S", "3")
    monkeypatch.setenv("MIEN_ANALYSIS__MAX_CLIP_S", "30")
    config, origins = load(root, {"analysis": {"max_clip_s": 20}})
    assert (config.analysis.fps, config.analysis.window_s, config.analysis.max_clip_s) == (4.0, 3.0, 20.0)
    assert [origins[f"analysis.{k}"] for k in ("fps", "window_s", "max_clip_s", "threads")] == [
        "file", "environment", "flag", "default",
    ]  # fmt: skip


def test_the_starter_file_is_valid_and_keeps_odd_names(tmp_path):
    config, origins = load(project(tmp_path))
    assert config.project.name == 'a "name"'
    assert set(origins) == set(flatten(config.model_dump(mode="json")))


def test_the_project_is_found_upward(tmp_path):
    root = project(tmp_path)
    deep = root / "a" / "b"
    deep.mkdir(parents=True)
    assert find_root(deep) == root.resolve()
    with pytest.raises(MienError, match="project.not-found"):
        find_root(tmp_path.parent)


def test_the_plan_is_sound_and_a_wrong_one_fails_before_any_work():
    check_plan()
    with pytest.raises(MienError, match="did you mean 'faces'"):
        check_plan((*STAGES[:7], Stage("x", "vision", 1, needs=("facse",))))


def test_windows_lie_on_the_grid_of_the_source_and_leave_no_crumbs():
    assert list(windows(Span(0, 5 * S), 2.0)) == [Span(0, 2 * S), Span(2 * S, 4 * S), Span(4 * S, 5 * S)]
    assert list(windows(Span(1 * S, 4 * S + 100_000), 2.0)) == [Span(1 * S, 2 * S), Span(2 * S, 4 * S + 100_000)]
    assert list(windows(Span(0, 1), 2.0)) == [Span(0, 1)]
