"""Shared by all tests: the real sample that mien fetches, and the folder of shared real data where it exists."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def demo_video() -> Path:
    """Real footage with a face and a voice (crying, calm, laughing): fetched like a weight."""
    from mien.models.weights import resolve, select

    (entry,) = select(["sample.demo-video"])
    return resolve(entry.weights).only


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of shared real data beside the checkout; tests that need it are marked `peer`."""
    folder = Path(os.environ.get("MIEN_SHARED_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"needs the shared real data ({folder.parent.name}/{folder.name} beside the checkout)")
    return folder


@pytest.fixture(scope="session")
def short_real_clip(demo_video, tmp_path_factory) -> Path:
    """The first six seconds of the demo video, packets copied, nothing re-encoded."""
    import av

    path = tmp_path_factory.mktemp("media") / "short.mp4"
    with av.open(str(demo_video)) as source, av.open(str(path), "w") as target:
        streams = {s: target.add_stream_from_template(s) for s in source.streams if s.type in ("video", "audio")}
        for packet in source.demux(*streams):
            if packet.dts is None or packet.pts * packet.time_base >= 6:
                continue
            packet.stream = streams[packet.stream]
            target.mux(packet)
    return path
