"""How the index is brought up to date: what was appended since is read, and folded into its run."""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass
from itertools import islice
from pathlib import Path
from typing import BinaryIO, NamedTuple

from ...core.errors import IntegrityError
from ..ledger import Ledger, Record, parse_line
from ..run_state import RunState
from .database import IndexDatabase, StaleIndexError, finish, is_finished
from .lines import FIELDS, IndexedLine, key_of, links_of
from .summary import RunSummary

_LINES_AT_ONCE = 5000
_BYTES_AT_ONCE = 32 << 20
_RUNS_KEPT = 256
_NAMES_KEPT = 100_000
_PUT_RUN = """
INSERT INTO runs (
    run, records, last, status, goal, plan, started, by, source, verdict, message, last_seq
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (run) DO UPDATE SET
    records = excluded.records, last = excluded.last, status = excluded.status, goal = excluded.goal,
    plan = excluded.plan, started = excluded.started, by = excluded.by, source = excluded.source,
    verdict = excluded.verdict, message = excluded.message, last_seq = excluded.last_seq
"""
_SELECT_LINES = f"""
SELECT number, segment, offset, length, seq, hash, time,
    {", ".join(f"(SELECT text FROM names WHERE id = lines.{name})" for name in FIELDS)}
FROM lines
"""
NAMED = "(SELECT id FROM names WHERE field = ? AND text = ?)"


class Segment(NamedTuple):
    """How far a file of the ledger has been taken in."""

    number: int
    name: str
    taken: int  # bytes
    changed: int  # when the file was last written, if it ended where it was left; 0: not known
    last: int  # where its last line that was taken in begins
    digest: bytes  # of that line


@dataclass
class Run:
    """A run that is being folded. Its state is None when its records cannot be folded."""

    name: str
    state: RunState | None
    records: int = 0
    last: int = 0  # number of its newest line

    @property
    def unreadable(self) -> RunSummary:
        """What is said of it when its records cannot be folded."""
        return RunSummary.of_unreadable(self.name, self.last, self.records)

    def apply(self, record: Record, number: int) -> None:
        """Take in its next record."""
        self.records += 1
        self.last = number
        if self.state is not None:
            try:
                self.state.apply(record)
            except Exception:  # a record that no version of this program wrote: the run is shown as such
                self.state = None


class LineReader:
    """Reads lines where the index says they are, each file opened once."""

    def __init__(self, segments: Sequence[Path]) -> None:
        self._segments = segments
        self._files: dict[int, int] = {}

    def __enter__(self) -> LineReader:
        return self

    def __exit__(self, *_: object) -> None:
        for descriptor in self._files.values():
            os.close(descriptor)

    def read(self, segment: int, offset: int, length: int) -> bytes:
        """The bytes at a place; StaleIndexError when there is no such file."""
        if segment not in self._files:
            try:
                self._files[segment] = os.open(self._segments[segment], os.O_RDONLY)
            except (IndexError, OSError) as error:
                raise StaleIndexError(f"segment {segment} cannot be read: {error}") from error
        return os.pread(self._files[segment], length, offset)

    def record(self, line: IndexedLine) -> Record:
        """The record of a line; StaleIndexError when the ledger has another one there, or none."""
        if line.is_damaged:
            raise StaleIndexError(f"line {line.number} holds no record")
        where = f"{self._segments[line.segment].name} byte {line.offset}"
        try:
            record = parse_line(self.read(line.segment, line.offset, line.length), where)
        except IntegrityError as error:
            raise StaleIndexError(str(error)) from error
        if not line.holds(record):
            raise StaleIndexError(f"{where} holds another record than the index has")
        return record


def lines_where(database: sqlite3.Connection, condition: str, values: Iterable[object]) -> list[IndexedLine]:
    """The lines that meet an SQL condition (with what follows it: order, limit)."""
    return list(map(IndexedLine._make, database.execute(f"{_SELECT_LINES} {condition}", tuple(values))))


