"""Commands about plans and runs: plan, apply, run, resume, agent, chat, status, skills, artifacts."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..core.errors import AskError
from .ask_command import ask
from .session import Session

if TYPE_CHECKING:
    pass

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Yes = Annotated[bool, typer.Option("--yes", help="Consent to the plan that comes out, in your own name.")]
Approve = Annotated[str | None, typer.Option(metavar="PLAN_ID", help="Consent to exactly this plan.")]


def add_run_commands(app: typer.Typer) -> None:
    """Add them to the application."""
    app.command()(plan)
    app.command()(apply)
    app.command()(run)
    app.command()(resume)
    app.command("agent")(agent_command)
    app.command()(ask)
    app.command()(chat)
    app.command()(status)
    app.command()(skills)
    app.command()(artifacts)


def plan(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="A plan file (YAML).")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the compiled plan here.")
    ] = None,
    settings: Annotated[
        bool, typer.Option("--settings", help="Also list every setting, and which stand at a default.")
    ] = False,
    json: Json = False,
) -> None:
    """Compile a plan file: every default written out, inputs by digest, references checked. Runs nothing.

    Ends as a run would that is refused before its first step: with 1 when pre-flight stops it, 5 when the
    policy does not let you propose it or no gate judges what it serves, 6 when it is over its budget.

    Example: opswright plan plan.yaml -o plan.json
    """
    from ..agents.planner import Ask
    from ..agents.preflight import impacts, preflight, refusal
    from ..core.files import write_atomically
    from .show import print_json, show_plan, show_settings

    session: Session = context.obj
    agent = session.agent()
    proposal = agent.plan_for(Ask("plan_file", str(file)))
    compiled = proposal.plan
    found = preflight(compiled, session.registry, session.workspace, proposal.folder)
    findings = [{"step": step, **finding.model_dump()} for step, finding in found.findings]
    if output is not None:
        write_atomically(output, compiled.document(proposal.folder))
    costs = found.recorded_costs
    code, why = refusal(found, agent.policy.may_propose(agent.principal, compiled, costs))
    if json:
        document = {"id": compiled.id, "plan": compiled.model_dump(mode="json"), "findings": findings}
        print_json({**document, "refused": why, "exit_code": code})
        raise typer.Exit(code)
    show_plan(compiled, findings, costs, impacts(compiled, session.registry, session.workspace))
    if settings:
        show_settings(compiled, session.registry)
    print(compiled.id)
    written = f"Written to {output}. " if output is not None else ""
    if code:
        print(f"{written}This plan would be refused: {'; '.join(why)}", file=sys.stderr)
    elif not (ruling := agent.policy.may_approve(agent.principal, compiled, agent.principal, costs)).allowed:
        print(f"{written}Somebody else must approve it: {ruling.message}", file=sys.stderr)
    elif output is not None:
        approve = f"opswright apply {output} --approve {compiled.id[:12]}"
        print(f"{written}Carry it out: {approve}", file=sys.stderr)
    raise typer.Exit(code)


def apply(
    context: typer.Context,
    file: Annotated[
        Path, typer.Argument(help="A compiled plan (JSON, from `opswright plan FILE -o plan.json`).")
    ],
    approve: Approve = None,
    json: Json = False,
) -> None:
    """Carry out a compiled plan, with consent to its id.

    Example: opswright apply plan.json --approve 3f9c2a7be101
    """
    from ..agents.planner import Ask

    session: Session = context.obj
    session.carry_out(Ask("compiled_plan", str(file)), as_json=json, approve=approve, yes=False, how="apply")


def run(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="A plan file (YAML).")],
    approve: Approve = None,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Compile a plan file, show the plan, ask, and carry it out.

    Example: opswright run examples/support_router/v1.yaml
    """
    from ..agents.planner import Ask

    session: Session = context.obj
    session.carry_out(Ask("plan_file", str(file)), as_json=json, approve=approve, yes=yes, how="run")


def resume(
    context: typer.Context,
    run: Annotated[str, typer.Argument(help="A run's id, from `opswright status`.")],
    approve: Approve = None,
    yes: Yes = False,
    deny: Annotated[bool, typer.Option("--deny", help="Refuse the waiting plan.")] = False,
    why: Annotated[str, typer.Option(help="Why it is refused, for the record.")] = "",
    json: Json = False,
) -> None:
    """Resume a run after a crash or failure, or with your answer to its plan.

    Example: opswright resume 20261120-101500-1a2b3c --approve 3f9c2a7be101
    """
    session: Session = context.obj
    session.resume(run, as_json=json, approve=approve, yes=yes, deny=deny, why=why)


