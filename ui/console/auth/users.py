"""Who may use the console: users from a file of hashed passwords, each with a role."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import secrets
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ....core.errors import AskError, NeedsError, OpswrightError
from ....core.files import write_atomically
from ....core.settings import Settings

# Scrypt at the strength OWASP's password storage cheat sheet lists for 32 MiB: about 0.2 s on one core.
_N, _R, _P = 2**15, 8, 3
_MOST_MEMORY_BYTES = 256 << 20
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_LEAST_LETTERS = 12

PasswordHash = Callable[[str, int, int, int, str], str]  # password, n, r, p, salt


def scrypt(text: str, n: int, r: int, p: int, salt: str) -> str:
    """The scrypt hash of a password in hexadecimal; `salt` is hexadecimal too."""
    memory = 128 * n * r * 2
    return hashlib.scrypt(
        text.encode(), salt=bytes.fromhex(salt), n=n, r=r, p=p, maxmem=max(memory, 64 << 20), dklen=32
    ).hex()


_ROLE = re.compile(r"[a-z][a-z0-9_-]{0,39}")


@dataclass(frozen=True)
class Person:
    """Who acts, as the ledger names them."""

    name: str
    role: str  # one of the policy's


@dataclass(frozen=True)
class Password:
    """A password as it is kept: its scrypt hash, with the salt and the parameters it was made with."""

    n: int
    r: int
    p: int
    salt: str
    hash: str

    @classmethod
    def of(cls, text: str, n: int = _N) -> Password:
        """The hash of a password, with a salt of its own."""
        salt = secrets.token_hex(16)
        return cls(n, _R, _P, salt, scrypt(text, n, _R, _P, salt))

    def is_matched_by(self, text: str, hash_password: PasswordHash = scrypt) -> bool:
        """Whether this is the password; compared in constant time."""
        hashed = hash_password(text, self.n, self.r, self.p, self.salt)
        return hmac.compare_digest(hashed, self.hash)


_NOBODYS = Password(_N, _R, _P, "00" * 16, "00" * 32)


@dataclass(frozen=True)
class User:
    """One entry of the users file."""

    person: Person
    password: Password


class UsersFile(Mapping[str, Person]):
    """The users file, read again whenever it has changed: a user taken out of it loses access at once.

    `n` is scrypt's cost of passwords that are added.
    """

    def __init__(self, path: Path, n: int = _N, hash_password: PasswordHash = scrypt) -> None:
        self.path = path
        self.n = n
        self._hash_password = hash_password
        self._seen: tuple[int, ...] = ()
        self._users: dict[str, User] = {}

    def users(self) -> dict[str, User]:
        """Every user by name. AskError when the file is missing, invalid, or open to others."""
        self._seen, self._users = self._read_if_changed()
        return self._users

    def user(self, name: str) -> User | None:
        """A user as the file has them now; nobody is let in by a file that cannot be read or trusted."""
        try:
            return self.users().get(name)
        except OpswrightError:
            return None

    def log_in(self, name: str, password: str) -> User | None:
        """The user whose name and password these are. An unknown name takes as long as a wrong password."""
        user = self.user(name)
        like = user or next(iter(self._users.values()), None)
        kept = like.password if like else _NOBODYS
        matches = kept.is_matched_by(password, self._hash_password)
        return user if matches else None

    def add(self, name: str, role: str, password: str) -> bool:
        """Put a user into the file, which is made when there is none; True when the name was there before."""
        if not _NAME.fullmatch(name):
            raise AskError(f"invalid user name {name[:80]!r}: expected 1 to 64 letters, digits, . _ - @")
        if len(password) < _LEAST_LETTERS:
            raise AskError(
                f"password too short: {len(password)} characters, at least {_LEAST_LETTERS} needed."
            )
        users = dict(self.users()) if self.path.exists() else {}
        was_there = name in users
        users[name] = User(Person(name, role), Password.of(password, self.n))
        self._write(users)
        return was_there

    def remove(self, name: str) -> None:
        """Take a user out of the file; AskError when it has no such user."""
        users = dict(self.users())
        if name not in users:
            raise AskError(f"unknown user {name!r} in {self.path} (it has: {', '.join(users) or 'nobody'}).")
        del users[name]
        self._write(users)

    def __getitem__(self, name: str) -> Person:
        user = self.user(name)
        if user is None:
            raise KeyError(name)
        return user.person

    def __iter__(self) -> Iterator[str]:
        return iter(self.users())

    def __len__(self) -> int:
        return len(self.users())

    def _read_if_changed(self) -> tuple[tuple[int, ...], dict[str, User]]:
        try:
            found = self.path.stat()
        except OSError as error:
            raise AskError(
                f"the users file {self.path} cannot be read ({error.strerror}). Make it: "
                "`opswright users add NAME --role operator`"
            ) from error
        seen = (
            found.st_ino,
            found.st_mtime_ns,
            found.st_ctime_ns,
            found.st_size,
            found.st_mode,
            found.st_uid,
        )
        if seen == self._seen:
            return seen, self._users
        self._seen = ()  # whatever goes wrong below, what was read before no longer counts
        _refuse_if_open(self.path, found)
        try:
            document = json.loads(self.path.read_bytes())
            return seen, {name: _user(name, entry) for name, entry in document["users"].items()}
        except PermissionError as error:
            raise NeedsError(f"permission denied: users file {self.path}. Check its owner.") from error
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise AskError(
                f"invalid users file {self.path} ({error!r}). Make a new one: `opswright users add NAME`"
            ) from error

    def _write(self, users: Mapping[str, User]) -> None:
        entries = {
            name: {"role": str(user.person.role), "scrypt": asdict(user.password)}
            for name, user in sorted(users.items())
        }
        self.path.parent.mkdir(parents=True, exist_ok=True)
        old = os.umask(0o077)
        try:
            write_atomically(self.path, (json.dumps({"users": entries}, indent=2) + "\n").encode())
            self.path.chmod(0o600)
        finally:
            os.umask(old)


def users_file(settings: Settings) -> UsersFile:
    """The users file in force: the one that is named, else `users.json` in the workspace."""
    return UsersFile(settings.console.users or settings.home.resolve() / "users.json")


def load_users(settings: Settings) -> UsersFile | None:
    """Who may use the console; None when nobody has to log in, for there is no users file.

    AskError, and no console, when there is one that cannot be used.
    """
    file = users_file(settings)
    if settings.console.users is None and not file.path.exists():
        return None
    file.users()
    return file


def _refuse_if_open(path: Path, found: os.stat_result) -> None:
    """AskError when anyone but its owner may read or write the file, or it is another person's."""
    mode = stat.S_IMODE(found.st_mode)
    if mode & 0o077:
        raise AskError(
            f"the users file {path} is open to other users (mode {mode:04o}). Close it: chmod 600 {path}"
        )
    if found.st_uid not in (os.geteuid(), 0):
        raise AskError(
            f"the users file {path} belongs to user id {found.st_uid}, you are {os.geteuid()}. Make your "
            "own: `opswright users add NAME --role operator`"
        )


def _user(name: str, entry: Mapping[str, Any]) -> User:
    if not _NAME.fullmatch(name):
        raise ValueError(f"invalid user name {name!r}")
    hashed = Password(**entry["scrypt"])
    if hashed.n < 2**10 or 128 * hashed.n * hashed.r > _MOST_MEMORY_BYTES or not 1 <= hashed.p <= 16:
        raise ValueError(f"the scrypt parameters of {name} are out of range")
    bytes.fromhex(hashed.salt + hashed.hash)
    return User(Person(name, _role(entry["role"])), hashed)


def _role(text: object) -> str:
    """A role's name; whether the policy knows it is asked when somebody acts."""
    if not isinstance(text, str) or not _ROLE.fullmatch(text):
        raise ValueError(f"invalid role {text!r}: expected lower-case letters, digits, '-' or '_'")
    return text
