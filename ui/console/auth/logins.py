"""Who is logged in: tokens, each for one user, and the wait that wrong passwords earn."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from .users import User, UsersFile

_LASTS_S = 12 * 3600.0
_FREE_TRIES = 5
_LONGEST_WAIT_S = 60.0
_FORGOTTEN_S = 900.0
_MOST_KEPT = 10_000


@dataclass(frozen=True)
class _Login:
    user: User
    ends: float


class Logins(Mapping[str, str]):
    """Login tokens and the name each stands for, in memory: a restart logs everybody out.

    A token ends after 12 hours, at log-out, and at once when its user is taken out of the users file or has
    another role or password there.
    """

    def __init__(self, users: UsersFile, clock: Callable[[], float] = time.monotonic) -> None:
        self.users = users
        self._clock = clock
        self._logins: dict[str, _Login] = {}

    def begin(self, user: User) -> str:
        """A token for a user."""
        now = self._clock()
        kept = [item for item in self._logins.items() if item[1].ends > now]
        self._logins = dict(kept[-_MOST_KEPT:])
        token = secrets.token_urlsafe(32)
        self._logins[token] = _Login(user, now + _LASTS_S)
        return token

    def end(self, token: str) -> None:
        """Log a token out."""
        self._logins.pop(token, None)

    def __getitem__(self, token: str) -> str:
        login = self._logins[token]
        name = login.user.person.name
        if login.ends <= self._clock() or self.users.user(name) != login.user:
            self.end(token)
            raise KeyError(token)
        return name

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._logins))

    def __len__(self) -> int:
        return len(self._logins)


class WrongPasswords:
    """How long an address must wait: five tries are free, then 1, 2, 4 ... 60 seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._tries: dict[str, tuple[int, float]] = {}  # address -> wrong passwords, time of the last
        self._lock = threading.Lock()

    def wait_s(self, address: str) -> float:
        """Seconds until the address may try again; 0 when it may now."""
        count, last = self._tries.get(address, (0, 0.0))
        if count < _FREE_TRIES:
            return 0.0
        wait = min(2.0 ** (count - _FREE_TRIES), _LONGEST_WAIT_S)
        return float(max(0.0, last + wait - self._clock()))

    def add(self, address: str) -> None:
        """Count a try, before it is looked at, so that tries made at once count as well."""
        with self._lock:
            now = self._clock()
            fresh = {a: t for a, t in self._tries.items() if now - t[1] < _FORGOTTEN_S}
            count = fresh.pop(address, (0, 0.0))[0]
            self._tries = dict(list(fresh.items())[1 - _MOST_KEPT :])
            self._tries[address] = (count + 1, now)

    def take_back(self, address: str) -> None:
        """The password was right: it counts as no try, but frees no earlier ones."""
        with self._lock:
            count, last = self._tries.get(address, (0, 0.0))
            self._tries[address] = (max(0, count - 1), last)
