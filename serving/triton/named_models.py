"""The models of one Triton, asked by the names that the gateway knows them by."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

from ..server import Completion, Generation, ServerDown
from .client import TritonClient


class NamedModels:
    """What every InferenceServer before a single Triton does alike; who inherits fills `_names`."""

    _client: TritonClient | None = None
    _where = "Triton"  # as faults call it

    def __init__(self) -> None:
        self._names: dict[str, str] = {}  # name of a release's model to its name in Triton

    @property
    def client(self) -> TritonClient:
        """The client of the server; ServerDown while there is none."""
        if self._client is None:
            raise ServerDown(f"{self._where} is not running")
        return self._client

    def missing(self, name: str) -> Mapping[str, str]:
        """Nowhere: it has no replicas."""
        return {}

    async def infer(self, name: str, ask: Generation) -> Completion:
        """The whole answer of a loaded model; ServerDown when it is not loaded."""
        return await self.client.infer(self._inner(name), ask)

    def stream(self, name: str, ask: Generation) -> AsyncIterator[str | Completion]:
        """The answer's pieces as the engine makes them; see TritonClient.stream."""
        return self.client.stream(self._inner(name), ask)

    def _inner(self, name: str) -> str:
        if name not in self._names:
            raise ServerDown(f"model {name} is not loaded in {self._where}")
        return self._names[name]
