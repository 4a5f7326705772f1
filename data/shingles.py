"""Texts as sets of hashed 5-character shingles, kept on disk, and how much of them two texts share."""

from __future__ import annotations

import os
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Ints = NDArray[np.int64]
    Shingles = tuple[NDArray[np.uint32], Ints]  # of some texts one after the other; how many each has

SHINGLE_CHARS = 5
_NO_CHAR = 0x110000  # pads a text that is shorter than a shingle: one more than the last code point
_HASHED_AT_ONCE = 1 << 17  # shingles; some 40 bytes each on the way, which a processor's cache holds
_PREFIX = 256  # least hashes of each of two texts that tell whether it is worth comparing all
_MARGIN = 0.15  # of the Jaccard, by which that estimate may be off: 5 standard deviations


def hash_shingles(texts: Sequence[str]) -> Shingles:
    """The hashes of each text's shingles, each once and in ascending order, and how many each text has.

    A shingle is 5 characters; a text with fewer is one shingle, and so is an empty one. Every process and
    machine gives the same hashes.
    """
    import numpy as np

    padded = [text if len(text) >= SHINGLE_CHARS else text.ljust(SHINGLE_CHARS, "\0") for text in texts]
    sizes = np.fromiter(map(len, padded), np.int64, len(padded))
    chars = np.frombuffer("".join(padded).encode("utf-32-le", "surrogatepass"), np.uint32).astype(np.uint64)
    ends = np.cumsum(sizes)
    for at in [i for i, text in enumerate(texts) if len(text) < SHINGLE_CHARS]:
        chars[ends[at] - SHINGLE_CHARS + len(texts[at]) : ends[at]] = _NO_CHAR
    keys = _hash_runs(chars)
    keys |= np.repeat(np.arange(len(padded), dtype=np.uint64) << np.uint64(32), sizes)
    for place in range(1, SHINGLE_CHARS):  # a shingle never runs from one text into the next: these sort last
        keys[ends - place] = np.iinfo(np.uint64).max
    keys.sort()
    keys = keys[: len(keys) - len(padded) * (SHINGLE_CHARS - 1)]
    first = np.ones(len(keys), bool)
    np.not_equal(keys[1:], keys[:-1], out=first[1:])
    keys = keys[first]
    begins = np.searchsorted(keys, np.arange(len(padded) + 1, dtype=np.uint64) << np.uint64(32))
    return keys.astype(np.uint32), np.diff(begins)


