"""Makes what is served like what is desired: loads, routes, drains, heals.

The one owner of the engine server; in a gateway of several workers the first one's is, and the others follow
it. It reads each endpoint's desired state when that changes. Traffic moves only when every release that gets
some has answered an inference; a release leaves when its last request is answered, in every worker.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ...core.errors import AskError, BackendError, OpswrightError
from ...core.workspace import Workspace
from ..releases import EndpointState, Release, desired_path, endpoint_names, read_state
from ..server import InferenceServer, ServedModel, ServerDown, ready
from ..workers import GatewayWorker
from .feedback import FeedbackLog
from .metrics import GatewayMetrics
from .peers import Peers
from .request_queue import RequestQueue
from .traffic_log import TrafficLog

if TYPE_CHECKING:
    from ..rails import RailDecision

log = logging.getLogger(__name__)

_RECONCILE_S = 0.05  # between two comparisons with the desired states
_ALIVE_S = 0.5  # between two looks at the server
_IDLE_PROOF_S = 5.0  # a release that answered nothing for so long is asked
_PROOF_S = 10.0
_RETRY_S = 3.0
_DRAIN_S = 11.0  # that the other workers get: as long as the gateway gives requests, and a moment


class RailChecker(Protocol):
    """What a release's guardrail config says of a text; load_rails makes it."""

    def acheck_conversation(self, turns: Sequence[tuple[str, str]]) -> Awaitable[RailDecision]:
        """Whether a conversation may go to the model: each (role, text) that was said in it."""

    def acheck_output(self, text: str) -> Awaitable[RailDecision]:
        """Whether an answer may go to the user."""


def shipped_rails(folder: Path) -> RailChecker:
    """The rails of a guardrail artifact's config folder."""
    from ..rails import load_rails

    return load_rails(folder)


@dataclass
class LoadedRelease:
    """One release as it is served here."""

    release: Release
    model: ServedModel
    rails: RailChecker | None = None
    answers: asyncio.Event = field(default_factory=asyncio.Event)
    error: str | None = None  # why it cannot be served, as far as that does not depend on the server's life
    in_flight: int = 0
    proven: float = 0.0  # when it last answered, on the monotonic clock
    retry_at: float = 0.0
    work: asyncio.Task[None] | None = None  # its proof or load under way

    def answered(self) -> None:
        """Note that it answered just now."""
        self.proven = time.monotonic()


@dataclass
class Endpoint:
    """One endpoint: the state traffic follows, the one that is desired, and the releases that are loaded."""

    name: str
    traffic: TrafficLog
    feedback: FeedbackLog
    applied: EndpointState
    desired: EndpointState
    queue: RequestQueue
    stamp: tuple[int, int, int] | None = None
    fault: str | None = None
    loaded: dict[str, LoadedRelease] = field(default_factory=dict)
    leaving: dict[str, asyncio.Task[None]] = field(default_factory=dict)


