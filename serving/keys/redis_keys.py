"""The keys that several gateways share, in a hash of the shared store: given out and taken back for all."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from ...core.errors import AskError, BackendError, OpswrightError
from ...core.settings.serving import StoreSettings
from .redis_client import blocking_client, keys_name, unreachable
from .redis_line import RedisLine
from .store import (
    ApiKey,
    KeyDocument,
    Limits,
    NewKey,
    Scope,
    chosen_key,
    find_key,
    new_hash_key,
    new_key,
    revoked_key,
)

log = logging.getLogger(__name__)

_HASH_KEY, _VERSION, _KEY = "hash_key", "version", "key:"
_LOOK_S = 0.25  # between two looks at whether a key was given out or taken back


class SharedKeyStore:
    """The keys of the shared store, for a command line. BackendError where the store does not answer."""

    def __init__(self, settings: StoreSettings) -> None:
        self._settings = settings
        self._name = keys_name(settings)

    def keys(self) -> dict[str, ApiKey]:
        """Every key by id, oldest first. AskError for what is damaged."""
        fields: Any = self._asked(lambda client: client.hgetall(self._name))
        return dict(_document(fields).keys) if fields else {}

    def create(
        self,
        name: str,
        *,
        scopes: Iterable[Scope] = ("ask",),
        endpoints: Iterable[str] = (),
        limits: Limits | None = None,
        valid_days: float | None = None,
    ) -> NewKey:
        """Give out a key, for every gateway that shares the store."""

        def create(client: Any) -> NewKey:
            client.hsetnx(self._name, _HASH_KEY, new_hash_key())
            hash_key = client.hget(self._name, _HASH_KEY)
            made = new_key(hash_key, name, scopes, endpoints, limits, valid_days)
            self._write(client.pipeline(), made.key)
            return made

        made: NewKey = self._asked(create)
        return made

    def revoke(self, which: str) -> ApiKey:
        """Take a key back, by its id or by the name that one valid key has; AskError for what is neither."""
        now = datetime.now(UTC)

        def revoke(pipe: Any) -> ApiKey:
            fields = pipe.hgetall(self._name)
            found = chosen_key(_document(fields).keys if fields else {}, which, now)
            revoked = revoked_key(found, now)
            pipe.multi()
            self._write(pipe, revoked, executes=False)
            return revoked

        revoked: ApiKey = self._asked(
            lambda client: client.transaction(revoke, self._name, value_from_callable=True)
        )
        return revoked

    def _write(self, pipe: Any, key: ApiKey, *, executes: bool = True) -> None:
        """A key and the mark by which gateways see that something changed, both or neither."""
        pipe.hset(self._name, f"{_KEY}{key.id}", key.model_dump_json())
        pipe.hset(self._name, _VERSION, secrets.token_hex(8))
        if executes:
            pipe.execute()

    def _asked(self, ask: Any) -> Any:
        from redis.exceptions import RedisError

        client = blocking_client(self._settings)
        try:
            return ask(client)
        except UnicodeDecodeError as error:
            raise AskError("the keys in the shared store are damaged (UnicodeDecodeError).") from error
        except (RedisError, OSError) as error:
            raise unreachable(self._settings, error) from error
        finally:
            client.close()


class WatchedKeys:
    """The keys of the shared store as a gateway knows them: looked at four times a second.

    Without the store they count as they were read last, for `offline_s`; then nobody is let in.
    """

    exists = True  # who shares keys asks for one, even while there is none

    def __init__(self, line: RedisLine) -> None:
        self._line = line
        self._name = keys_name(line.settings)
        self._document: KeyDocument | None = None
        self._version: str | None = None
        self._fault: OpswrightError = BackendError("the shared store was not read yet")
        self._read_at = 0.0  # on the monotonic clock
        self._work: asyncio.Task[None] | None = None

    @property
    def is_ready(self) -> bool:
        """Whether keys were ever read: before that nobody can be let in."""
        return self._document is not None

    def find(self, text: str, at: datetime | None = None) -> ApiKey | None:
        """The valid key of that text, None for what is none; an OpswrightError lets nobody in."""
        if self._document is None:
            raise self._fault
        if time.monotonic() > self._read_at + self._line.settings.offline_s + 4 * _LOOK_S:
            raise BackendError(f"the shared store did not answer for too long: {self._fault}")
        return find_key(self._document, text, at)

    async def start(self) -> None:
        """Read the keys, and watch them from now on."""
        await self._look()
        self._work = asyncio.create_task(self._watch())

    async def stop(self) -> None:
        """Watch no longer."""
        if self._work is not None:
            self._work.cancel()
            await asyncio.gather(self._work, return_exceptions=True)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_S)
            try:
                await self._look()
            except Exception:
                log.exception("keys could not be looked at, and will be again")

    async def _look(self) -> None:
        try:
            version = await self._line.probe("HGET", self._name, _VERSION)
            if version is None or version != self._version:
                fields = await self._line.probe("HGETALL", self._name)
                self._take(fields, version)
            self._read_at = time.monotonic()
        except BackendError as error:
            self._fault = error
        except AskError as error:  # keys that are damaged let nobody in, as a damaged file
            if str(error) != str(self._fault):
                log.error("nobody is let in: %s", error)
            self._document, self._version, self._fault = None, None, error

    def _take(self, fields: Any, version: str | None) -> None:
        if version is None and not fields:
            raise AskError(
                f"the shared store at {self._line.settings.url} holds no keys under {self._name}: "
                "`opswright keys create NAME` with the same serving.store gives one out."
            )
        self._document, self._version = _document(fields), version


def _document(fields: Any) -> KeyDocument:
    """The keys of a hash's fields; AskError for what was altered."""
    try:
        pairs: Mapping[str, str] = dict(fields)
        named = {name: text for name, text in pairs.items() if name.startswith(_KEY)}
        keys = {name: ApiKey.model_validate_json(text) for name, text in named.items()}
        if any(name != f"{_KEY}{key.id}" for name, key in keys.items()):
            raise ValueError("a key lies under another's name")
        in_order = sorted(keys.values(), key=lambda key: (key.created, key.id))
        return KeyDocument(hash_key=pairs[_HASH_KEY], keys={key.id: key for key in in_order})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise AskError(f"the keys in the shared store are damaged ({type(error).__name__}).") from error
