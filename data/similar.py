"""Finds texts that are nearly the same: MinHash bands propose pairs, the Jaccard of all shingles decides.

Source: Broder, "On the resemblance and containment of documents", 1997; bands as in Leskovec, Rajaraman and
Ullman, "Mining of Massive Datasets", chapter 3.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Self

from .number_file import NumberFile
from .shingles import ShingleStore

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Ints = NDArray[np.int64]

MEMORY_BYTES = 256 << 20
_MOST_HASHES = 128
_SEED = 1  # the same for every process: their keys must meet
_MISS = 0.001  # at most this share of the pairs exactly at the threshold is never proposed
MOST_PARTNERS = 200
_BYTES_A_ROW = 64  # held for a row while a band is gone through
_BYTES_A_SHINGLE = 96  # held for a shingle while pairs are compared
_BYTES_A_PAIR = 64  # held for a pair meanwhile
_NUMBERS_AT_ONCE = 1 << 20


@dataclass(frozen=True)
class Pairs:
    """Pairs of texts by index, first < second, and their Jaccard, 0 to 1; three arrays of one length."""

    first: Ints
    second: Ints
    jaccard: NDArray[np.float64]

    def above(self, least: float) -> Pairs:
        """The pairs at least this similar."""
        keep = self.jaccard >= least
        return Pairs(self.first[keep], self.second[keep], self.jaccard[keep])

    def each(self) -> list[tuple[int, int, float]]:
        """(first, second, jaccard) of every pair, in order."""
        columns = (self.first.tolist(), self.second.tolist(), self.jaccard.tolist())
        return sorted(zip(*columns, strict=True))


class BandHasher:
    """Gives texts one key for each band; texts alike share keys, whichever process made them.

    least: the Jaccard from which two texts nearly always share one.
    """

    def __init__(self, least: float) -> None:
        import numpy as np

        self.bands, self._rows = bands_and_rows(least)
        drawn = np.random.default_rng(_SEED).integers(0, 2**31, self.bands * self._rows, dtype=np.uint32)
        self._factors = drawn * np.uint32(2) + np.uint32(1)

    def keys(self, shingles: NDArray[np.uint32], counts: Ints) -> list[NDArray[np.uint64]]:
        """For each band one key a text: the least hashes of its shingles by that band's permutations."""
        import numpy as np

        starts = np.cumsum(counts) - counts
        permuted = np.empty_like(shingles)
        keys = []
        for band in range(self.bands):
            key = np.zeros(len(counts), np.uint64)
            for which in range(band * self._rows, (band + 1) * self._rows):
                np.multiply(shingles, self._factors[which], out=permuted)  # odd: a permutation of 32 bits
                key *= np.uint64(0x9E3779B97F4A7C15)
                key += np.minimum.reduceat(permuted, starts)
            keys.append(key ^ (key >> np.uint64(29)))
        return keys


