"""The keys a workspace gave out, as hashes in a file that only its owner may read."""

from __future__ import annotations

import errno
import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field

from ...core.errors import AskError, did_you_mean
from ...core.private_file import PrivateFile
from ...core.workspace import Workspace

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_KEY = re.compile(r"ops_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")
_SECRET_BYTES, _HASH_KEY_BYTES = 32, 32
_MOST_DAYS = 36_500
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})  # disk full, or what this user may have of it
_NOBODYS_HASH = "0" * 64

Scope = Literal["ask", "metrics"]  # the endpoints' API; Prometheus' figures
Period = Literal["day", "month", "forever"]
Count = Annotated[int, Field(ge=1, le=10**15)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Limits(_Part):
    """How much a key may ask for; None: as much as the gateway bears. Tokens are those read and made."""

    requests_per_minute: Count | None = None
    tokens_per_minute: Count | None = None
    budget_tokens: Count | None = None
    budget_period: Period = "month"


class ApiKey(_Part):
    """A key as it is kept: who has it and what it allows. `hash` is keyed: HMAC-SHA256 of the key."""

    id: str = Field(pattern=r"^[0-9a-f]{12}$")
    name: str = Field(pattern=f"^{_NAME.pattern}$")
    hash: str = Field(pattern=r"^[0-9a-f]{64}$")
    created: datetime
    expires: datetime | None = None
    revoked: datetime | None = None
    scopes: tuple[Scope, ...] = Field(("ask",), min_length=1)
    endpoints: tuple[str, ...] = ()  # empty: all
    limits: Limits = Limits()

    def is_valid(self, at: datetime) -> bool:
        """Whether it still opens anything."""
        return self.revoked is None and (self.expires is None or at < self.expires)

    def may_ask(self, endpoint: str) -> bool:
        """Whether it is a key to this endpoint."""
        return "ask" in self.scopes and (not self.endpoints or endpoint in self.endpoints)


class KeyDocument(_Part):
    """All keys of a place: the key of the hashes, and the keys by id."""

    hash_key: str = Field(pattern=r"^[0-9a-f]{64}$")
    keys: dict[str, ApiKey]


@dataclass(frozen=True)
class NewKey:
    """A key that was just made, and the only moment at which its text is known."""

    key: ApiKey
    text: str


class KeyLookup(Protocol):
    """What a gateway asks of keys, for each request: it may not wait."""

    @property
    def exists(self) -> bool:
        """Whether a key is needed."""

    def find(self, text: str, at: datetime | None = None) -> ApiKey | None:
        """The valid key of that text, None for what is none. An OpswrightError lets nobody in."""


class KeyRegistry(Protocol):
    """What the command line asks of keys."""

    def keys(self) -> dict[str, ApiKey]:
        """Every key by id, oldest first."""

    def create(
        self,
        name: str,
        *,
        scopes: Iterable[Scope] = ("ask",),
        endpoints: Iterable[str] = (),
        limits: Limits | None = None,
        valid_days: float | None = None,
    ) -> NewKey:
        """Give out a key."""

    def revoke(self, which: str) -> ApiKey:
        """Take a key back."""


class KeyStore:
    """The keys of one workspace. Whoever reads it sees a change at once; nothing is kept of an old file."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        path = workspace.root / "keys.json"
        self._file = PrivateFile(
            path, "keys file", "opswright keys create NAME", KeyDocument.model_validate_json
        )

    @property
    def exists(self) -> bool:
        """Whether a key was ever given out: from then on one is needed, even when all were revoked."""
        return self._file.path.exists()

    def keys(self) -> dict[str, ApiKey]:
        """Every key by id, oldest first. AskError when the file cannot be read or trusted."""
        return dict(self._file.read().keys) if self.exists else {}

    def find(self, text: str, at: datetime | None = None) -> ApiKey | None:
        """The valid key of that text, None for what is none. AskError when the file cannot be trusted.

        Compared in constant time; an id that nobody has takes as long as a wrong secret.
        """
        return find_key(self._file.read(), text, at)

    def create(
        self,
        name: str,
        *,
        scopes: Iterable[Scope] = ("ask",),
        endpoints: Iterable[str] = (),
        limits: Limits | None = None,
        valid_days: float | None = None,
    ) -> NewKey:
        """Give out a key. `name`: whose it is, as each row of the traffic log will have it."""
        with self._workspace.lock("keys"):
            document = self._document()
            made = new_key(document.hash_key, name, scopes, endpoints, limits, valid_days)
            self._write(document, {**document.keys, made.key.id: made.key})
        return made

    def revoke(self, which: str) -> ApiKey:
        """Take a key back, by its id or by the name that one valid key has; AskError for what is neither.

        On a full disk too: the file is written with fewer spaces then, in its own place.
        """
        now = datetime.now(UTC)
        with self._workspace.lock("keys"):
            document = self._document()
            revoked = revoked_key(chosen_key(document.keys, which, now), now)
            keys = {**document.keys, revoked.id: revoked}
            try:
                self._write(document, keys)
            except OSError as error:
                if error.errno not in _NO_ROOM:
                    raise
                self._file.overwrite(_json(document, keys))
        return revoked

    def _document(self) -> KeyDocument:
        if self.exists:
            return self._file.read()
        return KeyDocument(hash_key=new_hash_key(), keys={})

    def _write(self, document: KeyDocument, keys: Mapping[str, ApiKey]) -> None:
        self._file.write(_json(document, keys, indent=2))


def _json(document: KeyDocument, keys: Mapping[str, ApiKey], indent: int | None = None) -> bytes:
    plain = document.model_copy(update={"keys": keys}).model_dump(mode="json")
    separators = (",", ":") if indent is None else None
    return (json.dumps(plain, indent=indent, separators=separators) + "\n").encode()


def find_key(document: KeyDocument, text: str, at: datetime | None = None) -> ApiKey | None:
    """The valid key of that text among those of a document; compared in constant time."""
    parts = _KEY.fullmatch(text)
    key = document.keys.get(parts[1]) if parts else None
    hashed = _hash(document.hash_key, text)
    matches = hmac.compare_digest(hashed, key.hash if key is not None else _NOBODYS_HASH)
    return key if matches and key is not None and key.is_valid(at or datetime.now(UTC)) else None


def new_key(
    hash_key: str,
    name: str,
    scopes: Iterable[Scope] = ("ask",),
    endpoints: Iterable[str] = (),
    limits: Limits | None = None,
    valid_days: float | None = None,
) -> NewKey:
    """A key that nobody has yet; AskError for an invalid name or number of days."""
    if not _NAME.fullmatch(name):
        raise AskError(f"invalid name {name[:80]!r}: expected 1 to 64 letters, digits, . _ - @")
    if valid_days is not None and not 0 < valid_days < _MOST_DAYS:
        raise AskError(f"invalid number of days {valid_days:g}: expected more than 0, below {_MOST_DAYS:,}.")
    now = datetime.now(UTC)
    id = secrets.token_hex(6)
    text = f"ops_{id}_{secrets.token_urlsafe(_SECRET_BYTES)}"
    key = ApiKey(
        id=id,
        name=name,
        hash=_hash(hash_key, text),
        created=now,
        expires=None if valid_days is None else now + timedelta(days=valid_days),
        scopes=tuple(scopes),
        endpoints=tuple(endpoints),
        limits=limits or Limits(),
    )
    return NewKey(key, text)


def new_hash_key() -> str:
    """What the hashes of a new place are keyed by."""
    return secrets.token_hex(_HASH_KEY_BYTES)


def revoked_key(key: ApiKey, at: datetime) -> ApiKey:
    """The key as one that was taken back; earlier stays earlier."""
    return key.model_copy(update={"revoked": key.revoked or at})


def _hash(hash_key: str, text: str) -> str:
    return hmac.new(bytes.fromhex(hash_key), text.encode(errors="replace"), hashlib.sha256).hexdigest()


def chosen_key(keys: Mapping[str, ApiKey], which: str, now: datetime) -> ApiKey:
    """The key of an id, or the one valid key of a name; AskError for what is neither."""
    if which in keys:
        return keys[which]
    named = [key for key in keys.values() if key.name == which and key.is_valid(now)]
    if len(named) == 1:
        return named[0]
    if named:
        ids = ", ".join(key.id for key in named)
        raise AskError(f"{which} has {len(named)} valid keys; name one by its id: {ids}.")
    hint = did_you_mean(which, [*keys, *(key.name for key in keys.values())])
    raise AskError(f"no valid key has the id or name '{which[:80]}'.{hint} `opswright keys list` shows all.")
