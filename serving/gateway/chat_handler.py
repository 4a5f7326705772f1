"""One request on its way: route, rails, engine, rails, traffic log."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...core.errors import AskError, BackendError, OpswrightError
from ..releases import now
from ..server import Completion, ServerDown
from .controller import Controller, Endpoint, LoadedRelease
from .openai_api import ChatRequest
from .router import choose
from .traffic_log import Route, Status, TrafficRow

if TYPE_CHECKING:
    from ..rails import RailDecision

_TRIES = 2  # a prompt that brings the engine down must not do so for ever


class UnavailableError(BackendError):
    """Nothing can answer now; asking again later may succeed."""


class UnknownModelError(AskError):
    """There is no endpoint of that name."""


@dataclass(frozen=True)
class Caller:
    """What a request says beside its body: its id and the key of its session.

    The workspace's own probes may also insist on a release and pass the rails by; they are not logged.
    """

    id: str
    session: str = ""
    is_probe: bool = False
    release: str | None = None
    has_rails: bool = True


@dataclass
class Exchange:
    """One request and what became of it."""

    endpoint: Endpoint
    loaded: LoadedRelease
    route: Route
    request: ChatRequest
    caller: Caller
    started: float
    served: str = ""  # the release that the engine says it is
    text: str = ""
    finish: str = ""
    completion: Completion | None = None
    rail: str | None = None
    canary_percent: int = 0  # when it was routed
    latency_ms: float = 0.0  # once it is closed


class ChatHandler:
    """Answers chat requests with the releases that a controller keeps alive."""

    def __init__(self, controller: Controller) -> None:
        self.controller = controller
        self._hold_s = controller.workspace.settings.serving.hold_s
        self.on_closed: Callable[[Exchange], None] = lambda exchange: None  # of a user, once it is logged

    def open(self, request: ChatRequest, caller: Caller) -> Exchange:
        """Route a request; from here to `close` its release cannot leave."""
        endpoint = self.controller.endpoints.get(request.model)
        if endpoint is None:
            known = ", ".join(sorted(self.controller.endpoints)) or "none"
            raise UnknownModelError(f"endpoint '{request.model[:60]}' does not exist (deployed: {known}).")
        if caller.release is not None:
            loaded = self.controller.loaded_release(endpoint, caller.release)
            canary = endpoint.applied.canary
            route: Route = "canary" if canary is not None and canary.id == caller.release else "stable"
        else:
            chosen = choose(endpoint.applied, caller.session or request.user or caller.id)
            if chosen is None:
                raise UnavailableError(f"endpoint {endpoint.name} serves no release yet.")
            loaded, route = self.controller.loaded_release(endpoint, chosen[0].id), chosen[1]
        loaded.in_flight += 1
        self.controller.metrics.in_flight.inc()
        percent = endpoint.applied.canary_percent
        return Exchange(endpoint, loaded, route, request, caller, time.perf_counter(), canary_percent=percent)

    def open_again(self, exchange: Exchange, release: str) -> Exchange:
        """The same request for another release, as no traffic."""
        caller = Caller(f"{exchange.caller.id}-again", is_probe=True, release=release)
        return self.open(exchange.request, caller)

    async def whole(self, exchange: Exchange) -> None:
        """Answer in one piece; what came of it is in the exchange and in the traffic log."""
        try:
            if not await self._passes_input(exchange):
                return
            await self._generate(exchange)
            await self._passes_output(exchange)
        except BaseException as error:
            self.fail(exchange, error)
            raise
        finally:
            self.close(exchange)

    async def pieces(self, exchange: Exchange) -> AsyncIterator[str]:
        """Answer piece by piece, as the engine makes them.

        A release with rails is held back until its output rail has seen the whole answer: a piece that was
        sent cannot be taken back.
        """
        try:
            if not await self._passes_input(exchange):
                yield exchange.text
            elif exchange.loaded.rails is not None:
                await self._generate(exchange)
                await self._passes_output(exchange)
                yield exchange.text
            else:
                async for piece in self._stream(exchange):
                    yield piece
        except (asyncio.CancelledError, GeneratorExit):
            exchange.finish = exchange.finish or "cancelled"
            raise
        except BaseException as error:
            self.fail(exchange, error)
            raise
        finally:
            self.close(exchange)

    def fail(self, exchange: Exchange, error: BaseException) -> None:
        """Note that the exchange ended with an error."""
        exchange.finish = f"error: {type(error).__name__}"

    def close(self, exchange: Exchange) -> None:
        """Let the release go and write the exchange down; a probe of our own is no traffic."""
        exchange.loaded.in_flight -= 1
        self.controller.metrics.in_flight.dec()
        exchange.latency_ms = round((time.perf_counter() - exchange.started) * 1000, 3)
        if exchange.caller.is_probe:
            return
        status: Status = "error" if exchange.finish.startswith("error") else "ok"
        row = TrafficRow(
            time=now(),
            id=exchange.caller.id,
            release=exchange.served or exchange.loaded.release.id,
            route=exchange.route,
            text=exchange.request.last_text,
            output=exchange.text,
            status="blocked" if exchange.rail is not None else status,
            rail=exchange.rail,
            latency_ms=exchange.latency_ms,
            model_version=exchange.loaded.model.version,
            finish=exchange.finish,
            canary_percent=exchange.canary_percent,
            session=_digest(exchange.caller.session or exchange.request.user),
        )
        if not exchange.endpoint.traffic.append(row):
            self.controller.metrics.lost_rows.labels(exchange.endpoint.name).inc()
        self.controller.metrics.answered(exchange.endpoint.name, row)
        self.on_closed(exchange)

    async def _passes_input(self, exchange: Exchange) -> bool:
        await self._alive(exchange.loaded)  # its rails are loaded with it
        if exchange.loaded.rails is None or not exchange.caller.has_rails:
            return True
        for message in exchange.request.messages:
            if message.role in ("user", "system", "developer") and not _accept(
                exchange, await exchange.loaded.rails.acheck_input(message.text)
            ):
                return False
        return True

    async def _passes_output(self, exchange: Exchange) -> None:
        if exchange.loaded.rails is not None and exchange.caller.has_rails:
            _accept(exchange, await exchange.loaded.rails.acheck_output(exchange.text))

    async def _generate(self, exchange: Exchange) -> None:
        """The engine's answer; asked again when the server died under it and was healed."""
        loaded, ask = exchange.loaded, exchange.request.generation()
        for attempt in range(1, _TRIES + 1):
            await self._alive(loaded)
            try:
                completion = await self.controller.server.infer(loaded.model.name, ask)
                break
            except ServerDown as error:
                self.controller.mark_unhealthy(loaded)
                if attempt == _TRIES:
                    raise UnavailableError(f"release {loaded.release.id} died while it answered.") from error
        self._finish(exchange, completion)
        exchange.text = completion.text.lstrip()

    async def _stream(self, exchange: Exchange) -> AsyncIterator[str]:
        loaded, ask = exchange.loaded, exchange.request.generation()
        for attempt in range(1, _TRIES + 1):
            await self._alive(loaded)
            pieces = self.controller.server.stream(loaded.model.name, ask)
            try:
                async for piece in pieces:
                    if isinstance(piece, Completion):
                        self._finish(exchange, piece)
                        return
                    shown = piece if exchange.text else piece.lstrip()
                    exchange.text += shown
                    if shown:
                        yield shown
            except ServerDown as error:
                self.controller.mark_unhealthy(loaded)
                if exchange.text or attempt == _TRIES:  # what was sent cannot be sent again
                    raise UnavailableError(f"release {loaded.release.id} died while it answered.") from error
            finally:
                await pieces.aclose()  # type: ignore[attr-defined]  # both servers give generators

    async def _alive(self, loaded: LoadedRelease) -> None:
        """Wait until the release answers; UnavailableError when it does not in time."""
        if loaded.answers.is_set():
            return
        try:
            await asyncio.wait_for(loaded.answers.wait(), self._hold_s)
        except TimeoutError as error:
            why = loaded.error or self.controller.server_fault or "it is still being loaded"
            raise UnavailableError(f"release {loaded.release.id} does not answer: {why}") from error

    def _finish(self, exchange: Exchange, completion: Completion) -> None:
        loaded = exchange.loaded
        loaded.answered()
        if completion.release != loaded.release.id:
            raise BackendError(
                f"asked release {loaded.release.id}, but {completion.release} answered; nothing was "
                "passed on."
            )
        exchange.served = completion.release
        exchange.completion = completion
        exchange.finish = completion.finish_reason


def _digest(session: str) -> str:
    """What tells a session from others without saying whose it is; empty without one."""
    return hashlib.sha256(session.encode()).hexdigest()[:12] if session else ""


def _accept(exchange: Exchange, decision: RailDecision) -> bool:
    """Whether a rail let a text pass; otherwise the exchange ends with what the user is told."""
    if decision.error is not None:
        raise BackendError(f"a rail failed, so nothing was passed on: {decision.error}")
    if decision.allowed:
        return True
    exchange.rail = decision.rail or "unnamed"
    exchange.text = decision.message or "This request cannot be answered."
    exchange.finish = "content_filter"
    return False


def in_words(error: OpswrightError) -> str:
    """The first paragraph of an error: paths of logs are not for clients."""
    return str(error).partition("\nLog: ")[0]
