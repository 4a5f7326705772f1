"""One run in a line, as lists of runs show it."""

from __future__ import annotations

from dataclasses import dataclass

from ..run_state import RunState


@dataclass(frozen=True)
class RunSummary:
    """One run as its records tell.

    `status` is that of `RunState`, which does not say who carries it out now; or "unreadable" where the
    records tell no run. `source` is what was asked: a command, or a plan file's path.
    """

    run: str
    status: str
    goal: str
    plan: str
    started: str
    by: str
    source: str
    verdict: str | None
    message: str
    last_seq: int
    records: int

    @classmethod
    def of(cls, state: RunState) -> RunSummary | None:
        """The summary of a run's state; None for a run that was never proposed."""
        proposed = state.proposed
        if proposed is None:
            return None
        return cls(
            run=state.run,
            status=state.status,
            goal=state.goal,
            plan=state.plan or "",
            started=proposed.time,
            by=proposed.actor,
            source=str(state.proposal.get("source", "")),
            verdict=state.verdict,
            message=state.message,
            last_seq=state.last.seq,
            records=len(state.records),
        )

    @classmethod
    def of_unreadable(cls, run: str, last_seq: int, records: int) -> RunSummary:
        """A run whose records cannot be folded: this version of the program did not write them."""
        message = f"its records tell no run; see `opswright audit list --run {run}`"
        return cls(run, "unreadable", "", "", "", "", "", None, message, last_seq, records)
