"""Shadowing: what stable was asked is asked of the canary too, and what failed is asked of the other release.

A user never waits for it, gets nothing of it and is billed nothing for it: it begins when their answer is
made, is no traffic, and its text is compared and forgotten.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Literal

from ...core.errors import OpswrightError
from ..canary.answers import agree, is_invalid
from ..canary.evidence import ReleaseReply
from ..canary.pair_log import MOST_ROWS, PairLog, PairRow
from .router import bucket
from .traffic_log import CALLERS_FAULTS, CANCELLED

if TYPE_CHECKING:
    from .chat_handler import ChatHandler
    from .exchange import Exchange

_AT_ONCE = 2  # of all endpoints, besides the requests of users
_MOST_WAITING = 8  # shadows; one that is drawn beyond that is not made
_MOST_REPLAYS = 256
_DEADLINE_S = 60.0
_OUT_OF = 100


class Shadow:
    """Asks the other release after a request of a user's was answered."""

    def __init__(self, handler: ChatHandler) -> None:
        self._handler = handler
        self._room = asyncio.Semaphore(_AT_ONCE)
        self._running: set[asyncio.Task[None]] = set()
        self._made: dict[str, int] = {}  # pairs by canary

    def consider(self, exchange: Exchange) -> None:
        """Begin to ask the other release, if this request is one to ask again."""
        kind = self._kind(exchange)
        most = _MOST_REPLAYS if kind == "replay" else _MOST_WAITING
        if kind is None or len(self._running) >= most:
            return
        task = asyncio.get_running_loop().create_task(self._ask(exchange, kind))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    def _kind(self, exchange: Exchange) -> Literal["shadow", "replay"] | None:
        applied = exchange.endpoint.applied
        if exchange.caller.is_probe or applied.canary is None or applied.stable is None:
            return None
        release, finish = exchange.loaded.release.id, exchange.outcome
        if finish in CALLERS_FAULTS or finish in ("", CANCELLED):
            return None
        if self._made.get(applied.canary.id, 0) >= MOST_ROWS:
            return None
        if finish.startswith("error"):
            return "replay" if release in applied.routes()[:2] else None
        drawn = bucket(f"shadow {applied.canary.id}", exchange.caller.id) % _OUT_OF < applied.shadow_percent
        return "shadow" if drawn and release == applied.stable.id else None

    async def _ask(self, exchange: Exchange, kind: Literal["shadow", "replay"]) -> None:
        state = exchange.endpoint.applied
        if state.canary is None or state.stable is None:
            return
        is_canary = exchange.loaded.release.id == state.canary.id
        other = state.stable.id if is_canary else state.canary.id
        first = reply_of(exchange, exchange.latency_ms)
        async with self._room:
            found = await self._exchange(exchange, other)
        if found is None:
            return
        again, second = found
        canary, stable = (first, second) if is_canary else (second, first)
        comparable = not exchange.request.temperature and stable.status != "error"
        agrees = _agree(exchange, again) if comparable else None
        row = PairRow(exchange.caller.id, kind, canary, stable, agrees)
        PairLog(self._handler.controller.workspace, state.endpoint, state.canary.id).append(row)
        self._made[state.canary.id] = self._made.get(state.canary.id, 0) + 1

    async def _exchange(self, exchange: Exchange, release: str) -> tuple[Exchange, ReleaseReply] | None:
        """The same request answered by another release; None when that is gone by now."""
        try:
            again = self._handler.open_again(exchange, release)
        except OpswrightError:
            return None
        began = time.perf_counter()
        try:
            async with asyncio.timeout(_DEADLINE_S):
                await self._handler.whole(again)
        except TimeoutError:
            again.finish = "error: TimeoutError"
        except OpswrightError:
            pass  # `whole` noted it
        return again, reply_of(again, (time.perf_counter() - began) * 1000)


def reply_of(exchange: Exchange, latency_ms: float) -> ReleaseReply:
    """How a release met a request."""
    if exchange.rail is not None:
        return ReleaseReply("blocked", latency_ms)
    if exchange.finish.startswith("error"):
        return ReleaseReply("error", latency_ms)
    return ReleaseReply("ok", latency_ms, is_invalid(exchange.text))


def _agree(one: Exchange, other: Exchange) -> bool:
    if (one.rail is None) != (other.rail is None) or other.finish.startswith("error"):
        return False
    return one.rail is not None or agree(one.text, other.text)
