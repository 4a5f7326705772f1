"""Splits rows so that near-duplicates, and rows of one group, are never on both sides."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

from ...data.rows import TRAIN, VALIDATION
from ...data.similar import Pairs

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Ints = NDArray[np.int64]


SIDES = (None, TRAIN, VALIDATION)
_TRAINED, _HELD_OUT = 1, 2


def find_groups(
    kept: NDArray[np.int32], pairs: Pairs, tied: Iterable[NDArray[np.uint64]] = ()
) -> NDArray[np.int32]:
    """A group number for each kept row: joined by similarity or by a shared value of one of `tied`.

    kept: ascending indices that `pairs` speaks of. tied: each one value for each kept row; 0 ties nothing.
    """
    import numpy as np
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    n = len(kept)
    edges = [np.stack([_place(kept, pairs.first), _place(kept, pairs.second)])]
    edges[0] = edges[0][:, (edges[0] >= 0).all(axis=0)]
    for values in tied:
        order = np.argsort(values, kind="stable")
        values = values[order]
        same = np.flatnonzero((values[1:] == values[:-1]) & (values[1:] != 0))
        edges.append(np.stack([order[same], order[same + 1]]))
    first, second = np.concatenate(edges, axis=1)
    graph = coo_matrix((np.ones(len(first), np.int8), (first, second)), shape=(n, n))
    _, numbers = connected_components(graph, directed=False)
    groups: NDArray[np.int32] = numbers.astype(np.int32)
    return groups


def _place(kept: NDArray[np.int32], rows: Ints) -> Ints:
    """Where rows stand among the kept ones; -1 for one that is not kept."""
    import numpy as np

    if not len(kept):
        return np.full(len(rows), -1, np.int64)
    at = np.searchsorted(kept, rows.astype(kept.dtype))  # of another type all of `kept` would be copied
    found: Ints = np.where(kept[np.minimum(at, len(kept) - 1)] == rows, at, -1)
    return found


def choose_sides(
    groups: NDArray[np.int32],
    labels: NDArray[np.int32],
    fixed: NDArray[np.int8],
    fraction: float,
    seed: int,
) -> NDArray[np.int8]:
    """A side for each row: about `fraction` of each label's free rows go to validation, whole groups only.

    groups: numbers from 0. fixed: the side that a row has already, as its place in SIDES, or 0; its group
    follows it, training first. Each label keeps a training row. The same input and seed give the same sides,
    also as places in SIDES.
    """
    import numpy as np

    held = np.zeros(int(groups.max(initial=-1)) + 1, np.int8)  # the side of each group
    for side in (_HELD_OUT, _TRAINED):
        held[groups[fixed == side]] = side
    left = _counted(labels[held[groups] != _HELD_OUT])
    quota = _quotas(_counted(labels[held[groups] == 0]), fraction)
    order = np.argsort(groups, kind="stable").astype(np.int32)
    begins = np.searchsorted(groups[order], np.arange(len(held) + 1, dtype=np.int32)).astype(np.int32)
    free = np.flatnonzero(held == 0).astype(np.int32)
    wanted = quota.total()
    for group in free[np.argsort(_shuffled(order[begins[free]], seed), kind="stable")]:
        if wanted <= 0:
            break
        rows = order[begins[group] : begins[group + 1]]
        counts = _counted(labels[rows])
        if all(quota[label] >= n and left[label] > n for label, n in counts.items()):
            held[group] = _HELD_OUT
            quota.subtract(counts)
            left.subtract(counts)
            wanted -= len(rows)
    held[held == 0] = _TRAINED
    return held[groups]


def _counted(labels: NDArray[np.int32]) -> Counter[int]:
    """How many rows each label has."""
    import numpy as np

    if len(labels) == 1:
        return Counter({int(labels[0]): 1})
    found, counts = np.unique(labels, return_counts=True)
    return Counter(dict(zip(found.tolist(), counts.tolist(), strict=True)))


def _quotas(counts: Counter[int], fraction: float) -> Counter[int]:
    """Validation rows of each label, together the rounded share of all, by largest remainder."""
    exact = {label: n * fraction for label, n in counts.items()}
    quota = Counter({label: int(share) for label, share in exact.items()})
    missing = round(sum(exact.values())) - sum(quota.values())
    by_remainder = sorted(exact, key=lambda label: (-(exact[label] - int(exact[label])), label))
    quota.update(by_remainder[:missing])
    return quota


def _shuffled(rows: NDArray[np.int32], seed: int) -> NDArray[np.uint64]:
    """A number for each row by which they are shuffled."""
    import numpy as np

    digests = (hashlib.sha256(f"{seed}:{row}".encode()).digest()[:8] for row in rows)
    return np.fromiter((int.from_bytes(one, "big") for one in digests), np.uint64, len(rows))
