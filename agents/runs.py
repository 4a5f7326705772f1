"""The runs of a workspace, as the ledger and the locks tell."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from ..core.workspace import Workspace
from ..record.index import LedgerIndex, RunSummary

if TYPE_CHECKING:
    from .agent import Agent

OPEN = ("waiting", "approved", "stopped")  # states of runs that have not ended
_OVER = ("done", "denied", "refused")


@dataclass(frozen=True)
class RunRow:
    """One run: `state` is what `RunSummary` says, or running while some process carries it out."""

    run: str
    state: str
    goal: str
    plan: str
    started: str
    by: str
    source: str  # what was asked: a command, or a plan file's path
    verdict: str | None
    message: str
    last_seq: int
    records: int

    @classmethod
    def of(cls, workspace: Workspace, summary: RunSummary) -> RunRow:
        """The row of a run; it is running while some process holds it."""
        fields = asdict(summary)
        state = fields.pop("status")
        is_running = state not in _OVER and workspace.is_held(summary.run)
        return cls(state="running" if is_running else state, **fields)

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


def list_runs(agent: Agent, limit: int | None = None) -> list[RunRow]:
    """The runs, newest first."""
    return run_rows(agent.workspace, limit)


def run_rows(
    workspace: Workspace, limit: int | None = None, states: Collection[str] | None = None
) -> list[RunRow]:
    """The runs of a workspace, newest first; `states`: only those that the ledger shows at one of these."""
    found = LedgerIndex.of(workspace).rows(limit=limit, statuses=states)
    return [RunRow.of(workspace, summary) for summary in found]


def run_row(workspace: Workspace, run: str) -> RunRow | None:
    """One run; None for a name that was never proposed."""
    summary = LedgerIndex.of(workspace).row(run)
    return RunRow.of(workspace, summary) if summary is not None else None


def count_runs(workspace: Workspace, states: Collection[str] | None = None) -> int:
    """How many runs there are; `states`: only those that the ledger shows at one of these."""
    return LedgerIndex.of(workspace).run_count(states)
