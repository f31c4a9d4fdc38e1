"""Every kind of input as one stream of entries, and how they are kept.

What may enter: reading of files, folders, tables and archives that users point at; nothing that decodes media.
"""

from mien.pipeline.inputs.discover import discover
from mien.pipeline.inputs.entry import Entry, Refused
from mien.pipeline.inputs.identity import Pseudonyms
from mien.pipeline.inputs.keep import Keeper, affected
from mien.pipeline.inputs.mapping import Columns, Inputs
from mien.pipeline.inputs.propose import Proposal, as_toml, propose
from mien.pipeline.inputs.vault import Vault

__all__ = [
    "Columns",
    "Entry",
    "Inputs",
    "Keeper",
    "Proposal",
    "Pseudonyms",
    "Refused",
    "Vault",
    "affected",
    "as_toml",
    "discover",
    "propose",
]
