"""What a check could have seen: without that, "no alarm" says nothing."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ...data.embed import Vectors
from .mmd import Mmd

POWER = 0.8
SHARES = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5)
_TOPICS = 8
_DRAWS = 25


def visible_share(reference: Vectors, window: int, found: Mmd, level: float, seed: int) -> float | None:
    """The least share of texts on a new topic that four windows in five would show; None: not even a half.

    reference: float (n, d), the vectors that were compared. The reference's own topics (k-means) stand in for
    a new one: each in turn is taken out of it and mixed into windows of the rest; of the shares that make it
    visible the median is given. level: the p-value at which the test alarms.
    """
    from sklearn.cluster import MiniBatchKMeans

    rng = np.random.default_rng(seed)
    mapped = found.features(reference)
    topics = MiniBatchKMeans(min(_TOPICS, len(reference) // 4), random_state=seed, n_init=1).fit_predict(
        reference
    )
    bound = float(np.quantile(found.null, 1 - level))
    shares = [
        _least_share(mapped[topics != topic], mapped[topics == topic], window, bound, rng)
        for topic in np.unique(topics)
        if (topics == topic).sum() < len(topics) / 2
    ]
    if not shares:
        return None
    median = float(np.median(shares))
    return median if np.isfinite(median) else None


def _least_share(rest: Vectors, topic: Vectors, window: int, bound: float, rng: np.random.Generator) -> float:
    """The first of SHARES that passes the bound in POWER of the draws; infinite if none does."""
    usual = rest.mean(axis=0)
    for share in SHARES:
        count = max(1, round(window * share))
        old = _means(rest, window - count, rng)
        new = _means(topic, count, rng)
        apart = (old * (window - count) + new * count) / window - usual
        if np.mean(np.einsum("ij,ij->i", apart, apart) > bound) >= POWER:
            return share
    return float("inf")


def _means(points: Vectors, count: int, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """Means of random draws of so many points, float32 (draws, d)."""
    drawn: npt.NDArray[np.float32] = points[rng.integers(0, len(points), (_DRAWS, count))].mean(axis=1)
    return drawn
