"""A house to serve in: the real gateway and controller on a loop of their own, with a fake engine server."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest
import uvicorn

from opswright.core.artifact_refs import BundleRef, GuardrailRef
from opswright.core.errors import AskError, BackendError
from opswright.core.settings import load_settings
from opswright.core.settings.serving import ServingSettings
from opswright.core.workspace import Workspace
from opswright.engines import TextPiece
from opswright.serving.fleet import GatewayClient, ProbeReply
from opswright.serving.gateway.access import Access
from opswright.serving.gateway.app import build_app
from opswright.serving.gateway.controller import Controller
from opswright.serving.gateway.http_protocol import patient_protocol
from opswright.serving.gateway.metrics import GatewayMetrics
from opswright.serving.gateway.peers import Peers
from opswright.serving.gateway.tracing import Tracing
from opswright.serving.keys.shared_store import SharedStore, key_counts, key_registry
from opswright.serving.keys.store import KeyLookup, KeyStore
from opswright.serving.ports import bind
from opswright.serving.probes import Probe
from opswright.serving.rails import RailDecision
from opswright.serving.rollout import Rollout
from opswright.serving.server import Completion, Generation, ServedModel, ServerDown

T = TypeVar("T")
CONTROL = "control-token"
_PATIENCE_S = 120.0  # a busy machine may hold a thread up for long


class FakeServer:
    """An engine server in memory. `ails` says what is wrong with a release, by its number."""

    kind = "fake"

    def __init__(self) -> None:
        self.version = ""
        self.models: dict[str, ServedModel] = {}
        self.ails: dict[int, str] = {}
        self.fails_on: dict[int, str] = {}  # by release's number: it fails where a conversation says this
        self.asked: list[tuple[int, str]] = []  # by users
        self.generations: list[Generation] = []  # what users asked for, in full
        self.says: str | None = None  # what it answers in place of its own words
        self.proofs = 0  # asked by the controller itself, also of a release that was silent for seconds
        self.loads: list[int] = []
        self.starts = 0
        self.is_up = False
        self.cannot_start = False
        self.unload_s = 0.0
        self.left: dict[str, ServedModel] = {}  # what a server has that is taken over at its start
        self.lacking: dict[str, str] = {}  # replicas that lack every model, and why
        self.gate: asyncio.Event | None = None  # answers wait for it when it is set

    async def start(self) -> None:
        self.starts += 1
        if self.cannot_start:
            raise BackendError("no server binary here")
        self.models = dict(self.left)
        self.version, self.is_up = "1.0", True

    async def stop(self) -> None:
        self.is_up = False
        self.models.clear()

    async def alive(self) -> bool:
        return self.is_up

    async def load(self, model: ServedModel) -> None:
        self.loads.append(model.version)
        if not self.is_up:
            raise ServerDown("the fake server is down")
        if self.ails.get(model.version) == "load":
            raise BackendError("RuntimeError: the engine is broken")
        self.models[model.name] = model
        if self.ails.get(model.version) == "dead":
            del self.ails[model.version]

    async def unload(self, name: str) -> None:
        await asyncio.sleep(self.unload_s)
        self.models.pop(name, None)

    async def versions(self) -> dict[str, int]:
        return {name: model.version for name, model in self.models.items()}

    def missing(self, name: str) -> Mapping[str, str]:
        return self.lacking if name in self.models else {}

    async def infer(self, name: str, ask: Generation) -> Completion:
        if not self.is_up or name not in self.models:
            raise ServerDown(f"{name} is not there")
        model = self.models[name]
        ail = self.ails.get(model.version)
        if is_proof := "ready?" in ask.messages:
            self.proofs += 1
        else:
            self.asked.append((model.version, ask.messages))
            self.generations.append(ask)
        if ail == "dead" or ("poison" in ask.messages and not is_proof):
            raise ServerDown("its worker is gone")
        is_failing = ail == "error" or self.fails_on.get(model.version, "\0") in ask.messages
        if is_failing and not is_proof:
            raise BackendError("the engine failed")
        if ail == "slow" and not is_proof:
            await asyncio.sleep(0.1)
        if self.gate is not None and not is_proof:
            await self.gate.wait()
        if "too long" in ask.messages:
            raise AskError("the prompt has 999 tokens; this engine takes 255")
        release = "v9-somebody" if ail == "liar" and not is_proof else model.release
        if ail == "garbage" and not is_proof and "question" in ask.messages:
            return Completion("\ufffd\ufffd", "stop", 4, 3, model.release)
        text = "the secret" if "tell me" in ask.messages else f" answer of {model.version}"
        text = self.says if self.says is not None and not is_proof else text
        return Completion(text, "stop", 4, 3, release)

    async def stream(self, name: str, ask: Generation) -> AsyncIterator[str | Completion]:
        whole = await self.infer(name, ask)
        for word in whole.text.split(" ")[1:]:
            told = [{"token": f" {word}", "logprob": -0.5, "bytes": None, "top_logprobs": []}]
            yield f" {word}" if ask.top_logprobs is None else TextPiece(f" {word}", told)
        yield Completion("", whole.finish_reason, whole.tokens_in, whole.tokens_out, whole.release)


class FakeRails:
    """Blocks bombs on the way in and secrets on the way out; `breaks` makes it fail."""

    def __init__(self, folder: Path) -> None:
        self.breaks = (folder / "breaks").exists()

    async def acheck_conversation(self, turns: Sequence[tuple[str, str]]) -> RailDecision:
        if self.breaks:
            return RailDecision(False, "error", "try later", error="RuntimeError: rail")
        return RailDecision(False, "topics", "not here") if "bomb" in str(turns) else RailDecision(True)

    async def acheck_output(self, text: str) -> RailDecision:
        return RailDecision(False, "pii", "withheld") if "secret" in text else RailDecision(True)


@dataclass
class House:
    """A workspace that is being served, and the calls tests make."""

    workspace: Workspace
    loop: asyncio.AbstractEventLoop
    server: FakeServer = field(default_factory=FakeServer)
    token: str | None = None
    peers: Peers | None = None  # the other workers

    def open(self, *, starts: bool = True) -> None:
        async def start() -> None:
            self.controller = Controller(self.workspace, self.server, GatewayMetrics(), FakeRails, self.peers)
            self.store = SharedStore.of(self.workspace)
            self.keys = key_registry(self.workspace)
            self.usage = key_counts(self.workspace)
            known: KeyLookup = KeyStore(self.workspace)
            counts = self.usage
            if self.store is not None:
                await self.store.start()
                known, counts = self.store.keys, self.store.usage
            access = Access(CONTROL, self.token, keys=known, usage=counts, store=self.store)
            self.tracing = Tracing.of(self.workspace.settings.serving.tracing)
            self.app = build_app(self.controller, access, {"reason": "a test"}, self.tracing)
            if starts:
                await self.controller.start()

        self.run(start())

    def close(self) -> None:
        self.run(self.controller.stop())
        if self.store is not None:
            self.run(self.store.stop())
        if self.tracing is not None:
            self.tracing.close()
        self.usage.close()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.begin(work).result(timeout=_PATIENCE_S)

    def begin(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        return asyncio.run_coroutine_threadsafe(work, self.loop)

    async def call(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str] | None = None,
        *,
        body: Any = None,
        content: bytes | None = None,
    ) -> httpx.Response:
        transport = httpx.ASGITransport(app=self.app, raise_app_exceptions=False)
        base = "http://127.0.0.1:8700"
        async with httpx.AsyncClient(transport=transport, base_url=base, trust_env=False) as client:
            return await client.request(method, path, json=body, content=content, headers=dict(headers or {}))

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> httpx.Response:
        return self.run(self.call("GET", path, headers))

    def chat(self, text: str, headers: Mapping[str, str] | None = None, **fields: Any) -> httpx.Response:
        body = {"model": "support", "messages": [{"role": "user", "content": text}], **fields}
        return self.run(self.call("POST", "/v1/chat/completions", headers, body=body))

    def rollout(self, endpoint: str = "support", **options: Any) -> Rollout:
        return Rollout(self.workspace, endpoint, HouseFleet(self), timeout_s=_PATIENCE_S, **options)

    def bundle(self, name: str) -> BundleRef:
        with self.workspace.artifacts.staging() as stage:
            (stage / "engine").mkdir()
            (stage / "engine" / "model.onnx").write_text(f"weights of {name}")
            (stage / "manifest.json").write_text("{}")
            return self.workspace.artifacts.save(BundleRef, stage, {"target": "onnx-int8"})

    def guardrails(self, *, breaks: bool = False) -> GuardrailRef:
        with self.workspace.artifacts.staging() as stage:
            (stage / "config").mkdir()
            (stage / "config" / ("breaks" if breaks else "config.yml")).write_text("models: []")
            return self.workspace.artifacts.save(GuardrailRef, stage, {"must_block": 1})

    def wait(self, holds: Callable[[], bool], what: str) -> None:
        """Until it holds; a test that waits for longer has found a fault."""
        deadline = time.monotonic() + _PATIENCE_S
        while not holds():
            assert time.monotonic() < deadline, what
            time.sleep(0.01)

    @contextmanager
    def on_a_socket(self) -> Iterator[tuple[str, int]]:
        """Serve over HTTP, as the gateway process does; host and port."""
        listener = bind("127.0.0.1", 0)
        protocol = patient_protocol(self.workspace.settings.serving.headers_timeout_s)
        config = uvicorn.Config(self.app, lifespan="off", log_level="warning", http=protocol)
        server = uvicorn.Server(config)
        done = self.begin(server.serve(sockets=[listener]))
        try:
            yield listener.getsockname()
        finally:
            server.should_exit = True
            done.result(timeout=_PATIENCE_S)


class HouseFleet(GatewayClient):
    """The gateway as rollout sees it, asked without a socket."""

    def __init__(self, house: House) -> None:
        super().__init__(house.workspace)
        self.house = house

    def start(self) -> str:
        return "http://house"

    def ask(self, endpoint: str, asked: str | Probe, **wishes: Any) -> ProbeReply:
        """Latencies are those that the fake server is said to have: a busy machine's decide nothing."""
        reply = super().ask(endpoint, asked, **wishes)
        slow = tuple(f"v{number}-" for number, ail in self.house.server.ails.items() if ail == "slow")
        return replace(reply, latency_ms=40.0 if reply.release.startswith(slow) else 2.0)

    def _call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        sent = {"x-opswright-control": CONTROL, **(headers or {})}
        return self.house.run(self.house.call(method, path, sent, body=body))


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    yield loop
    loop.call_soon_threadsafe(loop.stop)
    thread.join(timeout=_PATIENCE_S)
    loop.close()


@pytest.fixture
def house(workspace: Workspace, loop: asyncio.AbstractEventLoop) -> Iterator[House]:
    house = House(workspace, loop)
    house.open()
    yield house
    house.close()


@pytest.fixture
def reopened(house: House) -> Callable[..., None]:
    """Opens the house again with other settings of its serving."""

    def again(**serving: object) -> None:
        house.close()
        settings = load_settings(
            home=house.workspace.root, actor="tester", serving=ServingSettings.model_validate(serving)
        )
        house.workspace = Workspace(settings)
        house.open()

    return again


@pytest.fixture
def served(house: House) -> House:
    """One release without rails, of which nobody has asked anything yet."""
    house.rollout().deploy(house.bundle("one"), None, 100)
    house.server.asked.clear()
    house.server.generations.clear()
    return house
