"""Where every measured model stands: on a Pareto front, none is as good for less."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from ..core.workspace import Workspace
from .leaderboard import LeaderboardRow, board
from .ranks import with_ranks

PRICES: Mapping[str, Callable[[LeaderboardRow], float | None]] = {
    "latency": lambda line: line.p50_ms or None,
    "size": lambda line: line.size_bytes or None,
}
"""What quality is held against: the median latency in ms, and the size in bytes; None where not known."""


def with_fronts(lines: Sequence[LeaderboardRow]) -> list[LeaderboardRow]:
    """The lines in their order, each with the prices at which it is on the front of its suite and metric.

    By the values as measured; whether two of them differ at all is what tiers and ranks say.
    """
    fronts = {price: front(lines, price) for price in PRICES}
    return [
        replace(line, fronts=tuple(price for price, ids in fronts.items() if line.id in ids))
        for line in lines
    ]


def front(lines: Sequence[LeaderboardRow], price: str) -> frozenset[str]:
    """Ids of the lines that none beats on their suite, being as good for less or better for as much."""
    priced = [(paid, line) for line in lines if (paid := PRICES[price](line)) is not None]
    found: set[str] = set()
    last: dict[tuple[str, str], tuple[float, float]] = {}  # price and value of what came last onto the front
    for paid, line in sorted(priced, key=lambda one: (one[0], -one[1].value)):
        board = (line.suite_digest, line.metric)
        if board not in last or line.value > last[board][1] or (paid, line.value) == last[board]:
            last[board] = (paid, line.value)
            found.add(line.id)
    return frozenset(found)


def standings(workspace: Workspace, suite: str | None = None) -> list[LeaderboardRow]:
    """The leaderboard of a workspace with ranks and fronts; AskError for a suite that nobody knows."""
    return with_fronts(with_ranks(workspace.artifacts, board(workspace, suite)))
