"""The gateway's HTTP face: OpenAI's chat completions, models, health, readiness, metrics."""

from __future__ import annotations

import json
import logging
import os
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response, StreamingResponse

from ...core.errors import AskError, OpswrightError
from ...engines import PROMPT_REFUSED, PromptError
from ..keys.allowance import RefusedError
from . import openai_api as form
from .access import Access, AccessMiddleware, allowance_of, pass_of
from .chat_handler import Caller, ChatHandler, Exchange, UnavailableError, UnknownModelError, in_words
from .controller import Controller
from .feedback import UnknownRequestError, parse_feedback
from .feedback_handler import keep_feedback
from .patience import Patience, PatienceMiddleware, ending_of
from .readiness import Readiness
from .refusals import RefusalCounter

log = logging.getLogger(__name__)

MAX_IN_FLIGHT = 512


def build_app(controller: Controller, access: Access, server_facts: dict[str, Any]) -> FastAPI:
    """The application; `server_facts` is what `/-/state` says of the engine server besides its life."""

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        await controller.start()
        yield
        await controller.stop()

    readiness = Readiness(controller)
    app = FastAPI(title="Opswright gateway", lifespan=life, docs_url=None, redoc_url=None, openapi_url=None)
    serving = controller.workspace.settings.serving
    app.add_middleware(
        PatienceMiddleware, patience=Patience(serving.body_timeout_s, serving.request_timeout_s)
    )
    app.add_middleware(AccessMiddleware, access=access)
    app.add_middleware(RefusalCounter, metrics=controller.metrics)

    _add_chat(app, controller, access)
    _add_feedback(app, controller, access)

    @app.get("/v1/models")
    async def models(request: Request) -> Response:
        rows, allowance = [], allowance_of(request, access)
        for name, endpoint in sorted(controller.endpoints.items()):
            if not allowance.may_ask(name):
                continue
            stable, canary, percent = endpoint.applied.routes()
            row = {"id": name, "object": "model", "created": 0, "owned_by": "opswright", "release": stable}
            rows.append(row | ({"canary": canary, "canary_percent": percent} if canary else {}))
        return _json({"object": "list", "data": rows})

    @app.get("/healthz")
    async def healthz() -> Response:
        return _json({"status": "ok", "pid": os.getpid()})

    @app.get("/readyz")
    async def readyz(request: Request) -> Response:
        document = await readiness.document(pass_of(request).is_known)
        return _json(document, 200 if document["ready"] else 503)

    @app.get("/metrics")
    async def metrics() -> Response:
        return Response(controller.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.get("/-/state")
    async def state(request: Request) -> Response:
        if not pass_of(request).is_control:
            return _json(form.error_body("this needs the workspace's control token", "auth", "denied"), 403)
        facts = {"kind": controller.server.kind, "version": controller.server.version, **server_facts}
        return _json(
            {
                "pid": os.getpid(),
                "server": {**facts, "fault": controller.server_fault},
                "endpoints": {name: _endpoint(controller, name) for name in sorted(controller.endpoints)},
            }
        )

    return app


def _add_chat(app: FastAPI, controller: Controller, access: Access) -> None:
    handler = ChatHandler(controller)

    @app.post("/v1/chat/completions")
    async def chat_completions(request: Request) -> Response:
        caller = _caller(request, access)
        try:
            chat = form.parse(await _body(request))
            if controller.in_flight >= MAX_IN_FLIGHT:
                raise UnavailableError(f"{MAX_IN_FLIGHT} requests are being answered; ask again in a moment.")
            exchange = handler.open(chat, caller)
            if chat.stream:
                return await _streamed(handler, exchange)
            await handler.whole(exchange)
        except OpswrightError as error:
            return _failure(error, caller.id)
        except HTTPException as error:
            return _too_large(error)
        except Exception:
            log.exception("request %s met an error of the gateway's own", caller.id)
            return _failure(OpswrightError("the gateway failed; its log says how."), caller.id)
        return _json(_document(exchange), 200, _headers(exchange))


def _add_feedback(app: FastAPI, controller: Controller, access: Access) -> None:
    @app.post("/v1/feedback")
    async def feedback(request: Request) -> Response:
        caller = _caller(request, access)
        try:
            said = parse_feedback(await _body(request))
            await keep_feedback(controller, said, caller)
        except OpswrightError as error:
            return _failure(error, caller.id)
        except HTTPException as error:
            return _too_large(error)
        return _json({"object": "feedback", **said.model_dump(mode="json", exclude_none=True)})


def _caller(request: Request, access: Access) -> Caller:
    headers = request.headers
    number = headers.get("x-request-id", "")[:128] or uuid.uuid4().hex
    session = headers.get("x-session-id", "")[:512]
    if not pass_of(request).is_control:
        allowance = allowance_of(request, access)
        return Caller(number, session, allowance=allowance, ending=ending_of(request.scope))
    release, has_rails = headers.get("x-opswright-release"), headers.get("x-opswright-rails") != "off"
    return Caller(number, session, is_probe=True, release=release, has_rails=has_rails)


async def _body(request: Request) -> bytes:
    """The body, never more of it than allowed."""
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > form.MAX_BODY_BYTES:
            raise HTTPException(413, f"the request is larger than {form.MAX_BODY_BYTES} bytes")
        parts.append(part)
    return b"".join(parts)


def _too_large(error: HTTPException) -> Response:
    body = form.error_body(str(error.detail), "invalid_request_error", "request_too_large")
    return _json(body, error.status_code)


def _document(exchange: Exchange) -> dict[str, Any]:
    """A whole answer; one that a rail gave has used no tokens."""
    request = exchange.request
    return form.chat_completion(
        request.model,
        exchange.caller.id,
        exchange.text,
        exchange.finish,
        _release(exchange),
        _usage(exchange),
    )


def _usage(exchange: Exchange) -> dict[str, int]:
    made = exchange.completion
    return form.usage(made.tokens_in, made.tokens_out) if made is not None else form.usage(0, 0)


def _release(exchange: Exchange) -> str:
    return exchange.served or exchange.loaded.release.id


def _headers(exchange: Exchange) -> dict[str, str]:
    headers = {
        "x-request-id": exchange.caller.id,
        "x-opswright-release": _release(exchange),
        "x-opswright-route": exchange.route,
    }
    return headers | ({"x-opswright-rail": exchange.rail} if exchange.rail is not None else {})


async def _streamed(handler: ChatHandler, exchange: Exchange) -> Response:
    """The answer as server-sent events. Its first piece is awaited, so that a failure has a status code."""
    pieces = handler.pieces(exchange)
    first = await anext(pieces, None)
    chunk = form.Chunks(exchange.request.model, exchange.caller.id, _release(exchange))

    async def events() -> AsyncIterator[bytes]:
        try:
            yield form.event(chunk.delta(role="assistant", content=first or ""))
            async for piece in pieces:
                yield form.event(chunk.delta(content=piece))
        except OpswrightError as error:
            yield form.event(_error(error)[0])
        else:
            yield form.event(chunk.end(exchange.finish))
            if exchange.request.stream_options.include_usage:
                yield form.event(chunk.usage(_usage(exchange)))
        finally:
            await pieces.aclose()  # type: ignore[attr-defined]  # it is a generator
        yield form.event("[DONE]")

    headers = _headers(exchange) | {"cache-control": "no-store"}
    return StreamingResponse(events(), media_type="text/event-stream", headers=headers)


def _error(error: OpswrightError) -> tuple[dict[str, Any], int]:
    """An error in OpenAI's form, and its status."""
    message = in_words(error)
    if isinstance(error, UnknownModelError):
        return form.error_body(message, "invalid_request_error", "model_not_found", "model"), 404
    if isinstance(error, UnknownRequestError):
        return form.error_body(message, "invalid_request_error", "request_not_found", "id"), 404
    if isinstance(error, PromptError):
        return form.error_body(message, "invalid_request_error", PROMPT_REFUSED), 400
    if isinstance(error, AskError):
        return form.error_body(message, "invalid_request_error", "bad_request"), 400
    if isinstance(error, RefusedError):
        return form.error_body(message, "auth", error.code), error.status
    if isinstance(error, UnavailableError):
        return form.error_body(message, "server_error", "unavailable"), 503
    return form.error_body(message, "server_error", "internal"), 500


def _failure(error: OpswrightError, number: str) -> Response:
    document, status = _error(error)
    headers = {"x-request-id": number}
    retry_s = 1 if status == 503 else error.retry_s if isinstance(error, RefusedError) else None
    return _json(document, status, headers | ({} if retry_s is None else {"retry-after": str(retry_s)}))


def _json(document: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    data = json.dumps(document, ensure_ascii=False).encode()
    return Response(data, status, headers, media_type="application/json")


def _endpoint(controller: Controller, name: str) -> dict[str, Any]:
    endpoint = controller.endpoints[name]
    return {
        "serial": endpoint.applied.serial,
        "fault": endpoint.fault,
        "releases": {
            loaded.release.id: {
                "answers": loaded.answers.is_set(),
                "error": loaded.error,
                "in_flight": loaded.in_flight,
                "rails": loaded.rails is not None,
            }
            for loaded in endpoint.loaded.values()
        },
    }
