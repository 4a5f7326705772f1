"""Shingle sets in files that many processes read: one pair of files for each run of texts."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from .shingles import ShingleSets, read_runs

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from .shingles import Ints, Shingles

_SHINGLES, _STARTS = ".shingles", ".starts"


def write_shingles(folder: Path, first: int, shingles: NDArray[np.uint32], counts: Ints) -> None:
    """Write the sets of the texts from number `first` on; a name shows when its file is whole.

    Written again, the files are the same: who was ended on the way may begin anew.
    """
    import numpy as np

    folder.mkdir(parents=True, exist_ok=True)
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    for ending, held in ((_SHINGLES, shingles), (_STARTS, starts)):
        new = folder / f".{first}{ending}.{os.getpid()}"
        new.write_bytes(held.tobytes())
        new.replace(folder / f"{first}{ending}")


class ShingleFiles(ShingleSets):
    """The sets in a folder; what of the files is not asked for is not read. At most two files are open."""

    def __init__(self, folder: Path) -> None:
        import numpy as np

        self._folder = folder
        found = sorted(int(path.name.removesuffix(_STARTS)) for path in folder.glob(f"*{_STARTS}"))
        self._firsts = np.array(found, np.int64)
        self._starts: dict[int, Ints] = {}

    def sizes(self, texts: Ints) -> Ints:
        """How many shingles each of some texts has."""
        import numpy as np

        found = np.empty(len(texts), np.int64)
        for first, mine in self._by_file(texts):
            starts, at = self._starts_of(first), texts[mine] - first
            found[mine] = starts[at + 1] - starts[at]
        return found

    def read(self, texts: Ints, most: int | None) -> Shingles:
        """The shingles of some texts, ascending, from the files that hold them."""
        import numpy as np

        held, counts = [np.empty(0, np.uint32)], [np.empty(0, np.int64)]
        for first, mine in self._by_file(texts):
            starts, at = self._starts_of(first), texts[mine] - first
            count = starts[at + 1] - starts[at]
            counts.append(count if most is None else np.minimum(count, most))
            with (self._folder / f"{first}{_SHINGLES}").open("rb") as file:
                held.append(read_runs(file.fileno(), starts[at], counts[-1]))
        return np.concatenate(held), np.concatenate(counts)

    def _by_file(self, texts: Ints) -> list[tuple[int, NDArray[np.bool_]]]:
        """The files that hold some texts, ascending, and which texts each holds."""
        import numpy as np

        files = np.searchsorted(self._firsts, texts, "right") - 1
        return [(int(self._firsts[file]), files == file) for file in np.unique(files)]

    def _starts_of(self, first: int) -> Ints:
        import numpy as np

        if first not in self._starts:
            self._starts[first] = np.memmap(self._folder / f"{first}{_STARTS}", np.int64, "r")
        return self._starts[first]
