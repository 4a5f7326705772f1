"""Commands about measured models: leaderboard, compare. They read the workspace and change nothing in it."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from .ci.files import Summary
from .session import Session

COMMANDS = ("leaderboard", "compare")

Output = Annotated[Path | None, typer.Option("--output", "-o", help="Write it into this file instead.")]
Json = Annotated[bool, typer.Option("--json", help="The same as --format json.")]


class BoardFormat(StrEnum):
    """How the leaderboard is written."""

    TABLE = "table"
    MD = "md"
    JSON = "json"
    CSV = "csv"
    HTML = "html"


class CompareFormat(StrEnum):
    """How a comparison is written."""

    TABLE = "table"
    MD = "md"
    JSON = "json"


def add_board_commands(app: typer.Typer) -> None:
    """Add them to the application."""
    app.command()(leaderboard)
    app.command()(compare)


def leaderboard(
    context: typer.Context,
    suite: Annotated[str | None, typer.Option(help="Only this suite. [default: all]")] = None,
    format: Annotated[
        BoardFormat, typer.Option(help="html is one file that opens offline.")
    ] = BoardFormat.TABLE,
    output: Output = None,
    json: Json = False,
    speed: Annotated[
        bool,
        typer.Option("--speed", help="What benchmarks measured instead: latencies and tokens per second."),
    ] = False,
    diff: Annotated[
        str | None,
        typer.Option(
            metavar="BASE", help="What changed since BASE: an exported leaderboard (JSON), a model or report."
        ),
    ] = None,
    summary: Summary = None,
) -> None:
    """Show every measured model and its baselines, best first; with --diff, what changed.

    Example: opswright leaderboard --format html -o leaderboard.html
    """
    from ..evals.leaderboard import render
    from ..evals.standings import standings

    session: Session = context.obj
    if diff is not None or summary is not None:
        _give(_diff(session, diff, suite, BoardFormat.JSON if json else format, summary), output)
        return
    if speed:
        _give(_speed(session, BoardFormat.JSON if json else format), output)
        return
    lines = standings(session.workspace, suite)
    if not lines:
        print(
            "the leaderboard is empty; `opswright evaluate model=REF suite=NAME` adds a model",
            file=sys.stderr,
        )
    form = BoardFormat.JSON if json else format
    if not lines and form is BoardFormat.TABLE and output is None:
        return
    if form is BoardFormat.HTML:
        from .reports.leaderboard import page

        _give(page(lines), output)
    else:
        _give(render(lines, form), output)


def compare(
    context: typer.Context,
    a: Annotated[str, typer.Argument(help="What is held against: a model, report, or REPORT/BASELINE.")],
    b: Annotated[str, typer.Argument(help="What is judged, measured on the same suite.")],
    suite: Annotated[str | None, typer.Option(help="Only this suite. [default: all]")] = None,
    items: Annotated[int, typer.Option(min=0, help="Most items that are shown; json holds all.")] = 20,
    format: Annotated[CompareFormat, typer.Option(help="How it is written.")] = CompareFormat.TABLE,
    output: Output = None,
    json: Json = False,
) -> None:
    """Compare two measured models item by item: won, lost, the difference with its interval, a paired test.

    Of two benchmark reports: each latency and rate, B over A, with its interval.

    Example: opswright compare checkpoint:3c2d97 checkpoint:e17623
    """
    from ..core.artifact_refs import BenchmarkReportRef
    from ..evals.head_to_head import compare as compare_two
    from ..evals.head_to_head import find_line, open_measured, render
    from ..evals.leaderboard import board

    session: Session = context.obj
    store = session.workspace.artifacts
    if {text.partition(":")[0] for text in (a, b)} == {BenchmarkReportRef.kind}:
        from ..evals.load.comparison import compare_load, render_comparison
        from ..evals.load.report import find_report

        loads = compare_load(find_report(store, a), find_report(store, b))
        _give(render_comparison(loads, CompareFormat.JSON if json else format), output)
        return
    lines = board(session.workspace, suite)
    before, after = (open_measured(store, find_line(lines, text)) for text in (a, b))
    found = compare_two(before, after)
    _give(render(found, CompareFormat.JSON if json else format, items), output)


def _diff(
    session: Session, base: str | None, suite: str | None, form: BoardFormat, summary: Path | None
) -> str:
    """What changed since the base, which is added to the summary, too; AskError for a format it has not."""
    import json

    from ..core.errors import AskError
    from ..evals.board_diff import board_diff, read_board
    from ..evals.leaderboard import board
    from .ci.board_summary import board_markdown, board_text
    from .ci.files import CiFiles

    if base is None:
        raise AskError("a summary of the leaderboard is of what changed: give --diff BASE.")
    if form not in (BoardFormat.TABLE, BoardFormat.MD, BoardFormat.JSON):
        raise AskError(f"what changed is not written as {form} (but as: table, md, json).")
    files = CiFiles("leaderboard", summary=summary)
    with files.of_errors():
        now = board(session.workspace, suite)
        lines = list(read_board(base, now))
        is_file = Path(base).is_file()
        wanted = {suite} if suite is not None else {one.suite for one in lines} if not is_file else None
        lines, now = ([one for one in rows if wanted is None or one.suite in wanted] for rows in (lines, now))
        changes = board_diff(lines, now, session.workspace.artifacts)
        text = board_markdown(changes, base)
        if summary is not None:
            with summary.open("a", encoding="utf-8") as file:
                file.write(text)
    if form is BoardFormat.JSON:
        return json.dumps([one.document() for one in changes], indent=2, sort_keys=True)
    return text if form is BoardFormat.MD else board_text(changes)


def _speed(session: Session, form: BoardFormat) -> str:
    """The table of all benchmarks; AskError for a format that it has not."""
    from ..core.errors import AskError
    from ..evals.load.report import load_board, render_board

    if form not in (BoardFormat.TABLE, BoardFormat.MD, BoardFormat.JSON):
        raise AskError(f"benchmarks are not written as {form} (but as: table, md, json).")
    rows = load_board(session.workspace.artifacts)
    if not rows:
        print("nothing was benchmarked; `opswright benchmark URL --suite NAME` does it", file=sys.stderr)
    return render_board(rows, form)


def _give(text: str, output: Path | None) -> None:
    """The text and a line's end, on stdout or in a file."""
    from ..core.files import write_atomically

    whole = text if text.endswith("\n") else f"{text}\n"
    if output is None:
        sys.stdout.write(whole)
    else:
        write_atomically(output, whole.encode())
        print(f"written to {output}", file=sys.stderr)
