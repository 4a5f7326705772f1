"""The Triton that another worker of the same gateway runs: asked, never started, loaded or ended."""

from __future__ import annotations

import asyncio
from pathlib import Path

from ...core.errors import BackendError
from ..server import ServedModel, ServerDown, ready
from .client import TritonClient
from .named_models import NamedModels
from .runtime import TritonRuntime
from .server import load_number

_POLL_S = 0.05
_PROOF_S = 5.0


class AttachedTriton(NamedModels):
    """An InferenceServer that follows what the first worker does with its Triton."""

    kind = "triton"
    _where = "the first worker's Triton"

    def __init__(self, folder: Path, log: Path, timeout_s: float) -> None:
        super().__init__()
        self._runtime = TritonRuntime(folder, log)
        self._timeout_s = timeout_s
        self._client: TritonClient | None = None
        self._secret = ""
        self._version = ""

    @property
    def version(self) -> str:
        """The server's version, known once it is reached."""
        return self._version

    async def start(self) -> None:
        """Reach the server that runs now; ServerDown when none does in time."""
        await self.stop()
        deadline = asyncio.get_running_loop().time() + self._timeout_s
        while not await self._attach():
            if asyncio.get_running_loop().time() > deadline:
                raise ServerDown(f"the first worker's Triton did not answer within {self._timeout_s:.0f} s")
            await asyncio.sleep(_POLL_S)

    async def _attach(self) -> bool:
        access = self._runtime.adopt()
        if access is None:
            return False
        try:
            client = TritonClient(access)
        except OSError:  # its folder is being made anew
            return False
        try:
            self._version = await client.version()
        except BackendError:
            await client.close()
            return False
        self._client, self._secret = client, access.secret
        return True

    async def stop(self) -> None:
        """End the connections; the server goes on."""
        client, self._client = self._client, None
        self._names.clear()
        if client is not None:
            await client.close()

    async def alive(self) -> bool:
        """Whether it is still the server that was reached; what it has loaded is looked at too.

        One that hangs is the first worker's to end: then it is another.
        """
        record = await asyncio.to_thread(lambda: self._runtime.record)
        if self._client is None or record is None or record.get("secret") != self._secret:
            return False
        try:
            await self.versions()
        except BackendError:
            return True
        return True

    async def load(self, model: ServedModel) -> None:
        """Wait until the first worker has loaded it and it answers; ServerDown when that takes too long."""
        deadline = asyncio.get_running_loop().time() + self._timeout_s
        while True:
            try:
                if model.name in await self.versions() and await ready(self, model, _PROOF_S):
                    return
            except ServerDown:
                if self._client is None or not await self.alive():
                    raise
            if asyncio.get_running_loop().time() > deadline:
                raise ServerDown(f"the first worker has not loaded {model.release}")
            await asyncio.sleep(_POLL_S)

    async def unload(self, name: str) -> None:
        """Nothing: the first worker does, once no worker needs it."""

    async def versions(self) -> dict[str, int]:
        """What is READY, by the names it was loaded under; of two loads of a model the later one."""
        client = self.client
        found = await client.index()
        inner_names = sorted((name for name, row in found.items() if row[0] == "READY"), key=load_number)
        names = {inner.partition(".")[0]: inner for inner in inner_names}
        left = [inner for name, inner in self._names.items() if names.get(name, inner) != inner]
        self._names = names
        for inner in left:  # whoever waits for a dead worker's answer asks the new one
            await client.drop(inner)
        return {name: found[inner][1] for name, inner in names.items()}
