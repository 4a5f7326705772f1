"""What every command shares: the workspace, the registry, and how a run is asked for, approved and shown."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import typer

from ..core.contract import Effect, Skill
from ..core.exit_code import ExitCode
from ..core.registry import Registry
from .ci.files import CiFiles
from .ci.stream import write_line
from .consent import approval_hint, match_plan, mismatch

if TYPE_CHECKING:
    from ..agents.agent import Agent, RunOutcome
    from ..agents.planner import Ask, Declined, PlanningEvent, Question, RecordAnswer
    from ..core.plan import Plan
    from ..core.workspace import Workspace
    from .ci.stream import StreamEvents
    from .progress import PlainEvents, TerminalEvents


_STRENGTH = {effect: strength for strength, effect in enumerate(Effect)}  # reads, writes, serves


@dataclass(frozen=True)
class Output:
    """How one command shows a run: as text, as one JSON document or as JSON lines; and its reports."""

    json: bool = False
    stream: bool = False
    files: CiFiles = field(default_factory=CiFiles)

    @property
    def is_for_machines(self) -> bool:
        """Whether a program reads stdout: nobody is asked anything then."""
        return self.json or self.stream

    def events(self) -> PlainEvents | TerminalEvents | StreamEvents:
        """Who is told what happens, while inside it as a context."""
        from .ci.stream import StreamEvents
        from .progress import terminal_events

        return StreamEvents() if self.stream else terminal_events(quiet=self.json)


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

        workspace = Workspace(load_settings(home=self.home, actor=self.actor, role=self.role), make=False)
        if workspace.settings.role not in set(Role):  # perhaps one of the policy's own
            from ..agents.policy import policy_of

            somebody = Principal(workspace.settings.actor, (workspace.settings.role,), "settings")
            policy_of(workspace, self.registry).check_roles(somebody)
        return workspace

    def agent(self, **options: Any) -> Agent:
        """An agent of the workspace."""
        from ..agents.agent import Agent

        return Agent(self.workspace, self.registry, **options)

    def plain(self, text: str, *, out: Output, yes: Effect | None) -> None:
        """Plain language: a plan that waits for consent, or a reply that runs nothing.

        yes: as in `carry_out`, for what makes artifacts; what serves waits for an answer to the plan that
        came out.
        """
        from ..agents.approvals import Consent
        from ..agents.planner import PLAIN_LANGUAGE, Ask, Proposal

        with out.files.of_errors():
            found = self.agent(planning=_tell_planning).propose(Ask(PLAIN_LANGUAGE, text))
            if not isinstance(found, Proposal):
                self._reply(self._timed(text, found), out)
            strength = self._strongest(found.plan)
            consent = None
            has_read = found.planned_by is not None and bool(found.planned_by.read)
            if has_read and yes is not None and strength > _STRENGTH[Effect.READS]:
                why = "--yes is no consent to what a model planned after reading what others wrote."
                print(why, file=sys.stderr)
            elif yes is not None and strength <= min(_STRENGTH[yes], _STRENGTH[Effect.WRITES]):
                consent = Consent(found.plan.id, f"agent --yes-to {yes}")
            if yes is Effect.SERVES and consent is None and not has_read:
                why = "--yes is no consent to what a sentence would serve: approve the plan below."
                print(why, file=sys.stderr)
            outcome = self._drive(lambda live: live.start(found, consent), out, interactive=yes is None)
        raise typer.Exit(outcome.exit_code)

    def _timed(
        self, text: str, found: Question | RecordAnswer | Declined
    ) -> Question | RecordAnswer | Declined:
        """An answer that says so where it is not of the time that the question names."""
        from ..agents.memory.facts import is_of_another_time
        from ..agents.planner import RecordAnswer

        if not isinstance(found, RecordAnswer) or not is_of_another_time(text, found, self.workspace):
            return found
        told = f"Not of the time that was asked about, the newest there is: {found.text}"
        return replace(found, text=f'{told} (`opswright ask "..."` looks at what was recorded then.)')

    def _reply(self, found: Question | RecordAnswer | Declined, out: Output) -> NoReturn:
        """Say what a planner answered without a plan, in the form that was asked for, and exit."""
        from .ci.report import report_of_reply
        from .show import print_json

        code, document = reply_document(found)
        if out.stream:
            write_line("outcome", **document)
        elif out.json:
            print_json(document)
        else:
            print("\n".join(reply_lines(found, self.registry)))
        if out.files.is_wanted:
            out.files.write(report_of_reply(found.text, code))
        raise typer.Exit(code)

    def carry_out(
        self,
        ask: Ask,
        *,
        out: Output,
        approve: str | None,
        yes: Effect | None,
        how: str,
        name: str | None = None,
        until: str | None = None,
    ) -> None:
        """Start a run, ask for consent where a person can answer, show how it ended, exit with its code.

        yes: the strongest effect of plans that are consented to beforehand; None: of no plan.
        name: of the run, which is taken up where it is when it was begun. until: the last step of this call.
        """
        from ..agents.approvals import Consent

        with out.files.of_errors():
            consent = None
            proposal = self.agent().plan_for(ask)
            if approve is not None:
                named = match_plan(approve, proposal.plan.id)
                consent = Consent(named, f"{how} --approve")
                _say_mismatch(named, proposal.plan.id)
            elif yes is not None and self._strongest(proposal.plan) <= _STRENGTH[yes]:
                consent = Consent(proposal.plan.id, f"{how} --yes-to {yes}")
            interactive = approve is None and consent is None

            def go(live: Agent) -> RunOutcome:
                if name is None:
                    return live.start(proposal, consent)
                return live.apply_until(proposal, name, consent, until)

            outcome = self._drive(go, out, interactive=interactive and name is None)
        raise typer.Exit(outcome.exit_code)

    def _strongest(self, plan: Plan) -> int:
        """The strength of what a plan does, by the registry's effects and not by what the plan says."""
        policy = self.agent().policy
        return max(_STRENGTH[policy.effect_of(step)] for step in plan.steps)

    def resume(self, run: str, *, out: Output, approve: str | None, yes: bool, deny: bool, why: str) -> None:
        """Resume a run, with an answer to its plan where one is given; exit with its code."""
        from ..agents.approvals import Consent

        with out.files.of_errors():
            plan = self.agent().outcome(run).plan
            consent: Consent | None = None
            if plan is not None and (deny or approve is not None or yes):
                wanted = plan.id if approve is None else match_plan(approve, plan.id)
                _say_mismatch(wanted, plan.id)
                consent = Consent(wanted, "resume", approved=not deny, why=why)

            def go(live: Agent) -> RunOutcome:
                if consent is not None and not consent.approved:
                    return live.answer(run, consent)
                return live.resume(run, consent)

            outcome = self._drive(go, out, interactive=consent is None)
        raise typer.Exit(outcome.exit_code)

    def _drive(self, go: Callable[[Agent], RunOutcome], out: Output, *, interactive: bool) -> RunOutcome:
        """Carry a run on, show how it ended in the form that was asked for, and write the reports."""
        from ..agents.approvals import Consent
        from ..agents.preflight import impacts
        from .show import show_plan

        with out.events() as events:
            outcome = go(self.agent(events=events))
        plan = outcome.plan
        if outcome.status == "waiting" and plan is not None:
            seen = impacts(plan, self.registry, self.workspace)
            show_plan(plan, self.registry, outcome.findings, outcome.costs, seen)
            why_not = self._why_not_approve(outcome.run, plan)
            if interactive and not why_not and not out.is_for_machines and sys.stdin.isatty():
                approved = typer.confirm("Carry out this plan?", err=True)
                consent = Consent(plan.id, "prompt", approved=approved)
                run = outcome.run
                with out.events() as events:
                    live = self.agent(events=events)
                    outcome = live.resume(run, consent) if approved else live.answer(run, consent)
            else:
                print(approval_hint(outcome.run, plan.id, why_not), file=sys.stderr)
        code = _told(outcome, out)
        if out.files.is_wanted:
            self._report(outcome, out.files)
        return replace(outcome, exit_code=code)

    def _why_not_approve(self, run: str, plan: Plan) -> str:
        """Why whoever acts may not approve the plan, and who may; empty where they may."""
        from ..agents.approvals import why_not_approve
        from ..record.index import LedgerIndex

        agent = self.agent()
        state = LedgerIndex.of(self.workspace).run_state(run)
        return "" if state is None else why_not_approve(agent.policy, agent.principal, plan, state)

    def _report(self, outcome: RunOutcome, files: CiFiles) -> None:
        from ..agents.preflight import impacts
        from ..record.index import LedgerIndex
        from .ci.report import report_of_run

        state = LedgerIndex.of(self.workspace).run_state(outcome.run)
        waits = outcome.plan if outcome.status == "waiting" else None
        seen = impacts(waits, self.registry, self.workspace) if waits is not None else ()
        files.write(report_of_run(outcome, state, seen))

    def slash(self, text: str, *, out: Output, yes: Effect | None, how: str) -> None:
        """Carry out a slash command. Typing one is consent to it, but to what changes an endpoint."""
        from ..agents.planner import Ask
        from ..agents.planner.slash import SlashPlanner
        from ..agents.project_skills import ProjectSkills

        is_project_skill = text.strip()[1:].partition(" ")[0] in ProjectSkills(self.workspace, self.registry)
        with out.files.of_errors():
            if not is_project_skill and yes is None:
                skill, _ = SlashPlanner(self.registry, self.workspace).parse(text)
                yes = Effect.WRITES if skill.effect is Effect.WRITES else None
        self.carry_out(Ask("slash", text), out=out, approve=None, yes=yes, how=how)

    def call_skill(self, skill: Skill[Any, Any], values: dict[str, str], as_json: bool, yes: bool) -> None:
        """Run one skill as a plan of one step."""
        words = [f"/{skill.name}", *(shlex.quote(f"{name}={value}") for name, value in values.items())]
        consented = Effect.SERVES if yes else None
        self.slash(" ".join(words), out=Output(json=as_json), yes=consented, how=f"typed {skill.name}")


