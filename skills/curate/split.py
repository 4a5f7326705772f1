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

    Ints = NDArray[np.int64]


def find_groups(kept: Ints, pairs: Pairs, *tied: NDArray[np.uint64]) -> Ints:
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
        same = np.flatnonzero((values[order][1:] == values[order][:-1]) & (values[order][1:] != 0))
        edges.append(np.stack([order[same], order[same + 1]]))
    first, second = np.concatenate(edges, axis=1)
    graph = coo_matrix((np.ones(len(first), np.int8), (first, second)), shape=(n, n))
    _, numbers = connected_components(graph, directed=False)
    groups: Ints = numbers.astype(np.int64)
    return groups


def _place(kept: Ints, rows: Ints) -> Ints:
    """Where rows stand among the kept ones; -1 for one that is not kept."""
    import numpy as np

    if not len(kept):
        return np.full(len(rows), -1, np.int64)
    at = np.searchsorted(kept, rows)
    found: Ints = np.where(kept[np.minimum(at, len(kept) - 1)] == rows, at, -1)
    return found


def choose_sides(
    groups: Sequence[int] | Ints,
    labels: Sequence[int] | Ints,
    fixed: Sequence[str | None],
    fraction: float,
    seed: int,
) -> list[str]:
    """A side for each row: about `fraction` of each label's free rows go to validation, whole groups only.

    `fixed` holds the side of rows that have one already; their group follows them, training first. Each label
    keeps a training row. The same input and seed give the same sides.
    """
    import numpy as np

    groups, labels = np.asarray(groups, np.int64), np.asarray(labels)
    # of each group: 0 free, 1 training, 2 validation
    held = np.zeros(int(groups.max(initial=-1)) + 1, np.int8)
    for side, number in ((VALIDATION, 2), (TRAIN, 1)):
        held[groups[[at for at, one in enumerate(fixed) if one == side]]] = number
    order = np.argsort(groups, kind="stable")
    begins = np.flatnonzero(np.diff(groups[order], prepend=-1))
    ends = np.append(begins[1:], len(order))
    free = np.flatnonzero(held[groups[order[begins]]] == 0)
    left = Counter(labels[held[groups] != 2].tolist())
    quota = _quotas(Counter(labels[held[groups] == 0].tolist()), fraction)
    wanted = sum(quota.values())
    for run in free[np.argsort(_shuffled(order[begins[free]], seed), kind="stable")].tolist():
        if wanted <= 0:
            break
        rows = order[begins[run] : ends[run]]
        counts = Counter(labels[rows].tolist())
        if all(quota[label] >= n and left[label] > n for label, n in counts.items()):
            held[groups[rows[0]]] = 2
            quota.subtract(counts)
            left.subtract(counts)
            wanted -= len(rows)
    return [VALIDATION if number == 2 else TRAIN for number in held[groups].tolist()]


def _quotas(counts: Counter[int], fraction: float) -> Counter[int]:
    """Validation rows of each label, together the rounded share of all, by largest remainder."""
    exact = {label: n * fraction for label, n in counts.items()}
    quota = Counter({label: int(share) for label, share in exact.items()})
    missing = round(sum(exact.values())) - sum(quota.values())
    by_remainder = sorted(exact, key=lambda label: (-(exact[label] - int(exact[label])), label))
    quota.update(by_remainder[:missing])
    return quota


def _shuffled(rows: Ints, seed: int) -> NDArray[np.uint64]:
    """A number for each row by which they are shuffled."""
    import numpy as np

    digests = (hashlib.sha256(f"{seed}:{row}".encode()).digest()[:8] for row in rows.tolist())
    return np.fromiter((int.from_bytes(one, "big") for one in digests), np.uint64, len(rows))
