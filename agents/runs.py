"""The runs of a workspace, as the ledger and the locks tell."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from ..record.ledger import Ledger, Phase, Record
from .agent import Agent


@dataclass(frozen=True)
class RunRow:
    """One run: `state` is running, waiting, stopped, done, failed, refused or denied."""

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

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


class RunIndex:
    """What the ledger says of each run, read on as it grows."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._seq = 0
        self._proposed: dict[str, Record] = {}
        self._latest: dict[str, Record] = {}

    def refresh(self) -> RunIndex:
        """Read the records that were added."""
        for record in self._ledger.records(after=self._seq):
            self._seq = record.seq
            if record.run is None:
                continue
            self._latest[record.run] = record
            if record.phase == Phase.PROPOSED:
                self._proposed[record.run] = record
        return self

    def rows(self, is_held: Callable[[str], bool]) -> list[RunRow]:
        """Every run, newest first; `is_held` says whether some process carries one out."""
        return [self._row(run, is_held) for run in reversed(self._proposed)]

    def row(self, run: str, is_held: Callable[[str], bool]) -> RunRow | None:
        """One run; None for a name that was never proposed."""
        return self._row(run, is_held) if run in self._proposed else None

    def _row(self, run: str, is_held: Callable[[str], bool]) -> RunRow:
        first, last = self._proposed[run], self._latest[run]
        ended = last.step is None and last.phase in (Phase.DONE, Phase.FAILED)
        state = str(last.detail["status"]) if ended else "waiting" if last is first else "stopped"
        if state not in ("done", "denied", "refused") and is_held(run):
            state = "running"
        return RunRow(
            run=run,
            state=state,
            goal=str(first.detail["goal"]),
            plan=first.plan or "",
            started=first.time,
            by=first.actor,
            source=str(first.detail.get("source", "")),
            verdict=last.detail.get("verdict") if ended else None,
            message=_message(last) if ended else "",
            last_seq=last.seq,
        )


def _message(last: Record) -> str:
    error = last.detail.get("error")
    return str(error["message"] if isinstance(error, dict) else last.detail.get("message", ""))


def list_runs(agent: Agent) -> list[RunRow]:
    """Every run, newest first."""
    return RunIndex(Ledger.of(agent.workspace)).refresh().rows(agent.workspace.is_held)
