"""What a store says of how it keeps things: a budget that is forgotten is no budget."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ...core.contract import Finding
from ...core.errors import OpswrightError
from ...core.settings.serving import StoreSettings
from .redis_client import blocking_client

_AOF = "Set `appendonly yes` (and `appendfsync everysec`) in its configuration."


def store_findings(settings: StoreSettings) -> Iterator[Finding]:
    """Whether the shared store is reached from here, and what of keys and budgets outlives its restart."""
    from redis.exceptions import RedisError

    try:
        client = blocking_client(settings)
    except OpswrightError as error:
        yield Finding(level="warn", message=str(error))
        return
    try:
        told = {**client.info("persistence"), **client.info("memory"), **client.info("server")}
        snapshots = _snapshots(client)
    except (RedisError, OSError) as error:
        message = f"the shared store at {settings.url} does not answer here: {str(error)[:200]}."
        yield Finding(level="warn", message=message, fix="Gateways must reach it; look at it from there.")
        return
    finally:
        client.close()
    yield from findings_of(told, snapshots)


def findings_of(told: dict[str, Any], snapshots: str | None) -> Iterator[Finding]:
    """What INFO tells of a server. snapshots: its `save` setting, "" for none, None where it is not told."""
    version = f"the shared store is version {told.get('valkey_version') or told.get('redis_version', '?')}"
    policy = str(told.get("maxmemory_policy", "noeviction"))
    if policy.startswith("allkeys"):
        message = f"the shared store forgets keys and budgets when its memory is full ({policy})."
        yield Finding(level="warn", message=message, fix="Set `maxmemory-policy noeviction`.")
    if str(told.get("aof_enabled", "0")) == "1":
        yield Finding(level="ok", message=f"{version}, and writes each change down (appendonly).")
    elif snapshots == "":
        message = "the shared store keeps nothing on disk: its restart forgets every key and every budget."
        yield Finding(level="warn", message=message, fix=_AOF)
    else:
        often = f" ({snapshots})" if snapshots else ""
        message = (
            f"the shared store keeps snapshots alone{often}: a restart forgets what came after the last."
        )
        yield Finding(level="warn", message=message, fix=_AOF)


def _snapshots(client: Any) -> str | None:
    """The `save` setting; None where CONFIG is not allowed, as at most providers."""
    from redis.exceptions import RedisError

    try:
        found = client.config_get("save")
    except RedisError:
        return None
    return str(found.get("save", ""))
