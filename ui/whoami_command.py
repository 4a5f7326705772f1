"""The command that says who acts: name, roles, and how that is known."""

from __future__ import annotations

from typing import Annotated

import typer


def whoami(
    context: typer.Context,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Say who acts here, with which roles, and how that is known; ends with 8 for a token that is not taken.

    Example: opswright whoami --json
    """
    from ..core.text import escaped
    from .show import print_json

    agent = context.obj.agent()
    principal = agent.principal
    if json:
        print_json({**principal.fields(), "policy": agent.policy.source})
        return
    print(escaped(str(principal)))
    print(escaped(f"known by: {principal.authenticated_by}"))
    print(f"policy: {agent.policy.source}")
