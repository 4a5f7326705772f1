"""An endpoint's queue: how many requests its engine is asked at once, who waits, who is sent away."""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable

from ...core.errors import BackendError
from ...core.settings.serving import QueueSettings
from ..keys.allowance import RefusedError
from ..workers import GatewayWorker

_LONGEST_RETRY_S = 30
_WEIGHT = 0.05  # of the last answer in the mean of how long answers take


class UnavailableError(BackendError):
    """Nothing can answer now; asking again after `retry_s` seconds may succeed."""

    def __init__(self, message: str, code: str = "unavailable", retry_s: int = 1) -> None:
        super().__init__(message)
        self.code = code
        self.retry_s = retry_s


class RequestQueue:
    """Places for so many requests, of which some are asked of the engine and the others wait.

    Those who wait are taken in turns by caller, so that who asks much waits behind their own requests. A
    caller with a key may have only a share of the places; who has none is told from nobody. Each of
    several workers has its part of the places.
    """

    def __init__(
        self,
        settings: QueueSettings,
        clock: Callable[[], float] = time.monotonic,
        worker: GatewayWorker | None = None,
    ) -> None:
        worker = worker or GatewayWorker()
        self._at_once = worker.share(settings.at_once)
        self._places = self._at_once + worker.share(settings.waiting)
        self._share = worker.share(settings.caller_places)
        self._clock = clock
        self._taken: Counter[str] = Counter()  # places by caller
        self._asked = 0
        self._waiting: OrderedDict[str, deque[Place]] = OrderedDict()  # by caller, the next one's first
        self._mean_s = 0.0  # that an engine takes for a request

    @property
    def depth(self) -> int:
        """How many wait for their turn."""
        return sum(map(len, self._waiting.values()))

    def enter(self, caller: str) -> Place:
        """A place for a request of a caller (empty: of nobody known).

        RefusedError (429) when the caller has their share of the places, UnavailableError (503) when all are
        taken; both say after how many seconds to come again.
        """
        if caller and self._taken[caller] >= self._share:
            message = f"key {caller} has {self._share} requests here, which is its share of the queue."
            raise RefusedError(message, 429, "queue_share_exceeded", self._retry_s())
        if self._taken.total() >= self._places:
            message = f"{self._places} requests are being answered or wait; ask again in a moment."
            raise UnavailableError(message, "queue_full", self._retry_s())
        self._taken[caller] += 1
        return Place(self, caller)

    async def turn(self, place: Place) -> None:
        """Wait until the engine may be asked; cancelled, it waits no more."""
        if self._asked < self._at_once and not self._waiting:
            self._begin(place)
            return
        place.granted = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(place.caller, deque()).append(place)
        await place.granted

    def leave(self, place: Place) -> None:
        """Give a place back; the next one that waits may ask."""
        self._taken[place.caller] -= 1
        if not self._taken[place.caller]:
            del self._taken[place.caller]
        if place.began is None:
            self._forget(place)
            return
        took_s = self._clock() - place.began
        self._mean_s += _WEIGHT * (took_s - self._mean_s) if self._mean_s else took_s
        self._asked -= 1
        while self._waiting and self._asked < self._at_once:
            self._grant_next()

    def _grant_next(self) -> None:
        caller, places = self._waiting.popitem(last=False)
        place = places.popleft()
        if places:
            self._waiting[caller] = places  # behind the others
        self._begin(place)
        if place.granted is not None and not place.granted.done():
            place.granted.set_result(None)

    def _begin(self, place: Place) -> None:
        self._asked += 1
        place.began = self._clock()

    def _forget(self, place: Place) -> None:
        places = self._waiting.get(place.caller)
        if places is None or place not in places:
            return  # it never came to wait
        places.remove(place)
        if not places:
            del self._waiting[place.caller]

    def _retry_s(self) -> int:
        """About when a place is free again: when those before have been answered."""
        wait_s = self._mean_s * (self.depth + 1) / self._at_once
        return min(_LONGEST_RETRY_S, max(1, math.ceil(wait_s)))


class Place:
    """One request's place in a queue. `began`: when its engine was asked; None while it waits."""

    def __init__(self, queue: RequestQueue, caller: str) -> None:
        self.caller = caller
        self.began: float | None = None
        self.granted: asyncio.Future[None] | None = None
        self._queue: RequestQueue | None = queue

    async def turn(self) -> None:
        """Wait until the engine may be asked; at once when it may be already."""
        if self._queue is not None and self.began is None:
            await self._queue.turn(self)

    def leave(self) -> None:
        """Give the place back; a second time does nothing."""
        queue, self._queue = self._queue, None
        if queue is not None:
            queue.leave(self)
