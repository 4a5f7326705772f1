"""What another agent sends by MCP."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from .common import CLEANS, Call, Reading, one_line


class _NoWorker:
    is_running = False

    def __init__(self, workspace: Any) -> None:
        """Carries nothing out: what is proposed and approved stands in the record all the same."""

    def give(self, job: dict[str, Any]) -> bool:
        return True


def _mcp(world: Any, work: Callable[[Any], Any], **client: Any) -> None:
    import anyio
    from mcp import Client

    from opswright.ui.mcp.callers import StdioCallers
    from opswright.ui.mcp.server import build_server

    async def main() -> None:
        server = build_server(world.workspace, world.registry, StdioCallers(world.workspace), _NoWorker)
        async with Client(server, **client) as one:
            await work(one)

    anyio.run(main)


def mcp_arguments(world: Any, texts: list[str]) -> Reading:
    """Arguments of tools that change something, as another agent sends them."""
    runs: list[str] = []

    async def work(client: Any) -> None:
        for text in texts:
            why = {"bundle": str(world.artifacts["engine-2"]), "endpoint": "desk", "waive_gate": text}
            plan = CLEANS.format(json.dumps(one_line(text, 190)))
            for name, arguments in (("deploy", why), ("propose_plan", {"plan": plan})):
                told = (await client.call_tool(name, arguments)).structured_content
                assert told["outcome"] == "waiting_for_approval" or "cannot be served" in told["message"]
                runs.append(told["run"])

    _mcp(world, work)
    return Reading([("list_runs", {}), *(("show_run", {"run": run}) for run in runs)])


def mcp_clients(world: Any, texts: list[str]) -> Reading:
    """What a client calls itself, which an approval's record tells, and what is typed into its form."""
    from mcp.types import ElicitResult, Implementation

    runs: list[str] = []
    for text in texts:
        tries = iter([text, None])  # first the instruction where the code belongs, then the code

        async def answer(context: Any, params: Any, tries: Any = tries) -> Any:
            typed = next(tries) or params.message.rpartition(" ")[2]
            return ElicitResult(action="accept", content={"code": typed, "note": typed})

        async def work(client: Any, text: str = text) -> None:
            plan = CLEANS.format(f"clean {len(runs)}")
            told = (await client.call_tool("propose_plan", {"plan": plan})).structured_content
            runs.append(told["run"])
            for _ in range(2):
                await client.call_tool("run_plan", {"plan_id": told["plan"], "wait_s": 0})

        named = Implementation(name=one_line(text, 200), version="1")
        _mcp(world, work, client_info=named, elicitation_callback=answer)
    asked = {"question": "who approved the last plan, and how?"}
    return Reading([*_records_of(world, runs, "approved"), ("ask_record", asked)])


def _records_of(world: Any, runs: list[str], phase: str) -> list[Call]:
    from opswright.record.ledger import Ledger

    found = [r.seq for r in Ledger.of(world.workspace).records() if r.run in runs and r.phase == phase]
    assert len(found) == len(runs)
    return [("show_record", {"seq": seq}) for seq in found]
