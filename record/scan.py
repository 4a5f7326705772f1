"""Questions whose answer nobody may hide: asked of the ledger's own lines, with no index in between.

The index may be thrown away, so whoever can write its file can leave rows out of it; what it does not tell is
not noticed. Before users get something, what decides is therefore looked for in the ledger itself. Only the
lines that name what is looked for are parsed.
"""

from __future__ import annotations

import mmap
import os
import re
from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from pathlib import Path

from ..core.errors import IntegrityError
from ..core.files import canonical_json
from .ledger import Ledger, Record, parse_line
from .run_state import RunState

_ENDPOINT = re.compile(rb'"endpoint":"((?:[^"\\]|\\.)*)"')
_RUN = re.compile(rb'"run":"((?:[^"\\]|\\.)*)"')


class LedgerScan:
    """A ledger, read through for each question."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def naming(self, things: Iterable[str]) -> list[Record]:
        """Every record that names one of these artifacts, oldest first within each kind.

        IntegrityError when a line that does holds no record.
        """
        found: dict[int, Record] = {}
        kinds: dict[str, set[bytes]] = {}
        for thing in things:
            kinds.setdefault(thing.partition(":")[0], set()).add(thing.encode())
        for kind, wanted in kinds.items():
            pattern = re.compile(b"(" + re.escape(kind.encode()) + rb":[0-9a-f]{64})")
            for record in self._records(pattern, wanted):
                found.setdefault(record.seq, record)
        return list(found.values())

    def of_endpoint(self, name: str) -> list[Record]:
        """Every record that names an endpoint, oldest first; IntegrityError as of `naming`."""
        return list(self._records(_ENDPOINT, {canonical_json(name)[1:-1]}))

    def runs(self, names: Iterable[str]) -> dict[str, RunState]:
        """Runs as all their records tell; what the ledger does not know is left out.

        IntegrityError when the records of one tell no run.
        """
        wanted = {canonical_json(name)[1:-1] for name in names}
        states: dict[str, RunState] = {}
        for record in self._records(_RUN, wanted) if wanted else ():
            if record.run is not None and canonical_json(record.run)[1:-1] in wanted:
                state = states.setdefault(record.run, RunState(record.run))
                try:
                    state.apply(record)
                except Exception as error:  # no version of this program wrote that
                    raise IntegrityError(
                        f"record {record.seq} of run {record.run} tells no run. See `opswright audit verify`."
                    ) from error
        return states

    def _records(self, pattern: re.Pattern[bytes], wanted: AbstractSet[bytes]) -> Iterator[Record]:
        """The records of the lines in which the pattern's group is one of the wanted texts."""
        for path in self._ledger.segments():
            for offset, line in _lines(path, pattern, wanted):
                yield parse_line(line, f"{path.name} byte {offset}")


def _lines(path: Path, pattern: re.Pattern[bytes], wanted: AbstractSet[bytes]) -> list[tuple[int, bytes]]:
    """The whole lines of a file with one of the wanted texts, and where each begins."""
    found: list[tuple[int, bytes]] = []
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_size == 0:
            return found
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            whole, taken = data.rfind(b"\n") + 1, 0  # behind that a line is being written, or was cut
            for match in pattern.finditer(data, 0, whole):
                if match.start() >= taken and match[1] in wanted:
                    start = data.rfind(b"\n", 0, match.start()) + 1
                    taken = data.find(b"\n", match.end()) + 1
                    found.append((start, data[start:taken]))
    return found
