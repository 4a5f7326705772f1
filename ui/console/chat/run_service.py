"""Runs as the console handles them: started, answered, stopped, resumed."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Sequence
from contextlib import suppress

from ....agents.agent import RunOutcome
from ....agents.planner import Ask, PlannerReply, Proposal, Turn
from ....agents.runs import RunRow, count_runs, run_row, run_rows
from ....agents.stopping import request_stop
from ....agents.worker import Worker
from ....core.errors import HeldError, OpswrightError
from ....record.index import LedgerIndex
from ..auth.users import Person
from ..console import Console
from .planning import Planning


class RunService:
    """Runs of one console. What changes something is carried out by a worker process, which outlives it."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._workers: dict[str, Worker] = {}
        self._spare: Worker | None = None
        self._is_over = False
        self._lock = threading.Lock()
        self._workspace = console.workspace

    def warm(self) -> None:
        """Load what the first command would wait for, and have a worker ready."""
        from ....agents.graph import build_graph  # noqa: F401

        with self._lock:
            if not self._is_over:
                self._spare = self._spare or Worker(self._console.workspace)

    def close(self) -> None:
        """Dismiss the spare worker; workers with a run continue."""
        with self._lock:
            self._is_over = True
            if self._spare is not None:
                self._spare.dismiss()
                self._spare = None

    def propose(
        self, person: Person, ask: Ask, conversation: Sequence[Turn] = (), planning: Planning | None = None
    ) -> PlannerReply:
        """What an ask leads to, nothing recorded or run. `planning` is told meanwhile, and may stop it."""
        agent = self._console.agent(person)
        if planning is not None:
            agent.planning, agent.cancelled = planning.hear, planning.cancelled
        return agent.propose(ask, conversation)

    def start(self, person: Person, ask: Ask | Proposal) -> RunOutcome:
        """A new run: to its end when it only reads, to the wait for approval when not."""
        return self._console.agent(person).start(ask)

    def replace(self, person: Person, conversation: Sequence[Turn], made: str) -> None:
        """Refuse what a person proposed last, if it still waits and nobody approved it: `made` changes it."""
        last = next((turn for turn in reversed(conversation) if turn.speaker == "agent"), None)
        state = None if last is None or not last.run else LedgerIndex.of(self._workspace).run_state(last.run)
        if state is None or state.status != "waiting" or state.approvals or state.proposer is None:
            return
        if state.proposer.name == person.name and state.run != made:
            with suppress(OpswrightError):  # somebody answered it just now
                why = f"changed: see run {made}"
                self.answer(person, state.run, state.plan or "", approved=False, why=why)

    def answer(self, person: Person, run: str, plan: str, *, approved: bool, why: str = "") -> None:
        """Pass a person's answer to exactly this plan on, once; HeldError for a second one."""
        from ....agents.approvals import Consent

        agent = self._console.agent(person)
        with self._lock:
            if (worker := self._workers.get(run)) is not None and worker.is_running:
                raise HeldError(f"run {run} was already answered and is running.")
            outcome = agent.outcome(run)
            if outcome.status != "waiting" or outcome.plan is None:
                raise HeldError(f"run {run} is not waiting for approval: it is {outcome.status}.")
            if outcome.plan.id != plan:
                asked = f"{outcome.plan.id[:12]}, not {plan[:12]}"
                raise HeldError(f"run {run} is waiting for approval of plan {asked}.")
            agent.answer(run, Consent(plan, "console", approved=approved, why=why))
            if approved:
                self._hand_over(person, run)

    def withdraw(self, person: Person, run: str) -> None:
        """Take a person's own approval back, also while the run goes on; HeldError when none stands."""
        self._console.agent(person).withdraw(run, "console")

    def refuse(self, person: Person, run: str, plan: str, why: str = "") -> None:
        """Refuse a plan, or take consent to it back, whoever carries the run out meanwhile."""
        from ....agents.approvals import Consent

        self._console.agent(person).answer(run, Consent(plan, "console", approved=False, why=why))

    def resume(self, person: Person, run: str) -> None:
        """Have a worker continue a run that stopped or failed."""
        self._console.check_may_change(person, "resume a run")
        outcome = self._console.agent(person).outcome(run)
        if outcome.status in ("done", "denied", "refused"):
            raise HeldError(f"run {run} has ended ({outcome.status}); there is nothing to resume.")
        with self._lock:
            if self._console.workspace.is_held(run):
                raise HeldError(f"run {run} is already running.")
            if outcome.status != "waiting":
                self._hand_over(person, run)

    def stop(self, person: Person, run: str) -> None:
        """Ask whoever carries the run out to stop it."""
        self._console.check_may_change(person, "stop a run")
        by = f"{person.name} ({person.role})"
        request_stop(self._console.workspace, run, by, is_starting=self.is_starting(run))

    def trouble(self, run: str) -> str | None:
        """What went wrong with the worker of a run, when it ended without the run having ended."""
        worker = self._workers.get(run)
        if worker is None or not worker.exit_code:
            return None
        return f"its worker exited with code {worker.exit_code}; see logs/worker.log in the workspace."

    def is_starting(self, run: str) -> bool:
        """Whether a worker has the run, perhaps before it took the run's lock."""
        worker = self._workers.get(run)
        return worker is not None and worker.is_running

    def rows(self, limit: int | None = None, states: Collection[str] | None = None) -> list[RunRow]:
        """The runs, newest first; `states`: only those that the ledger shows at one of these."""
        return run_rows(self._workspace, limit, states)

    def count(self, states: Collection[str] | None = None) -> int:
        """How many runs there are, of these states or at all."""
        return count_runs(self._workspace, states)

    def row(self, run: str) -> RunRow | None:
        """One run as the ledger has it; None when nothing is recorded of it."""
        return run_row(self._workspace, run)

    def _hand_over(self, person: Person, run: str) -> None:
        job = {"run": run, "principal": self._console.principal(person).fields(), "since": time.time()}
        worker = self._spare
        if worker is None or not worker.give(job):
            worker = Worker(self._console.workspace)
            worker.give(job)
        self._workers = {name: one for name, one in self._workers.items() if one.is_running} | {run: worker}
        self._spare = Worker(self._console.workspace)
