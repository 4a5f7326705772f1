"""Commands about plans and runs: plan, apply, run, resume, agent, chat, status, skills, artifacts."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..core.contract import Effect
from ..core.exit_code import ExitCode
from .ask_command import ask
from .ci.files import CiFiles, Junit, Sarif, Summary
from .consent import CONSENT_DIGITS
from .session import Output, Session
from .skills_commands import skills_app

if TYPE_CHECKING:
    from ..agents.agent import Agent
    from ..agents.policy import Costs
    from ..core.plan import Plan

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Yes = Annotated[bool, typer.Option("--yes", help="Consent to the plan that comes out, in your own name.")]
Stream = Annotated[
    bool,
    typer.Option("--stream", help="Print what happens as JSON lines, the outcome last; with --json too."),
]
YesTo = Annotated[
    Effect | None,
    typer.Option(
        "--yes-to", help="Consent, in your own name, to a plan that does no more: reads, writes or serves."
    ),
]
Approve = Annotated[
    str | None, typer.Option(metavar="PLAN_ID", help="Consent to exactly this plan; 32 digits do.")
]


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
    app.add_typer(skills_app, name="skills")
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
    junit: Junit = None,
    sarif: Sarif = None,
    summary: Summary = None,
) -> None:
    """Compile a plan file: every default written out, inputs by digest, references checked. Runs nothing.

    Ends as a run would that is refused before its first step: with 1 when pre-flight stops it, 8 when the
    policy does not let you propose it or no gate judges what it serves, 6 when it is over its budget.

    Example: opswright plan plan.yaml -o plan.json
    """
    from ..agents.month_budget import months_left
    from ..agents.planner import Ask
    from ..agents.preflight import impacts, preflight, refusal
    from ..core.files import write_atomically
    from .ci.report import report_of_plan
    from .show import print_json, show_month, show_plan, show_settings

    session: Session = context.obj
    files = CiFiles(f"plan {file}", junit, sarif, summary, source=file, output=output)
    with files.of_errors():
        agent = session.agent()
        proposal = agent.plan_for(Ask("plan_file", str(file)))
        compiled = proposal.plan
        who = agent.principal.name
        found = preflight(compiled, session.registry, session.workspace, proposal.folder, person=who)
        left = months_left(session.workspace, agent.policy, who)
        findings = [{"step": step, **finding.model_dump()} for step, finding in found.findings]
        if output is not None:
            write_atomically(output, compiled.document(proposal.folder))
        costs = found.recorded_costs
        code, why = refusal(found, agent.policy.may_propose(agent.principal, compiled, costs))
        seen = impacts(compiled, session.registry, session.workspace)
    if files.is_wanted:
        files.write(report_of_plan(compiled, code, why, findings, costs, seen))
    if json:
        document = {"id": compiled.id, "plan": compiled.model_dump(mode="json"), "findings": findings}
        document["month"] = [one.document() for one in left]
        print_json({**document, "refused": why, "outcome": ExitCode.of(code).outcome, "exit_code": code})
        raise typer.Exit(code)
    show_plan(compiled, session.registry, findings, costs, seen)
    show_month(left)
    if settings:
        show_settings(compiled, session.registry)
    print(compiled.id)
    written = f"Written to {output}. " if output is not None else ""
    if told := _what_next(agent, compiled, costs, why, output):
        print(f"{written}{told}", file=sys.stderr)
    raise typer.Exit(code)


def _what_next(agent: Agent, compiled: Plan, costs: Costs, why: list[str], output: Path | None) -> str:
    """Why a plan would not run, who else must approve it, or how a written one is carried out."""
    if why:
        return f"This plan would be refused: {'; '.join(why)}"
    ruling = agent.policy.may_approve(agent.principal, compiled, agent.principal, costs)
    if not ruling.allowed:
        return f"Somebody else must approve it: {ruling.message}"
    if output is None:
        return ""
    return f"Carry it out: opswright apply {output} --approve {compiled.id[:CONSENT_DIGITS]}"


def apply(
    context: typer.Context,
    file: Annotated[
        Path, typer.Argument(help="A compiled plan (JSON, from `opswright plan FILE -o plan.json`).")
    ],
    approve: Approve = None,
    name: Annotated[
        str | None,
        typer.Option("--run", metavar="NAME", help="Name of the run; one that was begun is taken up."),
    ] = None,
    until: Annotated[
        str | None,
        typer.Option(metavar="STEP", help="Go no further than this step; needs --run, by which it goes on."),
    ] = None,
    json: Json = False,
    stream: Stream = False,
    junit: Junit = None,
    sarif: Sarif = None,
    summary: Summary = None,
) -> None:
    """Carry out a compiled plan, with consent to its id.

    With --run NAME the same command may be given again and again: each takes the run up where it is, and
    nothing is done twice.

    Example: opswright apply plan.json --approve 3f9c2a7be1015d80c4b26a9e7f10d35c
    """
    from ..agents.planner import Ask
    from ..core.errors import AskError

    if until is not None and name is None:
        raise AskError("--until needs --run NAME: the name by which the run goes on.")
    session: Session = context.obj
    out = Output(json, stream, CiFiles(f"apply {file}", junit, sarif, summary, source=file))
    session.carry_out(
        Ask("compiled_plan", str(file)),
        out=out,
        approve=approve,
        yes=None,
        how="apply",
        name=name,
        until=until,
    )


def run(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="A plan file (YAML).")],
    approve: Approve = None,
    yes: Yes = False,
    yes_to: YesTo = None,
    json: Json = False,
    stream: Stream = False,
    junit: Junit = None,
    sarif: Sarif = None,
    summary: Summary = None,
) -> None:
    """Compile a plan file, show the plan, ask, and carry it out.

    Example: opswright run plans/ship.yaml
    """
    from ..agents.planner import Ask

    session: Session = context.obj
    out = Output(json, stream, CiFiles(f"run {file}", junit, sarif, summary, source=file))
    consented = _consented(yes, yes_to)
    session.carry_out(Ask("plan_file", str(file)), out=out, approve=approve, yes=consented, how="run")


def resume(
    context: typer.Context,
    run: Annotated[str, typer.Argument(help="A run's id, from `opswright status`.")],
    approve: Approve = None,
    yes: Yes = False,
    deny: Annotated[bool, typer.Option("--deny", help="Refuse the waiting plan.")] = False,
    why: Annotated[str, typer.Option(help="Why it is refused, for the record.")] = "",
    json: Json = False,
    stream: Stream = False,
    junit: Junit = None,
    sarif: Sarif = None,
    summary: Summary = None,
) -> None:
    """Resume a run after a crash or failure, or with your answer to its plan.

    Example: opswright resume 20261120-101500-1a2b3c --approve 3f9c2a7be1015d80c4b26a9e7f10d35c
    """
    session: Session = context.obj
    out = Output(json, stream, CiFiles(f"resume {run}", junit, sarif, summary))
    session.resume(run, out=out, approve=approve, yes=yes, deny=deny, why=why)


def agent_command(
    context: typer.Context,
    text: Annotated[str, typer.Argument(help="A sentence, or a slash command.")],
    yes: Yes = False,
    yes_to: YesTo = None,
    json: Json = False,
    stream: Stream = False,
    junit: Junit = None,
    sarif: Sarif = None,
    summary: Summary = None,
) -> None:
    """Ask the agent, as in the chat: in plain language, or by a slash command.

    A sentence leads to a proposed plan, a question (exit code 2), an answer from the record, or the reason
    why nothing is proposed (2). It is no consent: approve the plan, or give --yes, which does not count for a
    plan that changes what an endpoint's users get.

    Example: opswright agent "clean tickets.csv and train on it" --json --yes-to writes
    """
    session: Session = context.obj
    out = Output(json, stream, CiFiles("agent", junit, sarif, summary))
    consented = _consented(yes, yes_to)
    if text.strip().startswith("/"):
        session.slash(text, out=out, yes=consented, how="agent")
    else:
        session.plain(text, out=out, yes=consented)


def _consented(yes: bool, yes_to: Effect | None) -> Effect | None:
    """The strongest effect that is consented to beforehand; AskError for two that differ."""
    from ..core.errors import AskError

    if yes and yes_to not in (None, Effect.SERVES):
        raise AskError(f"--yes consents to more than --yes-to {yes_to}: give one of them.")
    return Effect.SERVES if yes else yes_to


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
    from ..serving.status import status as serving_status
    from .show import console, cut, print_json, table

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
                [[r.run, r.state, cut(r.goal), r.plan[:12], r.started[:19]] for r in runs],
            )
        )
        if count > len(runs):
            out.print(f"{count - len(runs):,} older runs are not shown; `--limit {count}` shows all.")
    from .show import show_serving

    show_serving(serving)


def artifacts(
    context: typer.Context,
    kind: Annotated[str | None, typer.Argument(help="dataset, checkpoint, bundle, ...")] = None,
    json: Json = False,
) -> None:
    """List what the workspace holds, newest first.

    Example: opswright artifacts checkpoint
    """
    from ..core.artifact_refs import REF_TYPES
    from ..core.errors import AskError, did_you_mean
    from .show import console, print_json, size_in_words, table

    session: Session = context.obj
    if kind is not None and kind not in REF_TYPES:
        known = ", ".join(sorted(REF_TYPES))
        raise AskError(f"unknown kind '{kind}' (there are: {known}).{did_you_mean(kind, REF_TYPES)}")
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
        rows.append([ref.short, size_in_words(size), facts[:160]])
    console().print(table(["artifact", "size", "facts"], rows))
