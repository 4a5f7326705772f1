"""The leaderboard's lines with the ranks that hold: tiers and rank ranges from the items behind each line."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from weakref import WeakKeyDictionary

from ..core.artifacts import ArtifactStore
from ..core.errors import OpswrightError
from .gate_scores import score_of
from .head_to_head import open_measured
from .leaderboard import LeaderboardRow
from .runner import SampleResult
from .tiers import RankedModel, rank


def with_ranks(store: ArtifactStore, lines: Sequence[LeaderboardRow]) -> list[LeaderboardRow]:
    """The lines in their order, with tier and rank range among those of one suite and metric.

    A line whose items cannot be read keeps none: a report that is damaged, or made before items were kept.
    """
    boards: dict[tuple[str, str], dict[str, Mapping[str, float]]] = defaultdict(dict)
    for line in lines:
        if scores := _scores(store, line):
            boards[line.suite_digest, line.metric][line.id] = scores
    ranked = (one for board in boards.values() for one in _ranked(store, board))
    found = {one.name: (one.tier_in_words, one.ranks_in_words) for one in ranked}
    empty = (None, None)
    return [
        replace(line, tier=tier, ranks=ranks) for line in lines for tier, ranks in [found.get(line.id, empty)]
    ]


def _scores(store: ArtifactStore, line: LeaderboardRow) -> Mapping[str, float]:
    """A line's scores, by item or group; empty when they cannot be read."""
    kept = _KEPT.setdefault(store, {})
    if line.id not in kept:
        try:
            kept[line.id] = _by_observation(open_measured(store, line).items, line.metric)
        except (OpswrightError, OSError):
            return {}
    return kept[line.id]


def _ranked(store: ArtifactStore, board: Mapping[str, Mapping[str, float]]) -> list[RankedModel]:
    """The ranks of a board, kept for as long as it has the same lines: a page asks again at every click."""
    kept = _RANKED.setdefault(store, {})
    key = tuple(sorted(board))
    if key not in kept:
        while len(kept) >= _BOARDS:
            del kept[next(iter(kept))]
        kept[key] = rank(board)
    return kept[key]


def _by_observation(items: Sequence[SampleResult], metric: str) -> dict[str, float]:
    """Mean score of each group, and the score of each item of none; one without an answer counts as 0."""
    found: dict[str, list[float]] = defaultdict(list)
    for item in items:
        key = f"item {item.id}" if item.group is None else f"group {item.group}"
        found[key].append(score_of(item, metric) or 0.0)
    return {key: fmean(scores) for key, scores in found.items()}


_KEPT: WeakKeyDictionary[ArtifactStore, dict[str, Mapping[str, float]]] = WeakKeyDictionary()
"""By line, for as long as a store is in use: reports never change."""

_BOARDS = 32
_RANKED: WeakKeyDictionary[ArtifactStore, dict[tuple[str, ...], list[RankedModel]]] = WeakKeyDictionary()
