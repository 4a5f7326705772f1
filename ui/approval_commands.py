"""Commands about approvals: what waits for one, who gave it, give it, refuse it or take it back."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ..agents.agent import Agent, RunOutcome
    from ..agents.approvals import ApprovalRow

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Why = Annotated[str, typer.Option(help="Why, for the record.")]
Run = Annotated[str, typer.Argument(help="A run's id, from `opswright approvals list`.")]

_MOST = 100

approvals_app = typer.Typer(
    help="Consent to plans: what waits, who gave it, give or refuse it.", no_args_is_help=True
)


@approvals_app.command("list")
def list_command(
    context: typer.Context,
    everything: Annotated[bool, typer.Option("--all", help="Also runs that are over.")] = False,
    mine: Annotated[bool, typer.Option("--mine", help="Only what waits for your answer.")] = False,
    proposed: Annotated[bool, typer.Option("--proposed", help="Only what you proposed.")] = False,
    json: Json = False,
) -> None:
    """List the runs that wait for consent or have it and are not over, newest first.

    With --mine those that wait and that the policy lets you approve, with --proposed those that you asked
    for.

    Example: opswright approvals list --mine
    """
    from ..agents.approvals import waits_for
    from ..agents.runs import list_runs
    from ..core.errors import AskError
    from .show import console, cut, print_json, table

    if mine and (proposed or everything):
        raise AskError("--mine lists what waits: give it without --proposed and --all.")
    agent = context.obj.agent()
    if mine:
        runs = [row.run for row in waits_for(agent.workspace, agent.policy, agent.principal, _MOST)]
    else:
        over = ("done", "denied", "refused")
        found = [row for row in list_runs(agent) if everything or row.state not in over]
        runs = [row.run for row in found if not proposed or row.by == agent.principal.name]
    rows = [agent.approval(run) for run in runs]
    if json:
        print_json([row.document() for row in rows])
        return
    if not rows:
        print("Nothing waits for your answer." if mine else "Nothing waits for approval.", file=sys.stderr)
        return
    columns = ["run", "state", "goal", "plan", "proposed by", "approved by", "who may approve"]
    lines = [
        [
            r.run,
            "void" if r.void else r.state,
            cut(r.goal, 48),
            r.plan[:12],
            r.proposed_by,
            _told(r),
            ", ".join(r.needs),
        ]
        for r in rows
    ]
    console().print(table(columns, lines))
    if any(row.void for row in rows):
        print("void: something changed since; `opswright approvals show RUN` says what.", file=sys.stderr)


@approvals_app.command("show")
def show_command(context: typer.Context, run: Run, json: Json = False) -> None:
    """Show what consent to a run's plan lets happen: steps, cost, findings, what users get before and after.

    Beside what it makes it tells what differs from the last run with the same goal: settings, gates, inputs.

    Example: opswright approvals show 20261120-101500-1a2b3c
    """
    from ..agents.changes import plan_changes
    from ..agents.month_budget import months_left
    from ..record.index import LedgerIndex
    from .show import print_json, show_changes, show_month, show_plan

    session = context.obj
    agent = session.agent()
    row = agent.approval(run)
    outcome = agent.outcome(run) if row.has_plan else None
    plan = outcome.plan if outcome is not None else None
    changes = plan_changes(plan, run, session.registry, session.workspace) if plan else None
    state = LedgerIndex.of(agent.workspace).run_state(run)
    proposer = state.proposer if state is not None else None
    left = months_left(agent.workspace, agent.policy, proposer.name) if proposer is not None else []
    if json:
        document = plan.model_dump(mode="json") if plan else None
        found = {"findings": outcome.findings, "costs": outcome.costs} if outcome else {}
        told = changes.document() if changes else None
        month = [one.document() for one in left]
        print_json({**row.document(), "plan_document": document, **found, "changes": told, "month": month})
        return
    if outcome is not None and plan is not None and changes is not None:
        show_plan(plan, session.registry, outcome.findings, outcome.costs, changes.endpoints)
        show_changes(changes)
        show_month(left)
    from .consent import approve_command

    print(f"status: {row.status}; proposed by {row.proposed_by}", file=sys.stderr)
    print(f"approved by: {_told(row) or 'nobody'}", file=sys.stderr)
    _say_void(row)
    if row.denied_by:
        print(f"denied by: {row.denied_by}", file=sys.stderr)
    print(f"who may approve: {', '.join(row.needs) or 'nobody'}", file=sys.stderr)
    if row.status == "waiting" and row.has_plan and not row.void:
        print(f"to approve exactly this plan: {approve_command(run, row.plan)}", file=sys.stderr)
        print(f"to refuse it: opswright approvals deny {run} --why WHY", file=sys.stderr)


@approvals_app.command("approve")
def approve_command(
    context: typer.Context,
    run: Run,
    plan: Annotated[str, typer.Option(metavar="PLAN_ID", help="The plan you consent to; 32 digits do.")],
    json: Json = False,
) -> None:
    """Consent to exactly this plan, in your own name; `opswright resume RUN` then carries it out.

    Example: opswright approvals approve 20261120-101500-1a2b3c --plan 3f9c2a7be1015d80c4b26a9e7f10d35c
    """
    _answer(context, run, plan, approved=True, why="", json=json)


@approvals_app.command("deny")
def deny_command(
    context: typer.Context,
    run: Run,
    why: Why = "",
    json: Json = False,
) -> None:
    """Refuse a plan that waits, or take consent back: the next step that changes anything is not begun.

    Example: opswright approvals deny 20261120-101500-1a2b3c --why "the gate is too low"
    """
    _answer(context, run, None, approved=False, why=why, json=json)


@approvals_app.command("withdraw")
def withdraw_command(
    context: typer.Context,
    run: Run,
    why: Why = "",
    json: Json = False,
) -> None:
    """Take your own approval back, also while the run goes on: no further step that acts is begun.

    Example: opswright approvals withdraw 20261120-101500-1a2b3c --why "the suite has a leak"
    """
    agent = context.obj.agent()
    _show_answered(agent, agent.withdraw(run, "approvals", why), "; your approval is taken back", json=json)


def _told(row: ApprovalRow) -> str:
    """Who approved, and until when that counts."""
    ends = {True: "lapsed", False: "until"}
    return ", ".join(
        one.by + (f" ({ends[one.has_lapsed]} {one.lapses})" if one.lapses else "") for one in row.approvals
    )


def _say_void(row: ApprovalRow) -> None:
    """Why consent does not count any more, and what can be done."""
    if row.void:
        print(f"{row.state}. Put that back, or plan again and have it approved.", file=sys.stderr)


def _answer(
    context: typer.Context, run: str, plan: str | None, *, approved: bool, why: str, json: bool
) -> None:
    from ..agents.approvals import Consent
    from .consent import match_plan

    agent = context.obj.agent()
    wanted = agent.approval(run).plan
    named = wanted if plan is None else match_plan(plan, wanted)
    outcome = agent.answer(run, Consent(named, "approvals", approved=approved, why=why))
    row = _show_answered(agent, outcome, json=json)
    if approved and not row.void and not json:
        print(f"Carry it out: opswright resume {run}", file=sys.stderr)


def _show_answered(agent: Agent, outcome: RunOutcome, said: str = "", *, json: bool) -> ApprovalRow:
    """How a run stands after an answer to its plan."""
    from .show import print_json

    row = agent.approval(outcome.run)
    if json:
        print_json({**row.document(), "status": outcome.status})
    else:
        print(f"{outcome.run}: {outcome.status}{said}", file=sys.stderr)
        _say_void(row)
    return row
