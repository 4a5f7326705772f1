"""OpenAI's routes: chat and legacy completions, models; and every error of the gateway in OpenAI's shape."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from starlette.exceptions import HTTPException
from starlette.responses import Response, StreamingResponse

from ...core.errors import AskError, OpswrightError
from ...engines import PROMPT_REFUSED, PromptError
from ..keys.allowance import RefusedError
from . import openai_api as form
from .chat_handler import Caller, ChatHandler, Exchange, UnavailableError, UnknownModelError, in_words
from .feedback import UnknownRequestError
from .openai_requests import (
    MAX_BODY_BYTES,
    ChatRequest,
    CompletionRequest,
    RequestError,
    parse_chat,
    parse_text,
)

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request

    from .controller import Controller

log = logging.getLogger(__name__)

MAX_IN_FLIGHT = 512
ROUTES = ("/v1/chat/completions", "/v1/completions", "/v1/models", "/v1/feedback")


def add_openai(app: Starlette, handler: ChatHandler, caller_of: Callable[[Request], Caller]) -> None:
    """Put the routes into an application; `caller_of` says who asks."""
    controller = handler.controller

    def completions(parse: Callable[[bytes], CompletionRequest]) -> Callable[[Request], Any]:
        async def answer(request: Request) -> Response:
            caller = caller_of(request)
            try:
                return await _answered(handler, caller, parse(await body_of(request)))
            except OpswrightError as error:
                return failure(error, caller.id)
            except HTTPException as error:
                return http_failure(error, caller.id)
            except Exception:
                log.exception("request %s met an error of the gateway's own", caller.id)
                return failure(OpswrightError("the gateway failed; its log says how."), caller.id)

        return answer

    async def models(request: Request) -> Response:
        allowance = caller_of(request).allowance
        names = [name for name in sorted(controller.endpoints) if allowance.may_ask(name)]
        return json_reply({"object": "list", "data": [_model(controller, name) for name in names]})

    async def model(request: Request) -> Response:
        name = request.path_params["name"]
        caller = caller_of(request)
        if name not in controller.endpoints or not caller.allowance.may_ask(name):
            return failure(handler.unknown(name, caller), caller.id)
        return json_reply(_model(controller, name))

    app.add_route("/v1/chat/completions", completions(parse_chat), methods=["POST"])
    app.add_route("/v1/completions", completions(parse_text), methods=["POST"])
    app.add_route("/v1/models", models, methods=["GET"])
    app.add_route("/v1/models/{name:path}", model, methods=["GET"])

    def refused(request: Request, error: Exception) -> Response:
        found = error if isinstance(error, HTTPException) else HTTPException(500)
        return http_failure(found, caller_of(request).id)

    app.add_exception_handler(HTTPException, refused)
    app.add_exception_handler(Exception, refused)  # said in OpenAI's form; the server logs it


async def _answered(handler: ChatHandler, caller: Caller, request: CompletionRequest) -> Response:
    if handler.controller.in_flight >= MAX_IN_FLIGHT:
        raise UnavailableError(f"{MAX_IN_FLIGHT} requests are being answered; ask again in a moment.")
    exchange = handler.open(request, caller)
    if request.stream:
        return await _streamed(handler, exchange)
    await handler.whole(exchange)
    answers = [
        form.Answer(
            choice.text,
            choice.finish,
            choice.tool_calls,
            choice.completion.logprobs
            if choice.ask.top_logprobs is not None and choice.completion is not None
            else None,
        )
        for choice in exchange.choices
    ]
    return json_reply(form.completion(_head(exchange), answers, _usage(exchange)), 200, _headers(exchange))


async def _streamed(handler: ChatHandler, exchange: Exchange) -> Response:
    """The answer as server-sent events. Its first piece is awaited, so that a failure has a status code."""
    pieces = handler.pieces(exchange)
    first = await anext(pieces, None)
    chunks = form.Chunks(_head(exchange), wants_usage=exchange.request.wants_usage)

    async def events() -> AsyncIterator[bytes]:
        async with aclosing(pieces):  # type: ignore[type-var]  # it is a generator
            try:
                for document in chunks.begin(len(exchange.choices)):
                    yield form.event(document)
                if first is not None:
                    yield form.event(chunks.piece(*first))
                    async for number, piece in pieces:
                        yield form.event(chunks.piece(number, piece))
            except OpswrightError as error:
                yield form.event(_error(error)[0])
            except Exception:
                log.exception("request %s met an error of the gateway's own", exchange.caller.id)
                yield form.event(_error(OpswrightError("the gateway failed; its log says how."))[0])
            else:
                for document in _ends(chunks, exchange):
                    yield form.event(document)
        yield form.event("[DONE]")

    headers = _headers(exchange) | {"cache-control": "no-store"}
    return StreamingResponse(events(), media_type="text/event-stream", headers=headers)


def _ends(chunks: form.Chunks, exchange: Exchange) -> list[dict[str, Any]]:
    """What ends a stream: each choice's calls and finish reason, then the tokens for who asked for them."""
    found = []
    for number, choice in enumerate(exchange.choices):
        if choice.tool_calls:
            found.append(chunks.calls(number, choice.tool_calls))
        found.append(chunks.end(number, choice.finish))
    return [*found, chunks.usage(_usage(exchange))] if exchange.request.wants_usage else found


