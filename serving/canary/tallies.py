"""Counts of what requests to both releases met."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from ..gateway.traffic_log import TrafficRow

COMPLAINTS = "complaints"  # answers that a user said are wrong, of those that users spoke of


@dataclass
class EventTally:
    """Requests of both releases, and how many of each met an event."""

    requests: list[int] = field(default_factory=lambda: [0, 0])  # canary, stable
    events: dict[str, list[int]] = field(default_factory=lambda: defaultdict(lambda: [0, 0]))


@dataclass
class EventSeries:
    """Requests in their order, a byte each: whether it was the canary's, and whether it met the event."""

    is_canary: bytearray = field(default_factory=bytearray)
    met: bytearray = field(default_factory=bytearray)


@dataclass(frozen=True)
class _Rating:
    is_canary: bool
    percent: int
    session: str
    is_right: bool


class Ratings:
    """What users said of answers of both releases: the last word of each caller on each.

    A session complains once: what one caller says a hundred times is one complaint.
    """

    def __init__(self) -> None:
        self._said: dict[tuple[str, str], _Rating] = {}  # by id and caller
        self._forget_counts()

    def __bool__(self) -> bool:
        return bool(self._said)

    def add(self, row: TrafficRow, is_canary: bool, is_right: bool) -> None:
        """Count one; who thought better of it takes back what they said before."""
        key = row.id, row.caller
        before = self._said.get(key)
        rating = self._said[key] = _Rating(is_canary, row.canary_percent, row.session, is_right)
        if before is None:
            self._count(rating)
        elif before != rating:
            self._forget_counts()
            for one in self._said.values():
                self._count(one)

    def _forget_counts(self) -> None:
        self.by_percent: dict[int, EventTally] = defaultdict(EventTally)
        self.series = EventSeries()
        self._complained: set[str] = set()  # sessions

    def _count(self, rating: _Rating) -> None:
        tally, is_stable = self.by_percent[rating.percent], not rating.is_canary
        tally.requests[is_stable] += 1
        if not rating.is_right and rating.session in self._complained:
            return
        if not rating.is_right:
            tally.events[COMPLAINTS][is_stable] += 1
            self._complained |= {rating.session} - {""}
        self.series.is_canary.append(rating.is_canary)
        self.series.met.append(not rating.is_right)
