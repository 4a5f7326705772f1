"""The other workers of a gateway, as one of them asks them."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...core.workspace import Workspace
from ..processes import is_running
from ..workers import GatewayWorker, worker_records

if TYPE_CHECKING:
    import aiohttp

log = logging.getLogger(__name__)

STATE_PATH, READY_PATH, METRICS_PATH = "/-/worker/state", "/-/worker/ready", "/-/worker/metrics"
CONTROL_HEADER = "x-opswright-control"
_PATIENCE_S = 2.0
_POLL_S = 0.1


@dataclass(frozen=True)
class WorkerReply:
    """What one of the other workers said; None: it runs, and gave no answer in time."""

    number: int
    pid: int
    document: Mapping[str, Any] | None


class Peers:
    """The workers beside this one. One that does not run serves nobody, and so is not asked."""

    def __init__(self, workspace: Workspace, worker: GatewayWorker) -> None:
        self.worker = worker
        self._workspace = workspace
        self._session: aiohttp.ClientSession | None = None

    def records(self) -> list[dict[str, Any]]:
        """The records of those that run."""
        if self.worker.count == 1:
            return []
        return [one for one in worker_records(self._workspace) if one.get("pid") != os.getpid()]

    async def ask(self, path: str) -> list[WorkerReply]:
        """What each of them says."""
        records = await asyncio.to_thread(self.records) if self.worker.count > 1 else []
        return list(await asyncio.gather(*(self._ask(record, path) for record in records)))

    async def _ask(self, record: Mapping[str, Any], path: str) -> WorkerReply:
        import aiohttp

        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_PATIENCE_S))
        number, pid = int(record.get("worker", 0)), int(record["pid"])
        url = f"http://127.0.0.1:{record.get('own_port')}{path}"
        headers = {CONTROL_HEADER: str(record.get("control", ""))}
        try:
            async with self._session.get(url, headers=headers, allow_redirects=False) as reply:
                return WorkerReply(number, pid, await reply.json() if reply.status == 200 else None)
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError):
            return WorkerReply(number, pid, None)

    async def holding(self) -> set[tuple[str, str]] | None:
        """Every (endpoint, release) that one of them routes to or is answering with; None: not all say."""
        found = set()
        for reply in await self.ask(STATE_PATH):
            if reply.document is None:
                return None
            for name, endpoint in reply.document["endpoints"].items():
                found |= {(name, release) for release in endpoint["releases"]}
        return found

    async def ended(self, timeout_s: float) -> bool:
        """Wait until none of them runs; whether so within that time."""
        records = await asyncio.to_thread(self.records) if self.worker.count > 1 else []
        deadline = asyncio.get_running_loop().time() + timeout_s
        while records := [record for record in records if is_running(record)]:
            if asyncio.get_running_loop().time() > deadline:
                return False
            await asyncio.sleep(_POLL_S)
        return True

    async def close(self) -> None:
        """End the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None
