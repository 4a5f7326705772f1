"""What every command shares: the workspace, the registry, and how a run is asked for, approved and shown."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ..core.contract import Effect, Skill
from ..core.errors import AskError
from ..core.registry import Registry

if TYPE_CHECKING:
    from ..agents.agent import Agent, RunOutcome
    from ..agents.planner import Ask
    from ..core.workspace import Workspace


@dataclass
class Session:
    """One call of the command line."""

    registry: Registry
    home: Path | None = None
    actor: str | None = None
    role: str | None = None

    @cached_property
    def workspace(self) -> Workspace:
        """The workspace in force."""
        from ..core.principal import Principal
        from ..core.settings import Role, load_settings
        from ..core.workspace import Workspace

        workspace = Workspace(load_settings(home=self.home, actor=self.actor, role=self.role))
        if workspace.settings.role not in set(Role):  # perhaps one of the policy's own
            from ..agents.policy import policy_of

            os_user = Principal.of_os_user(workspace.settings.actor, (workspace.settings.role,))
            policy_of(workspace, self.registry).check_roles(os_user)
        return workspace

    def agent(self, **options: Any) -> Agent:
        """An agent of the workspace."""
        from ..agents.agent import Agent

        return Agent(self.workspace, self.registry, **options)

    def carry_out(self, ask: Ask, *, as_json: bool, approve: str | None, yes: bool, how: str) -> None:
        """Start a run, ask for consent where a person can answer, show how it ended, exit with its code."""
        from ..agents.approvals import Consent

        consent = None
        proposal = self.agent().plan_for(ask)
        if approve is not None:
            consent = Consent(match_plan(approve, proposal.plan.id), f"{how} --approve")
        elif yes:
            consent = Consent(proposal.plan.id, f"{how} --yes")
        interactive = approve is None and not yes
        self._drive(lambda live: live.start(proposal, consent), as_json=as_json, interactive=interactive)

    def resume(
        self, run: str, *, as_json: bool, approve: str | None, yes: bool, deny: bool, why: str
    ) -> None:
        """Resume a run, with an answer to its plan where one is given."""
        from ..agents.approvals import Consent

        plan = self.agent().outcome(run).plan
        consent: Consent | None = None
        if plan is not None and (deny or approve is not None or yes):
            wanted = plan.id if approve is None else match_plan(approve, plan.id)
            consent = Consent(wanted, "resume", approved=not deny, why=why)

        def go(live: Agent) -> RunOutcome:
            if consent is not None and not consent.approved:
                return live.answer(run, consent)
            return live.resume(run, consent)

        self._drive(go, as_json=as_json, interactive=consent is None)

    def _drive(self, go: Callable[[Agent], RunOutcome], *, as_json: bool, interactive: bool) -> None:
        from ..agents.approvals import Consent
        from ..agents.preflight import impacts
        from .progress import terminal_events
        from .show import print_json, show_outcome, show_plan

        with terminal_events(quiet=as_json) as events:
            outcome = go(self.agent(events=events))
        plan = outcome.plan
        if outcome.status == "waiting" and plan is not None:
            seen = impacts(plan, self.registry, self.workspace)
            show_plan(plan, outcome.findings, outcome.costs, seen)
            if interactive and not as_json and sys.stdin.isatty():
                approved = typer.confirm("Carry out this plan?", err=True)
                consent = Consent(plan.id, "prompt", approved=approved)
                run = outcome.run
                with terminal_events() as events:
                    live = self.agent(events=events)
                    outcome = live.resume(run, consent) if approved else live.answer(run, consent)
            else:
                print(approval_hint(outcome.run, plan.id), file=sys.stderr)
        if as_json:
            print_json(outcome.document())
        else:
            show_outcome(outcome)
        raise typer.Exit(outcome.exit_code)

    def slash(self, text: str, *, as_json: bool, yes: bool, how: str) -> None:
        """Carry out a slash command. Typing one is consent to it, but to what changes an endpoint."""
        from ..agents.planner import Ask
        from ..agents.planner.slash import SlashPlanner
        from ..agents.project_skills import ProjectSkills

        if text.strip()[1:].partition(" ")[0] in ProjectSkills(self.workspace, self.registry):
            self.carry_out(Ask("slash", text), as_json=as_json, approve=None, yes=yes, how=how)
        skill, _ = SlashPlanner(self.registry, self.workspace).parse(text)
        typed = skill.effect is Effect.WRITES
        self.carry_out(Ask("slash", text), as_json=as_json, approve=None, yes=yes or typed, how=how)

    def call_skill(self, skill: Skill[Any, Any], values: dict[str, str], as_json: bool, yes: bool) -> None:
        """Run one skill as a plan of one step."""
        import shlex

        words = [f"/{skill.name}", *(shlex.quote(f"{name}={value}") for name, value in values.items())]
        self.slash(" ".join(words), as_json=as_json, yes=yes, how=f"typed {skill.name}")


def match_plan(given: str, plan: str) -> str:
    """The plan id that a full id or its first 12 or more digits mean; AskError for anything shorter."""
    if len(given) < 12:
        raise AskError(f"invalid plan id '{given}': give --approve at least its first 12 digits.")
    return plan if plan.startswith(given) else given.ljust(64, "-")


def approval_hint(run: str, plan: str) -> str:
    """What to type to answer a waiting plan."""
    return (
        f"Nothing was run. To consent to exactly this plan: opswright resume {run} --approve {plan[:12]}\n"
        f"To refuse it: opswright resume {run} --deny"
    )


def error_document(error: BaseException, exit_code: int) -> str:
    """An error as the one JSON document on stdout."""
    message = {"status": "failed", "exit_code": exit_code}
    return json.dumps({**message, "error": {"family": type(error).__name__, "message": str(error)}}, indent=2)
