"""A Triton elsewhere that loads its one release itself, as on a cluster: it is asked, never changed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

from ..server import Completion, Generation, ServedModel, ServerDown
from .access import SECRET_HEADER, RemoteAccess
from .client import TritonClient


class PreloadedTriton:
    """An InferenceServer whose models come and go with its pods: nothing is loaded or unloaded from here.

    Answers name the release, so one of another release counts for nothing, whichever pod gave it.
    """

    kind = "triton"

    def __init__(self, url: str, secret: str) -> None:
        self._url = url
        self._secret = secret
        self._client: TritonClient | None = None
        self._version = ""

    @property
    def version(self) -> str:
        """The server's version, known once it has answered."""
        return self._version

    @property
    def client(self) -> TritonClient:
        """The client; ServerDown before the start."""
        if self._client is None:
            raise ServerDown(f"Triton at {self._url} was not reached yet")
        return self._client

    async def start(self) -> None:
        """Reach it; ServerDown while no pod answers."""
        await self.stop()
        client = TritonClient(RemoteAccess(self._url, {SECRET_HEADER: self._secret}))
        try:
            self._version = await client.version()
        except BaseException:
            await client.close()
            raise
        self._client = client

    async def stop(self) -> None:
        """End the connections; the server goes on."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def alive(self) -> bool:
        """Whether some pod answers."""
        return self._client is not None and await self._client.live()

    async def load(self, model: ServedModel) -> None:
        """Nothing but a look: its pods load their release when they start, and only that one."""
        if model.name not in await self.versions():
            raise ServerDown(f"no pod of Triton at {self._url} has {model.name}; it loads at their start")

    async def unload(self, name: str) -> None:
        """Nothing: it goes with its pods."""

    async def versions(self) -> dict[str, int]:
        """The models that a pod has loaded; ServerDown while it has none."""
        found = {name: row[1] for name, row in (await self.client.index()).items() if row[0] == "READY"}
        if not found:
            raise ServerDown(f"Triton at {self._url} has loaded nothing yet")
        return found

    def missing(self, name: str) -> Mapping[str, str]:
        """Nowhere that can be seen from here: a pod that lacks its release is not asked."""
        return {}

    async def infer(self, name: str, ask: Generation) -> Completion:
        """The whole answer of whichever pod it reaches."""
        return await self.client.infer(name, ask)

    def stream(self, name: str, ask: Generation) -> AsyncIterator[str | Completion]:
        """The answer's pieces as the engine makes them."""
        return self.client.stream(name, ask)
