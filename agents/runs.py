"""The runs of a workspace, as the ledger and the locks tell."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from ..core.ledger import Phase, Record
from .agent import Agent


@dataclass(frozen=True)
class RunRow:
    """One run: `state` is running, waiting, stopped, done, failed, refused or denied."""

    run: str
    state: str
    goal: str
    plan: str
    started: str
    verdict: str | None
    message: str

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


def list_runs(agent: Agent) -> list[RunRow]:
    """Every run, newest first."""
    proposed: dict[str, Record] = {}
    latest: dict[str, Record] = {}
    for record in agent.workspace.ledger.records():
        if record.run is None:
            continue
        latest[record.run] = record
        if record.phase == Phase.PROPOSED:
            proposed[record.run] = record
    rows = []
    for run, record in proposed.items():
        last = latest[run]
        ended = last.step is None and last.phase in (Phase.DONE, Phase.FAILED)
        rows.append(
            RunRow(
                run=run,
                state=str(last.detail["status"]) if ended else _open_state(agent, run, last),
                goal=str(record.detail["goal"]),
                plan=record.plan or "",
                started=record.time,
                verdict=last.detail.get("verdict") if ended else None,
                message=str(last.detail.get("message", "")),
            )
        )
    return rows[::-1]


def _open_state(agent: Agent, run: str, last: Record) -> str:
    if agent.workspace.is_held(run):
        return "running"
    return "waiting" if last.phase == Phase.PROPOSED else "stopped"
