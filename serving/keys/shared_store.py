"""Keys and their counts as a gateway uses them: this workspace's own, or those of the shared store."""

from __future__ import annotations

from ...core.settings.serving import StoreSettings
from ...core.workspace import Workspace
from .redis_keys import SharedKeyStore, WatchedKeys
from .redis_line import RedisLine
from .redis_usage import RedisUsage
from .sqlite_usage import SqliteUsage, usage_path
from .store import KeyRegistry, KeyStore
from .usage import KeyUsage


class SharedStore:
    """The shared store as one gateway holds it: a line, the keys and the counts of it."""

    def __init__(self, settings: StoreSettings) -> None:
        self.line = RedisLine(settings)
        self.keys = WatchedKeys(self.line)
        self.usage = RedisUsage(settings, self.line)

    @classmethod
    def of(cls, workspace: Workspace) -> SharedStore | None:
        """The store that the settings name; None where they name none."""
        settings = workspace.settings.serving.store
        return cls(settings) if settings.url is not None else None

    async def start(self) -> None:
        """Reach the store; where it does not answer, go on and try again."""
        await self.line.start()
        await self.keys.start()

    async def stop(self) -> None:
        """Count what ended, and hang up."""
        await self.keys.stop()
        await self.line.stop()


def key_registry(workspace: Workspace) -> KeyRegistry:
    """Where this workspace gives out keys."""
    settings = workspace.settings.serving.store
    return KeyStore(workspace) if settings.url is None else SharedKeyStore(settings)


def key_counts(workspace: Workspace) -> KeyUsage:
    """Where it is counted what those keys used, for a command line; to be closed."""
    settings = workspace.settings.serving.store
    if settings.url is None:
        return SqliteUsage(usage_path(workspace))
    return RedisUsage(settings, None)
