"""Commands about an endpoint's traffic as data: export, pull."""

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
    from ..serving.gateway.segments import has_pulled
    from ..serving.releases import endpoint_names, is_endpoint_name
    from ..serving.traffic.samples import export_row, traffic_samples

    workspace = context.obj.workspace
    names = endpoint_names(workspace)
    if endpoint not in names and not (
        is_endpoint_name(endpoint) and has_pulled(workspace.endpoints / endpoint)
    ):
        has = ", ".join(names) or "none"
        raise AskError(f"endpoint '{endpoint[:60]}' does not exist in this workspace (it has: {has}).")
    samples = traffic_samples(workspace, endpoint, since, labelled)
    lines = [json.dumps(export_row(sample), ensure_ascii=False) + "\n" for sample in samples]
    if output is None:
        sys.stdout.writelines(lines)
    else:
        write_atomically(output, "".join(lines).encode(), PRIVATE)
    print(f"{len(lines):,} rows{f' in {output}' if output else ''}", file=sys.stderr)


@traffic_app.command("pull")
def pull_command(
    context: typer.Context,
    endpoint: Annotated[str, typer.Argument(help="The endpoint.")],
    source: Annotated[
        str | None,
        typer.Option("--from", metavar="ADDRESS", help="Where gateways ship it. [default: traffic.ship_to]"),
    ] = None,
    since: Annotated[
        str | None, typer.Option(metavar="DAY", help="Only what began on this UTC day, YYYY-MM-DD, or later.")
    ] = None,
) -> None:
    """Bring the traffic and feedback that gateways of other hosts shipped into this workspace, each row once.

    Afterwards export, drift and retrain read it with the workspace's own. Each file is checked against its
    digest; what is here already is not fetched again.

    Example: opswright traffic pull support --from s3://logs/opswright
    """
    from ..serving.gateway.shipping import own_writer
    from ..serving.gateway.traffic_log import as_logged
    from ..serving.releases import is_endpoint_name
    from ..serving.shipped_traffic import pull

    workspace = context.obj.workspace
    address = source or workspace.settings.serving.traffic.ship_to
    if address is None:
        raise AskError("name where gateways ship their traffic: --from ADDRESS, or serving.traffic.ship_to.")
    if not is_endpoint_name(endpoint):
        raise AskError(f"invalid endpoint name '{endpoint[:60]}'.")
    own = own_writer(workspace.endpoints / endpoint)
    with workspace.lock(f"pull-{endpoint}"):
        found = pull(workspace, endpoint, address, as_logged(since), own)
    print(
        f"{found.new:,} new files ({found.size / 1e6:,.1f} MB), {found.known:,} were here before",
        file=sys.stderr,
    )
