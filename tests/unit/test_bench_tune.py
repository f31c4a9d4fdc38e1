"""The bench of sessions: its ways are what they say."""

from __future__ import annotations

from pathlib import Path

from bench import tune


def test_the_stack_as_it_was_opened_before_keeps_nothing_and_the_others_do(monkeypatch):
    seen: list[tuple[str, str | None]] = []

    class Done:
        returncode, stdout = 0, '{"run_s": 1}\n'

    def run(command, *, env, **_):
        seen.append((command[3], env.get("MIEN_GRAPHS")))
        return Done

    monkeypatch.delenv("MIEN_GRAPHS", raising=False)
    monkeypatch.setattr(tune.subprocess, "run", run)
    for way in tune.WAYS:
        assert tune.child(way, Path("x.mp4")) == {"run_s": 1}
    assert seen == [("before", "off"), ("now", None), ("now, int8", None)]


def test_without_shared_data_only_the_demonstration_video_is_compared(monkeypatch, tmp_path):
    monkeypatch.setenv("MIEN_SHARED_DATA", str(tmp_path))
    assert list(tune.others()) == []
    at = tmp_path / tune.PICTURES
    at.mkdir()
    for i in range(100):
        (at / f"{i:03}.jpg").touch()
    assert len(tune.others()) == tune.MOST
