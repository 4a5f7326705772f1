"""The agent: starts runs, resumes them, tells how they stand. What the command line and the console call."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ..core.contract import Effect, Events, NullEvents
from ..core.errors import AskError, HeldError, OpswrightError
from ..core.plan import Plan
from ..core.registry import Registry
from ..core.workspace import Workspace
from ..record.ledger import Phase
from . import policy
from .graph import Consent, RunState, build_graph
from .nodes import AgentNodes
from .planner import Ask, CompiledPlanner, PlanFilePlanner
from .planner.slash import SlashPlanner
from .record import RunRecord, error_detail, load_plan
from .run_events import EventFanout, RunEventFile, run_events_path
from .steps import StepRunner
from .stopping import stop_requested_by, stoppable

if TYPE_CHECKING:
    from langchain_core.runnables import RunnableConfig

    from .planner import Planner


@dataclass(frozen=True)
class RunOutcome:
    """How a run stands: `waiting` for approval, `done`, `denied`, `refused` or `failed`."""

    run: str
    status: str
    exit_code: int
    message: str
    plan: Plan | None = None
    verdict: str | None = None
    results: dict[str, dict[str, Any]] = field(default_factory=dict)
    findings: list[dict[str, Any]] = field(default_factory=list)
    costs: dict[str, Any] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """The outcome as the command line's JSON shows it."""
        return {
            "run": self.run,
            "status": self.status,
            "exit_code": self.exit_code,
            "message": self.message,
            "plan": self.plan.id if self.plan else None,
            "verdict": self.verdict,
            "results": self.results,
            "findings": self.findings,
        }


