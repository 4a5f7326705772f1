"""What a call of a tool costs through the MCP server, by the official client, over stdin and over HTTP.

Each call of `leaderboard` is a run of its own: validated, ruled on by the policy, recorded in the ledger and
flushed to disk. The bare server answers the same protocol with nothing behind it:
what it costs is the SDK's. CPU is that of the server process. The goal is 50 ms at the median.

Runs on any machine in about half a minute: `python benchmarks/mcp.py [--calls 60]`.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

sys.path.pop(0)  # this folder, whose mcp.py would stand for the package

import anyio
import httpx2
import psutil
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client

PROGRAM = "import sys; from opswright.ui.cli import run; sys.exit(run(sys.argv[1:]))"
BARE = """
from mcp.server.mcpserver import MCPServer
server = MCPServer("bare")
@server.tool()
def leaderboard() -> dict[str, str]:
    return {}
server.run("stdio")
"""


def figures(walls_s: list[float], cpu_s: float) -> dict[str, float]:
    """Milliseconds a call: median, 95th percentile, and the server's CPU."""
    ordered = sorted(walls_s)
    p95 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.95))]
    return {
        "p50_ms": round(1e3 * statistics.median(ordered), 1),
        "p95_ms": round(1e3 * p95, 1),
        "cpu_ms": round(1e3 * cpu_s / len(ordered), 1),
    }


async def measured(
    call: Callable[[], Awaitable[Any]], server: psutil.Process, calls: int
) -> dict[str, float]:
    """The figures of a call, after three that are not counted."""
    for _ in range(3):
        await call()
    walls, before = [], server.cpu_times()
    for _ in range(calls):
        began = time.perf_counter()
        result = await call()
        walls.append(time.perf_counter() - began)
        assert not result.is_error, result
    after = server.cpu_times()
    return figures(walls, after.user + after.system - before.user - before.system)


async def over_stdio(parameters: StdioServerParameters, calls: int) -> dict[str, Any]:
    """Calls to a server that the client starts."""
    began = time.perf_counter()
    async with Client(parameters) as client:
        ready_s = time.perf_counter() - began
        server = max(psutil.Process().children(), key=lambda one: one.create_time())
        found = await measured(lambda: client.call_tool("leaderboard", {}), server, calls)
        return {"ready_s": round(ready_s, 2), **found}


async def over_http(home: Path, environment: dict[str, str], calls: int) -> dict[str, Any]:
    """Calls to a server on a port, with a token."""
    base = [sys.executable, "-c", PROGRAM, "--home", str(home), "mcp"]
    create = [*base, "token", "create", "bench", "--json"]
    made = subprocess.run(create, env=environment, check=True, capture_output=True)
    headers = {"Authorization": f"Bearer {json.loads(made.stdout)['token']}"}
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [*base, "--http", "--port", str(port)]
    server = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    try:
        assert server.stderr is not None
        url = server.stderr.readline().strip()
        async with (
            httpx2.AsyncClient(headers=headers, timeout=60) as bearer,
            Client(streamable_http_client(url, http_client=bearer)) as client,
        ):
            call = client.call_tool
            return await measured(lambda: call("leaderboard", {}), psutil.Process(server.pid), calls)
    finally:
        server.terminate()
        server.communicate(timeout=20)


async def main(calls: int) -> None:
    """Print one JSON document."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        home = Path(folder) / "workspace"
        environment = {**os.environ, "OPSWRIGHT_MLFLOW__MIRROR": "off"}
        ours = [*("-c", PROGRAM), "--home", str(home), "mcp"]
        found = {
            "bare SDK, stdio": await over_stdio(
                StdioServerParameters(command=sys.executable, args=["-c", BARE], env=environment), calls
            ),
            "opswright, stdio": await over_stdio(
                StdioServerParameters(command=sys.executable, args=ours, env=environment), calls
            ),
            "opswright, HTTP": await over_http(home, environment, calls),
        }
    load = round(os.getloadavg()[0], 1)
    print(json.dumps({"calls": calls, "cores": os.cpu_count(), "load": load, **found}, indent=2))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--calls", type=int, default=60)
    anyio.run(main, parser.parse_args().calls)
