"""The index of a ledger, as others ask it. It proves nothing (`verify` does), and is never believed.

The index says where records lie; what they hold is read from the ledger itself. Where the two differ, the
index is made anew once; where they differ then, the ledger is at fault: IntegrityError.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar
from weakref import WeakKeyDictionary

from ...core.errors import IntegrityError, from_system_error
from ..ledger import Fault, Ledger, Record, parse_line
from ..run_state import RunState
from .criteria import Criteria
from .database import StaleIndexError, empty_database
from .intake import NAMED, Intake, LineReader, lines_where
from .lines import IndexedLine, Link, is_linked, key_of, microseconds
from .summary import RunSummary

if TYPE_CHECKING:
    from ...core.workspace import Workspace

_ATTEMPTS = 4  # the index in use, a new one; where the folder cannot be written: a copy, a new one
_PAGE = 500
_UNUSABLE = {  # what a file may be that cannot be written here
    sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM,
}  # fmt: skip
_SUMMARY = "run, status, goal, plan, started, by, source, verdict, message, last_seq, records"
_OPEN: WeakKeyDictionary[Workspace, LedgerIndex] = WeakKeyDictionary()

T = TypeVar("T")


class LedgerIndex:
    """What happened, found by run, step, artifact, person, skill, phase and time.

    Threads may share one, and processes the file behind it. Every question first takes in what was appended.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._intake = Intake(ledger, ledger.folder.parent / "index")
        self._database = self._intake.database
        self._lock = threading.RLock()

    @classmethod
    def of(cls, workspace: Workspace) -> LedgerIndex:
        """The index of a workspace's ledger, one object for each workspace object."""
        found = _OPEN.get(workspace)
        if found is None:
            found = _OPEN[workspace] = cls(Ledger.of(workspace))
        return found

    def close(self) -> None:
        """Let go of the file; the next question opens it again."""
        with self._lock:
            self._intake.forget()
            self._database.close()

    def refresh(self) -> int:
        """Take in what was appended; gives the number of lines of the ledger."""
        return self._ask(_count)

    def run_state(self, run: str) -> RunState | None:
        """A run as its records tell; None for one that the ledger does not know.

        IntegrityError when a line of the ledger is damaged: it could have been one of this run.
        """
        return self._ask(lambda database: self._run_state(database, run))

    def rows(
        self, limit: int | None = None, offset: int = 0, statuses: Collection[str] | None = None
    ) -> list[RunSummary]:
        """The runs that were proposed, newest first; only those of some statuses, where those are given."""
        marks = ", ".join("?" * len(statuses or ()))
        wanted = "status IS NOT NULL" if statuses is None else f"status IN ({marks})"
        values = [*(statuses or ()), -1 if limit is None else limit, offset]
        query = f"SELECT {_SUMMARY} FROM runs WHERE {wanted} ORDER BY id DESC LIMIT ? OFFSET ?"
        return self._ask(lambda database: [RunSummary(*row) for row in database.execute(query, values)])

    def row(self, run: str) -> RunSummary | None:
        """One run; None for a name that was never proposed."""
        query = f"SELECT {_SUMMARY} FROM runs WHERE status IS NOT NULL AND run = ?"
        found = self._ask(lambda database: database.execute(query, (run,)).fetchone())
        return RunSummary(*found) if found else None

    def run_count(self, statuses: Collection[str] | None = None) -> int:
        """How many runs were proposed; only those of some statuses, where those are given."""
        if statuses is not None:
            query = f"SELECT count(*) FROM runs WHERE status IN ({', '.join('?' * len(statuses))})"
            return self._ask(lambda database: int(database.execute(query, tuple(statuses)).fetchone()[0]))
        query = "SELECT max(id), (SELECT count(*) FROM runs WHERE status IS NULL) FROM runs"
        every, unproposed = self._ask(lambda database: database.execute(query).fetchone())
        return int(every or 0) - int(unproposed)

    def records_of(self, run: str) -> list[Record]:
        """Every record of a run, oldest first; errors as of `run_state`."""
        state = self.run_state(run)
        return state.records if state is not None else []

    def count(self, criteria: Criteria) -> int:
        """How many records meet the criteria; of none, how many lines the ledger has."""
        if criteria.are_empty:
            return self.refresh()
        condition, values = _condition(criteria)
        query = f"SELECT count(*) FROM lines WHERE {condition}"
        return self._ask(lambda database: int(database.execute(query, values).fetchone()[0]))

    def page(self, criteria: Criteria, limit: int = 50, offset: int = 0) -> list[Record | Fault]:
        """The records that meet the criteria, newest first; a Fault for a line that holds no record.

        Such a line meets no criteria but empty ones.
        """
        condition, values = _condition(criteria)
        condition = f"WHERE {condition} ORDER BY number DESC LIMIT ? OFFSET ?"
        return self._ask(lambda database: self._read(database, condition, [*values, limit, offset]))

    def scan(self, criteria: Criteria) -> Iterator[Record]:
        """Every record that meets the criteria, oldest first; IntegrityError when a line holds no record."""
        condition, values = _condition(criteria)
        condition = f"WHERE number > ? AND {condition} ORDER BY number LIMIT {_PAGE}"
        after = [0]
        while found := self._ask(lambda database: self._scan(database, condition, [*after, *values])):
            yield from (record for _, record in found)
            after[0] = found[-1][0]

    def get(self, seq: int) -> Record | Fault | None:
        """The record of that number; a Fault for a line that holds none; None when there is none."""
        if not 0 < seq < 1 << 62:
            return None
        found = self._ask(lambda database: self._read(database, "WHERE number = ? AND seq = number", [seq]))
        if not found:  # in a ledger that is not in order
            found = self._ask(lambda database: self._read(database, "WHERE seq = ? LIMIT 1", [seq]))
        return found[0] if found else None

    def values(self, field: str, most: int = 200) -> list[str]:
        """The values of run, step, actor, phase or skill, newest first (of runs, those begun last)."""
        newest = "runs.id" if field == "run" else f"(SELECT max(number) FROM lines WHERE {field} = names.id)"
        runs = "JOIN runs ON runs.run = names.text" if field == "run" else ""
        query = f"SELECT text FROM names {runs} WHERE field = ? ORDER BY {newest} DESC LIMIT ?"
        return self._ask(lambda database: [row[0] for row in database.execute(query, (field, most))])

    def linked(self, things: Iterable[str], link: Link) -> dict[str, list[Record]]:
        """The records that made, reused, used or judged each artifact, or changed an endpoint under each key.

        By reference or key, oldest first; what no record is linked with is left out.
        IntegrityError when a line of the ledger is damaged: it could be one of them.
        """
        named = list(things)
        return self._ask(lambda database: self._linked(database, named, link))

    def runs_that_judged(self, subjects: Iterable[str]) -> list[RunState]:
        """The runs with a verdict about one of these artifacts, or about what a step made that was given one.

        So a gate's verdict about an eval report is found by the model that was evaluated.
        """
        named = list(subjects)
        made: dict[str, None] = dict.fromkeys(named)
        for records in self.linked(named, Link.USED).values():
            for record in records:
                state = self.run_state(record.run) if record.run is not None else None
                step = state.steps[record.step] if state is not None and record.step is not None else None
                if step is not None and step.finished is not None:
                    made |= dict.fromkeys(step.finished.artifacts.values())
        judged = [record for records in self.linked(made, Link.JUDGED).values() for record in records]
        runs = dict.fromkeys(record.run for record in sorted(judged, key=lambda one: one.seq) if record.run)
        return [state for run in runs if (state := self.run_state(run)) is not None]

    def changes(self, keys: Iterable[str]) -> dict[str, Record]:
        """The records of the steps that changed an endpoint, by the idempotency key each was given."""
        return {key: records[0] for key, records in self.linked(keys, Link.CHANGED).items()}

    def _linked(self, database: sqlite3.Connection, things: list[str], link: Link) -> dict[str, list[Record]]:
        self._check_damage(database)
        found: dict[str, list[Record]] = {}
        for thing in things:
            condition = (
                "WHERE number IN (SELECT line FROM links WHERE thing = ? AND link = ?) ORDER BY number"
            )
            for record in self._read(database, condition, [key_of(thing), link]):
                if isinstance(record, Fault) or not self._is_linked(database, record, thing, link):
                    raise StaleIndexError(f"record {record.seq} has nothing to do with {thing}")
                found.setdefault(thing, []).append(record)
        return found

    def _is_linked(self, database: sqlite3.Connection, record: Record, thing: str, link: Link) -> bool:
        run = self._intake.run(database, record.run) if isinstance(record.run, str) else None
        return is_linked(record, run.state if run is not None else None, thing, link)

    def _read(self, database: sqlite3.Connection, condition: str, values: list[Any]) -> list[Record | Fault]:
        with LineReader(self._ledger.segments()) as reader:
            return [
                _fault_of(self._ledger, line) if line.is_damaged else reader.record(line)
                for line in lines_where(database, condition, values)
            ]

    def _scan(
        self, database: sqlite3.Connection, condition: str, values: list[Any]
    ) -> list[tuple[int, Record]]:
        self._check_damage(database)
        with LineReader(self._ledger.segments()) as reader:
            return [(line.number, reader.record(line)) for line in lines_where(database, condition, values)]

    def _check_damage(self, database: sqlite3.Connection) -> None:
        """IntegrityError when a line of the ledger holds no record."""
        damaged = lines_where(database, "WHERE phase IS NULL ORDER BY number LIMIT 1", ())
        if damaged:
            raise IntegrityError(_fault_of(self._ledger, damaged[0]).message)

    def _run_state(self, database: sqlite3.Connection, name: str) -> RunState | None:
        run = self._intake.run(database, name)
        if run is None:
            return None
        self._check_damage(database)
        if run.state is None:
            raise IntegrityError(
                f"the records of run {name} do not tell a run: this version did not write them. "
                f"See `opswright audit list --run {name}`."
            )
        return RunState.of(name, run.state.records)

    def _ask(self, question: Callable[[sqlite3.Connection], T]) -> T:
        """Ask the index when it is up to date; ask a new one when it is damaged or not of this ledger.

        Of a ledger without a line nothing is indexed: no file is made of it.
        """
        with self._lock:
            if not self._ledger.segments():
                with closing(empty_database()) as database:
                    return question(database)
            left = _ATTEMPTS
            while True:
                left -= 1
                try:
                    return self._answer(question)
                except (StaleIndexError, sqlite3.Error, OSError) as error:
                    if not left:
                        self._give_up(error)
                    self._begin_anew(error)

    def _answer(self, question: Callable[[sqlite3.Connection], T]) -> T:
        self._intake.bring_up()
        with self._database.reading() as database:
            return question(database)

    def _begin_anew(self, error: Exception) -> None:
        """Let go of an index that is damaged; of a folder that cannot be written, for one of its own."""
        self._intake.forget()
        if isinstance(error, OSError) or getattr(error, "sqlite_errorcode", 0) & 0xFF in _UNUSABLE:
            self._database.keep_private()
        else:
            self._database.replace()

    def _give_up(self, error: Exception) -> NoReturn:
        """Say that the index cannot be made, and whether that is the machine's fault."""
        if isinstance(error, OSError):
            raise error
        known = from_system_error(error, "the ledger's index was written")
        if known is not None:
            raise known from error
        raise IntegrityError(
            f"the ledger in {self._ledger.folder} cannot be indexed: {error}. Nothing was changed; see "
            "`opswright audit verify`."
        ) from error


def _condition(criteria: Criteria) -> tuple[str, list[Any]]:
    """The criteria in SQL."""
    terms, values = ["TRUE"], list[Any]()
    for name, value in criteria.wanted.items():
        terms.append(f"{name} = {NAMED}")
        values += [name, value]
    for sign, time in ((">=", criteria.first), ("<", criteria.last)):
        if time is not None:
            terms.append(f"time {sign} ?")
            values.append(microseconds(time))
    return " AND ".join(terms), values


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
