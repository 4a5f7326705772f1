"""A Triton elsewhere that loads its one release itself, as on a cluster: it is asked, never changed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing

from ...core.errors import BackendError
from ...engines.triton_text import RELEASE
from ..server import PROOF, Completion, Generation, ServedModel, ServerDown
from .access import SECRET_HEADER, RemoteAccess
from .client import TritonClient
from .questions import OwnQuestion, QuestionMaker, TritonQuestion


class PreloadedTriton:
    """An InferenceServer whose models come and go with its pods: nothing is loaded or unloaded from here.

    Answers name the release, so one of another release counts for nothing, whichever pod gave it. A model of
    other people's code names none: then its config must, at each proof, in whichever pod that reaches.
    """

    kind = "triton"

    def __init__(self, url: str, secret: str, questions: QuestionMaker | None = None) -> None:
        self._url = url
        self._secret = secret
        self._questions = questions or QuestionMaker()
        self._models: dict[str, tuple[ServedModel, str]] = {}  # by our name: what it is, its name there
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
        there = await self.versions()
        name = model.name
        if self._questions.text_model(model) is not None:
            name = next(iter([one for one in there if await self._states(one) == model.release]), "")
        if name not in there:
            raise ServerDown(f"no pod of Triton at {self._url} has {model.name}; it loads at their start")
        self._models[model.name] = model, name

    async def _states(self, name: str) -> str:
        """The release that a model's config names."""
        return (await self.client.stated(name)).get(RELEASE, "")

    async def unload(self, name: str) -> None:
        """Nothing: it goes with its pods."""
        self._models.pop(name, None)

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
        inner, question = await self._question(name, ask)
        if ask is PROOF and not question.names_release:
            model, _ = self._models[name]
            if (stated := await self._states(inner)) != model.release:
                what = stated or "no release"
                raise BackendError(f"the config of {inner} says that it is {what}, not {model.release}")
        return await self.client.infer(inner, question)

    async def stream(self, name: str, ask: Generation) -> AsyncIterator[str | Completion]:
        """The answer's pieces as the engine makes them."""
        inner, question = await self._question(name, ask)
        async with aclosing(self.client.stream(inner, question)) as pieces:  # type: ignore[type-var]
            async for piece in pieces:
                yield piece

    async def _question(self, name: str, ask: Generation) -> tuple[str, TritonQuestion]:
        """A model's name there, and the generation as it is asked; one not looked at is asked as ours are."""
        known = self._models.get(name)
        if known is None:
            return name, OwnQuestion(ask)
        return known[1], await self._questions.ask(known[0], ask)
