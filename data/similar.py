"""Finds texts that are nearly the same: MinHash bands propose pairs, the exact Jaccard decides.

Source: Broder, "On the resemblance and containment of documents", 1997; bands as in Leskovec, Rajaraman and
Ullman, "Mining of Massive Datasets", chapter 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SHINGLE_CHARS = 5
_HASHES = 128
_MISS = 0.001  # at most this share of the pairs exactly at the threshold is never proposed
_ENOUGH = 200
_VERIFIED_AT_ONCE = 200_000


@dataclass(frozen=True)
class Pairs:
    """Pairs of texts by index, first < second, and their Jaccard, 0 to 1; three arrays of one length."""

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    jaccard: NDArray[np.float64]

    def above(self, least: float) -> Pairs:
        """The pairs at least this similar."""
        return self._where(self.jaccard >= least)

    def across(self, n: int) -> Pairs:
        """The pairs of one of the first `n` texts with one of the others."""
        return self._where((self.first < n) & (self.second >= n))

    def beyond(self, n: int) -> Pairs:
        """The pairs among the texts from number `n` on."""
        return self._where(self.first >= n)

    def each(self) -> list[tuple[int, int, float]]:
        """(first, second, jaccard) of every pair, in order."""
        columns = (self.first.tolist(), self.second.tolist(), self.jaccard.tolist())
        return sorted(zip(*columns, strict=True))

    def _where(self, keep: NDArray[np.bool_]) -> Pairs:
        return Pairs(self.first[keep], self.second[keep], self.jaccard[keep])


def similar_pairs(texts: Sequence[str], least: float, always: int = 0, seed: int = 1) -> Pairs:
    """Pairs of texts whose sets of 5-character shingles have a Jaccard of `least` (0.5 to 1) or more.

    A text shorter than 5 characters is one shingle. Every pair given is exact. Of the pairs at `least` one in
    a thousand may be missed, of more similar ones fewer; and in a crowd of hundreds of texts that are all
    alike not each is compared with each, but every one with the first `always` texts.
    """
    import numpy as np

    nothing = Pairs(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))
    if len(texts) < 2:
        return nothing
    shingles, starts = _shingles(texts)
    first, second = _proposed(_signatures(shingles, starts, seed), rows_of_a_band(least), always)
    if not first.size:
        return nothing
    jaccard = _jaccard(shingles, starts, first, second)
    return Pairs(first, second, jaccard).above(least)


def rows_of_a_band(least: float) -> int:
    """The most hashes to a band with which a pair of Jaccard `least` is still proposed nearly always."""
    fitting = [r for r in range(1, 17) if (1 - least**r) ** (_HASHES // r) <= _MISS]
    return max(fitting)


def _shingles(texts: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Shingle numbers of all texts, one after the other, each once a text; where each text begins."""
    import numpy as np

    numbers: dict[str, int] = {}
    flat: list[int] = []
    starts = [0]
    for text in texts:
        last = max(1, len(text) - SHINGLE_CHARS + 1)
        parts = dict.fromkeys([text[i : i + SHINGLE_CHARS] for i in range(last)])  # in order: a set is not
        flat.extend([numbers.setdefault(part, len(numbers)) for part in parts])
        starts.append(len(flat))
    return np.array(flat, np.int64), np.array(starts, np.int64)


def _signatures(shingles: NDArray[np.int64], starts: NDArray[np.int64], seed: int) -> NDArray[np.uint32]:
    """MinHash signatures, (texts, 128): the least random number of a text's shingles, 128 times."""
    import numpy as np

    random = np.random.default_rng(seed)
    signatures = np.empty((len(starts) - 1, _HASHES), np.uint32)
    for column in range(_HASHES):
        numbers = random.integers(0, 2**32, int(shingles.max()) + 1, dtype=np.uint32)
        signatures[:, column] = np.minimum.reduceat(numbers[shingles], starts[:-1])
    return signatures


def _proposed(
    signatures: NDArray[np.uint32], rows: int, always: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs that agree in a whole band, each once.

    A text with 200 partners or more looks for no others but the first `always` texts, and of a crowd that
    agrees only the first 200 are its partners: the work grows with the number of texts, not with its square.
    """
    import numpy as np

    n = len(signatures)
    pairs, partners = np.empty(0, np.int64), np.zeros(n, np.int64)
    for band in range(_HASHES // rows):
        key = np.zeros(n, np.uint64)
        for column in range(band * rows, (band + 1) * rows):
            key = key * np.uint64(0x9E3779B97F4A7C15) + signatures[:, column]
        order = np.argsort(key, kind="stable")  # texts with one key lie side by side, the earliest first
        begins = np.flatnonzero(np.diff(key[order], prepend=key[order[0]] + np.uint64(1)))
        begin = np.repeat(begins, np.diff(begins, append=n))  # where each text's run begins
        here, found = np.arange(n), [np.empty(0, np.int64)]
        for leader in range(n):
            here = here[here - begin[here] > leader]
            first, second = order[begin[here] + leader], order[here]
            wanted = (first < always) | ((partners[second] < _ENOUGH) & (leader < _ENOUGH))
            if not wanted.any():
                break
            found.append(first[wanted] * n + second[wanted])
        fresh = np.sort(np.concatenate(found))  # np.unique is 40 times slower on such numbers
        fresh = fresh[np.flatnonzero(np.diff(fresh, prepend=-1))]
        fresh = fresh[~np.isin(fresh, pairs, assume_unique=True, kind="sort")]
        partners += np.bincount(fresh % n, minlength=n)
        pairs = np.concatenate([pairs, fresh])
    return pairs // n, pairs % n


def _jaccard(
    shingles: NDArray[np.int64],
    starts: NDArray[np.int64],
    first: NDArray[np.int64],
    second: NDArray[np.int64],
) -> NDArray[np.float64]:
    """The exact Jaccard of each pair."""
    import numpy as np
    from scipy.sparse import csr_matrix

    n = len(starts) - 1
    held = csr_matrix(
        (np.ones(len(shingles), np.int32), shingles, starts), shape=(n, int(shingles.max()) + 1)
    )
    size = np.diff(starts)
    common = [
        np.asarray(
            held[first[at : at + _VERIFIED_AT_ONCE]]
            .multiply(held[second[at : at + _VERIFIED_AT_ONCE]])
            .sum(1)
        )
        for at in range(0, len(first), _VERIFIED_AT_ONCE)
    ]
    both = np.concatenate(common).ravel()
    jaccard: NDArray[np.float64] = both / (size[first] + size[second] - both)
    return jaccard