def agent_command(
    context: typer.Context,
    text: Annotated[str, typer.Argument(help="A slash command.")],
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Ask the agent, as in the chat.

    Example: opswright agent "/leaderboard suite=shop"
    """
    session: Session = context.obj
    if not text.strip().startswith("/"):
        raise AskError(
            f"not a slash command: {text.strip()[:60]!r}. Expected one like "
            "`/leaderboard suite=shop`; `opswright skills` lists them."
        )
    session.slash(text, as_json=json, yes=yes, how="agent")


def chat(
    context: typer.Context,
    host: Annotated[str | None, typer.Option(help="Address to listen on. [default: 127.0.0.1]")] = None,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port to listen on. [default: 7860]")
    ] = None,
) -> None:
    """Open the console in a browser: chat, leaderboard, endpoints, drift, ledger. Ends with Ctrl-C.

    Example: opswright chat --port 7861
    """
    from .console.app import serve
    from .console.auth.users import load_users
    from .console.console import Console

    session: Session = context.obj
    settings = session.workspace.settings
    named = settings.console
    console = Console(session.registry, settings, load_users(settings))
    serve(console, host or named.host, port or named.port)


def status(
    context: typer.Context,
    limit: Annotated[int, typer.Option(min=1, help="How many runs to show, the newest.")] = 50,
    json: Json = False,
) -> None:
    """List the newest runs and their status, and what is served.

    Example: opswright status --json
    """
    from ..agents.runs import count_runs, list_runs
    from ..serving.rollout import status as serving_status
    from .show import console, print_json, table

    session: Session = context.obj
    runs, count = list_runs(session.agent(), limit=limit), count_runs(session.workspace)
    serving = serving_status(session.workspace)
    if json:
        print_json(
            {
                "workspace": str(session.workspace.root),
                "runs": [r.document() for r in runs],
                "run_count": count,
                "serving": serving,
            }
        )
        return
    out = console()
    if not runs:
        out.print(
            "No runs yet. `opswright demo` makes the first ones; `opswright run PLAN` carries out your own."
        )
    else:
        out.print(
            table(
                ["run", "state", "goal", "plan", "started"],
                [[r.run, r.state, _cut(r.goal), r.plan[:12], r.started[:19]] for r in runs],
            )
        )
        if count > len(runs):
            out.print(f"{count - len(runs):,} older runs are not shown; `--limit {count}` shows all.")
    from .show import show_serving

    show_serving(serving)


def _cut(text: str, width: int = 64) -> str:
    """The text, or as much of it as a table's cell should hold."""
    return text if len(text) <= width else f"{text[: width - 1]}…"


def skills(
    context: typer.Context,
    reference: Annotated[
        Path | None, typer.Option(help="Write the reference pages into this folder instead.")
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Only compare the folder with the code.")] = False,
    json: Json = False,
) -> None:
    """List the skills, or write their reference pages.

    Example: opswright skills --reference docs/reference
    """
    from .reference import write_reference
    from .show import console, print_json, table

    session: Session = context.obj
    if reference is not None:
        stale = write_reference(session.registry, reference, check_only=check)
        if check and stale:
            raise AskError(
                f"stale in {reference}: {', '.join(stale)}. Run `opswright skills --reference {reference}`."
            )
        print(f"{reference}: {'up to date' if not stale else f'{len(stale)} pages written'}")
        return
    rows = [[skill.name, str(skill.effect), skill.summary] for skill in session.registry]
    if json:
        print_json(
            [
                {"name": s.name, "effect": str(s.effect), "summary": s.summary, "request": s.schema()}
                for s in session.registry
            ]
        )
    else:
        console().print(table(["skill", "effect", "what it does"], rows))


def artifacts(
    context: typer.Context,
    kind: Annotated[str | None, typer.Argument(help="dataset, checkpoint, bundle, ...")] = None,
    json: Json = False,
) -> None:
    """List what the workspace holds, newest first.

    Example: opswright artifacts checkpoint
    """
    from .show import console, print_json, table

    session: Session = context.obj
    found = session.workspace.artifacts.list(kind)
    if json:
        print_json([{"ref": ref, **manifest} for ref, manifest in found])
        return
    rows = []
    for ref, manifest in found:
        facts = ", ".join(
            f"{k} {v}" for k, v in manifest["facts"].items() if isinstance(v, str | int | float)
        )
        size = sum(entry["bytes"] for entry in manifest["files"].values())
        rows.append([ref.short, f"{size / 1e6:,.1f} MB", facts[:160]])
    console().print(table(["artifact", "size", "facts"], rows))