@dataclass
class Agent:
    """The agent of one workspace."""

    workspace: Workspace
    registry: Registry
    events: Events = field(default_factory=NullEvents)
    cancelled: threading.Event = field(default_factory=threading.Event)

    def propose(self, ask: Ask) -> Plan:
        """The plan an ask leads to, with nothing recorded or run."""
        return self._planners()[ask.kind].propose(ask)

    def start(self, ask: Ask, upfront: Consent | None = None) -> RunOutcome:
        """A new run, as far as it goes without asking: to its end, or to the wait for approval.

        `upfront` is consent given together with the ask; it counts for its plan id and no other. A wrong ask
        raises (AskError, IntegrityError) and leaves no run behind.
        """
        self.propose(ask)
        run_id = f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"
        with self._held(run_id):
            state = RunState(run=run_id, ask={"kind": ask.kind, "text": ask.text}, upfront=upfront)
            self._mirror(run_id)
            return self._carry_out(run_id, state, resumed=False)

    def resume(self, run_id: str, consent: Consent | None = None) -> RunOutcome:
        """Go on with a run where it stopped: after a crash or failure, or with a person's answer.

        Raises AskError for an unknown run, HeldError while another process carries it out or when the
        consent is for another plan.
        """
        with self._held(run_id):
            values, waiting, finished = self._look(run_id)
            if not values:
                raise _unknown(run_id)
            if finished:
                return self._ended(run_id, values)
            self._mirror(run_id)
            if not waiting:
                return self._carry_out(run_id, None, resumed=True)
            if consent is None:
                return self._waiting(run_id, values)
            return self._answered(run_id, values, consent)

    def answer(self, run_id: str, consent: Consent) -> RunOutcome:
        """A person's answer to a run that waits for one, taken once: a second one changes nothing.

        Raises AskError for an unknown run, HeldError when the run no longer waits, is being carried out, or
        the consent is for another plan.
        """
        with self._held(run_id):
            values, waiting, _ = self._look(run_id)
            if not values:
                raise _unknown(run_id)
            if not waiting:
                raise HeldError(f"run {run_id} does not wait for an answer: it was given one before.")
            self._mirror(run_id)
            return self._answered(run_id, values, consent)

    def _answered(self, run_id: str, values: dict[str, Any], consent: Consent) -> RunOutcome:
        from langgraph.types import Command

        plan = load_plan(self.workspace, values["plan"])
        if consent["plan"] != plan.id:
            raise HeldError(
                f"run {run_id} waits for approval of plan {plan.id[:12]}, not {consent['plan'][:12]}."
            )
        return self._carry_out(run_id, Command(resume=consent), resumed=True)

    def outcome(self, run_id: str) -> RunOutcome:
        """How a run stands, changing nothing."""
        values, waiting, finished = self._look(run_id)
        if not values:
            raise _unknown(run_id)
        if waiting:
            return self._waiting(run_id, values)
        if finished:
            return self._ended(run_id, values)
        return RunOutcome(
            run=run_id,
            status="running" if self.workspace.is_held(run_id) else "stopped",
            exit_code=1,
            message=f"{len(values.get('results', {}))} steps done",
            plan=load_plan(self.workspace, values["plan"]) if "plan" in values else None,
            results=values.get("results", {}),
        )

    def consent(self, plan: str, *, how: str, approved: bool = True, why: str = "") -> Consent:
        """The actor's answer to a plan; HeldError when the role may not give it."""
        settings = self.workspace.settings
        if approved and not policy.ALLOWED[settings.role] - {Effect.READS}:
            raise HeldError(f"role '{settings.role}' may not approve plans.")
        return Consent(
            approved=approved, plan=plan, by=settings.actor, role=str(settings.role), how=how, why=why
        )

    def _carry_out(self, run_id: str, start: Any, *, resumed: bool) -> RunOutcome:
        record = RunRecord(self.workspace, run_id, resumed=resumed)
        kept = RunEventFile(run_events_path(self.workspace, run_id))
        events = EventFanout((self.events, kept))
        runner = StepRunner(self.workspace, self.registry, record, events, self.cancelled)
        nodes = AgentNodes(self.workspace, self.registry, self._planners(), record, runner)
        with (
            closing(kept),
            stoppable(self.workspace, run_id, self.cancelled),
            self._checkpointer() as saver,
        ):
            graph = build_graph(nodes, saver)
            config = _config(run_id)
            try:
                graph.invoke(start, config, durability="sync")
            except BaseException as error:
                values = graph.get_state(config).values
                plan = load_plan(self.workspace, values["plan"]) if "plan" in values else None
                record.ended(plan, Phase.FAILED, self._failure(run_id, error))
                if not isinstance(error, OpswrightError):
                    raise
                return RunOutcome(
                    run=run_id,
                    status="failed",
                    exit_code=error.exit_code,
                    message=str(error),
                    plan=plan,
                    results=values.get("results", {}),
                    findings=values.get("findings", []),
                )
            state = graph.get_state(config)
        return self._waiting(run_id, state.values) if state.next else self._ended(run_id, state.values)

    def _failure(self, run_id: str, error: BaseException) -> dict[str, Any]:
        """How a run failed, and who stopped it if somebody did, for its record."""
        by = stop_requested_by(self.workspace, run_id)
        return {"status": "failed", **error_detail(error), **({} if by is None else {"stopped_by": by})}

    def _look(self, run_id: str) -> tuple[dict[str, Any], bool, bool]:
        """A run's state, whether it waits for a person, and whether it is finished."""
        if not self.workspace.checkpoints.exists():
            return {}, False, False
        with self._checkpointer() as saver:
            record = RunRecord(self.workspace, run_id, resumed=False)
            runner = StepRunner(self.workspace, self.registry, record)
            nodes = AgentNodes(self.workspace, self.registry, {}, record, runner)
            state = build_graph(nodes, saver).get_state(_config(run_id))
        values = dict(state.values)
        waiting = any(task.interrupts for task in state.tasks)
        return values, waiting, bool(values) and not state.next and "outcome" in values

    def _waiting(self, run_id: str, values: dict[str, Any]) -> RunOutcome:
        plan = load_plan(self.workspace, values["plan"])
        return RunOutcome(
            run=run_id,
            status="waiting",
            exit_code=HeldError.exit_code,
            message=f"plan {plan.id[:12]} waits for approval; it {plan.effect.in_words}",
            plan=plan,
            findings=values.get("findings", []),
            costs=values.get("costs", {}),
        )

    def _ended(self, run_id: str, values: dict[str, Any]) -> RunOutcome:
        outcome = values["outcome"]
        return RunOutcome(
            run=run_id,
            status=outcome["status"],
            exit_code=outcome["exit_code"],
            message=outcome["message"],
            plan=load_plan(self.workspace, values["plan"]),
            verdict=outcome["verdict"],
            results=values.get("results", {}),
            findings=values.get("findings", []),
            costs=values.get("costs", {}),
        )

    def _planners(self) -> dict[str, Planner]:
        return {
            "plan_file": PlanFilePlanner(self.registry, self.workspace.artifacts),
            "compiled_plan": CompiledPlanner(self.registry),
            "slash": SlashPlanner(self.registry, self.workspace),
        }

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
            raise HeldError(
                f"run {run_id} is being carried out by another process; wait or stop that one."
            ) from error

    def _mirror(self, run_id: str) -> None:
        """Have MLflow follow the ledger, in a process of its own: a run never waits for it."""
        if self.workspace.settings.mlflow.mirror == "background":
            from ..record.mirror import start_background

            start_background(self.workspace, run_id)


def _unknown(run_id: str) -> AskError:
    return AskError(f"there is no run '{run_id}'. `opswright status` lists the runs there are.")


def _config(run_id: str) -> RunnableConfig:
    return {"configurable": {"thread_id": run_id}, "recursion_limit": 10_000}
