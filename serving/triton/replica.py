"""One Triton server that somebody else runs: what it has proven to serve, and why it lacks the rest."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Set
from contextlib import suppress
from dataclasses import replace

from ...core.errors import BackendError, OpswrightError
from ...engines.triton_text import RELEASE
from ..server import PROOF, ServedModel, ServerDown
from .access import RemoteAccess
from .client import TritonClient
from .questions import QuestionMaker

_PROOF_S = 10.0
_PROVE_AGAIN_S = 5.0
_LOOK_S = 2.0
_SILENT = 2
_RETRY_S = 3.0
_UNLOAD_S = 3.0
_HINTS = {
    "failed to poll from model repository": "It must read the repository that is written here: {}",
    "No module named": "Its Python needs what the engine runs with: pip install onnxruntime-genai",
}


class Replica:
    """A server's client, and its models by the names that the gateway knows."""

    def __init__(
        self,
        access: RemoteAccess,
        write: Callable[[ServedModel], str],
        prefix: str,
        timeout_s: float,
        questions: QuestionMaker,
    ) -> None:
        self.url = access.url
        self.client = TritonClient(access)
        self.in_flight = 0
        self.serves: dict[str, str] = {}  # name to its name in Triton
        self.missing: dict[str, str] = {}  # name to why it is not served, "" while it loads
        self._write = write  # into the repository; where that is
        self._prefix = prefix
        self._questions = questions
        self._timeout_s = timeout_s
        self._dead: dict[str, int] = {}  # how many names of a model no longer answer
        self._due: dict[str, float] = {}  # when a model is proven or loaded again, on the monotonic clock
        self._work: dict[str, asyncio.Task[None]] = {}
        self._looking: asyncio.Task[None] | None = None
        self._silent = 0  # looks in a row that were not answered

    def begin(self, model: ServedModel) -> asyncio.Task[None]:
        """Load a model and have it answer, unless that is under way; the task raises why it does not."""
        work = self._work.get(model.name)
        if work is None or work.done():
            if model.name not in self.serves:
                self.missing.setdefault(model.name, "")
            work = self._work[model.name] = asyncio.create_task(self._bring(model))
            work.add_done_callback(lambda task: task.cancelled() or task.exception())  # it is in `missing`
        return work

    def tend(self, model: ServedModel) -> None:
        """Have a model proven again, or loaded again where it is missing, when its time has come."""
        if time.monotonic() > self._due.get(model.name, 0.0):
            self.begin(model)

    def look(self) -> None:
        """Look whether the server itself answers, unless that is under way; where not, its models are lost.

        That costs it no inference, so a busy server answers; one that hangs is silent each time.
        """
        if self.serves and (self._looking is None or self._looking.done()):
            self._looking = asyncio.create_task(self._look())

    async def _look(self) -> None:
        self._silent = 0 if await self.client.live(_LOOK_S) else self._silent + 1
        if self._silent >= _SILENT:
            self._silent = 0
            for name, inner in list(self.serves.items()):
                await self._give_up(name, inner, f"it gives no sign of life within {_LOOK_S:.0f} s")
                self._due[name] = 0.0

    def lose(self, name: str, why: str) -> None:
        """Note that a model did not answer: nobody asks it here until it has proven itself again."""
        if self.serves.pop(name, None) is not None:
            self.missing[name] = why
            self._due[name] = 0.0

    async def _bring(self, model: ServedModel) -> None:
        inner = self.serves.get(model.name) or self._inner(model.name)
        try:
            if not await self._answers(model, inner):
                inner = self._inner(model.name)
                repository = await asyncio.to_thread(self._write, replace(model, name=inner))
                await self._load(inner, repository)
                await self._prove(model, inner)
            self.serves[model.name] = inner
            self.missing.pop(model.name, None)
        except OpswrightError as error:
            await self._give_up(model.name, inner, str(error))
            raise
        finally:
            pause_s = _PROVE_AGAIN_S if model.name in self.serves else _RETRY_S
            self._due[model.name] = time.monotonic() + pause_s

    async def _give_up(self, name: str, inner: str, why: str) -> None:
        """Note why a model is not served, and let those go who wait for it."""
        self.serves.pop(name, None)
        self.missing[name] = why
        await self.client.drop(inner)

    async def _answers(self, model: ServedModel, inner: str) -> bool:
        """Whether a model that the server has READY is the very release.

        One that is READY and does not answer has a dead worker: that name is not used again.
        """
        if (await self.client.index()).get(inner, ("",))[0] != "READY":
            return False
        try:
            await self._prove(model, inner)
        except BackendError as error:
            await self._give_up(model.name, inner, str(error))
            self._dead[model.name] = self._dead.get(model.name, 0) + 1
            return False
        return True

    async def _load(self, inner: str, repository: str) -> None:
        try:
            await self.client.load(inner, self._timeout_s)
        except ServerDown:
            raise
        except BackendError as error:
            for mark, hint in _HINTS.items():
                if mark in str(error):
                    raise BackendError(f"{error}. {hint.format(repository)}") from error
            raise

    async def _prove(self, model: ServedModel, inner: str) -> None:
        """One inference; BackendError unless the very release answers.

        A model whose answers do not say is asked for its config besides, in which its release stands.
        """
        question = await self._questions.ask(model, PROOF)
        try:
            answer = await asyncio.wait_for(self.client.infer(inner, question), _PROOF_S)
        except TimeoutError as error:
            raise ServerDown(f"no answer to an inference within {_PROOF_S:.0f} s") from error
        if answer.release != model.release:
            raise BackendError(f"it answers as {answer.release}, not as {model.release}")
        if not question.names_release:
            stated = (await self.client.stated(inner)).get(RELEASE, "")
            if stated != model.release:
                raise BackendError(
                    f"its config says that it is {stated or 'no release'}, not {model.release}"
                )

    def _inner(self, name: str) -> str:
        """The name in Triton; another one after a model's worker died, which would never unload."""
        dead = self._dead.get(name, 0)
        return f"{self._prefix}{name}.{dead + 1}" if dead else f"{self._prefix}{name}"

    def names_of(self, name: str) -> set[str]:
        """The names in Triton by which a model is served here, or would be loaded next."""
        return {self.serves.get(name, ""), self._inner(name)}

    async def found(self) -> set[str]:
        """The models of this workspace that the server has, by the gateway's names."""
        index = await self.client.index()
        ready = [inner for inner, row in index.items() if row[0] == "READY"]
        return {self._outer(inner) for inner in ready if inner.startswith(self._prefix)}

    async def take_out(self, name: str) -> list[str]:
        """Unload a model under every name it has here; the names. A server that is gone is left alone."""
        if (work := self._work.pop(name, None)) is not None:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)
        for known in (self.serves, self.missing, self._dead, self._due):
            known.pop(name, None)
        return await self._unload_all(lambda inner: self._outer(inner) == name)

    async def sweep(self, wanted: Set[str]) -> None:
        """Unload what nobody wants, and the names that a dead worker left."""
        await self._unload_all(lambda inner: self._is_over(inner, wanted))

    def _is_over(self, inner: str, wanted: Set[str]) -> bool:
        name = self._outer(inner)
        return name not in wanted or self.serves.get(name, inner) != inner

    async def _unload_all(self, is_over: Callable[[str], bool]) -> list[str]:
        """Unload those of this workspace's models that are over; what they are called in Triton."""
        over = []
        with suppress(BackendError):  # of a server that is gone; it is swept when it is back
            for inner, row in (await self.client.index()).items():
                if inner.startswith(self._prefix) and is_over(inner):
                    over.append(inner)
                    await self.client.drop(inner)
                    if row[0] == "READY":
                        await self.client.unload(inner, _UNLOAD_S)
        return over

    def _outer(self, inner: str) -> str:
        return inner.removeprefix(self._prefix).partition(".")[0]

    async def close(self) -> None:
        """End what is under way and the connections; the server and what it has loaded stay."""
        works = [*self._work.values(), *([self._looking] if self._looking is not None else [])]
        for work in works:
            work.cancel()
        await asyncio.gather(*works, return_exceptions=True)
        await self.client.close()
