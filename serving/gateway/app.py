"""The gateway's HTTP face: OpenAI's chat completions, models, health, readiness, metrics."""

from __future__ import annotations

import os
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

from ...core.errors import OpswrightError
from .access import Access, AccessMiddleware, allowance_of, headers_of, pass_of
from .chat_handler import ChatHandler
from .completions import Completions
from .controller import Controller
from .exchange import Caller
from .feedback import parse_feedback
from .feedback_handler import keep_feedback
from .openai_routes import add_openai
from .patience import Patience, PatienceMiddleware, ending_of
from .refusals import RefusalCounter
from .replies import body_of, failure, http_failure, json_reply
from .shadow import Shadow
from .tracing import HEADERS as TRACE_HEADERS
from .tracing import Tracing
from .whole_gateway import WholeGateway, add_control

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Scope


_LETTERS = str.maketrans("0123456789", "ghijklmnop")


def build_app(
    controller: Controller,
    access: Access,
    server_facts: dict[str, Any],
    tracing: Tracing | None = None,
    gateway: WholeGateway | None = None,
) -> ASGIApp:
    """The application; `server_facts` is what `/-/state` says of the engine server besides its life.

    gateway: what it says for all workers; this one alone when None.
    """

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        if access.store is not None:
            await access.store.start()
        await controller.start()
        yield
        await controller.stop()
        if access.store is not None:
            await access.store.stop()

    whole = gateway or WholeGateway.of_one(controller, access.store)
    serving = controller.workspace.settings.serving
    handler = ChatHandler(controller, tracing)
    handler.on_closed = Shadow(handler).consider
    app = FastAPI(title="Opswright gateway", lifespan=life, docs_url=None, redoc_url=None, openapi_url=None)

    def caller_of(request: Request) -> Caller:
        return _caller(request.scope, access)

    add_openai(app, handler, caller_of)
    _add_feedback(app, controller, access)

    @app.get("/healthz")
    async def healthz() -> Response:
        return json_reply({"status": "ok", "pid": os.getpid()})

    @app.get("/readyz")
    async def readyz(request: Request) -> Response:
        document = await whole.readiness(pass_of(request.scope).is_known)
        return json_reply(document, 200 if document["ready"] else 503)

    @app.get("/metrics")
    async def metrics() -> Response:
        return Response(await whole.metrics(), media_type="text/plain; version=0.0.4; charset=utf-8")

    add_control(app, whole, server_facts)
    short = Completions(app, handler, lambda scope: _caller(scope, access))
    patient = PatienceMiddleware(short, Patience(serving.body_timeout_s, serving.request_timeout_s))
    return RefusalCounter(AccessMiddleware(patient, access), controller.metrics)


def _add_feedback(app: FastAPI, controller: Controller, access: Access) -> None:
    @app.post("/v1/feedback")
    async def feedback(request: Request) -> Response:
        caller = _caller(request.scope, access)
        try:
            said = parse_feedback(await body_of(request.receive))
            is_known = await keep_feedback(controller, said, caller)
        except OpswrightError as error:
            return failure(error, caller.id)
        except HTTPException as error:
            return http_failure(error, caller.id)
        kept = {"object": "feedback", **said.model_dump(mode="json", exclude_none=True)}
        return json_reply(kept if is_known else {**kept, "joined": "when read"})


def _caller(scope: Scope, access: Access) -> Caller:
    headers = headers_of(scope)
    number = headers.get("x-request-id", "")[:128] or new_id()
    session = headers.get("x-session-id", "")[:512]
    if not pass_of(scope).is_control:
        trace = {name: headers[name] for name in TRACE_HEADERS if name in headers}
        allowance = allowance_of(scope, access)
        return Caller(number, session, allowance=allowance, ending=ending_of(scope), trace_headers=trace)
    release, has_rails = headers.get("x-opswright-release"), headers.get("x-opswright-rails") != "off"
    return Caller(number, session, is_probe=True, release=release, has_rails=has_rails)


def new_id() -> str:
    """A request's id: 128 random bits as letters alone, so that the log never takes it for a number."""
    return uuid.uuid4().hex.translate(_LETTERS)
