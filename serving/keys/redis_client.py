"""How the shared store is reached: its address, password and certificates, and nothing asked twice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...core.errors import AskError, BackendError, NeedsError
from ...core.install import install_hint
from ...core.settings.serving import StoreSettings

if TYPE_CHECKING:
    from redis import Redis
    from redis.asyncio import Redis as AsyncRedis


def keys_name(settings: StoreSettings) -> str:
    """Where the keys lie in the store."""
    return f"{settings.prefix}:keys"


def usage_name(settings: StoreSettings, key: str) -> str:
    """Where it is counted what a key has used."""
    return f"{settings.prefix}:used:{key}"


def blocking_client(settings: StoreSettings) -> Redis:
    """A client that waits, for a command line. NeedsError without the package or the password."""
    options = _options(settings)
    from redis import Redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    return Redis.from_url(_url(settings), retry=Retry(NoBackoff(), 0), **options)


def async_client(settings: StoreSettings) -> AsyncRedis:
    """A client of an event loop."""
    options = _options(settings)
    from redis.asyncio import Redis as AsyncRedis
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff

    return AsyncRedis.from_url(_url(settings), retry=Retry(NoBackoff(), 0), **options)


def unreachable(settings: StoreSettings, error: Exception) -> BackendError:
    """The error for a store that does not answer, or not as it should."""
    why = str(error) or type(error).__name__
    return BackendError(f"the shared store at {settings.url} does not serve: {why[:300]}")


def _options(settings: StoreSettings) -> dict[str, Any]:
    """No retries: a step that was carried out without a reply would be carried out twice."""
    try:
        import redis  # noqa: F401
    except ImportError as error:
        raise NeedsError(f"serving.store needs the redis package. {install_hint('store')}") from error
    found: dict[str, Any] = {
        "decode_responses": True,
        "socket_timeout": settings.timeout_s,
        "socket_connect_timeout": settings.timeout_s,
        "username": settings.username or None,
        "password": settings.password.resolve() if settings.password else None,
    }
    if settings.ca_file is not None:
        if not (settings.url or "").startswith("rediss:"):
            raise AskError("serving.store.ca_file is for a rediss:// address; this one has no TLS.")
        found["ssl_ca_certs"] = str(settings.ca_file)
    return found


def _url(settings: StoreSettings) -> str:
    if settings.url is None:
        raise AskError("serving.store.url is not set, so there is no shared store.")
    return settings.url
