"""The real MCP server, as a client starts it: calls, crashes, and what is left."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import anyio
import psutil
import pytest
from mcp import Client, StdioServerParameters

from opswright.core.settings import load_settings
from opswright.core.workspace import Workspace
from opswright.record.ledger import Ledger
from opswright.ui.cli import run

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]


def server() -> StdioServerParameters:
    program = "import sys; from opswright.ui.cli import run; sys.exit(run(sys.argv[1:]))"
    environment = {**os.environ, "OPSWRIGHT_MLFLOW__MIRROR": "off"}
    return StdioServerParameters(command=sys.executable, args=["-c", program, "mcp"], env=environment)


def answer(result: Any) -> dict[str, Any]:
    return dict(result.structured_content)


def rows(count: int) -> None:
    lines = (
        json.dumps({"text": f"number {i} of {i * 7919 % 1009}", "label": str(i % 9)}) for i in range(count)
    )
    Path("rows.jsonl").write_text("\n".join(lines) + "\n")


def processes(words: str) -> list[psutil.Process]:
    """The processes below this one whose command line has a word."""
    found = psutil.Process().children(recursive=True)
    return [one for one in found if any(word.endswith(words) for word in one.cmdline())]


def records() -> list[Any]:
    return list(Ledger.of(Workspace(load_settings(home=Path(".opswright")))).records())


def approve(plan: dict[str, Any]) -> None:
    assert run(["approvals", "approve", plan["run"], "--plan", plan["plan"][:32]]) == 0


def held(plan: dict[str, Any]) -> bool:
    return Workspace(load_settings(home=Path(".opswright"))).is_held(plan["run"])


def test_a_plan_runs_in_a_worker_and_its_result_is_told_with_progress() -> None:
    rows(200)

    async def main() -> None:
        async with Client(server()) as client:
            assert not (await client.call_tool("gpus", {})).is_error
            plan = answer(await client.call_tool("curate", {"source": "rows.jsonl"}))
            assert plan["outcome"] == "waiting_for_approval"
            await anyio.to_thread.run_sync(approve, plan)
            done = answer(await client.call_tool("run_plan", {"plan_id": plan["plan"], "wait_s": 120}))
            assert done["outcome"] == "done" and done["results"]["curate"]["dataset"].startswith("dataset:")

    anyio.run(main)
    assert run(["audit", "verify"]) == 0


@pytest.mark.parametrize("worker_too", [False, True])
def test_a_server_that_is_killed_leaves_a_run_that_ends_once(worker_too: bool) -> None:
    rows(20_000)
    plans: list[dict[str, Any]] = []

    async def first() -> None:
        async with Client(server()) as client:
            plan = answer(await client.call_tool("curate", {"source": "rows.jsonl"}))
            plans.append(plan)
            await anyio.to_thread.run_sync(approve, plan)
            going = answer(await client.call_tool("run_plan", {"plan_id": plan["plan"], "wait_s": 0}))
            assert going["outcome"] == "running"
            while not held(plan):
                await anyio.sleep(0.01)
            workers = processes("opswright.agents.worker") if worker_too else []
            assert bool(workers) == worker_too
            for process in [*processes("mcp"), *workers]:
                process.kill()
            with pytest.raises(Exception):  # noqa: B017  whatever the client makes of a pipe that closed
                await client.call_tool("gpus", {})

    async def second() -> dict[str, Any]:
        async with Client(server()) as client:
            arguments = {"plan_id": plans[0]["plan"], "wait_s": 120}
            return answer(await client.call_tool("run_plan", arguments))

    try:
        anyio.run(first)
    except BaseExceptionGroup:  # the client's own tasks end with the pipe
        assert plans
    ended = time.monotonic() + 120
    while held(plans[0]) and time.monotonic() < ended:
        time.sleep(0.05)
    done = anyio.run(second)
    assert done["outcome"] == "done", done
    mine = [record for record in records() if record.run == plans[0]["run"]]
    assert len([record for record in mine if record.phase in ("done", "reused") and record.step]) == 1
    assert len([record for record in mine if record.phase == "approved"]) == 1
    assert run(["audit", "verify"]) == 0


def test_a_call_that_is_cancelled_stops_its_run_which_can_be_taken_up_again() -> None:
    rows(20_000)

    async def main() -> None:
        async with Client(server()) as client:
            plan = answer(await client.call_tool("curate", {"source": "rows.jsonl"}))
            await anyio.to_thread.run_sync(approve, plan)
            with anyio.move_on_after(60) as scope:
                async with anyio.create_task_group() as group:
                    arguments = {"plan_id": plan["plan"], "wait_s": 120}
                    group.start_soon(client.call_tool, "run_plan", arguments)
                    while not held(plan):
                        await anyio.sleep(0.01)
                    group.cancel_scope.cancel()
            assert not scope.cancelled_caught
            asked = Workspace(load_settings(home=Path(".opswright"))).run_folder(plan["run"]) / "stop"
            with anyio.fail_after(20):
                while not asked.exists():
                    await anyio.sleep(0.05)
            while await anyio.to_thread.run_sync(held, plan):
                await anyio.sleep(0.05)
            again = answer(await client.call_tool("run_plan", {"plan_id": plan["plan"], "wait_s": 120}))
            assert again["outcome"] == "done", again

    anyio.run(main)
    assert run(["audit", "verify"]) == 0


def test_the_http_server_prints_its_address_answers_a_token_and_ends_when_asked(
    capfd: pytest.CaptureFixture[str],
) -> None:
    import httpx2
    from mcp.client.streamable_http import streamable_http_client

    assert run(["mcp", "token", "create", "ada", "--role", "viewer"]) == 0
    token = capfd.readouterr().out.strip()
    parameters = server()
    command = [parameters.command, *parameters.args, "--http", "--port", "0"]
    started = subprocess.Popen(command, env=parameters.env, stderr=subprocess.PIPE, text=True)
    try:
        assert started.stderr is not None
        address = started.stderr.readline().strip()
        assert address.startswith("http://127.0.0.1:")

        async def main() -> None:
            headers = {"Authorization": f"Bearer {token}"}
            async with (
                httpx2.AsyncClient(headers=headers, timeout=60) as bearer,
                Client(streamable_http_client(address, http_client=bearer)) as client,
            ):
                found = answer(await client.call_tool("leaderboard", {}))
                assert found["outcome"] == "done" and found["result"]["rows"] == []

        anyio.run(main)
    finally:
        started.terminate()
        started.communicate(timeout=30)
    assert started.returncode in (0, -15)
    mine = [record for record in records() if record.actor == "ada"]
    assert mine and {record.authenticated_by.rpartition(" ")[0] for record in mine} == {"mcp token"}
