"""Reasoning, pure: from the evidence ledger and the posterior to claims that cite what moved it, and their audit.

What may enter: deterministic engines, prompts, parsers and the audit of claims. No I/O.
"""

from mien.reason.audit import CHECKS, Audit, Finding, attempt_without_trace, audit, opposing
from mien.reason.deletion import Moved, moved, without_rows, without_sources
from mien.reason.engine import ENGINE, reason
from mien.reason.events import Event, events
from mien.reason.events import rows as event_rows
from mien.reason.grammar import claim_of, notation, parse, predicate_of, render
from mien.reason.grounding import Checked, check, index
from mien.reason.ledger import Ledger, in_order, observables, rendered
from mien.reason.vocabulary import is_affect, movement

__all__ = [
    "CHECKS", "ENGINE", "Audit", "Checked", "Event", "Finding", "Ledger", "Moved", "attempt_without_trace", "audit",
    "check", "claim_of", "event_rows", "events", "in_order", "index", "is_affect", "moved", "movement", "notation",
    "observables", "opposing", "parse", "predicate_of", "reason", "render", "rendered", "without_rows",
    "without_sources",
]  # fmt: skip
