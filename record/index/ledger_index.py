"""The index of a ledger, as others ask it. It proves nothing (`verify` does), and is never believed.

The index says where records lie; what they hold is read from the ledger itself. Where the two differ, the
index is made anew once; where they differ then, the ledger is at fault: IntegrityError.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from weakref import WeakKeyDictionary

from ...core.errors import IntegrityError
from ..ledger import Fault, Ledger, parse_line
from ..run_state import RunState
from .database import IndexDatabase, StaleIndexError
from .intake import Intake, LineReader, lines_where
from .lines import IndexedLine
from .summary import RunSummary

if TYPE_CHECKING:
    from ...core.workspace import Workspace

_ATTEMPTS = 4  # the index in use, a new one; where the folder cannot be written: a copy, a new one
_SUMMARY = "run, status, goal, plan, started, by, source, verdict, message, last_seq, records"
_OPEN: WeakKeyDictionary[Workspace, LedgerIndex] = WeakKeyDictionary()

T = TypeVar("T")


class LedgerIndex:
    """What happened, found by run, step, artifact, person, skill, phase and time.

    Threads may share one, and processes the file behind it. Every question first takes in what was appended.
    """

    def __init__(self, ledger: Ledger, folder: Path | None = None) -> None:
        self._ledger = ledger
        self._database = IndexDatabase(folder or ledger.folder.parent / "index")
        self._intake = Intake(ledger, self._database)
        self._lock = threading.RLock()

    @classmethod
    def of(cls, workspace: Workspace) -> LedgerIndex:
        """The index of a workspace's ledger, one object for each workspace object."""
        found = _OPEN.get(workspace)
        if found is None:
            found = _OPEN[workspace] = cls(Ledger.of(workspace))
        return found

    def refresh(self) -> int:
        """Take in what was appended; gives the number of lines of the ledger."""
        return self._ask(_count)

    def run_state(self, run: str) -> RunState | None:
        """A run as its records tell; None for one that the ledger does not know.

        IntegrityError when a line of the ledger is damaged: it could have been one of this run.
        """
        return self._ask(lambda database: self._run_state(database, run))

    def rows(self, limit: int | None = None, offset: int = 0, status: str | None = None) -> list[RunSummary]:
        """The runs that were proposed, newest first, or those that stand so."""
        wanted = "status IS NOT NULL" if status is None else "status = ?"
        values = [*([] if status is None else [status]), -1 if limit is None else limit, offset]
        query = f"SELECT {_SUMMARY} FROM runs WHERE {wanted} ORDER BY id DESC LIMIT ? OFFSET ?"
        return self._ask(lambda database: [RunSummary(*row) for row in database.execute(query, values)])

    def row(self, run: str) -> RunSummary | None:
        """One run; None for a name that was never proposed."""
        query = f"SELECT {_SUMMARY} FROM runs WHERE status IS NOT NULL AND run = ?"
        found = self._ask(lambda database: database.execute(query, (run,)).fetchone())
        return RunSummary(*found) if found else None

    def run_count(self) -> int:
        """How many runs were proposed."""
        unlisted = "SELECT (SELECT count(*) FROM runs WHERE status IS NULL), (SELECT max(id) FROM runs)"
        left_out, all_of_them = self._ask(lambda database: database.execute(unlisted).fetchone())
        return (all_of_them or 0) - int(left_out)

    def _run_state(self, database: sqlite3.Connection, name: str) -> RunState | None:
        run = self._intake.run(database, name)
        if run is None:
            return None
        damaged = lines_where(database, "WHERE phase IS NULL LIMIT 1", ())
        if damaged:
            raise IntegrityError(_fault_of(self._ledger, damaged[0]).message)
        if run.state is None:
            raise IntegrityError(
                f"the records of run {name} do not tell a run: this version did not write them. "
                f"See `opswright audit list --run {name}`."
            )
        return RunState.of(name, run.state.records)

    def _ask(self, question: Callable[[sqlite3.Connection], T]) -> T:
        """Ask the index when it is up to date; ask a new one when it is damaged or not of this ledger."""
        with self._lock:
            for attempt in range(_ATTEMPTS):
                try:
                    self._intake.bring_up()
                    return question(self._database.open())
                except StaleIndexError as error:
                    why: Exception = error
                    self._database.replace()
                except sqlite3.OperationalError as error:
                    why = error
                    self._database.keep_private()
                except (sqlite3.Error, OverflowError) as error:
                    why = error
                    self._database.replace()
                except PermissionError as error:
                    if attempt == _ATTEMPTS - 1:
                        raise
                    why = error
                    self._database.keep_private()
                self._intake.forget()
            raise IntegrityError(
                f"the ledger in {self._ledger.folder} cannot be indexed: {why}. Nothing was changed; see "
                "`opswright audit verify`."
            ) from why


def _count(database: sqlite3.Connection) -> int:
    return int(database.execute("SELECT coalesce(max(number), 0) FROM lines").fetchone()[0])


def _fault_of(ledger: Ledger, line: IndexedLine) -> Fault:
    """What is wrong with a line that holds no record."""
    path = ledger.segments()[line.segment]
    with LineReader(ledger.segments()) as reader:
        try:
            parse_line(reader.read(line.segment, line.offset, line.length), f"{path.name} byte {line.offset}")
        except IntegrityError as error:
            return Fault(line.seq, str(error))
    raise StaleIndexError(f"line {line.number} was damaged and is not now")
