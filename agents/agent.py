"""The agent: starts runs, resumes them, tells how they stand. What the command line and the console call."""

from __future__ import annotations

import re
import secrets
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ..core.contract import Events, NullEvents
from ..core.errors import AskError, HeldError, IntegrityError, OpswrightError, did_you_mean
from ..core.exit_code import ExitCode
from ..core.plan import Plan
from ..core.principal import Principal
from ..core.registry import Registry
from ..core.workspace import Workspace
from ..record.index import LedgerIndex
from ..record.ledger import Phase
from ..record.run_state import RunState
from .approvals import (
    ApprovalRow,
    Consent,
    StandingApproval,
    approval_row,
    record_consent,
    record_withdrawal,
    standing_approvals,
)
from .followers import follow, notify
from .graph import Cursor, build_graph
from .identity.acting import acting_principal
from .nodes import AgentNodes
from .planner import Ask, PlannerReply, PlanningEvents, Proposal, Question, Turn, propose, unheard
from .policy import Policy, policy_of
from .project_skills import project_proposal
from .record import RunRecord, error_detail, load_plan
from .run_events import EventFanout, RunEventFile, run_events_path
from .steps import StepRunner
from .stopping import stoppable

if TYPE_CHECKING:
    from langchain_core.runnables import RunnableConfig

_RUN_ID = re.compile(r"[0-9A-Za-z][0-9A-Za-z-]{0,63}")


@dataclass(frozen=True)
class RunOutcome:
    """How a run stands: waiting, approved, running, stopped, done, denied, refused or failed."""

    run: str
    status: str
    exit_code: int
    message: str
    plan: Plan | None = None
    verdict: str | None = None
    results: dict[str, dict[str, Any]] = field(default_factory=dict)
    findings: list[dict[str, Any]] = field(default_factory=list)
    costs: dict[str, Any] = field(default_factory=dict)
    spent: dict[str, float] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """The outcome as the command line's JSON shows it."""
        return {
            "run": self.run,
            "status": self.status,
            "outcome": ExitCode.of(self.exit_code).outcome,
            "exit_code": self.exit_code,
            "message": self.message,
            "plan": self.plan.id if self.plan else None,
            "verdict": self.verdict,
            "results": self.results,
            "findings": self.findings,
            "spent": self.spent,
        }


class RunIsHeldError(HeldError):
    """Another process carries the run out."""

    exit_code = ExitCode.FAILED  # nobody's approval would change it


