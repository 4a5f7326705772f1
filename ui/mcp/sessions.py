"""How many HTTP sessions each token has open: one caller's must leave room for the others'."""

from __future__ import annotations

import time
from collections.abc import Callable

MOST_EACH = 50  # half of what the server holds: some clients never close theirs


class TokenSessions:
    """The open sessions by token; one that was not used for `idle_s` is closed by whoever holds it.

    The session's id is told by the server, so nobody can be counted for another's.
    """

    def __init__(self, idle_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._idle_s = idle_s
        self._clock = clock
        self._used: dict[tuple[str, str], float] = {}  # token and session: when it was used last

    def may_open(self, token: str) -> bool:
        """Whether the token may have one more."""
        ended = self._clock() - self._idle_s
        self._used = {one: used for one, used in self._used.items() if used > ended}
        return sum(owner == token for owner, _ in self._used) < MOST_EACH

    def opened(self, token: str, session: str) -> None:
        """The server gave the token a session."""
        self._used[token, session] = self._clock()

    def used(self, token: str, session: str) -> None:
        """A message came in a session; one that is not this token's own counts for nothing."""
        if (token, session) in self._used:
            self._used[token, session] = self._clock()

    def closed(self, token: str, session: str) -> None:
        """The token closed its session."""
        self._used.pop((token, session), None)
