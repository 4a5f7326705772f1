"""What one request may do by the key it came with: asked for before it is answered, settled after."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from ...core.errors import BackendError, OpswrightError
from .store import ApiKey
from .usage import KeyUsage, LimitReached, Reservation

log = logging.getLogger(__name__)


class RefusedError(OpswrightError):
    """A request refused because of who asks: its HTTP status, OpenAI's code, and when to come again."""

    def __init__(self, message: str, status: int, code: str, retry_s: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.retry_s = retry_s


@dataclass
class Allowance:
    """One request's. Without a key everything is allowed: then whoever reaches the gateway may ask."""

    key: ApiKey | None = None
    usage: KeyUsage | None = None
    held: Reservation | None = None

    @property
    def name(self) -> str:
        """Whose key it is; empty without one."""
        return self.key.name if self.key is not None else ""

    def may_ask(self, endpoint: str) -> bool:
        """Whether the key is one to this endpoint."""
        return self.key is None or self.key.may_ask(endpoint)

    def check_endpoint(self, endpoint: str) -> None:
        """RefusedError for an endpoint that the key is not for."""
        if not self.may_ask(endpoint):
            message = f"key {self.name} is not for endpoint '{endpoint[:60]}'."
            raise RefusedError(message, 403, "endpoint_not_allowed")

    async def admit(self, endpoint: str, tokens: int) -> None:
        """Hold tokens for a request that may use so many; RefusedError where the key does not allow it."""
        self.check_endpoint(endpoint)
        if self.key is None or self.usage is None:
            return
        try:
            held = await self.usage.reserve(self.key, tokens)
        except BackendError as error:
            log.error("nobody with a key is let in: %s", error)
            raise RefusedError(
                "keys cannot be checked now; the gateway's log says why.", 503, "unavailable"
            ) from error
        if isinstance(held, LimitReached):
            code = "insufficient_quota" if held.limit == "budget" else "rate_limit_exceeded"
            raise RefusedError(f"{held.message}.", 429, code, held.retry_s)
        self.held = held

    def settle(self, tokens: int) -> None:
        """Count what the request used; it was admitted, or this does nothing.

        Where that cannot be written down, what was held for it stays counted.
        """
        held, self.held = self.held, None
        if held is None or self.usage is None:
            return
        try:
            self.usage.settle(held, tokens)
        except BackendError as error:
            log.error("key %s pays what was held: %s", self.name, error)
