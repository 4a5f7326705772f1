"""The index of the ledger: what happened, found by run, step, artifact, person, skill, phase and time."""

from .criteria import Criteria
from .ledger_index import LedgerIndex
from .lines import Link
from .summary import RunSummary

__all__ = ["Criteria", "LedgerIndex", "Link", "RunSummary"]
