"""Makes what is served like what is desired: loads, routes, drains, heals.

The one owner of the engine server. It reads each endpoint's desired state when that changes. Traffic moves
only when every release that gets some has answered an inference; a release leaves when its last request is
answered.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ...core.errors import AskError, BackendError, OpswrightError
from ...core.workspace import Workspace
from ..releases import EndpointState, Release, desired_path, endpoint_names, read_state
from ..server import InferenceServer, ServedModel, ServerDown, ready
from .figures import Figures
from .traffic_log import TrafficLog

if TYPE_CHECKING:
    from ..rails import RailDecision

log = logging.getLogger(__name__)

_LOOK_S = 0.05  # between two looks at the desired states
_ALIVE_S = 0.5  # between two looks at the server
_IDLE_PROOF_S = 5.0  # a release that answered nothing for so long is asked
_PROOF_S = 10.0
_RETRY_S = 3.0
_DRAIN_S = 60.0


class Rails(Protocol):
    """The rails of one release."""

    def acheck_input(self, text: str) -> Awaitable[RailDecision]:
        """Whether a user's text may go to the model."""

    def acheck_output(self, text: str) -> Awaitable[RailDecision]:
        """Whether an answer may go to the user."""


def shipped_rails(folder: Path) -> Rails:
    """The rails of a guardrail artifact's config folder."""
    from ..rails import load_rails

    return load_rails(folder)


@dataclass
class Live:
    """One release as it is served here."""

    release: Release
    model: ServedModel
    rails: Rails | None = None
    answers: asyncio.Event = field(default_factory=asyncio.Event)
    error: str | None = None  # why it cannot be served, as far as that does not depend on the server's life
    in_flight: int = 0
    proven: float = 0.0  # when it last answered, on the monotonic clock
    retry_at: float = 0.0
    work: asyncio.Task[None] | None = None  # its proof or load under way

    def answered(self) -> None:
        """It just did."""
        self.proven = time.monotonic()


@dataclass
class Endpoint:
    """One endpoint: the state traffic follows, the one that is desired, and the releases that live."""

    name: str
    traffic: TrafficLog
    applied: EndpointState
    desired: EndpointState
    stamp: tuple[int, int, int] | None = None
    fault: str | None = None
    lives: dict[str, Live] = field(default_factory=dict)
    leaving: dict[str, asyncio.Task[None]] = field(default_factory=dict)


