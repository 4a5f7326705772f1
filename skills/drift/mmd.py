"""Maximum mean discrepancy: whether two samples of vectors come from one distribution."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ...core.errors import AskError
from ...data.embed import Vectors

LEAST = 20
_FREQUENCIES = 128
_PAIRS = 4000
_AT_ONCE = 500
_ROUNDING = 1e-7  # of float32 sums; a discrepancy that matters is 1e-3 or more


@dataclass(frozen=True)
class Mmd:
    """The squared discrepancy (>= 0), its p-value, and how much each live vector speaks for a difference.

    `witness`: float (m,); above zero where live vectors are denser than reference ones. `null`: float
    (permutations,), sorted: what chance gives. `features`: maps vectors to those that were compared.
    """

    statistic: float
    p: float
    witness: npt.NDArray[np.float32]
    null: npt.NDArray[np.float32]
    features: FourierFeatures


class FourierFeatures:
    """Random Fourier features of a Gaussian kernel whose width is the median distance of different points.

    Source: Rahimi and Recht, NIPS 2007.
    """

    def __init__(self, points: Vectors, rng: np.random.Generator) -> None:
        first, second = rng.integers(0, len(points), (2, _PAIRS))
        apart = np.linalg.norm(points[first] - points[second], axis=1)
        width = float(np.median(apart[apart > 0])) if np.any(apart > 0) else 1.0
        spread = rng.normal(0, 1 / width, (points.shape[1], _FREQUENCIES))
        self._frequencies = spread.astype(np.float32)

    def __call__(self, points: Vectors) -> Vectors:
        """Features whose inner product is about the kernel, float32 (n, 256)."""
        angles: Vectors = points @ self._frequencies
        waves = np.hstack([np.cos(angles), np.sin(angles)])
        scaled: Vectors = (waves / np.sqrt(_FREQUENCIES)).astype(np.float32)
        return scaled


def mmd(reference: Vectors, live: Vectors, permutations: int, rng: np.random.Generator) -> Mmd:
    """Maximum mean discrepancy of two samples with a Gaussian kernel, and its permutation p-value.

    reference: float (n, d); live: float (m, d); same embedding, no NaN. p is in [1/(permutations+1), 1] and
    exact: the features, drawn from the pooled points, are the same for every split. Raises AskError when n or
    m < 20. Source: Gretton et al., JMLR 13 (2012) 723-773, sections 2.3 and 8.
    """
    n, m = len(reference), len(live)
    if min(n, m) < LEAST:
        raise AskError(f"a two-sample test needs {LEAST} texts on each side; there are {n} and {m}.")
    pooled = np.vstack([reference, live])
    features = FourierFeatures(pooled, rng)
    mapped = features(pooled)
    apart = mapped[n:].mean(axis=0) - mapped[:n].mean(axis=0)
    observed = float(apart @ apart)
    null = _permuted(mapped, m, permutations, rng)
    reached = int(np.count_nonzero(null >= observed - _ROUNDING))
    return Mmd(observed, (1 + reached) / (permutations + 1), mapped[n:] @ apart, np.sort(null), features)


def _permuted(
    mapped: Vectors, m: int, permutations: int, rng: np.random.Generator
) -> npt.NDArray[np.float32]:
    """The squared discrepancy of so many random splits of all points into m and the rest."""
    size = len(mapped)
    whole = mapped.sum(axis=0)
    found = np.empty(permutations, np.float32)
    for begin in range(0, permutations, _AT_ONCE):
        count = min(_AT_ONCE, permutations - begin)
        chosen = rng.random((count, size), dtype=np.float32).argpartition(m, axis=1)[:, :m]
        member = np.zeros((count, size), np.float32)  # a row: one split
        np.put_along_axis(member, chosen, 1, axis=1)
        sums = member @ mapped
        apart = sums / m - (whole - sums) / (size - m)
        found[begin : begin + count] = np.einsum("ij,ij->i", apart, apart)
    return found
