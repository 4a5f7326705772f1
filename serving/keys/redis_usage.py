"""What each key has used, in the shared store: a limit holds over every gateway that shares it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, get_args

from ...core.errors import BackendError
from ...core.settings.serving import StoreSettings
from .redis_client import blocking_client, unreachable, usage_name
from .redis_line import RedisLine
from .redis_scripts import RESERVE, SETTLE, USED
from .store import ApiKey, Limits
from .usage import Limit, LimitReached, Reservation, Used, limit_reached

if TYPE_CHECKING:
    from redis import Redis

log = logging.getLogger(__name__)

_SAID_EVERY_S = 60.0
_UNKNOWN = -1  # minute and start of what is counted without waiting for the store


class RedisUsage:
    """Counts in a Redis or Valkey server, each step of it at once.

    A key with limits waits for the store (BackendError without it). One without is counted in passing: it is
    let in whether the store answers or not, and what cannot be counted is lost and said.
    clock: seconds since the epoch; None: the store's own, which all gateways share.
    """

    def __init__(
        self, settings: StoreSettings, line: RedisLine | None, clock: Callable[[], float] | None = None
    ) -> None:
        self._settings = settings
        self._line = line
        self._clock = clock
        self._client: Redis | None = None
        self._said_at = -_SAID_EVERY_S

    async def reserve(self, key: ApiKey, tokens: int) -> Reservation | LimitReached:
        """Let one request in that may use so many tokens, or say which limit it would pass."""
        limits = key.limits
        reply = self._sent(RESERVE, key.id, limits.budget_period, tokens, *_limits(limits))
        if not _has_limits(limits):
            reply.add_done_callback(self._note)
            return Reservation(key.id, limits.budget_period, _UNKNOWN, _UNKNOWN, tokens)
        try:
            found = await asyncio.shield(reply)
        except asyncio.CancelledError:  # its caller left: nobody will settle it
            reply.add_done_callback(lambda done: self._give_back(key, tokens, done))
            raise
        judged = _judged(key, tokens, found)
        return judged

    def settle(self, held: Reservation, tokens: int) -> None:
        """Count what a request really used; sent at once, and never waited for."""
        more = tokens - held.tokens
        if more:
            sent = self._sent(SETTLE, held.key, held.period, more, held.minute, held.period_start)
            sent.add_done_callback(self._note)

    def used(self, key: ApiKey) -> Used:
        """What a key has used of its budget, in the period that runs."""
        from redis.exceptions import RedisError

        try:
            self._client = self._client or blocking_client(self._settings)
            name = usage_name(self._settings, key.id)
            requests, tokens = self._client.eval(USED.text, 1, name, self._now(), key.limits.budget_period)
        except (RedisError, OSError) as error:
            raise unreachable(self._settings, error) from error
        return Used(int(requests), int(tokens))

    def close(self) -> None:
        """Hang up what `used` opened."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def _sent(self, script: Any, key: str, *arguments: Any) -> asyncio.Future[Any]:
        if self._line is None:
            raise RuntimeError("the shared store is asked before its line was started")
        return self._line.run(script, usage_name(self._settings, key), self._now(), *arguments)

    def _now(self) -> str:
        return "" if self._clock is None else repr(self._clock())

    def _give_back(self, key: ApiKey, tokens: int, reply: asyncio.Future[Any]) -> None:
        if not reply.cancelled() and reply.exception() is None:
            judged = _judged(key, tokens, reply.result())
            if isinstance(judged, Reservation):
                self.settle(judged, 0)

    def _note(self, reply: asyncio.Future[Any]) -> None:
        """Say now and then that counts are lost."""
        error = None if reply.cancelled() else reply.exception()
        if error is not None and time.monotonic() > self._said_at + _SAID_EVERY_S:
            self._said_at = time.monotonic()
            log.error("what keys used is not counted, or what was held for it stays counted: %s", error)


def _judged(key: ApiKey, tokens: int, reply: list[str]) -> Reservation | LimitReached:
    """What the store said of a request; BackendError for what none of its steps says."""
    try:
        word, *numbers = reply
        if word == "ok":
            return Reservation(key.id, key.limits.budget_period, int(numbers[0]), int(numbers[1]), tokens)
        if word not in get_args(Limit):
            raise ValueError(word)
        return limit_reached(word, key, tokens, float(numbers[0]))  # type: ignore[arg-type]  # one of them
    except (ValueError, TypeError, IndexError, OverflowError) as error:
        raise BackendError(
            f"the shared store answered what no step of it says: {str(reply)[:80]!r}"
        ) from error


def _has_limits(limits: Limits) -> bool:
    return any(limit is not None for limit in _all(limits))


def _limits(limits: Limits) -> list[str]:
    return ["" if limit is None else str(limit) for limit in _all(limits)]


def _all(limits: Limits) -> tuple[int | None, ...]:
    return (limits.requests_per_minute, limits.tokens_per_minute, limits.budget_tokens)
