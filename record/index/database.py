"""The index's database: a SQLite file that may be thrown away, and how processes share and replace it.

`index/current` names the file in use, and is replaced as a whole; each file has a name of its own, so that a
process which still has an older one open cannot harm the newer. What is written is written under a lock.
"""

from __future__ import annotations

import os
import secrets
import shutil
import sqlite3
import tempfile
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ...core.files import PRIVATE, make_private, write_atomically

VERSION = 1
_SCHEMA = """
CREATE TABLE segments (
    number INTEGER PRIMARY KEY, name TEXT NOT NULL, taken INTEGER NOT NULL, changed INTEGER NOT NULL,
    last INTEGER NOT NULL, digest BLOB NOT NULL
);
CREATE TABLE names (id INTEGER PRIMARY KEY, field TEXT NOT NULL, text TEXT NOT NULL, UNIQUE (field, text));
CREATE TABLE lines (
    number INTEGER PRIMARY KEY, segment INTEGER NOT NULL, offset INTEGER NOT NULL, length INTEGER NOT NULL,
    seq INTEGER NOT NULL, hash INTEGER, time INTEGER,
    actor INTEGER, phase INTEGER, run INTEGER, step INTEGER, skill INTEGER
);
CREATE TABLE links (
    thing INTEGER NOT NULL, link INTEGER NOT NULL, line INTEGER NOT NULL, PRIMARY KEY (thing, link, line)
) WITHOUT ROWID;
CREATE TABLE runs (
    id INTEGER PRIMARY KEY, run TEXT NOT NULL UNIQUE, records INTEGER NOT NULL, last INTEGER NOT NULL,
    status TEXT, goal TEXT, plan TEXT, started TEXT, by TEXT, source TEXT, verdict TEXT, message TEXT,
    last_seq INTEGER
);
CREATE INDEX runs_by_status ON runs (status);
CREATE INDEX lines_by_run ON lines (run);
"""
_INDEXED = ("run", "step", "actor", "skill", "phase", "time")
_ABANDONED: list[sqlite3.Connection] = []  # a parent's, kept from being closed by its child


class StaleIndexError(Exception):
    """The index is not what the ledger says now; never seen by callers, who get a new index."""