class SimilarityIndex:
    """Texts among which similar ones are looked for: what grows with their length or number lies on disk.

    least: the Jaccard of 5-character shingles, 0.5 to 1, from which two texts are similar. memory_bytes:
    about what is held at once, beside 8 bytes a text. A context manager: its files are gone when it ends.
    """

    def __init__(self, least: float, folder: Path | None = None, memory_bytes: int = MEMORY_BYTES) -> None:
        self.least, self.memory_bytes = least, memory_bytes
        self._hasher = BandHasher(least)
        self._folder = folder
        self._files = ExitStack()
        self.shingles = self._files.enter_context(ShingleStore(folder))
        self._bands: list[NumberFile[np.uint64]] = [
            self._files.enter_context(NumberFile("Q", folder)) for _ in range(self._hasher.bands)
        ]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._files.close()

    def add(self, texts: Sequence[str]) -> None:
        """Put texts behind those that are there."""
        for shingles, counts in self.shingles.add(texts):
            for band, keys in zip(self._bands, self._hasher.keys(shingles, counts), strict=True):
                band.extend(keys)

    def pairs(self, among: NDArray[np.bool_] | None = None) -> Pairs:
        """The pairs of similar texts, of those marked in `among`, (texts,), or of all.

        Every pair given is exact. Of the pairs at `least` one in a thousand may be missed, of more similar
        ones fewer; and in a crowd of hundreds of texts that are all alike not each is compared with each.
        """
        import numpy as np

        n = len(self.shingles)
        at_once = max(1, self.memory_bytes // _BYTES_A_SHINGLE)
        found = [(np.empty(0, np.int64), np.empty(0))]
        for codes in self._proposed(np.ones(n, bool) if among is None else among):
            keep, jaccard = self.shingles.similar(codes // n, codes % n, self.least, at_once)
            found.append((codes[keep], jaccard))
        codes, jaccard = map(np.concatenate, zip(*found, strict=True))
        order = np.argsort(codes)
        codes = codes[order]
        return Pairs(codes // max(n, 1), codes % max(n, 1), jaccard[order])

    def _proposed(self, among: NDArray[np.bool_]) -> Iterator[Ints]:
        """Pairs that agree in a whole band, as first * texts + second, each once; some at a time.

        A text with 200 partners or more looks for no others, and of a crowd that agrees only the first 200
        are its partners: the work grows with the number of texts, not with its square.
        """
        import numpy as np

        n = len(among)
        partners = np.zeros(n, np.uint16)  # less than 200, and in a band at most 200 more
        parts = 1 + int(among.sum()) * _BYTES_A_ROW // self.memory_bytes
        at_once = max(1, self.memory_bytes // _BYTES_A_PAIR)
        with tempfile.TemporaryFile(dir=self._folder) as proposed:
            known = _NumberRuns(proposed)
            for band in self._bands:
                agreeing = [_agreeing(*band.part(among, part, parts), partners, n) for part in range(parts)]
                fresh = known.add(np.sort(np.concatenate(agreeing)))
                np.add.at(partners, fresh % max(n, 1), 1)
                for at in range(0, len(fresh), at_once):
                    yield fresh[at : at + at_once]


class _NumberRuns:
    """A set of numbers that grows, on disk: each run that was added is sorted, and in no run before it."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._runs: list[int] = []

    def add(self, numbers: Ints) -> Ints:
        """Those of some numbers that are new, which are added; numbers: ascending, each once."""
        import numpy as np

        is_known = np.zeros(len(numbers), bool)
        for piece in self._pieces():
            begin, end = np.searchsorted(numbers, piece[[0, -1]], "left")
            mine = numbers[begin : end + 1]
            places = np.searchsorted(piece, mine)
            is_known[begin : end + 1] |= piece[np.minimum(places, len(piece) - 1)] == mine
        fresh = numbers[~is_known]
        self._file.seek(0, 2)
        self._file.write(fresh.tobytes())
        self._runs.append(len(fresh))
        return fresh

    def _pieces(self) -> Iterator[Ints]:
        """The runs, some numbers of one run at a time."""
        import numpy as np

        self._file.seek(0)
        for length in self._runs:
            for at in range(0, length, _NUMBERS_AT_ONCE):
                count = min(_NUMBERS_AT_ONCE, length - at)
                yield np.frombuffer(self._file.read(8 * count), np.int64)


def _agreeing(rows: Ints, keys: NDArray[np.uint64], partners: NDArray[np.uint16], n: int) -> Ints:
    """Pairs of rows with one key, as first * n + second, each once; rows: ascending."""
    import numpy as np

    order = np.argsort(keys, kind="stable")  # rows with one key lie side by side, the earliest first
    rows = rows[order]
    found = [np.empty(0, np.int64)]
    for first, second in run_pairs(keys[order], partners[rows] < MOST_PARTNERS):
        found.append(rows[first] * n + rows[second])
    pairs = np.sort(np.concatenate(found))  # np.unique is 40 times slower on such numbers
    return pairs[np.flatnonzero(np.diff(pairs, prepend=-1))]


def run_pairs(keys: NDArray[np.uint64], wants: NDArray[np.bool_]) -> Iterator[tuple[Ints, Ints]]:
    """Places of pairs with one key: each that `wants` any, with each of the first 200 of its run before it.

    keys: runs of equal ones side by side. Gives the pairs with the first of each run, then the second, ...
    """
    import numpy as np

    size = len(keys)
    begins = np.flatnonzero(np.diff(keys, prepend=keys[:1] + np.uint64(1)))
    lengths = np.diff(begins, append=size)
    begin = np.repeat(begins, lengths)  # where each place's run begins
    here = np.flatnonzero(np.repeat(lengths > 1, lengths) & wants)
    for leader in range(MOST_PARTNERS):
        here = here[here - begin[here] > leader]
        if not here.size:
            return
        yield begin[here] + leader, here


def similar_pairs(texts: Sequence[str], least: float) -> Pairs:
    """Pairs of texts whose sets of 5-character shingles have a Jaccard of `least` (0.5 to 1) or more."""
    with SimilarityIndex(least) as index:
        index.add(texts)
        return index.pairs()


def bands_and_rows(least: float) -> tuple[int, int]:
    """How many bands of how many hashes each, so that a pair of Jaccard `least` is proposed nearly always.

    As many hashes to a band as 128 in all allow, since they keep unlike pairs out; then no more bands than
    are needed.
    """
    rows = max(r for r in range(1, 17) if (1 - least**r) ** (_MOST_HASHES // r) <= _MISS)
    bands = 1 if least == 1 else math.ceil(math.log(_MISS) / math.log(1 - least**rows))
    return bands, rows
