"""The phases as plain text: an audit compares them millions of times, and enumerations are slow at it."""

from __future__ import annotations

from ..ledger import Phase

PROPOSED = str(Phase.PROPOSED)
APPROVED = str(Phase.APPROVED)
RESERVED = str(Phase.RESERVED)
INTENT = str(Phase.INTENT)
SUBMITTED = str(Phase.SUBMITTED)
DONE = str(Phase.DONE)
FAILED = str(Phase.FAILED)
REUSED = str(Phase.REUSED)
SETTLED = str(Phase.SETTLED)
ROLLED_BACK = str(Phase.ROLLED_BACK)
ALL = frozenset(map(str, Phase))
