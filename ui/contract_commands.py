"""Commands about what Opswright writes for programs of others: `opswright contract verify`."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import Annotated

import typer

contract_app = typer.Typer(
    help="What is written for TensorRT-LLM, held against one that is installed.", no_args_is_help=True
)


@contract_app.callback()
def _contract() -> None:
    pass


@contract_app.command()
def verify(
    python: Annotated[str, typer.Option(help="A Python that has TensorRT-LLM.")] = sys.executable,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Compare every option and setting of bundles with what a TensorRT-LLM takes; exit 1 if any differs.

    Run it in the container that will serve, before a GPU is used. Nothing is started and no model is loaded.

    Example: opswright contract verify --json
    """
    from ..engines.trtllm.contract import contract
    from ..engines.trtllm.verify import verify as compare
    from .show import console, print_json

    found = compare(python, contract())
    if json:
        print_json(asdict(found))
    else:
        console().print(
            f"TensorRT-LLM {found.version}: {found.options} options and {found.settings} settings compared, "
            f"{len(found.differences)} differ."
        )
        for one in found.differences:
            console().print(f"  {one}", markup=False)
    if found.differences:
        raise typer.Exit(1)
