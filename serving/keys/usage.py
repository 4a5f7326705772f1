"""What keys have used, and what they may still use: the words, whichever place counts it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, Protocol

from .store import ApiKey, Period

Limit = Literal["requests_per_minute", "tokens_per_minute", "budget"]


@dataclass(frozen=True)
class Used:
    """Requests and tokens of some time."""

    requests: float = 0
    tokens: float = 0


@dataclass(frozen=True)
class Reservation:
    """A request that was let in: the tokens held for it until it is known how many it used."""

    key: str
    period: Period
    minute: int
    period_start: int
    tokens: int


@dataclass(frozen=True)
class LimitReached:
    """Which limit a key has reached, and after how many seconds it may ask again; None: not by waiting."""

    limit: Limit
    message: str
    retry_s: int | None


class KeyUsage(Protocol):
    """Counts by key: in 60 sliding seconds, the minute before counting in part, and in the budget's period.

    A request is let in with as many tokens held as it may use, and settled when it has ended: what runs at
    once cannot pass a budget together. What a killed gateway held stays counted.
    """

    async def reserve(self, key: ApiKey, tokens: int) -> Reservation | LimitReached:
        """Let one request in that may use so many tokens, or say which limit it would pass.

        BackendError where a key with limits cannot be counted.
        """

    def settle(self, held: Reservation, tokens: int) -> None:
        """Count what a request really used in place of what was held for it; before the next `reserve`.

        BackendError where it is known at once that it cannot be counted.
        """

    def used(self, key: ApiKey) -> Used:
        """What a key has used of its budget, in the period that runs; for people, since it may wait."""

    def close(self) -> None:
        """Let go of what `used` opened."""


def limit_reached(limit: Limit, key: ApiKey, tokens: int, found: float) -> LimitReached:
    """The refusal of a request that may need so many tokens.

    found: seconds until the next minute; of a budget, the tokens that are used.
    """
    limits = key.limits
    if limit == "requests_per_minute":
        message = f"key {key.name} may make {limits.requests_per_minute:,} requests a minute"
        return LimitReached(limit, message, int(found))
    if limit == "tokens_per_minute":
        return LimitReached(limit, _tokens(key, tokens, limits.tokens_per_minute or 0, "minute"), int(found))
    message = _tokens(key, tokens, limits.budget_tokens or 0, limits.budget_period)
    return LimitReached(limit, f"{message}; {found:,.0f} are used", None)


def period_start(period: Period, now: float) -> int:
    """When the running period began, UTC, in seconds since the epoch; 0 for one that never ends."""
    today = datetime.fromtimestamp(now, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    if period == "forever":
        return 0
    return int((today if period == "day" else today.replace(day=1)).timestamp())


def _tokens(key: ApiKey, needed: int, limit: int, period: str) -> str:
    per = "in all" if period == "forever" else f"a {period}"
    return f"key {key.name} may use {limit:,} tokens {per}, and this request may need {needed:,}"
