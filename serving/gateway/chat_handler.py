"""One request on its way: route, rails, engine, rails, traffic log."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import secrets
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ...core.errors import AskError, BackendError, OpswrightError
from ...engines.registry import engine_target
from ..keys.allowance import Allowance
from ..releases import now
from ..server import Completion, Generation, ServerDown
from .controller import Controller, Endpoint, LoadedRelease, RailChecker
from .merged_streams import all_of, merged
from .openai_requests import CompletionRequest, RequestError
from .output_windows import in_windows
from .patience import Ending
from .request_queue import Place, UnavailableError
from .router import choose
from .tool_calls import find_calls
from .traffic_log import CANCELLED, Route, Status, TrafficRow

if TYPE_CHECKING:
    from ..rails import RailDecision

_TRIES = 2  # a prompt that brings the engine down must not do so for ever


class UnknownModelError(AskError):
    """There is no endpoint of that name."""


@dataclass(frozen=True)
class Caller:
    """What a request says beside its body: its id and the key of its session.

    The workspace's own probes may also insist on a release and pass the rails by; they are not logged.
    allowance: what it may do by its key. ending: why it was cancelled, once it was.
    """

    id: str
    session: str = ""
    is_probe: bool = False
    release: str | None = None
    has_rails: bool = True
    allowance: Allowance = field(default_factory=Allowance)
    ending: Ending = field(default_factory=Ending)


@dataclass
class AnswerChoice:
    """One answer to a request: what the engine is asked for, and what came of it."""

    ask: Generation
    text: str = ""
    finish: str = ""
    completion: Completion | None = None
    tool_calls: Sequence[dict[str, Any]] = ()
    spent_tokens: int | None = None  # by the engine, also where a rail answered; None: nobody knows

    def blocked(self, decision: RailDecision) -> None:
        """End with what the user is told in place of the answer."""
        self.text = decision.message or "This request cannot be answered."
        self.finish, self.completion = "content_filter", None


@dataclass
class Exchange:
    """One request and what became of it. The traffic log has the first choice's text."""

    endpoint: Endpoint
    loaded: LoadedRelease
    route: Route
    request: CompletionRequest
    caller: Caller
    started: float
    choices: list[AnswerChoice]
    place: Place | None = None  # in its endpoint's queue; a probe needs none
    first_token_ms: float | None = None
    queue_ms: float | None = None  # until its engine was first asked
    served: str = ""  # the release that the engine says it is
    finish: str = ""  # of all choices: cancelled, or an error; empty when each has its own
    rail: str | None = None
    canary_percent: int = 0  # when it was routed
    latency_ms: float = 0.0  # once it is closed

    @property
    def elapsed_ms(self) -> float:
        """Milliseconds since the request came."""
        return round((time.perf_counter() - self.started) * 1000, 3)

    @property
    def was_cut(self) -> bool:
        """Whether nobody knows how many tokens it used: the engine worked until the caller left."""
        is_cut = self.queue_ms is not None and self.finish in (CANCELLED, "error: DeadlineError")
        return is_cut and any(choice.spent_tokens is None for choice in self.choices)

    def asks_engine(self) -> None:
        """Note that its engine is asked now, if it was not before."""
        if self.queue_ms is None:
            self.queue_ms = self.elapsed_ms

    @property
    def outcome(self) -> str:
        """What ended it: an error, its caller leaving, or else how its first choice ended."""
        return self.finish or self.choices[0].finish

    @property
    def text(self) -> str:
        """What was answered first of all."""
        return self.choices[0].text

    @property
    def used(self) -> tuple[int, int]:
        """Tokens read and made: the prompt counts once. What a rail answered used none."""
        made = [choice.completion for choice in self.choices if choice.completion is not None]
        return max((one.tokens_in for one in made), default=0), sum(one.tokens_out for one in made)


