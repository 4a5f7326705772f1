"""What is known of a canary: its requests beside stable's, and the same requests asked of both."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..gateway.traffic_log import Status, TrafficRow
from .answers import is_invalid
from .tallies import COMPLAINTS, EventSeries, EventTally, Ratings

if TYPE_CHECKING:
    from ...core.statistics.always_valid import EventCounts

EVENTS = ("errors", "blocks", "slow answers", "invalid answers")
TESTS = len(EVENTS) + 3  # with complaints, agreement and scores: alpha is shared among them
SLOWER_MS = 5.0  # a difference smaller than this is never called slower
_BASELINE = 50  # answers of stable that the budget of a slow one is taken from


@dataclass(frozen=True)
class ReleaseReply:
    """How a release met one request; latency in ms."""

    status: Status
    latency_ms: float
    is_invalid: bool = False

    @classmethod
    def of(cls, row: TrafficRow) -> ReleaseReply:
        """What a row of the traffic log says."""
        return cls(row.status, row.latency_ms, row.status == "ok" and is_invalid(row.output))

    def events(self, budget_ms: float) -> set[str]:
        """What is held against it; slow is an answer that took longer than the budget."""
        if self.status == "error":
            return {"errors"}
        if self.status == "blocked":
            return {"blocks"}
        found = {"invalid answers"} if self.is_invalid else set()
        return found | ({"slow answers"} if self.latency_ms > budget_ms else set())


@dataclass(frozen=True)
class Pair:
    """One request that both were asked; `agrees` is None where answers could not be compared.

    is_timed: whether both were asked alike, so that how long they took can be compared.
    """

    canary: ReleaseReply
    stable: ReleaseReply
    agrees: bool | None = None
    is_timed: bool = True

    @property
    def is_shared_fault(self) -> bool:
        """Whether it is the request that is at fault: neither release could answer."""
        return self.canary.status == self.stable.status == "error"

    def events(self, max_slower: float) -> tuple[set[str], set[str]]:
        """What is held against the canary and against stable; slow is by how long the other one took."""
        if not self.is_timed:
            return self.canary.events(math.inf), self.stable.events(math.inf)
        return (
            self.canary.events(max_slower * self.stable.latency_ms + SLOWER_MS),
            self.stable.events(max_slower * self.canary.latency_ms + SLOWER_MS),
        )


@dataclass
class CanaryEvidence:
    """Everything counted since a canary is out; rows come in the order of the log.

    A session stays with its release, so it counts once for each event: what one caller does a hundred times
    is one event. budget_ms: what an answer may take; None: taken from stable's first answers.
    """

    canary: str
    stable: str
    max_slower: float = 1.5
    budget_ms: float | None = None
    by_percent: dict[int, EventTally] = field(default_factory=lambda: defaultdict(EventTally))
    pairs: EventTally = field(default_factory=EventTally)
    agreed: list[bool] = field(default_factory=list)
    series: dict[str, EventSeries] = field(default_factory=lambda: defaultdict(EventSeries))
    pair_differences: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    ratings: Ratings = field(default_factory=Ratings)
    _first: list[float] = field(default_factory=list)
    _met: set[tuple[str, str]] = field(default_factory=set)

    @classmethod
    def starting(
        cls, canary: str, stable: str, before: Iterable[TrafficRow], max_slower: float = 1.5
    ) -> CanaryEvidence:
        """Nothing yet; the budget comes from what stable answered before, where that is enough."""
        took = [row.latency_ms for row in before if row.release == stable and row.status == "ok"]
        budget_ms = budget_of(took, max_slower) if len(took) >= _BASELINE else None
        return cls(canary, stable, max_slower, budget_ms)

    @property
    def requests(self) -> int:
        """The canary's own requests that count."""
        return sum(tally.requests[0] for tally in self.by_percent.values())

    def add(self, row: TrafficRow) -> None:
        """Count a request of users; one that was wrong itself, or was not drawn, counts for nobody."""
        if not self._is_drawn(row) or not row.is_judged:
            return
        is_canary, reply = row.release == self.canary, ReleaseReply.of(row)
        met = reply.events(self._budget(reply, is_canary))
        tally = self.by_percent[row.canary_percent]
        tally.requests[not is_canary] += 1
        for name in EVENTS:
            is_first = not row.session or (name, row.session) not in self._met
            if name in met and is_first:
                tally.events[name][not is_canary] += 1
                self._met.add((name, row.session))
            if is_first or name not in met:
                self.series[name].is_canary.append(is_canary)
                self.series[name].met.append(name in met)

    def rate(self, row: TrafficRow, is_right: bool) -> None:
        """Count what a user said of an answer; the last word on each counts."""
        if self._is_drawn(row):
            self.ratings.add(row, row.release == self.canary, is_right)

    def add_pair(self, pair: Pair) -> None:
        """Count a request that both were asked."""
        if pair.is_shared_fault:
            return
        mine, theirs = pair.events(self.max_slower)
        self.pairs.requests[0] += 1
        self.pairs.requests[1] += 1
        for name in EVENTS:
            self.pairs.events[name][0] += name in mine
            self.pairs.events[name][1] += name in theirs
            self.pair_differences[name].append((name in mine) - (name in theirs))
        if pair.agrees is not None:
            self.agreed.append(pair.agrees)

    def counts(self, event: str) -> tuple[list[EventCounts], list[EventCounts]]:
        """The event among drawn requests, and among pairs: each by the chance that it was the canary's.

        Of two replies to one request, either is as likely to meet it alone, when they are alike.
        """
        from ...core.statistics.always_valid import EventCounts

        by_percent = self.ratings.by_percent if event == COMPLAINTS else self.by_percent
        drawn = [_event_counts(tally, event, percent) for percent, tally in by_percent.items()]
        differences = self.pair_differences[event]
        return drawn, [EventCounts(differences.count(1), differences.count(-1), 0.5)]

    def met(self, event: str) -> tuple[tuple[int, int], tuple[int, int]]:
        """Events and requests of the canary, then of stable, over all that was counted.

        Complaints are counted among the answers that users spoke of.
        """
        if event == COMPLAINTS:
            tallies = list(self.ratings.by_percent.values())
        else:
            tallies = [*self.by_percent.values(), self.pairs]
        canary, stable = (
            (sum(tally.events[event][arm] for tally in tallies), sum(t.requests[arm] for t in tallies))
            for arm in (0, 1)
        )
        return canary, stable

    def in_order(self, event: str) -> EventSeries:
        """The requests that `met` counts and were drawn, in their order."""
        return self.ratings.series if event == COMPLAINTS else self.series[event]

    def _is_drawn(self, row: TrafficRow) -> bool:
        return row.release in (self.canary, self.stable) and 0 < row.canary_percent < 100

    def _budget(self, reply: ReleaseReply, is_canary: bool) -> float:
        if self.budget_ms is not None:
            return self.budget_ms
        if not is_canary and reply.status == "ok":
            self._first.append(reply.latency_ms)
            if len(self._first) == _BASELINE:
                self.budget_ms = budget_of(self._first, self.max_slower)
        return math.inf


def _event_counts(tally: EventTally, event: str, percent: int) -> EventCounts:
    from ...core.statistics.always_valid import EventCounts

    mine, theirs = tally.events[event]
    return EventCounts(mine, theirs, percent / 100)


def budget_of(took_ms: Iterable[float], max_slower: float) -> float:
    """What an answer may take: so many times the 95th percentile of these."""
    usual = p95(list(took_ms))
    return max(max_slower * usual, usual + SLOWER_MS)


def p95(values: list[float]) -> float:
    """The 95th percentile, nearest rank."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]
