"""Captions and conditioning: one clip's rows as short stable strings, episodes with times, control vectors, continuity.

Pure but for reading the project: nothing here decides what may leave (`export.selection`) or writes a folder; writers
of trainers' folders and releases call `describe`, `write_controls` and `Statistics`.
"""

from mien.export.captions.continuity import Continuity, Neighbour
from mien.export.captions.controls import (
    AXES,
    Controls,
    Statistics,
    controls_of,
    controls_row,
    statistics,
    write_controls,
)
from mien.export.captions.describe import Description, describe, dropped
from mien.export.captions.given import clean
from mien.export.captions.grammar import Parsed, compose, parse
from mien.export.captions.quantise import Descriptor, Tag
from mien.export.captions.vocabulary import Vocabulary, tokens, vocabulary
from mien.reason.captions import CaptionTerms

__all__ = [
    "AXES",
    "CaptionTerms",
    "Continuity",
    "Controls",
    "Description",
    "Descriptor",
    "Neighbour",
    "Parsed",
    "Statistics",
    "Tag",
    "Vocabulary",
    "clean",
    "compose",
    "controls_of",
    "controls_row",
    "describe",
    "dropped",
    "parse",
    "statistics",
    "tokens",
    "vocabulary",
    "write_controls",
]
