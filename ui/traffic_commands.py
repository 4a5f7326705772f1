"""Commands about an endpoint's traffic as data: export."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from ..core.errors import AskError

traffic_app = typer.Typer(help="What endpoints were asked and answered, as data.", no_args_is_help=True)


@traffic_app.command("export")
def export_command(
    context: typer.Context,
    endpoint: Annotated[str, typer.Argument(help="The endpoint.")],
    labelled: Annotated[
        bool, typer.Option("--labelled", help="Only requests whose right answer somebody told.")
    ] = False,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="Only requests after this UTC time, ISO 8601.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="File to write. [default: stdout]")
    ] = None,
) -> None:
    """Write answered requests as JSON lines that `curate` and `retrain` read, with what users said is right.

    Rows without a label hold the endpoint's own answer, and `curate` leaves them out: learned again, errors
    grow.

    Example: opswright traffic export shop --labelled -o labelled.jsonl
    """
    from ..core.files import PRIVATE, write_atomically
    from ..serving.releases import endpoint_names
    from ..serving.traffic.samples import export_row, traffic_samples

    workspace = context.obj.workspace
    names = endpoint_names(workspace)
    if endpoint not in names:
        has = ", ".join(names) or "none"
        raise AskError(f"endpoint '{endpoint[:60]}' does not exist in this workspace (it has: {has}).")
    samples = traffic_samples(workspace, endpoint, since, labelled)
    lines = [json.dumps(export_row(sample), ensure_ascii=False) + "\n" for sample in samples]
    if output is None:
        sys.stdout.writelines(lines)
    else:
        write_atomically(output, "".join(lines).encode(), PRIVATE)
    print(f"{len(lines):,} rows{f' in {output}' if output else ''}", file=sys.stderr)
