"""The leaderboard's lines with the ranks that hold: tiers and rank ranges from the items behind each line."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from weakref import WeakKeyDictionary

from ..core.artifacts import ArtifactStore
from ..core.errors import OpswrightError
from .gate_scores import score_of
from .head_to_head import open_measured
from .leaderboard import LeaderboardRow
from .tiers import rank


def with_ranks(store: ArtifactStore, lines: Sequence[LeaderboardRow]) -> list[LeaderboardRow]:
    """The lines in their order, with tier and rank range among those of one suite and metric.

    A line whose items cannot be read keeps none: a report that is damaged, or made before items were kept.
    """
    boards: dict[tuple[str, str], dict[str, Mapping[str, float]]] = defaultdict(dict)
    for line in lines:
        if scores := _scores(store, line):
            boards[line.suite_digest, line.metric][line.id] = scores
    found = {
        one.name: (one.tier_in_words, one.ranks_in_words) for board in boards.values() for one in rank(board)
    }
    empty = (None, None)
    return [
        replace(line, tier=tier, ranks=ranks) for line in lines for tier, ranks in [found.get(line.id, empty)]
    ]


def _scores(store: ArtifactStore, line: LeaderboardRow) -> Mapping[str, float]:
    """Item id -> score of a line; an item without an answer counts as 0. Empty when they cannot be read."""
    kept = _KEPT.setdefault(store, {})
    if line.id not in kept:
        try:
            items = open_measured(store, line).items
            kept[line.id] = {item.id: score_of(item, line.metric) or 0.0 for item in items}
        except (OpswrightError, OSError):
            return {}
    return kept[line.id]


_KEPT: WeakKeyDictionary[ArtifactStore, dict[str, Mapping[str, float]]] = WeakKeyDictionary()
"""By line, for as long as a store is in use: reports never change."""
