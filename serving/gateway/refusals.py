"""Counts every answer that is an error, also where nothing was routed: wrong keys, bodies, full queues."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING

from .metrics import GatewayMetrics

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_PLAIN = {500: "internal"}  # of an answer that is not the gateway's own


class RefusalCounter:
    """Reads the code of each error on its way out; stands before everything else."""

    def __init__(self, app: ASGIApp, metrics: GatewayMetrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on and count how it was refused, if it was."""
        status = 200

        async def counting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            elif message["type"] == "http.response.body" and status >= 400:
                self.metrics.refused(_code(message.get("body", b"")) or _PLAIN.get(status, ""), status)
                status = 200  # a body may come in parts
            await send(message)

        await self.app(scope, receive, counting if scope["type"] == "http" else send)


def _code(body: bytes) -> str:
    """The code in an error of OpenAI's shape; empty for another body."""
    with suppress(ValueError, KeyError, TypeError):
        return str(json.loads(body)["error"]["code"])
    return ""
