"""Serves Opswright to the public conformance suite, which can send no token: this adds one to each request.

Everything behind the token is the product's: guard, hosts, origins, server. Run: PORT as the only argument.
"""

from __future__ import annotations

import socket
import sys
import tempfile
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import uvicorn

from opswright.core.contract import Effect, Request, Result, StepContext, skill
from opswright.core.registry import Registry
from opswright.core.settings import load_settings
from opswright.core.workspace import Workspace
from opswright.skills import load_registry
from opswright.ui.mcp.http import http_app
from opswright.ui.mcp.tokens import McpTokenStore


class CountRequest(Request):
    """Nothing."""


class CountResult(Result):
    """How far it counted."""

    count: int


@skill(effect=Effect.READS, summary="Count to a hundred, telling how far it is.")
def count(request: CountRequest, ctx: StepContext) -> CountResult:
    for done in (1, 50, 100):
        ctx.progress(done, 100, "percent")
        threading.Event().wait(0.3)
    return CountResult(count=100)


def registry() -> Registry:
    """The product's skills, and one under the name that the suite calls to see progress."""
    return Registry([*load_registry(), replace(count, name="test_tool_with_progress")])


def main(port: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        origin = f"http://127.0.0.1:{port}"  # the suite calls as a page of the server's own would
        settings = load_settings(
            home=Path(folder) / "workspace", mlflow={"mirror": "off"}, mcp={"allowed_origins": [origin]}
        )
        workspace = Workspace(settings)
        token = McpTokenStore(workspace).create("suite", "viewer").text
        app: Any = http_app(workspace, registry(), port)

        async def with_token(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "http":
                scope["headers"] = [*scope["headers"], (b"authorization", f"Bearer {token}".encode())]
            await app(scope, receive, send)

        with socket.create_server(("127.0.0.1", port)) as listening:
            print("ready", flush=True)
            uvicorn.Server(uvicorn.Config(with_token, log_level="error")).run(sockets=[listening])


if __name__ == "__main__":
    main(int(sys.argv[1]))
