"""Which texts came before, of many millions: 8 bytes each and some megabytes."""

from __future__ import annotations

import hashlib
from array import array
from bisect import bisect_left

_RECENT = 1 << 17


class SeenTexts:
    """The texts that were added, as 64-bit hashes: in ten million any two collide once in 400,000 times."""

    def __init__(self) -> None:
        self._sorted, self._recent = array("Q"), set[int]()

    def add(self, text: str) -> bool:
        """Add a text; whether it is new."""
        digest = hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=8).digest()
        number = int.from_bytes(digest, "little")
        if number in self._recent or self._is_sorted_in(number):
            return False
        self._recent.add(number)
        if len(self._recent) >= _RECENT:
            self._sort_in()
        return True

    def _is_sorted_in(self, number: int) -> bool:
        at = bisect_left(self._sorted, number)
        return at < len(self._sorted) and self._sorted[at] == number

    def _sort_in(self) -> None:
        import numpy as np

        self._sorted.extend(self._recent)
        self._recent.clear()
        np.frombuffer(self._sorted, np.uint64).sort(kind="stable")  # one long run and a short one: a merge
