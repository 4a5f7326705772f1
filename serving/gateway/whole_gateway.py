"""What a gateway says of itself, whichever of its workers is asked: state, readiness and metrics of all."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import FastAPI, Request
from starlette.responses import Response

from ..keys.shared_store import SharedStore
from ..workers import GatewayWorker, kept_metrics_path
from . import openai_api as form
from .access import pass_of
from .controller import Controller
from .merged_state import merged_readiness, merged_states, own_state
from .metrics_sum import KeptMetrics, Snapshot
from .peers import METRICS_PATH, READY_PATH, STATE_PATH, Peers, WorkerReply
from .readiness import Readiness
from .replies import json_reply


class WholeGateway:
    """All workers of a gateway, as this one sees them."""

    def __init__(
        self, controller: Controller, peers: Peers, supervisor: int = 0, store: SharedStore | None = None
    ) -> None:
        self._controller = controller
        self._peers = peers
        self._readiness = Readiness(controller, store)
        self._supervisor = supervisor
        self._has_others = peers.worker.count > 1
        self._keeping = asyncio.Lock()  # what is kept last is what was told last
        if self._has_others:
            controller.metrics.go_on_from(self._kept(peers.worker.number).read())

    @classmethod
    def of_one(cls, controller: Controller, store: SharedStore | None = None) -> WholeGateway:
        """A gateway of one process."""
        return cls(controller, Peers(controller.workspace, GatewayWorker()), store=store)

    def _kept(self, number: int) -> KeptMetrics:
        return KeptMetrics(kept_metrics_path(self._controller.workspace, number), self._supervisor)

    @property
    def kind(self) -> str:
        """What engines run on."""
        return self._controller.server.kind

    def own_state(self) -> dict[str, Any]:
        """What this worker serves."""
        return own_state(self._controller)

    async def state(self) -> dict[str, Any]:
        """What all of them serve."""
        me = WorkerReply(self._peers.worker.number, os.getpid(), self.own_state())
        return merged_states([me, *await self._peers.ask(STATE_PATH)], self._peers.worker.count)

    async def own_readiness(self) -> dict[str, Any]:
        """Whether this worker can answer users, as it was a moment ago."""
        return await self._readiness.document(is_fresh=False)

    async def readiness(self, is_known: bool) -> dict[str, Any]:
        """Whether those that answer can answer users; a stranger is told of no names."""
        own = self._readiness.document(is_fresh=is_known)
        document, others = await asyncio.gather(own, self._peers.ask(READY_PATH))
        merged = merged_readiness(document, others)
        return merged if is_known else {name: merged[name] for name in ("ready", "serves")}

    async def own_metrics(self) -> Snapshot:
        """What this worker counted; it is kept before it is told."""
        async with self._keeping:
            self._controller.metrics.set_missing(self._controller.missing())
            snapshot = self._controller.metrics.snapshot()
            if self._has_others:
                await asyncio.to_thread(self._kept(self._peers.worker.number).keep, snapshot)
        return snapshot

    async def metrics(self) -> bytes:
        """What all of them counted; of one that does not answer, what it told last."""
        others: list[Snapshot] = []
        if self._has_others:
            said = {reply.number: reply.document for reply in await self._peers.ask(METRICS_PATH)}
            for number in range(self._peers.worker.count):
                if number != self._peers.worker.number:
                    document = said.get(number)
                    others.append(dict(document) if document is not None else self._kept(number).read())
        own = await self.own_metrics()
        return self._controller.metrics.text_of(own, others)


def add_control(app: FastAPI, whole: WholeGateway, server_facts: dict[str, Any]) -> None:
    """Add what is for the workspace's control token alone."""

    def told(path: str, document: Callable[[], Awaitable[Any]]) -> None:
        @app.get(path)
        async def reply(request: Request) -> Response:
            if not pass_of(request.scope).is_control:
                return json_reply(
                    form.error_body("this needs the workspace's control token", "auth", "denied"), 403
                )
            return json_reply(await document())

    async def state() -> dict[str, Any]:
        found = await whole.state()
        facts = {"kind": whole.kind, "version": found["version"], **server_facts, "fault": found["fault"]}
        told = {name: found[name] for name in ("endpoints", "workers")}
        return {"pid": os.getpid(), "server": facts, **told}

    async def own() -> dict[str, Any]:
        return whole.own_state()

    told("/-/state", state)
    told(STATE_PATH, own)
    told(READY_PATH, whole.own_readiness)
    told(METRICS_PATH, whole.own_metrics)
