"""Shared by all tests: the real sample that mien fetches, and the folder of shared real data where it exists."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).parents[1]
# No verdict of a test depends on how busy the machine is.
settings.register_profile("mien", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("mien")


def sample(name: str) -> Path:
    from mien.models.weights import resolve, select

    (entry,) = select([f"sample.{name}"])
    return resolve(entry.weights).only


@pytest.fixture(scope="session")
def demo_video() -> Path:
    """Real footage of a face (crying, calm, laughing); its sound track is digital silence."""
    return sample("demo-video")


@pytest.fixture(scope="session")
def demo_laugh() -> Path:
    """Three seconds of real laughter."""
    return sample("demo-laugh")


@pytest.fixture(scope="session")
def demo_speech() -> Path:
    """Ten seconds of real read speech."""
    return sample("demo-speech")


@pytest.fixture(scope="session")
def demo_composite(demo_video, demo_laugh, tmp_path_factory) -> Path:
    """The demo's input: the real laughter laid under the laughing part of the real footage."""
    from mien.testing.composite import LAUGHING_FROM_S, with_sound

    return with_sound(demo_video, demo_laugh, LAUGHING_FROM_S, tmp_path_factory.mktemp("media") / "composite.mp4")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of shared real data beside the checkout; tests that need it are marked `peer`."""
    folder = Path(os.environ.get("MIEN_SHARED_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"needs the shared real data ({folder.parent.name}/{folder.name} beside the checkout)")
    return folder


@pytest.fixture(scope="session")
def short_real_clip(demo_video, demo_laugh, tmp_path_factory) -> Path:
    """The first four seconds of the demo video with the laughter from second 1 on."""
    import av

    from mien.testing.composite import with_sound

    folder = tmp_path_factory.mktemp("media")
    whole, path = with_sound(demo_video, demo_laugh, (1.0,), folder / "whole.mp4"), folder / "short.mp4"
    with av.open(str(whole)) as source, av.open(str(path), "w") as target:
        streams = {s: target.add_stream_from_template(s) for s in source.streams if s.type in ("video", "audio")}
        for packet in source.demux(*streams):
            if packet.dts is None or packet.pts * packet.time_base >= 4:
                continue
            packet.stream = streams[packet.stream]
            target.mux(packet)
    return path


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest file first, so that two workers end at about the same time."""
    items.sort(key=lambda item: "test_kill" not in item.nodeid)
