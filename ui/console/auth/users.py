"""Who may use the console: users from a file of hashed passwords, each with a role."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ....core.errors import AskError, OpswrightError
from ....core.private_file import PrivateFile
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
        self._file = PrivateFile(path, "users file", "opswright users add NAME --role operator", _parse)
        self._users: dict[str, User] = {}  # as they were read last

    def users(self) -> dict[str, User]:
        """Every user by name. AskError when the file is missing, invalid, or open to others."""
        self._users = {}
        self._users = self._file.read()
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

    def _write(self, users: Mapping[str, User]) -> None:
        entries = {
            name: {"role": str(user.person.role), "scrypt": asdict(user.password)}
            for name, user in sorted(users.items())
        }
        self._file.write((json.dumps({"users": entries}, indent=2) + "\n").encode())


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


def _parse(data: bytes) -> dict[str, User]:
    return {name: _user(name, entry) for name, entry in json.loads(data)["users"].items()}


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