async def body_of(request: Request) -> bytes:
    """The body, never more of it than allowed."""
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > MAX_BODY_BYTES:
            raise HTTPException(413, f"the request is larger than {MAX_BODY_BYTES} bytes")
        parts.append(part)
    return b"".join(parts)


def _model(controller: Controller, name: str) -> dict[str, Any]:
    """An endpoint as a model."""
    stable, canary, percent = controller.endpoints[name].applied.routes()
    row = {"id": name, "object": "model", "created": 0, "owned_by": "opswright", "release": stable}
    return row | ({"canary": canary, "canary_percent": percent} if canary else {})


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


def _error(error: OpswrightError) -> tuple[dict[str, Any], int]:
    """An error in OpenAI's form, and its status."""
    message = in_words(error)
    if isinstance(error, UnknownModelError):
        return form.error_body(message, "invalid_request_error", "model_not_found", "model"), 404
    if isinstance(error, UnknownRequestError):
        return form.error_body(message, "invalid_request_error", "request_not_found", "id"), 404
    if isinstance(error, PromptError):
        return form.error_body(message, "invalid_request_error", PROMPT_REFUSED), 400
    if isinstance(error, RequestError):
        return form.error_body(message, "invalid_request_error", "bad_request", error.param), 400
    if isinstance(error, AskError):
        return form.error_body(message, "invalid_request_error", "bad_request"), 400
    if isinstance(error, RefusedError):
        return form.error_body(message, "auth", error.code), error.status
    if isinstance(error, UnavailableError):
        return form.error_body(message, "server_error", "unavailable"), 503
    return form.error_body(message, "server_error", "internal"), 500


def failure(error: OpswrightError, number: str) -> Response:
    """The reply to a request that failed."""
    document, status = _error(error)
    headers = {"x-request-id": number}
    retry_s = 1 if status == 503 else error.retry_s if isinstance(error, RefusedError) else None
    return json_reply(document, status, headers | ({} if retry_s is None else {"retry-after": str(retry_s)}))


_CODES = {404: "unknown_url", 405: "method_not_allowed", 413: "request_too_large", 500: "internal"}


def http_failure(error: HTTPException, number: str) -> Response:
    """The reply to a request that no route takes, or whose body is too large."""
    said = {
        404: f"unknown URL: this gateway has {', '.join(ROUTES)}",
        405: "this URL takes another method",
    }.get(error.status_code, str(error.detail))
    kind = "invalid_request_error" if error.status_code < 500 else "server_error"
    body = form.error_body(said, kind, _CODES.get(error.status_code, "bad_request"))
    return json_reply(body, error.status_code, {**(error.headers or {}), "x-request-id": number})


def json_reply(document: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A document as JSON."""
    data = json.dumps(document, ensure_ascii=False).encode()
    return Response(data, status, headers, media_type="application/json")
