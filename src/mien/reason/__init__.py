"""Reasoning, pure: from the evidence ledger and the posterior to claims that cite what moved it.

What may enter: deterministic engines, prompts, parsers and the audit of claims. No I/O.
"""

from mien.reason.ledger import ENGINE, Ledger, in_order, movement, reason

__all__ = ["ENGINE", "Ledger", "in_order", "movement", "reason"]