class Controller:
    """Everything that is served from one workspace by one process."""

    def __init__(
        self,
        workspace: Workspace,
        server: InferenceServer,
        figures: Figures,
        load_rails: Callable[[Path], Rails] = shipped_rails,
    ) -> None:
        self.workspace = workspace
        self.server = server
        self.figures = figures
        self.endpoints: dict[str, Endpoint] = {}
        self.server_fault: str | None = None
        self._load_rails = load_rails
        self._wake = asyncio.Event()
        self._loop: asyncio.Task[None] | None = None
        self._looked = 0.0
        self._started = False

    async def start(self) -> None:
        """Begin to serve; what is desired may take a moment longer to answer."""
        self._loop = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Stop serving and end the server."""
        endpoints = list(self.endpoints.values())
        tasks = [self._loop, *(live.work for endpoint in endpoints for live in endpoint.lives.values())]
        tasks += [task for endpoint in endpoints for task in endpoint.leaving.values()]
        running = [task for task in tasks if task is not None]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await self.server.stop()
        for endpoint in endpoints:
            endpoint.traffic.close()

    @property
    def in_flight(self) -> int:
        """Requests being answered now."""
        return sum(live.in_flight for endpoint in self.endpoints.values() for live in endpoint.lives.values())

    def live(self, endpoint: Endpoint, release: str) -> Live:
        """A release of an endpoint that is, or is about to be, served; AskError when it is not."""
        if release not in endpoint.lives:
            raise AskError(f"release {release} of endpoint {endpoint.name} is not loaded.")
        return endpoint.lives[release]

    def suspect(self, live: Live) -> None:
        """A release did not answer: hold its requests, and look at it now."""
        live.answers.clear()
        live.retry_at = 0.0
        self._looked = 0.0
        self._wake.set()

    async def _run(self) -> None:
        while True:
            try:
                await self._look()
            except OpswrightError as error:
                self.server_fault = str(error)
                log.error("%s", error)
                await asyncio.sleep(_RETRY_S)
            except Exception:
                log.exception("the controller met an error of its own and goes on")
                await asyncio.sleep(_RETRY_S)
            try:
                await asyncio.wait_for(self._wake.wait(), _LOOK_S)
            except TimeoutError:
                continue
            self._wake.clear()

    async def _look(self) -> None:
        """One look: the server, then each endpoint's desired state, then each release."""
        if time.monotonic() - self._looked > _ALIVE_S:
            if not (self._started and await self.server.alive()):
                await self._bring_up()
            for endpoint in list(self.endpoints.values()):
                await asyncio.to_thread(endpoint.traffic.sync)
            self._looked = time.monotonic()
        for name in endpoint_names(self.workspace):
            self._read(name)
        for endpoint in self.endpoints.values():
            for live in endpoint.lives.values():
                if self._is_due(live) and (live.work is None or live.work.done()):
                    live.work = asyncio.create_task(self._prove(live))
            self._apply(endpoint)

    async def _bring_up(self) -> None:
        """Start the server; after a death, everything it had must be loaded again."""
        lives = [live for endpoint in self.endpoints.values() for live in endpoint.lives.values()]
        for live in lives:
            live.answers.clear()
            live.retry_at = 0.0
        if self._started:
            log.warning("the %s server is gone; starting it again", self.server.kind)
            self.figures.restarts.inc()
        await self.server.start()
        self._started = True
        self.server_fault = None

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
            traffic = TrafficLog(self.workspace.endpoints / name)
            endpoint = self.endpoints[name] = Endpoint(name, traffic, applied=desired, desired=desired)
        endpoint.stamp, endpoint.desired, endpoint.fault = stamp, desired, None
        for release in desired.releases:
            if release.id in endpoint.leaving:
                endpoint.stamp = None  # it comes back when it has left; look again
            elif release.id not in endpoint.lives:
                endpoint.lives[release.id] = Live(release, self._model(name, release))

    def _model(self, endpoint: str, release: Release) -> ServedModel:
        engine = self.workspace.artifacts.folder(release.bundle) / "files" / "engine"
        return ServedModel(f"{endpoint}-v{release.number}", release.number, engine, release.id)

    def _is_due(self, live: Live) -> bool:
        """Whether a release must answer an inference: it is new, was found dead, or has been silent."""
        moment = time.monotonic()
        return moment > live.proven + _IDLE_PROOF_S if live.answers.is_set() else moment > live.retry_at

    async def _prove(self, live: Live) -> None:
        """Have a release answer an inference, loading it when it does not."""
        try:
            if live.answers.is_set():
                if await ready(self.server, live.model, _PROOF_S):
                    live.answered()
                    return
                log.warning("release %s does not answer", live.release.id)
                live.answers.clear()
            await self._revive(live)
        except ServerDown as error:
            log.warning("release %s waits for the server: %s", live.release.id, error)
            self._looked = 0.0
        except OpswrightError as error:
            live.error = str(error)
            log.error("%s", error)
        except Exception as error:
            live.error = f"{type(error).__name__}: {error}"
            log.exception("release %s could not be loaded", live.release.id)
        live.retry_at = time.monotonic() + _RETRY_S

    async def _revive(self, live: Live) -> None:
        """Load a release, unless it answers after all, and let its requests go on."""
        name = live.model.name
        if name in await self.server.versions():
            if await ready(self.server, live.model, _PROOF_S):
                self._let_go(live)
                return
            self.figures.reloads.labels(name.rpartition("-v")[0], live.release.id).inc()
        await asyncio.to_thread(self.workspace.artifacts.open, live.release.bundle)  # verifies every file
        if live.release.guardrails is not None and live.rails is None:
            config = await asyncio.to_thread(self.workspace.artifacts.open, live.release.guardrails)
            live.rails = await asyncio.to_thread(self._load_rails, config.path / "config")
        await self.server.load(live.model)
        if not await ready(self.server, live.model, _PROOF_S):
            raise BackendError(f"release {live.release.id} loaded, but answers no inference")
        self._let_go(live)

    def _let_go(self, live: Live) -> None:
        live.error = None
        live.answered()
        live.answers.set()

    def _apply(self, endpoint: Endpoint) -> None:
        """Move traffic to the desired state once all it needs answers; drain what nobody needs."""
        desired, applied = endpoint.desired, endpoint.applied
        wanted = [endpoint.lives[r.id] for r in (desired.stable, desired.canary) if r is not None]
        if desired is not applied and all(live.answers.is_set() for live in wanted):
            endpoint.applied = desired
        needed = {r.id for r in (*endpoint.applied.releases, *desired.releases)}
        for release, live in list(endpoint.lives.items()):
            if release not in needed and live.in_flight == 0:
                del endpoint.lives[release]
                endpoint.leaving[release] = asyncio.create_task(self._take_out(endpoint, live))

    async def _take_out(self, endpoint: Endpoint, live: Live) -> None:
        """Unload a release whose last request is answered."""
        try:
            if live.work is not None:
                await asyncio.gather(live.work, return_exceptions=True)
            await self.server.unload(live.model.name)
        except BackendError as error:
            log.warning("release %s did not unload: %s", live.release.id, error)
        finally:
            del endpoint.leaving[live.release.id]
