"""Releases: an immutable folder with everything that trainers, readers and auditors need, and its end.

What may enter: building, keys, cards, pushing and revoking. What reads a release without a project lies in `store`
(`sealing`, `revocation`, `released`), so that training may use it.
"""

from mien.export.release.build import Built, Order, build, build_apart
from mien.export.release.keys import Key, default_key, new_key, open_key, public_key
from mien.export.release.pushing import Pushed, push, register_copy
from mien.export.release.revoking import into_copies, list_findings, revoke

__all__ = [
    "Built",
    "Key",
    "Order",
    "Pushed",
    "build",
    "build_apart",
    "default_key",
    "into_copies",
    "list_findings",
    "new_key",
    "open_key",
    "public_key",
    "push",
    "register_copy",
    "revoke",
]
