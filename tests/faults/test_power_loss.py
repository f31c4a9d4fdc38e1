"""A loss of power at any moment loses nothing acknowledged, and a store that wrote in a wrong order is found out."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from crash_states import Crash, Log, digest, lay
from fault_shim import built, scripted
from orders import ORDERS

from mien.core import MienError
from mien.store import Store


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Recorded]:
    """A run in each order of a commit."""
    folder = tmp_path_factory.mktemp("recorded")
    said = scripted(built(folder), folder, "recorded", *ORDERS)
    return {name: Recorded(folder / name, one) for name, one in said.items()}


class Recorded:
    """One run of a scripted project, its log of changes, and every disk it may have left."""

    def __init__(self, folder: Path, said: dict[str, Any]) -> None:
        self.said, self.root, self._folder = said, Path(said["root"]), folder
        held = folder / "before"
        before = {str(self.root / p.relative_to(held)): p.read_bytes() for p in held.rglob("*") if p.is_file()}
        self.log = Log(folder / "log", before)

    def wrong(self, crash: Crash) -> str:
        """What a later start finds lost or torn; "" where all is well."""
        target = self._folder / "crashed"
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir()
        lay(self.log.disk(crash), self.root, target)
        try:
            with Store(target, write=True) as store:
                torn = store.integrity()
                held = {(s.unit, s.stage) for s in store.stages() if s.state == "ok"}
                named = {row[0] for row in store.query("SELECT file FROM arrays")[1]}
        except MienError as error:
            return str(error)
        lost = {tuple(json.loads(k)) for k in crash.known} - held
        left = {str(p.relative_to(target)) for p in (target / "arrays").rglob("*") if p.is_file()} - named
        return "".join(f"{what} {some}; " for what, some in (("torn", torn), ("lost", lost), ("left", left)) if some)

    def distinct(self) -> Iterator[tuple[int, Crash]]:
        """(how many were looked at, one) of the crashes that differ from all before."""
        seen: set[str] = set()
        for n, crash in enumerate(self.log.crashes(), 1):
            mark = digest(self.log.disk(crash), crash.known)
            if mark not in seen:
                seen.add(mark)
                yield n, crash


def test_a_loss_of_power_loses_nothing_acknowledged(recorded: dict[str, Recorded]) -> None:
    right = recorded["right"]
    assert (right.said["end"], right.said["known"]) == ("ok", 12)
    every = list(right.log.crashes())
    assert len(every) > 5_000
    for crash in random.Random(20261122).sample(every, 80):
        assert right.wrong(crash) == "", crash.at


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_no_loss_of_power_loses_anything_acknowledged(recorded: dict[str, Recorded]) -> None:
    looked = checked = 0
    for n, crash in recorded["right"].distinct():
        assert recorded["right"].wrong(crash) == "", crash.at
        looked, checked = n, checked + 1
    print(f"{looked} crash states, {checked} of them distinct: 0 violations")
    assert looked >= 5_000


@pytest.mark.parametrize("order", [name for name in ORDERS if name != "right"])
def test_a_wrong_order_is_found_out(recorded: dict[str, Recorded], order: str) -> None:
    """While there is power all goes well, so no other test would see it."""
    wrong = recorded[order]
    assert wrong.said["end"] == "ok"
    every = list(wrong.log.crashes())
    random.Random(1).shuffle(every)
    every.sort(key=lambda crash: crash.kind not in "s!")  # what should be durable is told right after a sync
    found = next((w for crash in every if (w := wrong.wrong(crash))), "")
    print(f"{order}: {found[:100]}")
    assert found
