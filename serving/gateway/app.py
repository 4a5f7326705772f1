"""The gateway's HTTP face: OpenAI's chat completions, models, health, readiness, metrics."""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import os
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response, StreamingResponse

from ...core.errors import AskError, OpswrightError
from ...engines import PROMPT_REFUSED, PromptError
from ..server import ready
from . import openai_api as form
from .chat_handler import Caller, ChatHandler, Exchange, UnavailableError, UnknownModelError, in_words
from .controller import Controller, LoadedRelease
from .shadow import Shadow

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

log = logging.getLogger(__name__)

MAX_IN_FLIGHT = 512
_READY_S = 10.0
_LOCAL = frozenset({"127.0.0.1", "localhost", "[::1]"})


@dataclass(frozen=True)
class Access:
    """Who may ask: the token for control, the one for everybody (when set), the hosts it is asked under."""

    control: str
    token: str | None = None
    hosts: frozenset[str] = field(default=_LOCAL)


def build_app(controller: Controller, access: Access, server_facts: dict[str, Any]) -> FastAPI:
    """The application; `server_facts` is what `/-/state` says of the engine server besides its life."""

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        await controller.start()
        yield
        await controller.stop()

    app = FastAPI(title="Opswright gateway", lifespan=life, docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(AccessMiddleware, access=access)

    _add_chat(app, controller, access)

    @app.get("/v1/models")
    async def models() -> Response:
        rows = []
        for name, endpoint in sorted(controller.endpoints.items()):
            stable, canary, percent = endpoint.applied.routes()
            row = {"id": name, "object": "model", "created": 0, "owned_by": "opswright", "release": stable}
            rows.append(row | ({"canary": canary, "canary_percent": percent} if canary else {}))
        return _json({"object": "list", "data": rows})

    @app.get("/healthz")
    async def healthz() -> Response:
        return _json({"status": "ok", "pid": os.getpid()})

    @app.get("/readyz")
    async def readyz() -> Response:
        document, is_ready = await _readiness(controller)
        return _json(document, 200 if is_ready else 503)

    @app.get("/metrics")
    async def metrics() -> Response:
        return Response(controller.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.get("/-/state")
    async def state(request: Request) -> Response:
        if not _may_control(request, access):
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
    handler.on_closed = Shadow(handler).consider

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
            return _json(
                form.error_body(str(error.detail), "invalid_request_error", "request_too_large"),
                error.status_code,
            )
        except Exception:
            log.exception("request %s met an error of the gateway's own", caller.id)
            return _failure(OpswrightError("the gateway failed; its log says how."), caller.id)
        return _json(_document(exchange), 200, _headers(exchange))


class AccessMiddleware:
    """Turns away web pages of other sites, and who has not the token, before anything is read."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self.app = app
        self.access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer 401 or 403."""
        if scope["type"] == "http" and (refused := self._refuse(scope)) is not None:
            await refused(scope, receive, send)
            return
        await self.app(scope, receive, send)

    def _refuse(self, scope: Scope) -> Response | None:
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        if self.access.token is None:
            # a page of another site may reach this address by a name of its own (DNS rebinding)
            host = headers.get(b"host", "").rpartition(":")[0] or headers.get(b"host", "")
            origin = headers.get(b"origin", "").partition("://")[2]
            origin_host = origin.rpartition(":")[0] or origin
            if host not in self.access.hosts or (
                b"origin" in headers and origin_host not in self.access.hosts
            ):
                message = (
                    "this gateway answers to local names only; set OPSWRIGHT_SERVING__AUTH_TOKEN for others"
                )
                return _json(form.error_body(message, "auth", "wrong_host"), 403)
        elif scope["path"] != "/healthz":
            given = headers.get(b"authorization", "").removeprefix("Bearer ")
            if not hmac.compare_digest(given.encode(), self.access.token.encode()):
                return _json(form.error_body("a bearer token is needed", "auth", "invalid_api_key"), 401)
        return None


def _may_control(request: Request, access: Access) -> bool:
    given = request.headers.get("x-opswright-control", "")
    return hmac.compare_digest(given.encode(), access.control.encode())


def _caller(request: Request, access: Access) -> Caller:
    headers = request.headers
    number = headers.get("x-request-id", "")[:128] or uuid.uuid4().hex
    session = headers.get("x-session-id", "")[:512]
    if "x-opswright-control" not in headers or not _may_control(request, access):
        return Caller(number, session)
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
    if isinstance(error, PromptError):
        return form.error_body(message, "invalid_request_error", PROMPT_REFUSED), 400
    if isinstance(error, AskError):
        return form.error_body(message, "invalid_request_error", "bad_request"), 400
    if isinstance(error, UnavailableError):
        return form.error_body(message, "server_error", "unavailable"), 503
    return form.error_body(message, "server_error", "internal"), 500


def _failure(error: OpswrightError, number: str) -> Response:
    document, status = _error(error)
    headers = {"x-request-id": number}
    return _json(document, status, headers | ({"retry-after": "1"} if status == 503 else {}))


def _json(document: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    data = json.dumps(document, ensure_ascii=False).encode()
    return Response(data, status, headers, media_type="application/json")


async def _readiness(controller: Controller) -> tuple[dict[str, Any], bool]:
    """A real inference by every release that gets traffic."""

    async def prove(name: str, loaded: LoadedRelease) -> dict[str, Any]:
        began = time.perf_counter()
        answers = loaded.answers.is_set() and await ready(controller.server, loaded.model, _READY_S)
        found = {"endpoint": name, "release": loaded.release.id, "ready": answers}
        took = round((time.perf_counter() - began) * 1000, 3)
        return {**found, "ms": took} if answers else {**found, "error": loaded.error or "no answer"}

    asked = [
        prove(name, endpoint.loaded[release])
        for name, endpoint in sorted(controller.endpoints.items())
        for release in endpoint.applied.routes()[:2]
        if release in endpoint.loaded
    ]
    rows = await asyncio.gather(*asked)
    is_ready = bool(rows) and all(row["ready"] for row in rows)
    lost = sum(endpoint.traffic.lost for endpoint in controller.endpoints.values())
    document = {"ready": is_ready, "releases": rows, "traffic_rows_lost": lost}
    return document | ({} if rows else {"error": "no endpoint serves a release"}), is_ready


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
