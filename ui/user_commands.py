"""Commands about the users of the console: add, list, remove."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]

users_app = typer.Typer(help="Who may log in to the console, and in which role.", no_args_is_help=True)


@users_app.command("add")
def add_command(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="The name, as records will have it.")],
    role: Annotated[
        str, typer.Option(help="A role of the policy: viewer, operator, releaser, ...")
    ] = "operator",
) -> None:
    """Add a user, or give one another role and password. The password is asked for, or read from stdin.

    Example: opswright users add ada --role operator
    """
    from ..agents.policy import policy_of
    from ..core.principal import Principal
    from .console.auth.users import users_file

    policy = policy_of(context.obj.workspace, context.obj.registry)
    policy.check_roles(Principal(name, (role,), "users file"))
    file = users_file(context.obj.workspace.settings)
    if sys.stdin.isatty():
        password = typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    else:
        password = sys.stdin.readline().rstrip("\r\n")
    was_there = file.add(name, role, password)
    done = "has a new role and password" if was_there else "was added"
    print(f"{name} ({role}) {done} in {file.path}", file=sys.stderr)


@users_app.command("list")
def list_command(context: typer.Context, json: Json = False) -> None:
    """List the users and their roles; ends with an error when the file is open to others.

    Example: opswright users list --json
    """
    from .console.auth.users import users_file
    from .show import console, print_json, table

    file = users_file(context.obj.workspace.settings)
    users = [user.person for user in file.users().values()]
    if json:
        print_json([{"name": person.name, "role": str(person.role)} for person in users])
    else:
        console().print(table(["name", "role"], [[person.name, str(person.role)] for person in users]))


@users_app.command("remove")
def remove_command(
    context: typer.Context, name: Annotated[str, typer.Argument(help="Who may not log in any more.")]
) -> None:
    """Remove a user; a console that runs lets them do nothing more.

    Example: opswright users remove ada
    """
    from .console.auth.users import users_file

    file = users_file(context.obj.workspace.settings)
    file.remove(name)
    print(f"{name} was removed from {file.path}", file=sys.stderr)
