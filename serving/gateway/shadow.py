"""Shadowing: what stable was asked is asked of the canary too, and what ended badly of the other release.

A user never waits for it, gets nothing of it and is billed nothing for it: it begins when their answer is
made, is no traffic, and its text is compared and forgotten. While a canary has no users of its own, stable is
asked once more beside it, first or second by chance, so that how long both take can be compared.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

from ...core.errors import OpswrightError
from ..canary.answers import agree, is_invalid
from ..canary.evidence import ReleaseReply
from ..canary.pair_log import MOST_ROWS, Kind, PairLog, PairRow
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
        self._made: Counter[tuple[str, Kind]] = Counter()  # pairs of a canary

    def consider(self, exchange: Exchange) -> None:
        """Begin to ask the other release, if this request is one to ask again."""
        kind = self._kind(exchange)
        if kind is None:
            return
        task = asyncio.get_running_loop().create_task(self._ask(exchange, kind))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    def _kind(self, exchange: Exchange) -> Kind | None:
        applied = exchange.endpoint.applied
        if exchange.caller.is_probe or applied.canary is None or applied.stable is None:
            return None
        release, finish = exchange.loaded.release.id, exchange.outcome
        if finish in CALLERS_FAULTS or finish in ("", CANCELLED):
            return None
        drawn = bucket(f"shadow {applied.canary.id}", exchange.caller.id) % _OUT_OF < applied.shadow_percent
        if drawn and release == applied.stable.id and self._has_room(applied.canary.id, "shadow"):
            return "shadow"  # whatever came of it: a pair tells of both alike
        is_bad = reply_of(exchange).is_bad and release in applied.routes()[:2]
        return "replay" if is_bad and self._has_room(applied.canary.id, "replay") else None

    def _has_room(self, canary: str, kind: Kind) -> bool:
        is_room = len(self._running) < (_MOST_REPLAYS if kind == "replay" else _MOST_WAITING)
        return is_room and self._made[canary, kind] < MOST_ROWS

    async def _ask(self, exchange: Exchange, kind: Kind) -> None:
        state = exchange.endpoint.applied
        if state.canary is None or state.stable is None:
            return
        own = exchange.loaded.release.id
        other = state.stable.id if own == state.canary.id else state.canary.id
        is_timed = kind == "shadow" and state.canary_percent == 0
        async with self._room:
            asked = _in_turn(own, other, exchange.caller.id) if is_timed else (other,)
            found = {own: exchange} | {release: await self._again(exchange, release) for release in asked}
        canary, stable, again = (found[one] for one in (state.canary.id, state.stable.id, other))
        if canary is None or stable is None or again is None:
            return
        met = reply_of(canary), reply_of(stable)
        is_comparable = not exchange.request.temperature and met[1].status != "error"
        agrees = _agree(exchange, again) if is_comparable else None
        row = PairRow(exchange.caller.id, kind, *met, agrees, is_timed)
        PairLog(self._handler.controller.workspace, state.endpoint, state.canary.id).append(row)
        self._made[state.canary.id, kind] += 1

    async def _again(self, exchange: Exchange, release: str) -> Exchange | None:
        """The same request as a release answers it now; None when that is gone."""
        try:
            again = await self._handler.open_again(exchange, release)
        except OpswrightError:
            return None
        try:
            async with asyncio.timeout(_DEADLINE_S):
                await self._handler.whole(again)
        except TimeoutError:
            again.finish = "error: TimeoutError"
        except OpswrightError:
            pass  # `whole` noted it
        return again


def _in_turn(one: str, other: str, request: str) -> tuple[str, str]:
    """Both releases, either first as often: who comes second may find the machine warm, or busy."""
    return (one, other) if bucket("in turn", request) % 2 else (other, one)


def reply_of(exchange: Exchange) -> ReleaseReply:
    """How a release met a request, which is closed."""
    if exchange.rail is not None:
        return ReleaseReply("blocked", exchange.latency_ms)
    if exchange.finish.startswith("error"):
        return ReleaseReply("error", exchange.latency_ms)
    return ReleaseReply("ok", exchange.latency_ms, is_invalid(exchange.text))


def _agree(one: Exchange, other: Exchange) -> bool:
    if (one.rail is None) != (other.rail is None) or other.finish.startswith("error"):
        return False
    return one.rail is not None or agree(one.text, other.text)