def _told(outcome: RunOutcome, out: Output) -> int:
    """Show how a run ended in the form that was asked for; the exit code, a failure where nobody reads it."""
    from .show import print_json, show_outcome

    try:
        if out.stream:
            write_line("outcome", **outcome.document())
        elif out.json:
            print_json(outcome.document())
        else:
            show_outcome(outcome)
        sys.stdout.flush()
    except (OSError, SystemExit) as error:  # SystemExit: what rich makes of a reader that has gone
        ended = ExitCode.of(outcome.exit_code).outcome
        reason = error if isinstance(error, OSError) else "its reader has gone"
        why = f"run {outcome.run} ended ({ended}), and stdout could not be written: {reason}"
        print(f"opswright: {why}. `opswright status` lists it.", file=sys.stderr)
        return outcome.exit_code or ExitCode.FAILED
    return outcome.exit_code


def reply_document(reply: Question | RecordAnswer | Declined) -> tuple[int, dict[str, Any]]:
    """The exit code of a planner's reply that runs nothing, and the reply as the one JSON document."""
    from ..agents.planner import Question, RecordAnswer

    if isinstance(reply, RecordAnswer):
        code, status = ExitCode.DONE, "answered"
        facts: dict[str, Any] = {"about": reply.about, "records": list(reply.records)}
    elif isinstance(reply, Question):
        code, status = ExitCode.USAGE, "question"
        facts = {"choices": list(reply.choices), "draft": reply.draft}
    else:
        code, status = ExitCode.USAGE, "declined"
        facts = {"reason": reply.reason, "commands": list(reply.commands)}
    ended = {"status": status, "outcome": code.outcome, "exit_code": int(code)}
    if reply.planned_by is not None:
        facts["planner"] = reply.planned_by.document()
    return code, {**ended, "message": reply.text, **facts}


def reply_lines(reply: Question | RecordAnswer | Declined, registry: Registry) -> list[str]:
    """A planner's reply that runs nothing, as lines for a terminal."""
    from ..agents.planner import Question
    from ..core.text import escaped
    from .times import with_ago

    lines = [with_ago(escaped(reply.text))]
    if isinstance(reply, Question):
        return [*lines, *(f"  {escaped(choice)}" for choice in reply.choices)]
    typed = [command for command in reply.commands if command.split()[0].lstrip("/") in registry]
    return [*lines, *(f"  opswright agent {shlex.quote(command)}" for command in typed)]


def _tell_planning(event: PlanningEvent) -> None:
    """What a planner reads and notes meanwhile, on stderr."""
    from ..core.text import escaped

    if event.kind != "thinking":
        print(escaped(f"{'reads' if event.kind == 'tool' else 'note:'} {event.text}"), file=sys.stderr)


def _say_mismatch(approved: str, plan: str) -> None:
    if why := mismatch(approved, plan):
        print(why, file=sys.stderr)