class ChatHandler:
    """Answers chat requests with the releases that a controller keeps alive."""

    def __init__(self, controller: Controller) -> None:
        self.controller = controller
        self._hold_s = controller.workspace.settings.serving.hold_s
        self.on_closed: Callable[[Exchange], None] = lambda exchange: None  # of a user, once it is logged

    def open(self, request: CompletionRequest, caller: Caller) -> Exchange:
        """Route a request; from here to `close` its release cannot leave."""
        endpoint = self.controller.endpoints.get(request.model)
        if endpoint is None and not self.controller.knows_endpoints:
            raise UnavailableError("the gateway has just started; ask again in a moment.")
        if endpoint is None:
            raise self.unknown(request.model)
        if caller.release is not None:
            loaded = self.controller.loaded_release(endpoint, caller.release)
            canary = endpoint.applied.canary
            route: Route = "canary" if canary is not None and canary.id == caller.release else "stable"
        else:
            chosen = choose(endpoint.applied, caller.session or request.user or caller.id)
            if chosen is None:
                raise UnavailableError(f"endpoint {endpoint.name} serves no release yet.")
            loaded, route = self.controller.loaded_release(endpoint, chosen[0].id), chosen[1]
        _check_needs(request, loaded)
        choices = [AnswerChoice(ask) for ask in request.generations(_random_seed)]
        caller.allowance.check_endpoint(endpoint.name)
        place = None if caller.is_probe else endpoint.queue.enter(caller.allowance.name)
        try:
            caller.allowance.admit(endpoint.name, sum(choice.ask.most_tokens for choice in choices))
        except BaseException:
            if place is not None:
                place.leave()
            raise
        loaded.in_flight += 1
        self.controller.metrics.in_flight.inc()
        exchange = Exchange(endpoint, loaded, route, request, caller, time.perf_counter(), choices)
        exchange.place = place
        exchange.canary_percent = endpoint.applied.canary_percent
        return exchange

    def unknown(self, name: str) -> UnknownModelError:
        """The error for a name that no endpoint has."""
        known = ", ".join(sorted(self.controller.endpoints)) or "none"
        return UnknownModelError(f"endpoint '{name[:60]}' does not exist (deployed: {known}).")

    def open_again(self, exchange: Exchange, release: str) -> Exchange:
        """The same request for another release, as no traffic."""
        caller = Caller(f"{exchange.caller.id}-again", is_probe=True, release=release)
        return self.open(exchange.request, caller)

    async def whole(self, exchange: Exchange) -> None:
        """Answer in one piece; what came of it is in the exchange and in the traffic log."""
        try:
            if not await self._may_ask(exchange):
                return
            await all_of([self._answer(exchange, choice) for choice in exchange.choices])
        except BaseException as error:
            self.fail(exchange, error)
            raise
        finally:
            self.close(exchange)

    async def pieces(self, exchange: Exchange) -> AsyncGenerator[tuple[int, str]]:
        """Answer piece by piece, as the engine makes them: the choice's number and its text.

        Output rails read a text before it is sent (see in_windows): nothing that was sent can be taken back.
        """
        try:
            if not await self._may_ask(exchange):
                for number, choice in enumerate(exchange.choices):
                    yield number, choice.text
                return
            streams = [self._choice_pieces(exchange, choice) for choice in exchange.choices]
            async with contextlib.aclosing(merged(streams)) as pieces:
                async for numbered in pieces:
                    yield numbered
        except BaseException as error:
            self.fail(exchange, error)
            raise
        finally:
            self.close(exchange)

    def fail(self, exchange: Exchange, error: BaseException) -> None:
        """Note that the exchange ended with an error."""
        if isinstance(error, asyncio.CancelledError | GeneratorExit):
            exchange.finish = exchange.finish or exchange.caller.ending.reason or CANCELLED
        else:
            exchange.finish = f"error: {type(error).__name__}"

    def close(self, exchange: Exchange) -> None:
        """Let the release go and write the exchange down; a probe of our own is no traffic."""
        if not exchange.was_cut:
            exchange.caller.allowance.settle(sum(choice.spent_tokens or 0 for choice in exchange.choices))
        if exchange.place is not None:
            exchange.place.leave()
        exchange.loaded.in_flight -= 1
        self.controller.metrics.in_flight.dec()
        exchange.latency_ms = exchange.elapsed_ms
        if exchange.caller.is_probe:
            return
        status: Status = "error" if exchange.finish.startswith("error") else "ok"
        if exchange.finish == CANCELLED:
            status = "cancelled"
        tokens_in, tokens_out = exchange.used
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
            finish=exchange.outcome,
            tokens_in=tokens_in,
            tokens_out=tokens_out,
            first_token_ms=exchange.first_token_ms,
            queue_ms=exchange.queue_ms,
            caller=exchange.caller.allowance.name,
            canary_percent=exchange.canary_percent,
            session=_digest(exchange.caller.session or exchange.request.user or ""),
        )
        if not exchange.endpoint.traffic.append(row):
            self.controller.metrics.lost_rows.labels(exchange.endpoint.name).inc()
        self.controller.metrics.answered(exchange.endpoint.name, row)
        self.on_closed(exchange)

    async def _passes_input(self, exchange: Exchange) -> bool:
        """Whether rails let the whole conversation pass; otherwise each choice says what the user is told."""
        await self._alive(exchange.loaded)  # its rails are loaded with it
        rails = _rails(exchange)
        if rails is None:
            return True
        decision = await rails.acheck_conversation(exchange.request.turns)
        return all([_accept(exchange, choice, decision) for choice in exchange.choices])

    async def _may_ask(self, exchange: Exchange) -> bool:
        """Whether the engine is to be asked: rails let the conversation pass, and its turn has come."""
        if not await self._passes_input(exchange):
            return False
        if exchange.place is not None:
            await exchange.place.turn()
        return True

    async def _answer(self, exchange: Exchange, choice: AnswerChoice) -> None:
        """One choice in one piece."""
        await self._generate(exchange, choice)
        rails = _rails(exchange)
        if rails is not None and not _accept(exchange, choice, await rails.acheck_output(choice.text)):
            return
        if offered := exchange.request.offered_tools:
            choice.text, choice.tool_calls = find_calls(choice.text, offered)
            choice.finish = "tool_calls" if choice.tool_calls else choice.finish

    async def _choice_pieces(self, exchange: Exchange, choice: AnswerChoice) -> AsyncGenerator[str]:
        """One choice piece by piece; one that may be a tool call is known only when it is whole."""
        rails = _rails(exchange)
        if exchange.request.offered_tools:
            await self._answer(exchange, choice)
            if choice.text:
                yield choice.text
            return
        async with contextlib.aclosing(self._stream(exchange, choice)) as pieces:
            if rails is None:
                async for piece in pieces:
                    choice.text += piece
                    yield piece
                return
            async for passed in in_windows(pieces, rails.acheck_output):
                if isinstance(passed, str):
                    choice.text += passed
                    yield passed
                elif not choice.text:
                    _accept(exchange, choice, passed)
                    yield choice.text
                else:  # what was sent stands; no more is
                    sent = choice.text
                    _accept(exchange, choice, passed)
                    choice.text = sent

    async def _generate(self, exchange: Exchange, choice: AnswerChoice) -> None:
        """The engine's answer; asked again when the server died under it and was healed."""
        loaded = exchange.loaded
        for attempt in range(1, _TRIES + 1):
            await self._alive(loaded)
            exchange.asks_engine()
            try:
                completion = await self.controller.server.infer(loaded.model.name, choice.ask)
                break
            except ServerDown as error:
                self.controller.mark_unhealthy(loaded)
                if attempt == _TRIES:
                    raise UnavailableError(f"release {loaded.release.id} died while it answered.") from error
        self._finish(exchange, choice, completion)
        choice.text = completion.text if choice.ask.text else completion.text.lstrip()

    async def _stream(self, exchange: Exchange, choice: AnswerChoice) -> AsyncGenerator[str]:
        """The engine's answer in pieces; begun again only while nothing has come of it."""
        loaded, has_begun = exchange.loaded, bool(choice.ask.text)  # a chat's answer begins without space
        for attempt in range(1, _TRIES + 1):
            await self._alive(loaded)
            exchange.asks_engine()
            pieces = self.controller.server.stream(loaded.model.name, choice.ask)
            has_said = False
            try:
                async for piece in pieces:
                    if isinstance(piece, Completion):
                        self._finish(exchange, choice, piece)
                        return
                    if shown := piece if has_begun else piece.lstrip():
                        has_begun = has_said = True
                        exchange.first_token_ms = exchange.first_token_ms or exchange.elapsed_ms
                        yield shown
            except ServerDown as error:
                self.controller.mark_unhealthy(loaded)
                if has_said or attempt == _TRIES:  # what was sent cannot be sent again
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

    def _finish(self, exchange: Exchange, choice: AnswerChoice, completion: Completion) -> None:
        loaded = exchange.loaded
        loaded.answered()
        if completion.release != loaded.release.id:
            raise BackendError(
                f"asked release {loaded.release.id}, but {completion.release} answered; nothing was "
                "passed on."
            )
        exchange.served = completion.release
        choice.spent_tokens = completion.tokens_in + completion.tokens_out
        choice.completion = completion
        choice.finish = completion.finish_reason


