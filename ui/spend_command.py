"""The command `opswright spend`: what was spent, by whom, on what."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated

import typer


class SpendBy(StrEnum):
    """What spending is added up by."""

    PERSON = "person"
    SKILL = "skill"
    ENDPOINT = "endpoint"
    MONTH = "month"
    RUN = "run"


def spend(
    context: typer.Context,
    by: Annotated[SpendBy, typer.Option(help="What to add up by.")] = SpendBy.PERSON,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="From this time on, ISO 8601, as 2026-11-01.")
    ] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="Before this time.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Show what was spent, by whom and on what, from the ledger alone; a run is charged to who proposed it.

    Example: opswright spend --by skill --since 2026-11-01
    """
    from ..record.spending import spend_report
    from .show import console, print_json, table

    report = spend_report(context.obj.workspace, by.value, since, until)
    if json:
        print_json(report.document())
        return
    if not report.lines:
        print("Nothing was spent.", file=sys.stderr)
        return
    rows = [
        [line.name, line.attempts, *_cells(line.spent), _words(line.reserved)]
        for line in (*report.lines, report.total)
    ]
    columns = [by.value, "attempts", "minutes", "GPU hours", "US dollars", "tokens", "reserved now"]
    console().print(table(columns, rows))


def _cells(amounts: Mapping[str, float]) -> list[str]:
    shown = {"minutes": "{:,.2f}", "gpu_hours": "{:,.3f}", "usd": "{:,.2f}", "tokens": "{:,.0f}"}
    return [form.format(amounts.get(name, 0.0)) for name, form in shown.items()]


def _words(amounts: Mapping[str, float]) -> str:
    from ..agents.budget import in_words

    return in_words(amounts) if any(amounts.values()) else ""
