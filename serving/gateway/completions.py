"""Chat and legacy completions as a plain ASGI application: what is asked a thousand times a second.

It stands before the framework's routes, whose layers cost more than the answer itself.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from starlette.exceptions import HTTPException

from ...core.errors import OpswrightError
from . import openai_api as form
from .chat_handler import ChatHandler
from .exchange import AnswerChoice, Caller, Exchange
from .openai_requests import ChatRequest, CompletionRequest, parse_chat, parse_text
from .replies import COMPLETIONS, body_of, error_document, failure, http_failure, json_reply

if TYPE_CHECKING:
    from starlette.responses import Response
    from starlette.types import ASGIApp, Receive, Scope, Send

log = logging.getLogger(__name__)

_PARSERS: Mapping[str, Callable[[bytes], CompletionRequest]] = dict(
    zip(COMPLETIONS, (parse_chat, parse_text), strict=True)
)


class Completions:
    """Answers completions; hands every other request to `rest`. `caller_of` says who asks."""

    def __init__(self, rest: ASGIApp, handler: ChatHandler, caller_of: Callable[[Scope], Caller]) -> None:
        self.rest = rest
        self.handler = handler
        self.caller_of = caller_of

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a completion, or pass the request on."""
        parse = _PARSERS.get(scope["path"]) if scope["type"] == "http" else None
        if parse is None:
            await self.rest(scope, receive, send)
            return
        caller = self.caller_of(scope)
        try:
            if scope["method"] != "POST":
                raise HTTPException(405, headers={"Allow": "POST"})
            reply = await self._answered(caller, parse(await body_of(receive)), send)
        except OpswrightError as error:
            reply = failure(error, caller.id)
        except HTTPException as error:
            reply = http_failure(error, caller.id)
        except Exception:
            log.exception("request %s met an error of the gateway's own", caller.id)
            reply = failure(OpswrightError("the gateway failed; its log says how."), caller.id)
        if reply is not None:
            await reply(scope, receive, send)

    async def _answered(self, caller: Caller, request: CompletionRequest, send: Send) -> Response | None:
        """The answer; None where it was streamed, and so was sent already."""
        exchange = await self.handler.open(request, caller)
        if request.stream:
            await _stream(self.handler, exchange, send)
            return None
        await self.handler.whole(exchange)
        answers = [_answer(choice) for choice in exchange.choices]
        return json_reply(
            form.completion(_head(exchange), answers, _usage(exchange)), 200, _headers(exchange)
        )


async def _stream(handler: ChatHandler, exchange: Exchange, send: Send) -> None:
    """Send the answer as server-sent events. Its first piece is awaited: a failure then has a status code."""
    async with aclosing(handler.pieces(exchange)) as pieces:
        first = await anext(pieces, None)
        headers = _headers(exchange) | {"content-type": "text/event-stream; charset=utf-8"}
        raw = [(name.encode(), text.encode("latin-1")) for name, text in headers.items()]
        raw.append((b"cache-control", b"no-store"))
        await send({"type": "http.response.start", "status": 200, "headers": raw})
        async for event in _events(exchange, pieces, first):
            await send({"type": "http.response.body", "body": event, "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _events(
    exchange: Exchange, pieces: AsyncIterator[tuple[int, str]], first: tuple[int, str] | None
) -> AsyncIterator[bytes]:
    """An answer's pieces as events, the first of them given; an error ends them as one more."""
    chunks = form.Chunks(_head(exchange), wants_usage=exchange.request.wants_usage)
    try:
        for document in chunks.begin(len(exchange.choices)):
            yield form.event(document)
        if first is not None:
            yield form.event(chunks.piece(*first))
            async for number, piece in pieces:
                yield form.event(chunks.piece(number, piece))
    except OpswrightError as error:
        yield form.event(error_document(error)[0])
    except Exception:
        log.exception("request %s met an error of the gateway's own", exchange.caller.id)
        yield form.event(error_document(OpswrightError("the gateway failed; its log says how."))[0])
    else:
        for document in _ends(chunks, exchange):
            yield form.event(document)
    yield form.event("[DONE]")


def _answer(choice: AnswerChoice) -> form.Answer:
    made, is_told = choice.completion, choice.ask.top_logprobs is not None
    logprobs = made.logprobs if is_told and made is not None else None
    return form.Answer(choice.text, choice.finish, choice.tool_calls, logprobs)


def _ends(chunks: form.Chunks, exchange: Exchange) -> list[dict[str, Any]]:
    """What ends a stream: each choice's calls and finish reason, then the tokens for who asked for them."""
    found = []
    for number, choice in enumerate(exchange.choices):
        if choice.tool_calls:
            made = choice.completion if not choice.text else None  # beside a text, that has told them
            found.append(chunks.calls(number, choice.tool_calls, made.logprobs if made is not None else ()))
        found.append(chunks.end(number, choice.finish))
    return [*found, chunks.usage(_usage(exchange))] if exchange.request.wants_usage else found


def _head(exchange: Exchange) -> form.Head:
    is_chat = isinstance(exchange.request, ChatRequest)
    return form.Head(exchange.request.model, exchange.caller.id, _release(exchange), is_chat)


def _usage(exchange: Exchange) -> dict[str, int]:
    return form.usage(*exchange.used)


def _release(exchange: Exchange) -> str:
    return exchange.served or exchange.loaded.release.id


def _headers(exchange: Exchange) -> dict[str, str]:
    headers = {
        "x-request-id": exchange.caller.id,
        "x-opswright-release": _release(exchange),
        "x-opswright-route": exchange.route,
    }
    return headers | ({"x-opswright-rail": exchange.rail} if exchange.rail is not None else {})