def _rails(exchange: Exchange) -> RailChecker | None:
    return exchange.loaded.rails if exchange.caller.has_rails else None


def _check_needs(request: CompletionRequest, loaded: LoadedRelease) -> None:
    """RequestError for a parameter that the release's engine cannot follow."""
    for param, feature in request.needs:
        target = engine_target(loaded.model.target)
        if feature not in target.features:
            raise RequestError(f"'{param}' is not supported by engines of target {target.name}.", param)


def _random_seed() -> int:
    return secrets.randbits(31)


def _digest(session: str) -> str:
    """What tells a session from others without saying whose it is; empty without one."""
    return hashlib.sha256(session.encode()).hexdigest()[:12] if session else ""


def _accept(exchange: Exchange, choice: AnswerChoice, decision: RailDecision) -> bool:
    """Whether a rail let a text pass; otherwise the choice ends with what the user is told."""
    if decision.error is not None:
        raise BackendError(f"a rail failed, so nothing was passed on: {decision.error}")
    if decision.allowed:
        return True
    exchange.rail = decision.rail or "unnamed"
    choice.blocked(decision)
    return False


def in_words(error: OpswrightError) -> str:
    """The first paragraph of an error: paths of logs are not for clients."""
    return str(error).partition("\nLog: ")[0]
