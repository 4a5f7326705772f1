"""Splits rows so that near-duplicates, and rows of one group, are never on both sides."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ...data.rows import TRAIN, VALIDATION
from ...data.similar import Pairs

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def find_groups(kept: Sequence[int], pairs: Pairs, tied: Sequence[str | None]) -> NDArray[np.int64]:
    """A group number for each kept row: joined by similarity or by a shared value of `tied`.

    kept: indices that `pairs` speaks of; tied: one value for each kept row.
    """
    import numpy as np
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    n = len(kept)
    place = np.full(max([-1, *kept, *pairs.second.tolist()]) + 1, -1, np.int64)
    place[list(kept)] = np.arange(n)
    both = np.stack([place[pairs.first], place[pairs.second]], axis=1)
    first_with: dict[str, int] = {}
    shared = [(first_with.setdefault(value, at), at) for at, value in enumerate(tied) if value is not None]
    edges = np.concatenate([both[(both >= 0).all(axis=1)], np.array(shared, np.int64).reshape(-1, 2)])
    graph = coo_matrix((np.ones(len(edges), np.int8), (edges[:, 0], edges[:, 1])), shape=(n, n))
    _, numbers = connected_components(graph, directed=False)
    groups: NDArray[np.int64] = numbers.astype(np.int64)
    return groups


def choose_sides(
    groups: Sequence[int], labels: Sequence[str], fixed: Sequence[str | None], fraction: float, seed: int
) -> list[str]:
    """A side for each row: about `fraction` of each label's free rows go to validation, whole groups only.

    `fixed` holds the side of rows that have one already; their group follows them, training first. Each label
    keeps a training row. The same input and seed give the same sides.
    """
    members: dict[int, list[int]] = {}
    for at, group in enumerate(groups):
        members.setdefault(group, []).append(at)
    sides = _fixed_sides(members, fixed)
    free = [group for group in members if group not in sides]
    left = Counter(labels[at] for group in members for at in members[group] if sides.get(group) != VALIDATION)
    quota = _quotas(Counter(labels[at] for group in free for at in members[group]), fraction)
    for group in sorted(free, key=lambda g: _shuffled(members[g][0], seed)):
        counts = Counter(labels[at] for at in members[group])
        if all(quota[label] >= n and left[label] > n for label, n in counts.items()):
            sides[group] = VALIDATION
            quota.subtract(counts)
            left.subtract(counts)
    return [sides.get(group, TRAIN) for group in groups]


def _fixed_sides(members: dict[int, list[int]], fixed: Sequence[str | None]) -> dict[int, str]:
    sides = {}
    for group, rows in members.items():
        found = {fixed[at] for at in rows} - {None}
        if found:
            sides[group] = TRAIN if TRAIN in found else VALIDATION
    return sides


def _quotas(counts: Counter[str], fraction: float) -> Counter[str]:
    """Validation rows of each label, together the rounded share of all, by largest remainder."""
    exact = {label: n * fraction for label, n in counts.items()}
    quota = Counter({label: int(share) for label, share in exact.items()})
    missing = round(sum(exact.values())) - sum(quota.values())
    by_remainder = sorted(exact, key=lambda label: (-(exact[label] - int(exact[label])), label))
    quota.update(by_remainder[:missing])
    return quota


def _shuffled(row: int, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}:{row}".encode()).digest()
