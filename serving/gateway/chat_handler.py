"""One request on its way: route, rails, engine, rails, traffic log."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import secrets
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import TYPE_CHECKING, Any

from ...core.errors import AskError, BackendError, OpswrightError
from ...engines import TextPiece
from ...engines.registry import engine_target
from ..releases import now
from ..server import Completion, Generation, ServerDown
from .controller import Controller, LoadedRelease, RailChecker
from .exchange import AnswerChoice, Caller, Exchange
from .merged_streams import all_of, merged
from .openai_requests import CompletionRequest, RequestError
from .output_windows import in_windows
from .request_queue import UnavailableError
from .router import choose
from .tool_calls import find_calls
from .tracing import Tracing, engine_step, step
from .traffic_log import CANCELLED, Route, Status, TrafficRow

if TYPE_CHECKING:
    from ..rails import RailDecision

_TRIES = 2  # a prompt that brings the engine down must not do so for ever


class UnknownModelError(AskError):
    """There is no endpoint of that name."""


class ChatHandler:
    """Answers chat requests with the releases that a controller keeps alive."""

    def __init__(self, controller: Controller, tracing: Tracing | None = None) -> None:
        self.controller = controller
        self._tracing = tracing
        self._hold_s = controller.workspace.settings.serving.hold_s
        self.on_closed: Callable[[Exchange], None] = lambda exchange: None  # of a user, once it is logged

    async def open(self, request: CompletionRequest, caller: Caller) -> Exchange:
        """Route a request; from here to `close` its release cannot leave."""
        endpoint = self.controller.endpoints.get(request.model)
        if endpoint is None and not self.controller.knows_endpoints:
            raise UnavailableError("the gateway has just started; ask again in a moment.")
        if endpoint is None:
            raise self.unknown(request.model, caller)
        if caller.release is not None:
            loaded = self.controller.loaded_release(endpoint, caller.release)
            canary = endpoint.applied.canary
            route: Route = "canary" if canary is not None and canary.id == caller.release else "stable"
        else:
            chosen = choose(endpoint.applied, _routing_key(request, caller))
            if chosen is None:
                raise UnavailableError(f"endpoint {endpoint.name} serves no release yet.")
            loaded, route = self.controller.loaded_release(endpoint, chosen[0].id), chosen[1]
        _check_needs(request, loaded)
        choices = [AnswerChoice(ask) for ask in request.generations(_random_seed)]
        caller.allowance.check_endpoint(endpoint.name)
        place = None if caller.is_probe else endpoint.queue.enter(caller.allowance.name)
        loaded.in_flight += 1
        try:
            await caller.allowance.admit(endpoint.name, sum(choice.ask.most_tokens for choice in choices))
        except BaseException:
            loaded.in_flight -= 1
            if place is not None:
                place.leave()
            raise
        self.controller.metrics.in_flight.inc()
        exchange = Exchange(endpoint, loaded, route, request, caller, time.perf_counter(), choices)
        exchange.place = place
        if self._tracing is not None and not caller.is_probe:
            exchange.trace = self._tracing.begin(request.operation, endpoint.name, caller.trace_headers)
        exchange.canary_percent = endpoint.applied.canary_percent
        return exchange

    def unknown(self, name: str, caller: Caller) -> UnknownModelError:
        """The error for a name that no endpoint has; it names those that this caller may ask."""
        known = ", ".join(filter(caller.allowance.may_ask, sorted(self.controller.endpoints))) or "none"
        return UnknownModelError(f"endpoint '{name[:60]}' does not exist (deployed: {known}).")

    async def open_again(self, exchange: Exchange, release: str) -> Exchange:
        """The same request for another release, as no traffic."""
        caller = Caller(f"{exchange.caller.id}-again", is_probe=True, release=release)
        return await self.open(exchange.request, caller)

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
            session=_digest(_routing_key(exchange.request, exchange.caller)),
        )
        if not exchange.endpoint.traffic.append(row):
            self.controller.metrics.lost_rows.labels(exchange.endpoint.name).inc()
        self.controller.metrics.answered(exchange.endpoint.name, row)
        if exchange.trace is not None:
            exchange.trace.end(row, exchange.endpoint.traffic.shown_id(row.id))
        self.on_closed(exchange)

    async def _passes_input(self, exchange: Exchange) -> bool:
        """Whether rails let the whole conversation pass; otherwise each choice says what the user is told."""
        await self._alive(exchange.loaded)  # its rails are loaded with it
        rails = _rails(exchange)
        if rails is None:
            return True
        with step(exchange.trace, "rails of the input"):
            decision = await rails.acheck_conversation(exchange.request.turns)
        return all([_accept(exchange, choice, decision) for choice in exchange.choices])

    async def _may_ask(self, exchange: Exchange) -> bool:
        """Whether the engine is to be asked: rails let the conversation pass, and its turn has come."""
        if not await self._passes_input(exchange):
            return False
        if exchange.place is not None:
            with step(exchange.trace, "queue"):
                await exchange.place.turn()
        return True

    async def _answer(self, exchange: Exchange, choice: AnswerChoice) -> None:
        """One choice in one piece."""
        await self._generate(exchange, choice)
        if (check := _output_check(exchange)) and not _accept(exchange, choice, await check(choice.text)):
            return
        if offered := exchange.request.offered_tools:
            written = choice.text
            choice.text, choice.tool_calls = find_calls(written, offered)
            if choice.tool_calls:
                choice.called, choice.finish = written, "tool_calls"

    async def _choice_pieces(self, exchange: Exchange, choice: AnswerChoice) -> AsyncGenerator[str]:
        """One choice piece by piece; one that may be a tool call is known only when it is whole."""
        if exchange.request.offered_tools:
            await self._answer(exchange, choice)
            if choice.text:
                made = choice.completion
                yield TextPiece(choice.text, made.logprobs if made is not None else ())
            return
        async with contextlib.aclosing(self._stream(exchange, choice)) as pieces:
            check = _output_check(exchange)
            if check is None:
                async for piece in pieces:
                    choice.text += piece
                    yield piece
                return
            async for passed in in_windows(pieces, check):
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
                with engine_step(exchange.trace, choice.ask) as ask:
                    completion = await self.controller.server.infer(loaded.model.name, ask)
                break
            except ServerDown as error:
                self.controller.mark_unhealthy(loaded)
                if attempt == _TRIES:
                    raise UnavailableError(f"release {loaded.release.id} died while it answered.") from error
        self._finish(exchange, choice, completion)
        choice.text = completion.text if choice.ask.text else completion.text.lstrip()

    async def _stream(self, exchange: Exchange, choice: AnswerChoice) -> AsyncGenerator[str]:
        """The engine's answer in pieces; begun again only while nothing has come of it."""
        loaded, has_said = exchange.loaded, False
        for attempt in range(1, _TRIES + 1):
            await self._alive(loaded)
            exchange.asks_engine()
            try:
                async with self._asked(exchange, choice) as pieces:
                    async for piece in pieces:
                        has_said = True
                        exchange.first_token_ms = exchange.first_token_ms or exchange.elapsed_ms
                        yield piece
                return
            except ServerDown as error:
                self.controller.mark_unhealthy(loaded)
                if has_said or attempt == _TRIES:  # what was sent cannot be sent again
                    raise UnavailableError(f"release {loaded.release.id} died while it answered.") from error

    @contextlib.asynccontextmanager
    async def _asked(self, exchange: Exchange, choice: AnswerChoice) -> AsyncGenerator[AsyncGenerator[str]]:
        """One asking of the engine: the pieces that it makes."""
        with engine_step(exchange.trace, choice.ask) as ask:
            async with contextlib.aclosing(self._shown(exchange, choice, ask)) as pieces:
                yield pieces

    async def _shown(self, exchange: Exchange, choice: AnswerChoice, ask: Generation) -> AsyncGenerator[str]:
        """What the engine makes, piece by piece, until its end; a chat's answer begins without space."""
        has_begun = bool(ask.text)
        told: tuple[dict[str, Any], ...] = ()  # of tokens whose text has not left
        pieces = self.controller.server.stream(exchange.loaded.model.name, ask)
        try:
            async for piece in pieces:
                if isinstance(piece, Completion):
                    if told:
                        yield TextPiece("", told)
                    self._finish(exchange, choice, piece)
                    return
                told += piece.logprobs if isinstance(piece, TextPiece) else ()
                shown = piece if has_begun else piece.lstrip()
                if shown or (has_begun and told):
                    has_begun = True
                    yield TextPiece(shown, told)
                    told = ()
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


def _output_check(exchange: Exchange) -> Callable[[str], Awaitable[RailDecision]] | None:
    """What reads an answer before its user does; None without rails."""
    rails = _rails(exchange)
    if rails is None or exchange.trace is None:
        return None if rails is None else rails.acheck_output

    async def check(text: str) -> RailDecision:
        with step(exchange.trace, "rails of the answer"):
            return await rails.acheck_output(text)

    return check


def _check_needs(request: CompletionRequest, loaded: LoadedRelease) -> None:
    """RequestError for a parameter that the release's engine cannot follow."""
    for param, feature in request.needs:
        target = engine_target(loaded.model.target)
        if feature not in target.features:
            raise RequestError(f"'{param}' is not supported by engines of target {target.name}.", param)


def _routing_key(request: CompletionRequest, caller: Caller) -> str:
    """What decides which release answers: the session, the user, else the request's id."""
    return caller.session or request.user or caller.id


def _random_seed() -> int:
    return secrets.randbits(31)


def _digest(session: str) -> str:
    """What tells a session from others without saying whose it is."""
    return hashlib.sha256(session.encode()).hexdigest()[:12]


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
