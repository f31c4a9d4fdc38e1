"""Files that have an address of their own: a path in a pinned git commit, a file of a hub repository at a revision."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import quote

from mien.core import MienError
from mien.models.weights.places import net
from mien.models.weights.places.sources import Files, Located, Tick, part_name

GIT_RAW = "https://raw.githubusercontent.com"
HUB = "https://huggingface.co"


def locate(source: str, name: str, version: str, members: Mapping[str, int], parts: Path, stack: ExitStack) -> Located:
    """Addresses of the members. A hub's address and token come from HF_ENDPOINT and HF_TOKEN, as its client has them.

    Raises:
        MienError: `weights.not-pinned` for a git version that is no full commit.
    """
    auth = None
    if source == "git":
        if not re.fullmatch(r"[0-9a-f]{40}", version):
            raise MienError(
                "weights.not-pinned", f"{name} must be pinned to a commit of 40 hex digits, but got {version!r}"
            )
        root = f"{GIT_RAW}/{name}/{version}"
    else:
        root = f"{os.environ.get('HF_ENDPOINT', HUB).rstrip('/')}/{name}/resolve/{quote(version, safe='')}"
        token = os.environ.get("HF_TOKEN")
        auth = net.Bearer(token) if token else None
    session = stack.enter_context(net.Session())
    urls = {member: f"{root}/{quote(member)}" for member in members}
    fetch = functools.partial(_files, session, urls, members, parts, auth)
    return Located(f"{source} {name} {version[:12]}", net.shown(root), sum(members.values()), fetch)


def _files(
    session: net.Session,
    urls: Mapping[str, str],
    members: Mapping[str, int],
    parts: Path,
    auth: net.Bearer | None,
    tick: Tick,
) -> Files:
    before = 0
    for member, url in urls.items():
        part = parts / part_name(net.shown(url), members[member])
        chunks = net.stream(session, url, part, auth=auth, tick=functools.partial(_plus, tick, before))
        yield member, chunks
        part.unlink(missing_ok=True)
        before += members[member]


def _plus(tick: Tick, before: int, done: int) -> None:
    tick(before + done)
