"""What each key has used, in SQLite: a limit holds across a restart, and across gateways of a workspace."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ...core.errors import BackendError
from ...core.workspace import Workspace
from .store import ApiKey
from .usage import LimitReached, Reservation, Used, limit_reached, period_start

_MINUTE_S = 60
_BUSY_S = 10.0
_TABLE = """
CREATE TABLE IF NOT EXISTS used (
    key TEXT NOT NULL, period TEXT NOT NULL, start INTEGER NOT NULL,
    requests INTEGER NOT NULL, tokens INTEGER NOT NULL,
    PRIMARY KEY (key, period, start)
) WITHOUT ROWID
"""

_ADD = """
INSERT INTO used VALUES (?1, ?2, ?3, ?4, max(0, ?5))
ON CONFLICT (key, period, start) DO UPDATE SET requests = requests + ?4, tokens = max(0, tokens + ?5)
"""


def usage_path(workspace: Workspace) -> Path:
    """Where a workspace's counts lie."""
    return workspace.root / "serving" / "key-usage.sqlite"


class SqliteUsage:
    """Counts by key and minute, and by key and budget period. A minute slides: the last one counts in part.

    A request is let in with as many tokens held as it may use, and settled when it has ended: what runs at
    once cannot pass a budget together. What a killed gateway held stays counted. BackendError for a file that
    cannot be opened.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._db = _opened(path)
        except sqlite3.Error as error:
            raise BackendError(
                f"{path}, which has what keys used, cannot be opened: {error}. Free some space, or make it "
                "writable; where it is damaged, remove it: every budget begins anew then."
            ) from error

    def close(self) -> None:
        """Let the file go."""
        self._db.close()

    async def reserve(self, key: ApiKey, tokens: int) -> Reservation | LimitReached:
        """Let one request in that may use so many tokens, or say which limit it would pass.

        Like `settle`, it raises BackendError where nothing can be written down.
        """
        period = key.limits.budget_period
        with self._writing():
            now = self._time_to_count_at(key.id, self._clock())
            minute = _minute_of(now)
            held = Reservation(key.id, period, minute, period_start(period, now), tokens)
            reached = self._reached(key, held, now)
            if reached is None:
                self._add(held, 1, tokens)
                self._db.execute(
                    "DELETE FROM used WHERE key = ? AND period = 'minute' AND start < ?",
                    (key.id, minute - _MINUTE_S),
                )
        return reached or held

    def settle(self, held: Reservation, tokens: int) -> None:
        """Count what a request really used in place of what was held for it."""
        with self._writing():
            self._add(held, 0, tokens - held.tokens)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """All of it or nothing; BackendError where the file cannot be written (locked, full disk)."""
        try:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise BackendError(f"what keys used cannot be counted now: {error}.") from error

    def used(self, key: ApiKey) -> Used:
        """What a key has used of its budget, in the period that runs."""
        period = key.limits.budget_period
        return self._read(key.id, period, period_start(period, self._clock()))

    def _reached(self, key: ApiKey, held: Reservation, now: float) -> LimitReached | None:
        last, limits = self._last_minute(key.id, now), key.limits
        spent = self._read(key.id, held.period, held.period_start).tokens
        wait = held.minute + _MINUTE_S - int(now)
        if limits.requests_per_minute is not None and last.requests + 1 > limits.requests_per_minute:
            return limit_reached("requests_per_minute", key, held.tokens, wait)
        if limits.tokens_per_minute is not None and last.tokens + held.tokens > limits.tokens_per_minute:
            return limit_reached("tokens_per_minute", key, held.tokens, wait)
        if limits.budget_tokens is not None and spent + held.tokens > limits.budget_tokens:
            return limit_reached("budget", key, held.tokens, spent)
        return None

    def _time_to_count_at(self, key: str, now: float) -> float:
        """Now; a clock that went back stands still, so that no minute is counted anew.

        Where it went back by more than a minute it had jumped ahead: what was counted then counts from now.
        """
        row = self._db.execute(
            "SELECT start, requests, tokens FROM used WHERE key = ? AND period = 'minute' "
            "ORDER BY start DESC LIMIT 1",
            (key,),
        ).fetchone()
        if row is None or row[0] <= (minute := _minute_of(now)):
            return now
        if row[0] - minute <= _MINUTE_S:
            return float(row[0])
        self._db.execute("DELETE FROM used WHERE key = ? AND period = 'minute'", (key,))
        self._db.execute(_ADD, (key, "minute", minute, *row[1:]))
        return now

    def _last_minute(self, key: str, now: float) -> Used:
        """The running minute, and of the one before as much as lies within the last 60 seconds."""
        minute = _minute_of(now)
        this, before = self._read(key, "minute", minute), self._read(key, "minute", minute - _MINUTE_S)
        share = 1 - (now - minute) / _MINUTE_S
        return Used(this.requests + before.requests * share, this.tokens + before.tokens * share)

    def _read(self, key: str, period: str, start: int) -> Used:
        row = self._db.execute(
            "SELECT requests, tokens FROM used WHERE key = ? AND period = ? AND start = ?",
            (key, period, start),
        ).fetchone()
        return Used(*row) if row else Used()

    def _add(self, held: Reservation, requests: int, tokens: int) -> None:
        for period, start in (("minute", held.minute), (held.period, held.period_start)):
            self._db.execute(_ADD, (held.key, period, start, requests, tokens))


def _minute_of(now: float) -> int:
    return int(now) // _MINUTE_S * _MINUTE_S


def _opened(path: Path) -> sqlite3.Connection:
    """The database of a path, made when there is none."""
    db = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
    try:
        path.chmod(0o600)
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=NORMAL")
        db.execute(_TABLE)
    except BaseException:
        db.close()
        raise
    return db
