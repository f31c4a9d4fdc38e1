"""Streams of a release for torch, which the reader of releases itself never imports."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from mien.core import missing_extra
from mien.store.released import Released, flat


def torch_stream(held: Iterable[Any]) -> Any:
    """A stream (`ReleaseStream`, or the rows of one of its files) as `torch.utils.data.IterableDataset`.

    Examples come as plain dictionaries. Workers of a `DataLoader` share the rows: each is given once.

    Raises:
        MienError: `install.missing-extra`.
    """
    try:
        from torch.utils.data import IterableDataset, get_worker_info
    except ImportError:
        raise missing_extra("torch", "torch") from None

    class Stream(IterableDataset[Any]):
        def __iter__(self) -> Iterator[Any]:
            info = get_worker_info()
            for i, row in enumerate(held):
                if info is None or i % info.num_workers == info.id:
                    yield flat(row) if isinstance(row, Released) else row

    return Stream()
