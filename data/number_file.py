"""A column of numbers in a file: what is known of each of many rows, without holding it."""

from __future__ import annotations

import tempfile
from array import array
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Ints = NDArray[np.int64]

_NUMBERS_AT_ONCE = 1 << 20
_Kind = TypeVar("_Kind", bound="np.generic")


class NumberFile(Generic[_Kind]):
    """Numbers of one type in the order they came.

    kind: the type's code, which `array` and numpy share. A context manager: the file is gone when it ends, or
    when the process does.
    """

    def __init__(self, kind: str, folder: Path | None = None) -> None:
        import numpy as np

        self._kind: np.dtype[_Kind] = np.dtype(kind)
        self._file = tempfile.TemporaryFile(dir=folder, prefix="numbers-")  # noqa: SIM115 closed by __exit__
        self._count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def __len__(self) -> int:
        return self._count

    def extend(self, numbers: NDArray[Any] | array[int]) -> None:
        """Put numbers behind those that are there, as the file's kind."""
        import numpy as np

        new = np.asarray(numbers, self._kind)
        self._file.seek(0, 2)
        self._file.write(new.tobytes())
        self._count += len(new)

    def pieces(self) -> Iterator[NDArray[_Kind]]:
        """The numbers, a million at a time."""
        for at in range(0, self._count, _NUMBERS_AT_ONCE):
            yield self._read(at, min(_NUMBERS_AT_ONCE, self._count - at))

    def part(self, among: NDArray[np.bool_], part: int, parts: int) -> tuple[Ints, NDArray[_Kind]]:
        """Of the places marked in `among` those whose number is `part` modulo `parts`, and the numbers there.

        among: a mark for each place. Places ascend.
        """
        import numpy as np

        places, numbers, at = [np.empty(0, np.int64)], [np.empty(0, self._kind)], 0
        for piece in self.pieces():
            mine = among[at : at + len(piece)]
            if parts > 1:
                mine = mine & (np.remainder(piece, self._kind.type(parts)) == part)
            here = np.flatnonzero(mine)
            places.append(here + at)
            numbers.append(piece[here])
            at += len(piece)
        return np.concatenate(places), np.concatenate(numbers)

    def whole(self) -> NDArray[_Kind]:
        """All numbers, in memory."""
        return self._read(0, self._count)

    def at(self, place: int) -> int:
        """One number."""
        return int(self._read(place, 1)[0])

    def _read(self, begin: int, count: int) -> NDArray[_Kind]:
        import numpy as np

        size = self._kind.itemsize
        self._file.seek(begin * size)
        return np.frombuffer(self._file.read(count * size), self._kind)
