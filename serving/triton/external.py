"""Triton servers that somebody else runs, as one InferenceServer: loaded and asked, never started or ended.

Each replica proves every release by its own answer, and goes on doing so; only those that did are asked.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from functools import partial

from ...core.errors import BackendError, OpswrightError
from ..server import Completion, Generation, ServedModel, ServerDown
from .access import RemoteAccess
from .questions import OwnQuestion, TritonQuestion
from .replica import Replica
from .shared_repository import SharedRepository

log = logging.getLogger(__name__)

_TEND_S = 0.5


class ExternalTriton:
    """All replicas of one model repository."""

    kind = "triton"

    def __init__(
        self,
        accesses: Callable[[], Sequence[RemoteAccess]],
        repository: SharedRepository,
        prefix: str,
        threads: Callable[[ServedModel], int],
        timeout_s: float,
        instances: int = 1,
        *,
        sweep_s: float = 30.0,
    ) -> None:
        self._questions = repository.questions
        self._accesses = accesses
        self._repository = repository
        self._prefix = prefix
        self._write = partial(_write, repository, threads, instances)
        self._timeout_s = timeout_s
        self._sweep_s = sweep_s
        self._loading: set[str] = set()
        self._replicas: list[Replica] = []
        self._models: dict[str, ServedModel] = {}
        self._pruned: set[str] | None = None  # what was used when the repository was pruned last
        self._left: set[str] = set()  # what an earlier gateway loaded and nobody asked for yet
        self._version = ""
        self._turn = itertools.count()
        self._tending: asyncio.Task[None] | None = None

    @property
    def version(self) -> str:
        """The servers' version; all of them where they differ."""
        return self._version

    async def start(self) -> None:
        """Reach the servers; BackendError when none answers. What is loaded there stays."""
        await self._close()
        self._replicas = [
            Replica(access, self._write, self._prefix, self._timeout_s, self._questions)
            for access in self._accesses()
        ]
        asked = (replica.client.version() for replica in self._replicas)
        found = await asyncio.gather(*asked, return_exceptions=True)
        versions = sorted({version for version in found if isinstance(version, str)})
        if not versions:
            why = "; ".join(f"{r.url}: {fault}" for r, fault in zip(self._replicas, found, strict=True))
            await self._close()
            raise BackendError(f"none of the Triton servers answers ({why}). They are not run by Opswright.")
        self._version = ", ".join(versions)
        listed = await asyncio.gather(*(r.found() for r in self._replicas), return_exceptions=True)
        self._left = {name for names in listed if isinstance(names, set) for name in names}
        self._tending = asyncio.create_task(self._tend())

    async def _close(self) -> None:
        replicas, self._replicas = self._replicas, []
        if self._tending is not None:
            self._tending.cancel()
            await asyncio.gather(self._tending, return_exceptions=True)
        await asyncio.gather(*(replica.close() for replica in replicas))
        self._models.clear()

    async def stop(self) -> None:
        """Take our models out and leave; the servers run on."""
        for name in list(self._models):
            await self.unload(name)
        await self._close()

    async def alive(self) -> bool:
        """Whether any of the servers answers."""
        asked = [asyncio.create_task(replica.client.live()) for replica in self._replicas]
        try:
            for answer in asyncio.as_completed(asked):  # one that hangs keeps nobody waiting
                if await answer:
                    return True
            return False
        finally:
            for task in asked:
                task.cancel()

    async def load(self, model: ServedModel) -> None:
        """Load on every server; returns when one has proven it, `missing` tells of the others.

        BackendError when none can.
        """
        self._loading.add(model.name)
        try:
            await self._load(model)
        finally:
            self._loading.discard(model.name)

    async def _load(self, model: ServedModel) -> None:
        works = [replica.begin(model) for replica in self._replicas]
        faults: list[BackendError] = []
        for work in asyncio.as_completed(works):
            try:
                await work
                self._models[model.name] = model
                self._left.discard(model.name)
                return
            except BackendError as error:
                faults.append(error)
        refused = next((fault for fault in faults if not isinstance(fault, ServerDown)), None)
        if refused is not None and model.name not in self._models:
            await self.unload(model.name)
        raise refused or next(iter(faults), ServerDown("no Triton server is reached"))

    async def unload(self, name: str) -> None:
        """Take a model out of every server that answers, and out of the repository."""
        self._models.pop(name, None)
        self._left.discard(name)
        await asyncio.gather(*(self._take_out(replica, name) for replica in self._replicas))

    async def _take_out(self, replica: Replica, name: str) -> None:
        for inner in {*await replica.take_out(name), f"{self._prefix}{name}"}:  # one that is gone lists none
            await asyncio.to_thread(self._repository.remove, inner)

    async def versions(self) -> dict[str, int]:
        """What a server has proven to serve, and what an earlier gateway left there (as version 0)."""
        proven = {name for replica in self._replicas for name in replica.serves}
        known = {name: model.version for name, model in self._models.items() if name in proven}
        return {**dict.fromkeys(self._left, 0), **known}

    def missing(self, name: str) -> Mapping[str, str]:
        """Each replica that does not serve a model, and why."""
        if name not in self._models:
            return {}
        return {r.url: r.missing.get(name, "") for r in self._replicas if name not in r.serves}

    async def infer(self, name: str, ask: Generation) -> Completion:
        """The whole answer of a replica; of the next one where that turns out to be gone."""
        fault, question = ServerDown(f"no Triton server serves {name}"), await self._question(name, ask)
        for replica, release in self._by_load(name):
            with _asking(replica):
                try:
                    answer = await replica.client.infer(replica.serves[name], question)
                except ServerDown as error:
                    fault = error
                    replica.lose(name, str(error))
                    continue
            if answer.release == release:
                return answer
            fault = ServerDown(f"{replica.url} answers as {answer.release}, not as {release}")
            replica.lose(name, str(fault))
        raise fault

    async def stream(self, name: str, ask: Generation) -> AsyncIterator[str | Completion]:
        """The pieces of a replica's answer; of the next one where that is gone before the first piece."""
        fault = ServerDown(f"no Triton server serves {name}")
        for replica, release in self._by_load(name):
            began, question = False, await self._question(name, ask)
            try:
                async with aclosing(_pieces_of(replica, release, name, question)) as pieces:
                    async for piece in pieces:
                        began = True
                        yield piece
                return
            except ServerDown as error:
                fault = error
                replica.lose(name, str(error))
                if began:
                    raise
        raise fault

    async def _question(self, name: str, ask: Generation) -> TritonQuestion:
        """The generation as the model is asked it; of one that is not loaded, as ours are."""
        model = self._models.get(name)
        return OwnQuestion(ask) if model is None else await self._questions.ask(model, ask)

    def _by_load(self, name: str) -> Iterator[tuple[Replica, str]]:
        """The replicas that serve a model, and its release: the least busy first, in turns where alike."""
        first = next(self._turn)
        turns = [self._replicas[(first + n) % len(self._replicas)] for n in range(len(self._replicas))]
        for replica in sorted(turns, key=lambda one: one.in_flight):
            if name in replica.serves and (model := self._models.get(name)) is not None:
                yield replica, model.release

    async def _tend(self) -> None:
        """Have each model proven again and again on each replica, and take out what nobody wants."""
        clock = asyncio.get_running_loop().time
        swept = clock()
        told: dict[tuple[str, str], str] = {}
        while True:
            await asyncio.sleep(_TEND_S)
            for replica in self._replicas:
                replica.look()
                for model in list(self._models.values()):
                    replica.tend(model)
                    self._tell(told, replica, model)
            if clock() - swept > self._sweep_s:
                wanted = self._wanted()
                await asyncio.gather(*(replica.sweep(wanted) for replica in self._replicas))
                await self._prune()
                swept = clock()

    def _wanted(self) -> set[str]:
        """The models that are served, are being loaded, or were left by an earlier gateway."""
        return {*self._models, *self._left, *self._loading}

    async def _prune(self) -> None:
        """Have the repository hold what is served and no more, once after each change of that."""
        used = self._used()
        if used == self._pruned:
            return
        try:
            gone = await asyncio.to_thread(
                self._repository.prune, self._prefix, lambda inner: inner in self._used()
            )
        except OpswrightError as error:
            log.warning("the model repository could not be pruned: %s", error)
            return
        self._pruned = used
        if gone:
            log.warning("taken out of the model repository, since nothing serves them: %s", ", ".join(gone))

    def _used(self) -> set[str]:
        """The names in Triton of what is wanted."""
        return {inner for name in self._wanted() for one in self._replicas for inner in one.names_of(name)}

    def _tell(self, told: dict[tuple[str, str], str], replica: Replica, model: ServedModel) -> None:
        """Log each change of what a replica lacks, once."""
        why = "" if model.name in replica.serves else replica.missing.get(model.name, "")
        if told.get((replica.url, model.name), "") == why:
            return
        told[replica.url, model.name] = why
        if why:
            log.error("%s does not serve %s: %s", replica.url, model.release, why)
        else:
            log.warning("%s serves %s again", replica.url, model.release)


def _write(
    repository: SharedRepository,
    threads: Callable[[ServedModel], int],
    instances: int,
    model: ServedModel,
) -> str:
    """Put a model into the repository; where that is."""
    repository.write(model, threads(model), instances)
    return repository.address


async def _pieces_of(
    replica: Replica, release: str, name: str, question: TritonQuestion
) -> AsyncGenerator[str | Completion]:
    """The pieces of one replica's answer; it serves the model no more where another release answered."""
    with _asking(replica):
        async with aclosing(replica.client.stream(replica.serves[name], question)) as pieces:  # type: ignore[type-var]
            async for piece in pieces:
                if isinstance(piece, Completion) and piece.release != release:
                    replica.lose(name, f"it answers as {piece.release}, not as {release}")
                yield piece


@contextmanager
def _asking(replica: Replica) -> Iterator[None]:
    replica.in_flight += 1
    try:
        yield
    finally:
        replica.in_flight -= 1
