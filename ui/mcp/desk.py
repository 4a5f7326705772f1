"""What the server does for a caller: reads at once, proposes plans, and finds the runs of plans."""

from __future__ import annotations

import json
import shlex
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ...agents.agent import Agent, RunOutcome
from ...agents.planner import Proposal
from ...agents.planner.slash import WAIVER
from ...agents.preflight import impacts
from ...agents.project_skills import ProjectSkill, ProjectSkills
from ...agents.record import load_plan
from ...core.compile import compile_plan
from ...core.contract import Effect, Events, NullEvents, Skill
from ...core.errors import AskError, DeniedError
from ...core.pins import with_pins
from ...core.plan import Plan
from ...core.plan_file import PlanText, parse_plan, single_step
from ...core.registry import Registry
from ...core.workspace import Workspace
from ...record.index import LedgerIndex
from ...record.run_state import RunState
from .callers import McpCaller

MOST_ARGUMENT_BYTES = 256_000
_MOST_GOAL = 300
_OLD_RUNS = 1_000  # of the newest runs that a plan's run is looked for in


class McpDesk:
    """One workspace and its skills, for callers of any role; the policy decides what each may do."""

    def __init__(self, workspace: Workspace, registry: Registry) -> None:
        self.workspace = workspace
        self.registry = registry

    def agent(
        self, caller: McpCaller, events: Events | None = None, cancelled: threading.Event | None = None
    ) -> Agent:
        """The agent, acting for the caller."""
        return Agent(
            self.workspace,
            self.registry,
            events=events or NullEvents(),
            cancelled=cancelled or threading.Event(),
            acting=caller.principal,
        )

    def may(self, caller: McpCaller, action: str, effect: Effect) -> bool:
        """Whether those of a caller's roles that count allow an action on steps of an effect at all."""
        policy = self.agent(caller).policy
        counted = policy.counted_roles(caller.principal)
        grants = [policy.rules.roles[role] for role in counted if role in policy.rules.roles]
        return any(effect in getattr(grant, action) for grant in grants)

    def check_may_read(self, caller: McpCaller) -> None:
        """HeldError for a caller whose role reads nothing."""
        if not self.may(caller, "run", Effect.READS):
            raise DeniedError(f"{caller.principal} may not read this workspace: rule 'roles'.")

    @property
    def project_skills(self) -> ProjectSkills:
        """The project skills that somebody added."""
        return ProjectSkills(self.workspace, self.registry)

    def skill_proposal(
        self, caller: McpCaller, skill: Skill[Any, Any], arguments: Mapping[str, Any]
    ) -> Proposal:
        """The plan of one call of a skill, with typed arguments; AskError names what is wrong with them."""
        given = dict(arguments)
        waiver = given.pop(WAIVER, None) if skill.effect is Effect.SERVES else None
        if waiver is not None and not isinstance(waiver, str):
            raise AskError(f"{WAIVER} is the reason, in words, for serving what no gate judged.")
        goal = slash_words(skill.name, given)
        return self._compiled(caller, single_step(skill.name, given, goal, waiver), f"mcp {goal}")

    def plan_proposal(self, caller: McpCaller, text: str) -> Proposal:
        """The plan of a plan file's text; AskError with its line for what is wrong."""
        return self._compiled(caller, parse_plan(text, "plan", Path.cwd()), "mcp propose_plan")

    def project_proposal(
        self, caller: McpCaller, skill: ProjectSkill, arguments: Mapping[str, Any]
    ) -> Proposal:
        """The plan of a project skill with these inputs."""
        refuse_paths_elsewhere(caller, dict(arguments), self.workspace)
        proposal = skill.proposal(arguments)
        refuse_inputs_elsewhere(caller, proposal.plan, self.workspace, (skill.folder,))
        return proposal

    def _compiled(self, caller: McpCaller, text: PlanText, source: str) -> Proposal:
        pinned = with_pins(text, self.registry, self.workspace)
        named = [dict(step.arguments) for step in pinned.steps]
        refuse_paths_elsewhere(caller, [*named, dict(pinned.gates)], self.workspace)
        plan = compile_plan(pinned, self.registry, self.workspace.artifacts.resolve)
        refuse_inputs_elsewhere(caller, plan, self.workspace)
        return Proposal(plan, source)

    def start(
        self,
        caller: McpCaller,
        proposal: Proposal,
        events: Events | None = None,
        cancelled: threading.Event | None = None,
    ) -> RunOutcome:
        """A new run: to its end when it only reads, to the wait for approval when not."""
        return self.agent(caller, events, cancelled).start(proposal)

    def card(self, outcome: RunOutcome) -> dict[str, Any]:
        """What a person consents to: steps, effects, costs, gates, findings, what users get."""
        plan = outcome.plan
        if plan is None:
            return {}
        seen = impacts(plan, self.registry, self.workspace)
        return {
            "goal": plan.goal,
            "effect": plan.effect.in_words,
            "steps": [
                {
                    "id": step.id,
                    "skill": step.skill,
                    "effect": step.effect.value,
                    "arguments": step.arguments,
                    "expected": outcome.costs.get(step.id),
                }
                for step in plan.steps
            ],
            "budget": plan.budget.limits,
            "gates": {name: gate.model_dump(mode="json") for name, gate in plan.gates.items()},
            "inputs": plan.inputs,
            "findings": [one for one in outcome.findings if one.get("level") != "ok"],
            "users_get": [{"step": step, **impact.model_dump()} for step, impact in seen],
        }

    def run_of(self, caller: McpCaller, plan_id: str) -> str:
        """The newest run of a plan that this caller proposed; HeldError when it is somebody else's."""
        if len(plan_id) != 64 or set(plan_id) - set("0123456789abcdef"):
            raise AskError(f"invalid plan id {plan_id[:80]!r}: expected the 64 hex digits that a tool gave.")
        index = LedgerIndex.of(self.workspace)
        rows = [row for row in index.rows(limit=_OLD_RUNS) if row.plan == plan_id]
        states = (index.run_state(row.run) for row in rows)
        own = next((state for state in states if state is not None and proposed_by(state, caller)), None)
        if own is not None:
            return own.run
        if rows:
            raise DeniedError(
                f"plan {plan_id[:12]} was proposed by {rows[0].by}, not by {caller.principal.name} with this "
                f"token. Who may run it does so with `opswright resume {rows[0].run}`, or in the console."
            )
        raise AskError(f"unknown plan {plan_id[:12]}: no run of it was proposed. Call a skill's tool.")

    def state(self, run: str) -> RunState:
        """A run's state; AskError for one that nothing is recorded of."""
        found = LedgerIndex.of(self.workspace).run_state(run) if run else None
        if found is None:
            raise AskError(f"unknown run '{run[:80]}'. The resource opswright://runs lists them.")
        return found

    def plan_of_run(self, run: str) -> Plan | None:
        """A run's plan, whoever asks."""
        plan = self.state(run).plan
        return load_plan(self.workspace, plan) if plan else None

    def check_may_run(self, caller: McpCaller, run: str) -> None:
        """HeldError when the policy does not let the caller run what is left of a run."""
        agent, state = self.agent(caller), self.state(run)
        plan = agent.outcome(run).plan
        for step in plan.steps if plan is not None else ():
            known = state.steps.get(step.id)
            if known is not None and known.finished is not None:
                continue
            agent.policy.may_run(
                agent.principal,
                plan,  # type: ignore[arg-type]  # there is one where it has steps
                step,
                state.approvals,
                datetime.now(UTC),
                state.proposer,
                state.proposal.get("costs"),
            ).check()


