"""The command that fetches what would else be fetched when it is first needed: install."""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import Annotated

import typer

from .session import Session

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


class Part(StrEnum):
    """What can be installed beside the Python packages."""

    TRITON = "triton"


def install(
    context: typer.Context,
    part: Annotated[Part, typer.Argument(help="triton: the server that engines run on.")],
    optional: Annotated[
        bool, typer.Option("--optional", help="Where it cannot run, say so and exit with 0.")
    ] = False,
    json: Json = False,
) -> None:
    """Install Triton's server for all workspaces of this user (250 MB), so that no deploy has to fetch it.

    Example: opswright install triton
    """
    from ..core.settings import load_settings
    from ..serving.triton.environment import PlatformFacts, locate
    from ..serving.triton.installation import home_of
    from .show import print_json

    session: Session = context.obj
    facts = PlatformFacts.here()
    found: dict[str, object]
    if optional and (reason := facts.lacks()):
        found, said = {"installed": False, "reason": reason}, f"not installed: {reason}."
    else:
        home = home_of(load_settings(home=session.home).serving)
        server = locate(home, facts, lambda line: print(line, file=sys.stderr)).binary
        found, said = {"installed": True, "server": str(server)}, f"Triton's server is at {server}"
    if json:
        print_json(found)
    else:
        print(said)
