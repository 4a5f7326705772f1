"""How MLflow shows runs and steps: its own words for their status, and its clocks."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from ...core.exit_code import ExitCode
from ..ledger import Phase, Record
from ..run_state import RunState, StepState

_INTERRUPTED = ExitCode.INTERRUPTED  # of a run that a person stopped


class Status(StrEnum):
    """How MLflow shows a run; the values are MLflow's own."""

    SCHEDULED = "SCHEDULED"
    RUNNING = "RUNNING"
    FINISHED = "FINISHED"
    FAILED = "FAILED"
    KILLED = "KILLED"


def milliseconds(record: Record) -> int:
    """When a record was made, in milliseconds since 1970 (UTC)."""
    return nanoseconds(record) // 1_000_000


def nanoseconds(record: Record) -> int:
    """When a record was made, in nanoseconds since 1970 (UTC)."""
    time = datetime.fromisoformat(record.time)
    return int(time.timestamp()) * 1_000_000_000 + time.microsecond * 1_000


def step_status(step: StepState, run_is_open: bool) -> Status:
    """A step without an outcome was killed, unless its run still goes on."""
    outcome = step.outcome
    if outcome is None:
        return Status.RUNNING if run_is_open else Status.KILLED
    if outcome.phase == Phase.DENIED or outcome.detail.get("exit_code") == _INTERRUPTED:
        return Status.KILLED
    return Status.FAILED if outcome.phase == Phase.FAILED else Status.FINISHED


def run_status(run: RunState, is_held: bool) -> Status:
    """A run that has not ended goes on while some process holds it (`is_held`), else it waits or stopped."""
    end = run.end
    if end is None:
        if is_held:
            return Status.RUNNING
        return Status.SCHEDULED if run.status in ("waiting", "approved") else Status.KILLED
    if end.detail.get("status") == "denied" or end.detail.get("exit_code") == _INTERRUPTED:
        return Status.KILLED
    return Status.FAILED if end.phase == Phase.FAILED else Status.FINISHED
