"""The command `mcp`: serve skills to MCP clients, and the tokens of those that come over HTTP."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from ..core.errors import AskError, NeedsError
from .process import end_on_signals
from .session import Session

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]

mcp_app = typer.Typer(help="Serve the skills to MCP clients, as tools.", invoke_without_command=True)
token_app = typer.Typer(help="Tokens of clients that come over HTTP.", no_args_is_help=True)
mcp_app.add_typer(token_app, name="token")


@mcp_app.callback()
def serve(
    context: typer.Context,
    http: Annotated[bool, typer.Option("--http", help="Serve HTTP on 127.0.0.1 instead of stdin.")] = False,
    port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help="Port for --http; 0: a free one. [default: 7880]"),
    ] = None,
) -> None:
    """Serve the skills as tools, over stdin and stdout, or over HTTP with a token for each caller.

    Tools that change something return a plan that a person approves; no tool can.

    Example: opswright mcp --http --port 7880
    """
    if context.invoked_subcommand is not None:
        return
    from ..core.install import install_hint, missing_modules

    if missing_modules(["mcp", "uvicorn"]):
        raise NeedsError(f"the MCP server needs the package mcp. Install it: {install_hint('mcp')}")
    session: Session = context.obj
    workspace = session.workspace
    if port is not None and not http:
        raise AskError("--port is for --http; without it the server talks over stdin and stdout.")
    _say_what_goes_wrong()
    end_on_signals()
    if http:
        from .mcp.http import serve_http

        wanted = workspace.settings.mcp.port if port is None else port
        serve_http(workspace, session.registry, wanted, lambda url: print(url, file=sys.stderr, flush=True))
        return
    import anyio

    from .mcp.callers import StdioCallers
    from .mcp.server import build_server

    async def run() -> None:
        from mcp.server.stdio import stdio_server

        server = build_server(workspace, session.registry, StdioCallers(workspace))
        async with stdio_server() as (reads, writes):
            await server.run(reads, writes, server.create_initialization_options())

    anyio.run(run)


@token_app.command("create")
def create_command(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Who calls with it, as records will have it.")],
    role: Annotated[
        str, typer.Option(help="A role of the policy: viewer, operator, releaser, ...")
    ] = "viewer",
    attended: Annotated[
        bool,
        typer.Option("--attended", help="A person sits at the client, and may be asked for consent."),
    ] = False,
    json: Json = False,
) -> None:
    """Give out a token, shown once: what is kept is a hash.

    Example: opswright mcp token create ada --role operator --attended
    """
    from ..agents.policy import policy_of
    from ..core.principal import Principal
    from .mcp.tokens import McpTokenStore
    from .show import print_json

    session: Session = context.obj
    policy = policy_of(session.workspace, session.registry)
    policy.check_roles(Principal(name, (role,), "mcp token"))
    made = McpTokenStore(session.workspace).create(name, role, attended=attended)
    if json:
        print_json({"id": made.token.id, "name": name, "role": role, "token": made.text})
        return
    print(made.text)
    print(f"token {made.token.id} of {name} ({role}): keep it now, it is not shown again", file=sys.stderr)


@token_app.command("list")
def list_command(context: typer.Context, json: Json = False) -> None:
    """List every token ever given out; never its text.

    Example: opswright mcp token list
    """
    from .mcp.tokens import McpTokenStore
    from .show import console, print_json, table

    found = McpTokenStore(context.obj.workspace).tokens().values()
    if json:
        print_json([one.model_dump(mode="json", exclude={"hash"}) for one in found])
        return
    rows = [
        [one.id, one.name, one.role, "yes" if one.attended else "no", "revoked" if one.revoked else "valid"]
        for one in found
    ]
    console().print(table(["id", "name", "role", "attended", "state"], rows))


@token_app.command("revoke")
def revoke_command(
    context: typer.Context, token: Annotated[str, typer.Argument(help="Its id; or the name of its only one.")]
) -> None:
    """Take a token back: a server that runs refuses it from its next message on.

    Example: opswright mcp token revoke ada
    """
    from .mcp.tokens import McpTokenStore

    revoked = McpTokenStore(context.obj.workspace).revoke(token)
    print(f"token {revoked.id} of {revoked.name} was revoked", file=sys.stderr)


def _say_what_goes_wrong() -> None:
    """Logs to stderr: stdout is the protocol's."""
    import logging

    logging.basicConfig(
        level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s"
    )