@dataclass
class Agent:
    """The agent of one workspace, acting for one principal (by default whom the settings name)."""

    workspace: Workspace
    registry: Registry
    events: Events = field(default_factory=NullEvents)
    cancelled: threading.Event = field(default_factory=threading.Event)
    acting: Principal | None = None
    planning: PlanningEvents = unheard  # told what a planner does meanwhile

    @cached_property
    def principal(self) -> Principal:
        """Who acts; AskError for a role that the policy does not know, DeniedError for one not theirs."""
        principal = self.acting or acting_principal(self.workspace, self.policy)
        self.policy.check_roles(principal)
        return principal

    @cached_property
    def policy(self) -> Policy:
        """Who may do what."""
        return policy_of(self.workspace, self.registry)

    def propose(self, ask: Ask, conversation: Sequence[Turn] = ()) -> PlannerReply:
        """What an ask leads to, planned once, with nothing recorded or run."""
        if ask.kind == "slash" and (found := project_proposal(ask.text, self.workspace, self.registry)):
            return found
        return propose(
            ask,
            self.registry,
            self.workspace,
            conversation,
            principal=self.principal,
            events=self.planning,
            cancelled=self.cancelled,
        )

    def plan_for(self, ask: Ask) -> Proposal:
        """The proposal for an ask that leaves nothing open; AskError with the question otherwise."""
        found = self.propose(ask)
        if isinstance(found, Question):
            choices = f" ({', '.join(found.choices)})" if found.choices else ""
            raise AskError(f"{found.text}{choices}")
        if not isinstance(found, Proposal):
            raise AskError(found.text)
        return found

    def start(self, ask: Ask | Proposal, consent: Consent | None = None) -> RunOutcome:
        """A new run, as far as it goes without asking: to its end, or to the wait for approval.

        `consent` is given together with the ask; it counts for its plan id and no other. A wrong ask raises
        (AskError, IntegrityError) and leaves no run behind.
        """
        proposal = self.plan_for(ask) if isinstance(ask, Ask) else ask
        proposal.plan.check_unaltered()
        _ = self.principal  # an unknown role is said before anything is recorded
        run_id = f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"
        since = time.time()
        try:
            with self._held(run_id):
                follow(self.workspace, run_id)
                return self._carry_out(run_id, since, proposal=proposal, consent=consent)
        finally:
            notify(self.workspace)  # whoever delivers may have ended before there was anything to tell

    def apply_until(
        self, proposal: Proposal, run_id: str, consent: Consent | None = None, until: str | None = None
    ) -> RunOutcome:
        """The run of that name, begun or taken up where it is, to its end or until a step is done.

        The same call again does nothing twice, so a pod that was killed is simply started again. `consent`
        counts while nobody has answered: what was refused or taken back since stays so. AskError for a step
        that the plan has not or a name that is none, IntegrityError when the run has another plan.
        """
        plan = proposal.plan
        plan.check_unaltered()
        if not _RUN_ID.fullmatch(run_id):
            raise AskError(
                f"invalid run name '{run_id[:80]}': expected up to 64 letters, digits and hyphens."
            )
        if until is not None and plan.step(until) is None:
            steps = [step.id for step in plan.steps]
            raise AskError(
                f"the plan has no step '{until[:80]}' (it has: {', '.join(steps)})."
                + did_you_mean(until, steps)
            )
        _ = self.principal
        since = time.time()
        with self._held(run_id):
            state = LedgerIndex.of(self.workspace).run_state(run_id)
            if state is None:
                follow(self.workspace, run_id)
                return self._carry_out(run_id, since, proposal=proposal, consent=consent, until=until)
            if state.plan != plan.id:
                raise IntegrityError(
                    f"run {run_id} is of plan {(state.plan or 'none')[:12]}, not {plan.id[:12]}. Give this "
                    "plan's run a name of its own."
                )
            if state.is_over and not state.may_be_judged_again:
                return self._outcome(state, is_held=False)
            if by := state.end.detail.get("stopped_by") if state.end is not None else None:
                words = f"{by} stopped it; `opswright resume {run_id}` goes on"
                return replace(self._outcome(state, is_held=False), message=words)
            refused = ""
            if state.consent is None and consent is not None:
                try:
                    record_consent(self._record(run_id), plan, consent)
                except HeldError as error:  # somebody else's consent may still come
                    refused = str(error)
            follow(self.workspace, run_id)
            outcome = self._carry_out(run_id, since, until=until)
            is_waiting = bool(refused) and outcome.status == "waiting"
            return replace(outcome, message=f"{outcome.message}. {refused}") if is_waiting else outcome

    def resume(self, run_id: str, consent: Consent | None = None, since: float | None = None) -> RunOutcome:
        """Go on with a run where it stopped: after a crash or failure, or with a person's answer.

        since: when somebody set out to have this done, in seconds since 1970; a request to stop that came
        later is for this call. Raises AskError for an unknown run, HeldError while another process carries it
        out or when the consent is for another plan or not this principal's to give.
        """
        since = time.time() if since is None else since
        self._known(run_id)
        with self._held(run_id):
            record = self._record(run_id)
            state = record.state
            if state.is_over and not state.may_be_judged_again:
                return self._outcome(state, is_held=False)
            if consent is not None:
                record_consent(record, load_plan(self.workspace, state.plan or ""), consent)
            elif state.status == "waiting":
                return self._outcome(state, is_held=False)
            follow(self.workspace, run_id)
            try:
                return self._carry_out(run_id, since)
            finally:
                notify(self.workspace)

    def answer(self, run_id: str, consent: Consent) -> RunOutcome:
        """Record an answer to a run's plan, or take consent back, whoever carries the run out meanwhile.

        A run that waits and is refused ends. Raises AskError for an unknown run, HeldError when the answer is
        for another plan, was given before, comes too late or is not this principal's to give.
        """
        before, since = self._known(run_id).status, time.time()
        notify(self.workspace)
        record = self._record(run_id)
        record_consent(record, load_plan(self.workspace, record.state.plan or ""), consent)
        notify(self.workspace)
        if not consent.approved and before in ("waiting", "approved"):
            with suppress(RunIsHeldError), self._held(run_id):  # else who carries it out finds the refusal
                if not record.refresh().is_over:  # somebody else's refusal may have ended it
                    return self._carry_out(run_id, since, only_ends=True)
        return self._outcome(record.refresh())

    def withdraw(self, run_id: str, how: str, why: str = "") -> RunOutcome:
        """Take one's own approval back, whoever carries the run out: its next step that acts is not begun.

        Raises AskError for an unknown run, HeldError when no approval of this principal stands.
        """
        self._known(run_id)
        notify(self.workspace)
        record = self._record(run_id)
        record_withdrawal(record, load_plan(self.workspace, record.state.plan or ""), how, why)
        notify(self.workspace)
        return self._outcome(record.refresh())

    def outcome(self, run_id: str) -> RunOutcome:
        """How a run stands, changing nothing."""
        return self._outcome(self._known(run_id))

    def approval(self, run_id: str) -> ApprovalRow:
        """Who approved a run's plan, and whose approval would do."""
        self._known(run_id)
        return approval_row(self.workspace, self.policy, self._record(run_id))

    def approvals(self, run_id: str) -> tuple[StandingApproval, ...]:
        """The approvals of a run's plan that nobody took back, and until when each counts."""
        return tuple(standing_approvals(self.policy, self._known(run_id)))

    def _carry_out(
        self,
        run_id: str,
        since: float,
        *,
        proposal: Proposal | None = None,
        consent: Consent | None = None,
        until: str | None = None,
        only_ends: bool = False,
    ) -> RunOutcome:
        record = self._record(run_id)
        kept = RunEventFile(run_events_path(self.workspace, run_id))
        events = EventFanout((self.events, kept))
        runner = StepRunner(self.workspace, self.registry, record, events, self.cancelled)
        nodes = AgentNodes(
            self.workspace, self.registry, self.policy, record, runner, proposal, consent, until, only_ends
        )
        with (
            closing(kept),
            stoppable(self.workspace, run_id, self.cancelled, since) as watch,
            self._checkpointer() as saver,
        ):
            graph = build_graph(nodes, saver)
            config = _config(run_id)
            try:
                graph.invoke(self._entry(graph, config, run_id, record), config, durability="sync")
            except BaseException as error:
                if record.refresh().proposed is None:  # no run is left behind that nobody proposed
                    raise
                by = watch.requested_by()
                detail = {"status": "failed", **error_detail(error), **({"stopped_by": by} if by else {})}
                plan = record.state.plan
                record.ended(load_plan(self.workspace, plan) if plan else None, Phase.FAILED, detail)
                if not isinstance(error, OpswrightError):
                    raise
        outcome = self._outcome(record.refresh(), is_held=False)
        if nodes.is_paused and until is not None:
            words = f"done until step {until}; the same command with a later step, or with none, goes on"
            return replace(outcome, status="paused", exit_code=ExitCode.DONE, message=words)
        if nodes.consent_refused and outcome.status == "waiting":
            return replace(outcome, message=f"{outcome.message}. {nodes.consent_refused}")
        return outcome

    def _entry(self, graph: Any, config: RunnableConfig, run_id: str, record: RunRecord) -> Cursor | None:
        """Where the graph takes a run up: at its cursor, or at the start for a run that has none left.

        The ledger knows what is done, so a run whose cursor was lost, or one that is judged again, goes
        through the nodes from the start and repeats nothing.
        """
        cursor = graph.get_state(config)
        fresh = Cursor(run=run_id)
        if record.state.plan:
            fresh["plan"] = record.state.plan
        return None if cursor.next else fresh

    def _outcome(self, state: RunState, *, is_held: bool | None = None) -> RunOutcome:
        """How a run stands, from its records and its lock."""
        status, end = state.status, state.end
        held = self.workspace.is_held(state.run) if is_held is None else is_held
        if not state.is_over and held:
            status = "running"
        plan = load_plan(self.workspace, state.plan) if state.plan else None
        message = state.message
        if end is not None:
            code = int(end.detail.get("exit_code", 1))
        elif status in ("waiting", "approved") and plan is not None:
            code = ExitCode.NEEDS_APPROVAL
            word = "waits for approval" if status == "waiting" else "is approved and was not begun"
            message = f"plan {plan.id[:12]} {word}; it {plan.effect.in_words}"
        else:
            code = ExitCode.DENIED if status == "denied" else ExitCode.FAILED
            message = f"{len(state.results)} steps done"
        return RunOutcome(
            run=state.run,
            status=status,
            exit_code=code,
            message=message,
            plan=plan,
            verdict=end.detail.get("verdict") if end is not None else None,
            results={name: dict(result) for name, result in state.results.items()},
            findings=list(state.proposal.get("findings", [])),
            costs=dict(state.proposal.get("costs", {})),
            spent=dict(state.spent),
        )

    def _known(self, run_id: str) -> RunState:
        """A run's state; AskError for an id that is none, or that nothing is recorded of."""
        state = LedgerIndex.of(self.workspace).run_state(run_id) if _RUN_ID.fullmatch(run_id) else None
        if state is None:
            raise AskError(f"unknown run '{run_id[:80]}'. `opswright status` lists the runs.")
        return state

    def _record(self, run_id: str) -> RunRecord:
        return RunRecord(self.workspace, run_id, self.principal, self.policy)

    @contextmanager
    def _checkpointer(self) -> Iterator[Any]:
        import sqlite3

        from langgraph.checkpoint.sqlite import SqliteSaver

        connection = sqlite3.connect(self.workspace.checkpoints, check_same_thread=False, timeout=60)
        try:
            yield SqliteSaver(connection)
        finally:
            connection.close()

    @contextmanager
    def _held(self, run_id: str) -> Iterator[None]:
        from filelock import FileLock, Timeout

        folder = self.workspace.run_folder(run_id)
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(folder / "lock", timeout=0.5):  # who only looks whether it is held has it for less
                yield
        except Timeout as error:
            raise RunIsHeldError(
                f"run {run_id} is being carried out by another process; wait or stop that one."
            ) from error


def _config(run_id: str) -> RunnableConfig:
    return {"configurable": {"thread_id": run_id}, "recursion_limit": 10_000}