class IndexDatabase:
    """The file of one ledger's index, opened once for each process; not for several threads at once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.generation = 0  # counts on when another database than before is in use
        self._connection: sqlite3.Connection | None = None
        self._closing: weakref.finalize[..., IndexDatabase] | None = None
        self._name: str | None = None  # of the file that is open; None for a private one
        self._process = 0
        self._is_private = False

    def open(self) -> sqlite3.Connection:
        """The database that is in use now; StaleIndexError or sqlite3.Error when it cannot be used."""
        if self._process != os.getpid():
            self._let_go()
            self._process, self._is_private = os.getpid(), False
        if self._is_private and self._connection is not None:
            return self._connection
        name = self._current()
        if self._connection is None or name != self._name:
            self._let_go()
            self._name = name
            if name is None:
                raise StaleIndexError("there is no index yet")
            self._use(_connect(self.folder / name))
        return self._in_use()

    def _use(self, connection: sqlite3.Connection) -> None:
        self._let_go()
        self._connection = connection
        self._closing = weakref.finalize(self, _close, connection, os.getpid())
        self.generation += 1

    def _let_go(self) -> None:
        """Close what is open: a connection that is only dropped stays open until cycles are collected."""
        if self._closing is not None:
            self._closing()
        self._connection = self._closing = None

    def _in_use(self) -> sqlite3.Connection:
        if self._connection is None:
            raise StaleIndexError("no index is open")
        return self._connection

    def close(self) -> None:
        """Close the file."""
        self._let_go()

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """The database as it is now, whatever others write meanwhile."""
        database = self.open()
        database.execute("BEGIN")
        try:
            yield database
        finally:
            database.execute("ROLLBACK")

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """The database in one transaction that no other process writes beside."""
        with self._locked():
            database = self.open()
            database.execute("BEGIN IMMEDIATE")
            try:
                yield database
            except BaseException:
                database.execute("ROLLBACK")
                raise
            database.execute("COMMIT")

    def replace(self) -> None:
        """Begin a new, empty database, unless another process did so since this one was opened.

        Where the folder cannot be written, the new one is this process's own.
        """
        try:
            if self._is_private:
                raise PermissionError(f"{self.folder} is only read")
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self._locked():
                if self._connection is not None and self._current() != self._name:
                    return
                self._let_go()
                name = f"{secrets.token_hex(4)}.sqlite"
                self._begin(self.folder / name)
                write_atomically(self.folder / "current", name.encode(), PRIVATE)
                self._name = name
                self._tidy(name)
        except (OSError, sqlite3.OperationalError):
            self.keep_private()

    def keep_private(self) -> None:
        """Go on with a database of this process's own: a copy of the one in use, or an empty one."""
        first = not self._is_private
        folder = Path(tempfile.mkdtemp(prefix="opswright-index-"))
        weakref.finalize(self, _remove, folder, os.getpid())
        self._is_private, self._process = True, os.getpid()
        name = self._current() if first else None
        try:
            with self._locked(shared=True):
                for suffix in ("", "-wal") if name else ():
                    with suppress(FileNotFoundError):
                        shutil.copyfile(f"{self.folder / str(name)}{suffix}", folder / f"copy.sqlite{suffix}")
            self._use(_connect(folder / "copy.sqlite"))
        except (OSError, sqlite3.Error, StaleIndexError):
            self._begin(folder / "own.sqlite")

    def _begin(self, path: Path) -> None:
        make_private(path)
        connection = sqlite3.connect(path, timeout=60, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version={VERSION}; COMMIT;")
        self._use(_set_up(connection))

    def _current(self) -> str | None:
        """The name of the file in use."""
        try:
            name = (self.folder / "current").read_text(errors="replace")
        except OSError:
            return None
        return name if name == Path(name).name and name.endswith(".sqlite") else None

    def _tidy(self, current: str) -> None:
        for path in self.folder.glob("*.sqlite*"):
            if not path.name.startswith(current):
                path.unlink(missing_ok=True)

    @contextmanager
    def _locked(self, *, shared: bool = False) -> Iterator[None]:
        if self._is_private and not shared:
            yield
            return
        import fcntl

        mode = os.O_RDONLY if shared else os.O_RDWR | os.O_CREAT
        descriptor = os.open(self.folder / "lock", mode, PRIVATE)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def is_finished(database: sqlite3.Connection) -> bool:
    """Whether nothing is left for `finish` to do."""
    made = "SELECT count(*) FROM sqlite_master WHERE type = 'index' AND name LIKE 'lines_by_%'"
    return bool(database.execute(made).fetchone()[0] == len(_INDEXED))


def finish(database: sqlite3.Connection) -> None:
    """Add what is made sooner when a long ledger has been taken in than line by line."""
    for name in _INDEXED:
        database.execute(f"CREATE INDEX IF NOT EXISTS lines_by_{name} ON lines ({name})")


def empty_database() -> sqlite3.Connection:
    """The index of a ledger without a line, in memory."""
    connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    connection.executescript(_SCHEMA)
    return connection


def _connect(path: Path) -> sqlite3.Connection:
    """An existing database; StaleIndexError when it is gone or of another version."""
    if not path.exists():
        raise StaleIndexError(f"{path} is gone")
    connection = sqlite3.connect(path, timeout=60, isolation_level=None, check_same_thread=False)
    if connection.execute("PRAGMA user_version").fetchone()[0] != VERSION:
        raise StaleIndexError(f"{path} is of another version")
    return _set_up(connection)


def _close(connection: sqlite3.Connection, process: int) -> None:
    if os.getpid() == process:
        connection.close()
    else:
        _ABANDONED.append(connection)


def _remove(folder: Path, process: int) -> None:
    if os.getpid() == process:  # not a child of the one that made it
        shutil.rmtree(folder, ignore_errors=True)


def _set_up(connection: sqlite3.Connection) -> sqlite3.Connection:
    connection.execute("PRAGMA synchronous=NORMAL")  # with a write-ahead log: consistent after a power cut
    connection.execute("PRAGMA cache_size=-16000")
    return connection
