"""Commands about planners: which there are, how well they read, their prompts in MLflow."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from ..core.errors import AskError, did_you_mean

if TYPE_CHECKING:
    from .session import Session

planners_app = typer.Typer(help="Planners: who turns plain language into plans.", no_args_is_help=True)


@planners_app.command("list")
def list_command(context: typer.Context) -> None:
    """The planners there are, and the one that plain language goes to.

    Example: opswright planners list
    """
    from ..agents.planner import planners

    session: Session = context.obj
    chosen = session.workspace.settings.planner.kind
    for name in planners():
        print(f"{name}{' (reads plain language)' if name == chosen else ''}")


@planners_app.command("evaluate")
def evaluate_command(
    context: typer.Context,
    kind: Annotated[str, typer.Argument(help="Kind of planner: phrases, llm, or one of a package.")],
    sentences: Annotated[
        list[str] | None,
        typer.Option("--set", help="built, held_out, third, fourth; may be repeated. [default: fourth]"),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Only so many sentences of a set, spread over it.")
    ] = None,
    misses: Annotated[bool, typer.Option("--misses", help="List every sentence that went wrong.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Count how well a planner reads the suite's sentences, and put it on the leaderboard.

    The sentences are said in a small workspace made for it; nothing is run. A planner with a model is asked
    at the endpoint of the settings, under their limits for each sentence. What another planner replied
    instead is not right.

    Example: opswright planners evaluate llm --set fourth --limit 50
    """
    from ..agents.planner import planners
    from ..agents.planner.evaluation import SETS, evaluate_planner, save_report
    from .show import print_json

    session: Session = context.obj
    chosen = sentences or ["fourth"]
    for name in chosen:
        if name not in SETS:
            known = ", ".join(SETS)
            raise AskError(f"unknown set '{name}' (there are: {known}).{did_you_mean(name, SETS)}")
    if kind not in planners():
        known = ", ".join(planners())
        raise AskError(f"unknown planner '{kind}' (there are: {known}).{did_you_mean(kind, planners())}")

    def tell(done: int, total: int) -> None:
        if sys.stderr.isatty():
            print(f"\r{done} of {total}", end="\n" if done == total else "", file=sys.stderr)

    settings = session.workspace.settings.planner
    documents = []
    for figures in evaluate_planner(kind, session.registry, settings, chosen, limit, tell):
        report = save_report(session.workspace, figures)
        documents.append({**figures.document(), "report": str(report)})
        if not json:
            print("\n".join(figures.lines(misses=misses)))
            board = f"opswright leaderboard --suite planning-{figures.name}"
            print(f"  report                {report.short}; {board}")
    if json:
        print_json({"planners": documents})


@planners_app.command("register-prompts")
def register_command(context: typer.Context) -> None:
    """Put the prompts of the planner llm into MLflow's prompt registry, each version once.

    Example: opswright planners register-prompts
    """
    from ..agents.planner.llm.prompt_registry import register_prompts

    session: Session = context.obj
    for one in register_prompts(session.workspace.settings.tracking_uri()):
        how = "registered" if one.is_new else "was there"
        print(f"{one.name} version {one.version} {how}: sha256 {one.digest[:12]}")