class Controller:
    """Everything that is served from one workspace by one process."""

    def __init__(
        self,
        workspace: Workspace,
        server: InferenceServer,
        metrics: GatewayMetrics,
        load_rails: Callable[[Path], RailChecker] = shipped_rails,
        peers: Peers | None = None,
    ) -> None:
        """peers: the other workers; where they share the server, the first one owns it."""
        self.workspace = workspace
        self.server = server
        self.metrics = metrics
        self.endpoints: dict[str, Endpoint] = {}
        self.server_fault: str | None = None
        self.knows_endpoints = False  # whether it has read yet which there are
        self._load_rails = load_rails
        self._peers = peers or Peers(workspace, GatewayWorker())
        self._is_alone = server.kind == "in-process" or self._peers.worker.count == 1
        self._owns_server = self._is_alone or self._peers.worker.number == 0
        self._wake = asyncio.Event()
        self._loop: asyncio.Task[None] | None = None
        self._checked_at = 0.0
        self._started = False
        self._has_strays = False  # whether the server may have models that nobody here knows

    async def start(self) -> None:
        """Begin to serve; what is desired may take a moment longer to answer."""
        self._loop = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Stop serving and end the server."""
        endpoints = list(self.endpoints.values())
        tasks = [self._loop, *(loaded.work for endpoint in endpoints for loaded in endpoint.loaded.values())]
        tasks += [task for endpoint in endpoints for task in endpoint.leaving.values()]
        running = [task for task in tasks if task is not None]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        if self._owns_server and not self._is_alone:
            await self._peers.ended(_DRAIN_S)  # until then they need it
        await self.server.stop()
        await self._peers.close()
        for endpoint in endpoints:
            endpoint.traffic.close()
            endpoint.feedback.close()

    @property
    def in_flight(self) -> int:
        """Requests of all releases that are being answered."""
        return sum(
            loaded.in_flight for endpoint in self.endpoints.values() for loaded in endpoint.loaded.values()
        )

    @property
    def is_settled(self) -> bool:
        """Whether it knows what there is, and all that gets traffic answers."""
        routed = (
            endpoint.loaded.get(release)
            for endpoint in self.endpoints.values()
            for release in endpoint.applied.routes()[:2]
            if release is not None
        )
        return self.knows_endpoints and all(one is not None and one.answers.is_set() for one in routed)

    def missing(self) -> dict[tuple[str, str], int]:
        """How many replicas of the server lack a release that is served, by endpoint and release."""
        return {
            (endpoint.name, loaded.release.id): len(self.server.missing(loaded.model.name))
            for endpoint in self.endpoints.values()
            for loaded in endpoint.loaded.values()
        }

    def loaded_release(self, endpoint: Endpoint, release: str) -> LoadedRelease:
        """A release of an endpoint that is, or is about to be, served; AskError when it is not."""
        if release not in endpoint.loaded:
            raise AskError(f"release {release} of endpoint {endpoint.name} is not loaded.")
        return endpoint.loaded[release]

    def mark_unhealthy(self, loaded: LoadedRelease) -> None:
        """A release did not answer: hold its requests, and look at it now."""
        loaded.answers.clear()
        loaded.retry_at = 0.0
        self._checked_at = 0.0
        self._wake.set()

    async def _run(self) -> None:
        while True:
            try:
                await self._reconcile()
            except OpswrightError as error:
                self.server_fault = str(error)
                log.error("%s", error)
                await asyncio.sleep(_RETRY_S)
            except Exception:
                log.exception("the controller met an error of its own and goes on")
                await asyncio.sleep(_RETRY_S)
            try:
                await asyncio.wait_for(self._wake.wait(), _RECONCILE_S)
            except TimeoutError:
                continue
            self._wake.clear()

    async def _reconcile(self) -> None:
        """Compare once: each endpoint's desired state, then the server, then each release."""
        for name in endpoint_names(self.workspace):
            self._read(name)
        self.knows_endpoints = True
        if time.monotonic() - self._checked_at > _ALIVE_S:
            if not (self._started and await self.server.alive()):
                await self._bring_up()
            for endpoint in list(self.endpoints.values()):
                await asyncio.to_thread(endpoint.traffic.sync)
                await asyncio.to_thread(endpoint.feedback.sync)
            self._checked_at = time.monotonic()
        await self._take_out_strays()
        for endpoint in self.endpoints.values():
            for loaded in endpoint.loaded.values():
                if self._is_due(loaded) and (loaded.work is None or loaded.work.done()):
                    loaded.work = asyncio.create_task(self._prove(loaded))
            self._apply(endpoint)
        if idle := [(endpoint, one) for endpoint in self.endpoints.values() for one in _idle(endpoint)]:
            held = await self._held()
            for endpoint, loaded in idle:
                if held is not None and (endpoint.name, loaded.release.id) not in held:
                    self._let_go(endpoint, loaded)

    async def _held(self) -> Set[tuple[str, str]] | None:
        """What other workers still need of the server that this one owns, by endpoint and release.

        None: one that runs does not say, so nothing may be taken out.
        """
        owns_for_others = self._owns_server and not self._is_alone
        return await self._peers.holding() if owns_for_others else frozenset()

    def _let_go(self, endpoint: Endpoint, loaded: LoadedRelease) -> None:
        """Take a release out, unless it came to be needed since it was found idle."""
        if loaded in _idle(endpoint):
            del endpoint.loaded[loaded.release.id]
            endpoint.leaving[loaded.release.id] = asyncio.create_task(self._take_out(endpoint, loaded))

    async def _bring_up(self) -> None:
        """Start the server; after a death, everything it had must be loaded again."""
        for endpoint in self.endpoints.values():
            for loaded in endpoint.loaded.values():
                loaded.answers.clear()
                loaded.retry_at = 0.0
        if self._started and self._owns_server:
            log.warning("the %s server is gone; starting it again", self.server.kind)
            self.metrics.restarts.inc()
        await self.server.start()
        self._has_strays = self._owns_server  # of one that was taken over
        self._started = True
        self.server_fault = None

    async def _take_out_strays(self) -> None:
        """Unload what nobody here knows, once no other worker needs what is not known here."""
        if not self._has_strays:
            return
        held = await self._held()
        known = {(one.name, loaded) for one in self.endpoints.values() for loaded in one.loaded}
        if held is None or held - known:
            return
        models = {loaded.model.name for one in self.endpoints.values() for loaded in one.loaded.values()}
        for name in await self.server.versions():
            if name not in models:
                await self.server.unload(name)
        self._has_strays = False

    def _read(self, name: str) -> None:
        """Take over an endpoint's desired state when its file changed."""
        try:
            found = desired_path(self.workspace, name).stat()
        except FileNotFoundError:
            return
        stamp = (found.st_mtime_ns, found.st_ino, found.st_size)
        endpoint = self.endpoints.get(name)
        if endpoint is not None and endpoint.stamp == stamp:
            return
        try:
            desired = read_state(self.workspace, name)
        except OpswrightError as error:
            if endpoint is not None:  # go on with what was read last
                endpoint.stamp, endpoint.fault = stamp, str(error)
            log.error("%s", error)
            return
        if endpoint is None:
            logs = TrafficLog.of(self.workspace, name), FeedbackLog.of(self.workspace, name)
            queue = RequestQueue(self.workspace.settings.serving.queue, worker=self._peers.worker)
            self.metrics.watch_queue(name, lambda: queue.depth)
            endpoint = self.endpoints[name] = Endpoint(name, *logs, desired, desired, queue)
        endpoint.stamp, endpoint.desired, endpoint.fault = stamp, desired, None
        for release in desired.releases:
            if release.id in endpoint.leaving:
                endpoint.stamp = None  # it comes back when it has left; read again
            elif release.id not in endpoint.loaded:
                endpoint.loaded[release.id] = LoadedRelease(release, self._model(name, release))

    def _model(self, endpoint: str, release: Release) -> ServedModel:
        engine = self.workspace.artifacts.folder(release.bundle) / "files" / "engine"
        name = f"{endpoint}-v{release.number}"
        return ServedModel(name, release.number, engine, release.id, release.engine)

    def _is_due(self, loaded: LoadedRelease) -> bool:
        """Whether a release must answer an inference: it is new, was found dead, or has been silent."""
        moment = time.monotonic()
        return moment > loaded.proven + _IDLE_PROOF_S if loaded.answers.is_set() else moment > loaded.retry_at

    async def _prove(self, loaded: LoadedRelease) -> None:
        """Have a release answer an inference, loading it when it does not."""
        try:
            if loaded.answers.is_set():
                if await ready(self.server, loaded.model, _PROOF_S):
                    loaded.answered()
                    return
                log.warning("release %s does not answer", loaded.release.id)
                loaded.answers.clear()
            await self._revive(loaded)
        except ServerDown as error:
            log.warning("release %s waits for the server: %s", loaded.release.id, error)
            self._checked_at = 0.0
        except OpswrightError as error:
            loaded.error = str(error)
            log.error("%s", error)
        except Exception as error:
            loaded.error = f"{type(error).__name__}: {error}"
            log.exception("release %s could not be loaded", loaded.release.id)
        loaded.retry_at = time.monotonic() + _RETRY_S

    async def _revive(self, loaded: LoadedRelease) -> None:
        """Load a release, unless it answers after all, and let its requests go on."""
        name = loaded.model.name
        if loaded.release.guardrails is not None and loaded.rails is None:  # before anything may answer
            config = await asyncio.to_thread(self.workspace.artifacts.open, loaded.release.guardrails)
            loaded.rails = await asyncio.to_thread(self._load_rails, config.path / "config")
        if name in await self.server.versions():
            if await ready(self.server, loaded.model, _PROOF_S):
                self._mark_healthy(loaded)
                return
            if self._owns_server:
                self.metrics.reloads.labels(name.rpartition("-v")[0], loaded.release.id).inc()
        if self._owns_server:  # who loads it verifies every file
            await asyncio.to_thread(self.workspace.artifacts.open, loaded.release.bundle)
        await self.server.load(loaded.model)
        if not await ready(self.server, loaded.model, _PROOF_S):
            raise BackendError(f"release {loaded.release.id} loaded, but does not answer an inference")
        self._mark_healthy(loaded)

    def _mark_healthy(self, loaded: LoadedRelease) -> None:
        loaded.error = None
        loaded.answered()
        loaded.answers.set()

    def _apply(self, endpoint: Endpoint) -> None:
        """Move traffic to the desired state once all it needs answers."""
        desired, applied = endpoint.desired, endpoint.applied
        wanted = [endpoint.loaded[r.id] for r in (desired.stable, desired.canary) if r is not None]
        if desired is not applied and all(loaded.answers.is_set() for loaded in wanted):
            endpoint.applied = desired

    async def _take_out(self, endpoint: Endpoint, loaded: LoadedRelease) -> None:
        """Unload a release whose last request is answered."""
        try:
            if loaded.work is not None:
                if not self._owns_server:
                    loaded.work.cancel()  # it may wait for a load that is not made any more
                await asyncio.gather(loaded.work, return_exceptions=True)
            await self.server.unload(loaded.model.name)
        except BackendError as error:
            log.warning("release %s did not unload: %s", loaded.release.id, error)
        finally:
            del endpoint.leaving[loaded.release.id]


def _idle(endpoint: Endpoint) -> list[LoadedRelease]:
    """The releases that nobody needs here any more and that answer nothing."""
    needed = {r.id for r in (*endpoint.applied.releases, *endpoint.desired.releases)}
    return [one for one in endpoint.loaded.values() if one.release.id not in needed and one.in_flight == 0]