def _hash_runs(chars: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """A hash below 2**32 of the 5 characters that begin at each place; of the last 4 places nothing is said.

    The polynomial of the characters at an odd factor, from pairs and pairs of pairs, then mixed.
    """
    import numpy as np

    factor = np.uint64(0x9E3779B97F4A7C15)
    hashes = chars * factor
    hashes[:-1] += chars[1:]
    squared = np.uint64(int(factor) ** 2 % 2**64)
    pairs = hashes[2:].copy()
    hashes *= squared
    hashes[:-2] += pairs
    hashes *= factor
    hashes[:-4] += chars[4:]
    hashes ^= hashes >> np.uint64(32)
    hashes *= np.uint64(0xD6E8FEB86659FD93)
    hashes >>= np.uint64(32)
    return hashes


def in_batches(texts: Sequence[str], most: int = _HASHED_AT_ONCE) -> Iterator[Sequence[str]]:
    """The texts in runs of about `most` characters, so that what is computed of them stays small."""
    start = chars = 0
    for at, text in enumerate(texts):
        chars += len(text) + SHINGLE_CHARS
        if chars >= most:
            yield texts[start : at + 1]
            start, chars = at + 1, 0
    if start < len(texts):
        yield texts[start:]


def count_shared(
    left: Shingles, right: Shingles, first: Ints, second: Ints, most: int | None = None
) -> tuple[Ints, Ints]:
    """How many shingles texts `first` of left and `second` of right share, and how many they have together.

    most: the sets were cut to that many of their least hashes; only hashes that neither cut could have taken
    away are counted.
    """
    import numpy as np

    n = len(first)
    keys = []
    last = np.full(n, 1 << 32, np.int64)  # up to here both texts' hashes are known
    for (flat, counts), texts in ((left, first), (right, second)):
        size, begins = counts[texts], (np.cumsum(counts) - counts)[texts]
        owner = np.repeat(np.arange(n), size)
        place = np.arange(len(owner)) - np.repeat(np.cumsum(size) - size - begins, size)
        keys.append((owner.astype(np.uint64) << np.uint64(32)) | flat[place])
        if most is not None:
            ends = flat[begins + size - 1].astype(np.int64)
            last = np.where(size == most, np.minimum(last, ends), last)
    merged = np.concatenate(keys)
    merged.sort(kind="stable")  # two ascending runs: a merge
    owner = (merged >> np.uint64(32)).astype(np.int64)
    twice = np.zeros(len(merged), bool)
    twice[1:] = merged[1:] == merged[:-1]
    if most is not None:
        known = (merged & np.uint64(0xFFFFFFFF)).astype(np.int64) <= last[owner]
        owner, twice = owner[known], twice[known]
    return np.bincount(owner[twice], minlength=n), np.bincount(owner[~twice], minlength=n)


class ShingleSets(ABC):
    """The shingle sets of many texts by number, wherever they are kept."""

    @abstractmethod
    def sizes(self, texts: Ints) -> Ints:
        """How many shingles each of some texts has."""

    @abstractmethod
    def read(self, texts: Ints, most: int | None) -> Shingles:
        """The shingles of some texts, ascending, one after the other: all, or the least `most` of each."""

    def similar(
        self, first: Ints, second: Ints, least: float, at_once: int
    ) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
        """Which pairs of texts have a Jaccard of `least` or more, and the exact Jaccard of those.

        Of long texts the least 256 hashes are compared first, which rules out nearly all that are not alike.
        at_once: shingles held in memory.
        """
        import numpy as np

        keep = np.ones(len(first), bool)
        long = np.flatnonzero(np.maximum(self.sizes(first), self.sizes(second)) > _PREFIX)
        rough = self._jaccard(first[long], second[long], at_once, _PREFIX)
        keep[long[rough < least - _MARGIN]] = False
        exact = self._jaccard(first[keep], second[keep], at_once, None)
        keep[np.flatnonzero(keep)[exact < least]] = False
        return keep, exact[exact >= least]

    def _jaccard(self, first: Ints, second: Ints, at_once: int, most: int | None) -> NDArray[np.float64]:
        """The Jaccard of each pair, of its `most` least hashes alone where that is given."""
        import numpy as np

        one, other = self.sizes(first), self.sizes(second)
        if most is not None:
            one, other = np.minimum(one, most), np.minimum(other, most)
        held = np.cumsum(one + other)
        found = []
        start = 0
        while start < len(first):
            before = held[start - 1] if start else 0
            end = max(start + 1, int(np.searchsorted(held, before + at_once, "right")))
            found.append(self._jaccard_of_batch(first[start:end], second[start:end], most))
            start = end
        return np.concatenate(found) if found else np.empty(0)

    def _jaccard_of_batch(self, first: Ints, second: Ints, most: int | None) -> NDArray[np.float64]:
        import numpy as np

        texts, where = np.unique(np.concatenate([first, second]), return_inverse=True)
        held = self.read(texts, most)
        n = len(first)
        common, either = count_shared(held, held, where[:n], where[n:], most)
        jaccard: NDArray[np.float64] = common / np.maximum(either, 1)
        return jaccard


class ShingleStore(ShingleSets):
    """The shingle sets of many texts in a file; in memory are 4 bytes a text, 8 where that takes over 16 GB.

    A context manager: the file is gone when it ends, or when the process does.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._file = tempfile.TemporaryFile(dir=folder, prefix="shingles-")  # noqa: SIM115 closed by __exit__
        self._counts: list[NDArray[np.uint32]] = []
        self._starts: NDArray[np.uint32] | Ints | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def add(self, texts: Sequence[str]) -> Iterator[Shingles]:
        """Put texts behind those that are there; gives what `hash_shingles` gives, batch by batch."""
        import numpy as np

        for batch in in_batches(texts):
            shingles, counts = hash_shingles(batch)
            self._file.write(shingles.tobytes())
            self._counts.append(counts.astype(np.uint32))
            yield shingles, counts

    @property
    def starts(self) -> NDArray[np.uint32] | Ints:
        """Where each text's shingles begin in the file, and at last where they end; (texts + 1,)."""
        import numpy as np

        if self._starts is None or self._counts:
            known = [] if self._starts is None else [np.diff(self._starts).astype(np.uint32)]
            counts = np.concatenate([*known, *self._counts, np.empty(0, np.uint32)])
            self._counts = []
            starts: NDArray[np.uint32] | Ints = np.zeros(len(counts) + 1, np.int64)
            if counts.sum(dtype=np.int64) < 1 << 32:
                starts = np.zeros(len(counts) + 1, np.uint32)
            np.cumsum(counts, dtype=starts.dtype, out=starts[1:])
            self._starts = starts
            self._file.flush()
        return self._starts

    def __len__(self) -> int:
        return len(self.starts) - 1

    def sizes(self, texts: Ints) -> Ints:
        """How many shingles each of some texts has."""
        import numpy as np

        sizes: Ints = (self.starts[texts + 1] - self.starts[texts]).astype(np.int64)
        return sizes

    def read(self, texts: Ints, most: int | None) -> Shingles:
        """The shingles of some texts from the file."""
        import numpy as np

        counts = self.sizes(texts)
        if most is not None:
            counts = np.minimum(counts, most)
        starts = self.starts[texts].astype(np.int64)
        return read_runs(self._file.fileno(), starts, counts), counts


def read_runs(number: int, starts: Ints, counts: Ints) -> NDArray[np.uint32]:
    """Runs of a file of shingles, one after the other; number: the file's descriptor."""
    import numpy as np

    places = zip((counts * 4).tolist(), (starts * 4).tolist(), strict=True)
    return np.frombuffer(b"".join([os.pread(number, size, place) for size, place in places]), np.uint32)
