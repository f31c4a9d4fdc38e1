"""Whatever change of a file fails: a code, nothing torn, nothing acknowledged lost, and the next run mends it."""

from __future__ import annotations

from pathlib import Path

import pytest
from fault_shim import built, scripted


@pytest.mark.parametrize("fault", ["EIO", "ENOSPC"])
def test_a_sample_of_all_changes_fails(tmp_path: Path, fault: str) -> None:
    found = scripted(built(tmp_path), tmp_path, "nth", fault, 61, {"EIO": 5, "ENOSPC": 37}[fault])
    assert found["wrong"] == []
    assert found["changes"] > 200
    assert found["tried"] >= 4
    assert found["ends"]["store.write-failed"] >= 2


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("fault", ["EIO", "ENOSPC"])
def test_every_change_fails_once(tmp_path: Path, fault: str) -> None:
    """EIO: the n-th change fails and no other; ENOSPC: it and all after it, as on a full disk."""
    found = scripted(built(tmp_path), tmp_path, "nth", fault, 1, 0)
    print(fault, found)
    assert found["wrong"] == []
    assert found["tried"] == found["changes"] > 200