def proposed_by(state: RunState, caller: McpCaller) -> bool:
    """Whether a caller proposed a run: the same name, known in the same way."""
    proposer = state.proposer
    return proposer is not None and (proposer.name, proposer.authenticated_by) == caller.key


def slash_words(name: str, arguments: Mapping[str, Any]) -> str:
    """A call as the slash command that says the same, cut to what a title holds."""
    words = [f"/{name}"]
    for key, value in arguments.items():
        shown = value if isinstance(value, str) else json.dumps(value, sort_keys=True, ensure_ascii=False)
        words.append(f"{key}={shlex.quote(shown) if ' ' in shown else shown}")
    text = " ".join(" ".join(words).split())
    return text if len(text) <= _MOST_GOAL else f"{text[:_MOST_GOAL]} [cut]"


def check_size(arguments: Mapping[str, Any]) -> None:
    """AskError for arguments larger than any call needs."""
    size = len(json.dumps(arguments, default=str))
    if size > MOST_ARGUMENT_BYTES:
        raise AskError(f"the arguments have {size:,} bytes; at most {MOST_ARGUMENT_BYTES:,} are taken.")


def refuse_paths_elsewhere(caller: McpCaller, values: Any, workspace: Workspace) -> None:
    """HeldError for a path beyond the project among a remote caller's values, before it is looked at."""
    waiting: list[Any] = [] if caller.is_local else [values]
    while waiting:
        value = waiting.pop()
        if isinstance(value, Mapping):
            waiting += value.values()
        elif isinstance(value, list | tuple):
            waiting += value
        elif isinstance(value, str) and (value.startswith(("/", "~", "file:")) or ".." in value.split("/")):
            _refuse_outside(Path(value.removeprefix("file://")).expanduser(), workspace, ())


def refuse_inputs_elsewhere(
    caller: McpCaller, plan: Plan, workspace: Workspace, besides: tuple[Path, ...] = ()
) -> None:
    """HeldError when a remote caller's plan reads files beyond the project's folder and the workspace."""
    if not caller.is_local:
        for name in plan.inputs:
            _refuse_outside(Path(name), workspace, besides)


def _refuse_outside(path: Path, workspace: Workspace, besides: tuple[Path, ...]) -> None:
    allowed = [Path.cwd().resolve(), workspace.root, *besides]
    if not any(path.resolve().is_relative_to(folder) for folder in allowed):
        raise DeniedError(
            f"{path} lies outside the folder that the server was started in; callers with a token read only "
            "what is in it."
        )
