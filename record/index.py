"""Answers about the ledger, by reading all of it."""

from __future__ import annotations

from collections.abc import Iterator

from ..core.workspace import Workspace
from .ledger import Ledger
from .run_state import RunState


class LedgerIndex:
    """The runs of a ledger."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    @classmethod
    def of(cls, workspace: Workspace) -> LedgerIndex:
        """Of a workspace."""
        return cls(Ledger.of(workspace))

    def run_state(self, run: str) -> RunState | None:
        """One run."""
        state = RunState(run)
        for record in self._ledger.records():
            if record.run == run:
                state.apply(record)
        return state if state.records else None

    def runs_with_verdicts(self) -> Iterator[RunState]:
        """Runs in which some gate decided."""
        states: dict[str, RunState] = {}
        for record in self._ledger.records():
            if record.run is not None:
                states.setdefault(record.run, RunState(record.run)).apply(record)
        return (state for state in states.values() if state.verdict is not None)
