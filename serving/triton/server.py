"""Triton as an InferenceServer: the process, its repository and a client, started and healed as one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from ...core.errors import BackendError
from ..server import ServedModel
from .client import TritonClient
from .environment import Install
from .named_models import NamedModels
from .repository import ModelRepository
from .runtime import ModelProcess, TritonRuntime

_SILENT = 3  # looks in a row without an answer, after which a server counts as hung
_POLL_S = 0.02
_UNLOAD_S = 3.0


class TritonServer(NamedModels):
    """A real tritonserver on this machine, one Triton model for each release."""

    kind = "triton"

    def __init__(
        self,
        folder: Path,
        log: Path,
        locate: Callable[[], Install],
        threads: Callable[[ServedModel], int],
        timeout_s: float,
        instances: Callable[[ServedModel], int] = lambda model: 1,
    ) -> None:
        super().__init__()
        self.runtime = TritonRuntime(folder, log)
        self.repository = ModelRepository(self.runtime.repository)
        self._locate = locate
        self._threads = threads
        self._timeout_s = timeout_s
        self._instances = instances
        self._client: TritonClient | None = None
        self._version = ""
        self._loads = 0
        self._workers: dict[
            str, list[ModelProcess]
        ] = {}  # by name in Triton, as they were when it was loaded
        self._silent = 0  # looks in a row that it left unanswered
        self._leaving: set[asyncio.Task[None]] = set()

    @property
    def version(self) -> str:
        """The server's version, known once it has started."""
        return self._version

    async def start(self) -> None:
        """Start with an empty repository; the first time, a living server of this workspace is taken over.

        So a gateway that died costs no release its place in memory: what is loaded stays loaded.
        """
        if self._client is None and await self._adopt():
            return
        await self.stop()
        self._silent = 0
        install = await asyncio.to_thread(self._locate)
        self.repository.clear()
        access = await asyncio.to_thread(self.runtime.launch, install)
        self._client = TritonClient(access)
        await self._come_up()
        self._version = await self._client.version()

    async def _adopt(self) -> bool:
        """Take over a server that an earlier gateway left, with the models it has; whether there was one."""
        access = self.runtime.adopt()
        if access is None:
            return False
        client = TritonClient(access)
        try:
            version, found = await client.version(), await client.index()
        except BackendError:
            await client.close()
            return False
        self._client, self._version = client, version
        for inner in sorted((name for name, row in found.items() if row[0] == "READY"), key=load_number):
            self._names[inner.partition(".")[0]] = inner  # of two the one that was loaded later
            self._loads = max(self._loads, load_number(inner))
            self._workers[inner] = await asyncio.to_thread(self.runtime.workers, inner)
        at_work = [name for name, row in found.items() if row[0] in ("READY", "LOADING", "UNLOADING")]
        self.repository.prune(at_work)  # a gateway that was killed may have left more
        return True

    async def _come_up(self) -> None:
        deadline = asyncio.get_running_loop().time() + self._timeout_s
        while self.runtime.exited() is None:
            if await self.client.live():
                return
            if asyncio.get_running_loop().time() > deadline:
                raise self.runtime.fail(f"tritonserver did not answer within {self._timeout_s:.0f} s")
            await asyncio.sleep(_POLL_S)
        raise self.runtime.fail(
            f"tritonserver ended with exit code {self.runtime.exited()} before it answered; its socket "
            f"needs a local file system ({self.runtime.folder})"
        )

    async def stop(self) -> None:
        """Unload (a server with models loaded takes seconds longer to end), end it, clean up."""
        client, self._client = self._client, None
        for task in self._leaving:
            task.cancel()
        await asyncio.gather(*self._leaving, return_exceptions=True)
        if client is not None:
            unloads = (client.unload(name, _UNLOAD_S) for name in self._names.values())
            await asyncio.gather(*unloads, return_exceptions=True)  # it is ended below in any case
            await client.close()
        self._names.clear()
        self._workers.clear()
        await asyncio.to_thread(self.runtime.clear)

    async def alive(self) -> bool:
        """Whether the process we started is there and answers.

        Only a server that stays silent several times in a row counts as hung: on a busy machine an answer may
        come late, and a restart costs every release its place in memory.
        """
        if self._client is None or self.runtime.exited() is not None:
            return False
        self._silent = 0 if await self._client.live() else self._silent + 1
        return self._silent < _SILENT

    async def load(self, model: ServedModel) -> None:
        """Write the model's folder and load it; a model that fails leaves no folder behind.

        Loading again takes a new Triton name: a model whose stub died with a request in it never unloads.
        """
        old = self._names.get(model.name)
        self._loads += 1
        name = model.name if old is None else f"{model.name}.{self._loads}"
        threads, instances = self._threads(model), self._instances(model)
        await asyncio.to_thread(self.repository.write, replace(model, name=name), threads, instances)
        try:
            await self.client.load(name, self._timeout_s)
        except BackendError as error:
            self.repository.remove(name)
            raise type(error)(str(error), log=self.runtime.log) from error
        self.runtime.close_memory()
        self._names[model.name] = name
        self._workers[name] = await asyncio.to_thread(self.runtime.workers, name)
        if old is not None:
            await self.client.drop(old)
            self._leaving.add(leaving := asyncio.create_task(self._give_up(old)))
            leaving.add_done_callback(self._leaving.discard)

    async def unload(self, name: str) -> None:
        """Unload, wait until it is gone, remove its folder."""
        if (found := self._names.pop(name, None)) is not None:
            await self._take_out(found, self._timeout_s)

    async def _give_up(self, name: str) -> None:
        """Free what a model holds whose worker died or hangs: it may never unload."""
        await asyncio.to_thread(self.runtime.end_workers, name, self._workers.pop(name, ()))
        with suppress(BackendError):
            await self._take_out(name, _UNLOAD_S)

    async def _take_out(self, name: str, timeout_s: float) -> None:
        try:
            await self.client.unload(name, timeout_s)
        finally:
            await self.client.drop(name)
            self.repository.remove(name)
            self._workers.pop(name, None)

    async def versions(self) -> dict[str, int]:
        """What is READY, by the names it was loaded under."""
        found = await self.client.index()
        return {
            name: found[inner][1]
            for name, inner in self._names.items()
            if found.get(inner, ("",))[0] == "READY"
        }


def load_number(inner: str) -> int:
    """Which load of this server a Triton name is of; 0 for a model's first."""
    return int(inner.partition(".")[2] or 0)