class Intake:
    """Takes the lines of one ledger into its index; keeps the states of runs that it folded last."""

    def __init__(self, ledger: Ledger, folder: Path) -> None:
        self._ledger = ledger
        self.database = IndexDatabase(folder)
        self._generation = 0
        self._runs: OrderedDict[str, Run] = OrderedDict()
        self._names: dict[tuple[str, str], int] = {}

    def forget(self) -> None:
        """Drop what is kept of an index that is no longer in use."""
        self._runs.clear()
        self._names.clear()

    def _forget_others(self) -> None:
        """Drop what is kept of another database than the one in use."""
        if self._generation != self.database.generation:
            self.forget()
            self._generation = self.database.generation

    def bring_up(self) -> None:
        """Take in what was appended since; StaleIndexError when the index is not of this ledger."""
        while self._lags(self.database.open()):
            try:
                with self.database.writing() as database:
                    if not self._take_some(database):
                        break  # another process took it, or the last line is still being written
            except BaseException:
                self.forget()
                raise
        database = self.database.open()
        if not is_finished(database):
            with self.database.writing() as database:
                finish(database)

    def run(self, database: sqlite3.Connection, name: str) -> Run | None:
        """A run with every record that the index has of it; None when it has none."""
        self._forget_others()
        row = database.execute("SELECT id, records, last FROM runs WHERE run = ?", (name,)).fetchone()
        if row is None:
            return None
        kept = self._runs.get(name)
        if kept is not None and (kept.records, kept.last) == row[1:]:
            self._runs.move_to_end(name)
            return kept
        run = Run(name, RunState(name))
        with LineReader(self._ledger.segments()) as reader:
            for line in lines_where(database, f"WHERE run = {NAMED} ORDER BY number", ("run", name)):
                run.apply(reader.record(line), line.number)
        if (run.records, run.last) != row[1:]:
            raise StaleIndexError(f"the index has not all records of run {name}")
        self._keep(run)
        return run

    def _keep(self, run: Run) -> None:
        self._runs[run.name] = run
        self._runs.move_to_end(run.name)
        while len(self._runs) > _RUNS_KEPT:
            self._runs.popitem(last=False)

    def _lags(self, database: sqlite3.Connection) -> bool:
        """Whether the ledger has more than the index; StaleIndexError when it has not what the index has."""
        known = _segments(database)
        paths = self._ledger.segments()
        if [segment.name for segment in known] != [path.name for path in paths[: len(known)]]:
            raise StaleIndexError("the ledger has other files")
        lags = any(path.stat().st_size for path in paths[len(known) :])
        for segment, path in zip(known, paths, strict=False):
            found = path.stat()
            if found.st_size < segment.taken:
                raise StaleIndexError(f"{path.name} was cut")
            if segment is not known[-1] or found.st_size == segment.taken:
                if segment.changed not in (0, found.st_mtime_ns):
                    raise StaleIndexError(f"{path.name} was changed")
            else:
                lags = True
        if (
            known
            and _digest(_read(paths[known[-1].number], known[-1].last, known[-1].taken)) != known[-1].digest
        ):
            raise StaleIndexError(f"{known[-1].name} has another line where the index ends")
        return lags

    def _take_some(self, database: sqlite3.Connection) -> bool:
        """Take the next lines of one file in; says whether there were any."""
        known = _segments(database)
        for place, path in list(enumerate(self._ledger.segments()))[max(0, len(known) - 1) :]:
            taken = known[place].taken if place < len(known) else 0
            with path.open("rb") as file:
                file.seek(taken)
                lines = list(islice(_whole_lines(file), _LINES_AT_ONCE))
                now = os.fstat(file.fileno())
            if lines:
                self._take(database, lines, place, taken)
                end = taken + sum(map(len, lines))
                changed = now.st_mtime_ns if now.st_size == end else 0
                last = Segment(place, path.name, end, changed, end - len(lines[-1]), _digest(lines[-1]))
                database.execute("INSERT OR REPLACE INTO segments VALUES (?, ?, ?, ?, ?, ?)", last)
                return True
        return False

    def _take(self, database: sqlite3.Connection, lines: list[bytes], segment: int, offset: int) -> None:
        """Take these lines in, the first of which begins at an offset of a file."""
        self._forget_others()
        newest = database.execute("SELECT number, seq FROM lines ORDER BY number DESC LIMIT 1").fetchone()
        before, seq = newest or (0, 0)
        rows, links, touched = [], [], dict[str, Run]()
        for number, data in enumerate(lines, before + 1):
            try:
                record = parse_line(data, "")
                line = IndexedLine.of(record, number, segment, offset, len(data))
                seq = record.seq
            except IntegrityError:
                seq += 1
                line, record = IndexedLine(number, segment, offset, len(data), seq, *[None] * 7), None
            offset += len(data)
            rows.append((*line[:7], *(self._name(database, name, getattr(line, name)) for name in FIELDS)))
            if record is not None:
                if line.run is not None and line.run not in touched:
                    touched[line.run] = self.run(database, line.run) or Run(line.run, RunState(line.run))
                run = touched[line.run] if line.run is not None else None
                if run is not None:
                    run.apply(record, number)
                found = links_of(record, run.state if run is not None else None)
                links += [(key_of(thing), link, number) for thing, link in found]
        database.executemany(f"INSERT INTO lines VALUES ({', '.join('?' * 12)})", rows)
        database.executemany("INSERT OR IGNORE INTO links VALUES (?, ?, ?)", links)
        database.executemany(_PUT_RUN, map(_row_of, touched.values()))
        for run in touched.values():
            self._keep(run)

    def _name(self, database: sqlite3.Connection, kind: str, text: str | None) -> int | None:
        """The number that a text of many lines is kept by."""
        if text is None:
            return None
        known = self._names.get((kind, text))
        if known is None:
            if len(self._names) > _NAMES_KEPT:
                self._names.clear()
            database.execute("INSERT OR IGNORE INTO names (field, text) VALUES (?, ?)", (kind, text))
            row = database.execute("SELECT id FROM names WHERE field = ? AND text = ?", (kind, text))
            known = self._names[kind, text] = int(row.fetchone()[0])
        return known


def _segments(database: sqlite3.Connection) -> list[Segment]:
    return list(map(Segment._make, database.execute("SELECT * FROM segments ORDER BY number")))


def _whole_lines(file: BinaryIO) -> Iterator[bytes]:
    size = 0
    for line in file:
        if not line.endswith(b"\n") or size > _BYTES_AT_ONCE:
            return  # being written, or enough for one transaction
        size += len(line)
        yield line


def _row_of(run: Run) -> tuple[object, ...]:
    """A run as it is kept: the summary of its state, or why there is none."""
    try:
        summary = RunSummary.of(run.state) if run.state is not None else run.unreadable
    except Exception:
        run.state, summary = None, run.unreadable
    if summary is None:
        return (run.name, run.records, run.last, *[None] * 9)
    _, *columns, _ = astuple(summary)
    return (run.name, run.records, run.last, *columns)


def _read(path: Path, start: int, end: int) -> bytes:
    with path.open("rb") as file:
        file.seek(start)
        return file.read(end - start)


def _digest(line: bytes) -> bytes:
    return hashlib.sha256(line).digest()
