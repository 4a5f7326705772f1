"""Maximum mean discrepancy: whether two samples of vectors come from one distribution."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ...core.errors import AskError
from .embed import Vectors

LEAST = 20
_ROUNDING = 1e-7  # of float32 sums; a discrepancy that matters is 1e-3 or more


@dataclass(frozen=True)
class Mmd:
    """The squared discrepancy (>= 0), its p-value, and how much each live vector speaks for a difference.

    `witness`: float (m,); above zero where live vectors are denser than reference ones.
    """

    statistic: float
    p: float
    witness: npt.NDArray[np.float32]


def mmd(reference: Vectors, live: Vectors, permutations: int, rng: np.random.Generator) -> Mmd:
    """Maximum mean discrepancy of two samples with a Gaussian kernel, and its permutation p-value.

    reference: float (n, d); live: float (m, d); same embedding, no NaN. Bandwidth: median of the pairwise
    distances. p is in [1/(permutations+1), 1]; all permutations are one matrix product. Raises AskError when
    n or m < 20.
    Source: Gretton et al., JMLR 13 (2012) 723-773, sections 2.3 and 8.
    """
    n, m = len(reference), len(live)
    if min(n, m) < LEAST:
        raise AskError(f"a two-sample test needs {LEAST} texts on each side; there are {n} and {m}.")
    kernel = _gaussian(np.vstack([reference, live]))
    weights = np.full((n + m, permutations + 1), 1 / n, dtype=np.float32)  # a column: one split in two
    weights[n:, 0] = -1 / m
    for column in range(1, permutations + 1):
        weights[rng.choice(n + m, m, replace=False), column] = -1 / m
    statistics = np.einsum("ij,ij->j", weights, kernel @ weights)
    observed = float(statistics[0])
    reached = int(np.count_nonzero(statistics[1:] >= observed - _ROUNDING))
    among_live = (kernel[n:, n:].sum(axis=1) - 1) / (m - 1)
    witness = among_live - kernel[n:, :n].mean(axis=1)
    return Mmd(max(observed, 0.0), (1 + reached) / (permutations + 1), witness)


def _gaussian(points: Vectors) -> Vectors:
    """exp(-d^2 / (2 s^2)) of all pairs, float32 (n+m, n+m); s: the median distance of different points."""
    norms = np.einsum("ij,ij->i", points, points)
    squared = np.maximum(norms[:, None] + norms[None, :] - 2 * points @ points.T, 0)
    upper = squared[np.triu_indices(len(points), k=1)]
    median = float(np.median(upper[upper > 0])) if np.any(upper > 0) else 1.0
    kernel: Vectors = np.exp(squared / np.float32(-2 * median))
    np.fill_diagonal(kernel, 1)
    return kernel
