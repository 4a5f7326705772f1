"""An MCP server of small skills, and the official client as people's programs use it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from opswright.agents.agent import Agent
from opswright.core.principal import Principal
from opswright.core.registry import Registry
from opswright.core.workspace import Workspace
from opswright.ui.mcp.callers import McpCaller, StdioCallers
from opswright.ui.mcp.server import build_server


class ThreadWorker:
    """Carries a run out in a thread of the test: the small skills are in no other process."""

    def __init__(self, workspace: Workspace, registry: Registry) -> None:
        self._workspace = workspace
        self._registry = registry
        self._thread = threading.Thread(target=lambda: None)

    @property
    def is_running(self) -> bool:
        return self._thread.is_alive()

    def give(self, job: dict[str, Any]) -> bool:
        agent = Agent(self._workspace, self._registry, acting=Principal.from_fields(job["principal"]))
        self._thread = threading.Thread(target=agent.resume, args=(job["run"], None, job["since"]))
        self._thread.start()
        return True


@dataclass
class OneCaller:
    """Says that every message comes from one caller, who can be changed between messages."""

    caller: McpCaller

    def of(self, ctx: Any) -> McpCaller:
        return self.caller


def caller(name: str, role: str, *, attended: bool = True, is_local: bool = True) -> McpCaller:
    return McpCaller(Principal(name, (role,), f"token of {name}"), attended, is_local)


@dataclass
class McpBench:
    """One workspace with small skills, and servers on it."""

    workspace: Workspace
    registry: Registry
    shown: list[Any] = field(default_factory=list)

    def server(self, callers: Any = None) -> Any:
        return build_server(
            self.workspace,
            self.registry,
            callers or StdioCallers(self.workspace),
            lambda workspace: ThreadWorker(workspace, self.registry),
        )

    def person(self, action: str = "accept", code: str | None = None) -> Callable[..., Any]:
        """Answers what a client shows a person: with the code that stands there, or another."""

        async def answer(context: Any, params: Any) -> Any:
            from mcp.types import ElicitResult

            self.shown.append(params)
            typed = code if code is not None else params.message.rpartition(" ")[2]
            return ElicitResult(action=action, content={"code": typed} if action == "accept" else None)

        return answer

    def records(self) -> list[Any]:
        from opswright.record.ledger import Ledger

        return list(Ledger.of(self.workspace).records())
