"""The gateway's HTTP face: OpenAI's chat completions, models, health, readiness, metrics."""

from __future__ import annotations

import asyncio
import hmac
import os
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request
from starlette.responses import Response

from ..server import ready
from . import openai_api as form
from .chat_handler import Caller
from .controller import Controller, LoadedRelease
from .openai_routes import add_openai, json_reply

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

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

    add_openai(app, controller, lambda request: _caller(request, access))

    @app.get("/healthz")
    async def healthz() -> Response:
        return json_reply({"status": "ok", "pid": os.getpid()})

    @app.get("/readyz")
    async def readyz() -> Response:
        document, is_ready = await _readiness(controller)
        return json_reply(document, 200 if is_ready else 503)

    @app.get("/metrics")
    async def metrics() -> Response:
        return Response(controller.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.get("/-/state")
    async def state(request: Request) -> Response:
        if not _may_control(request, access):
            return json_reply(
                form.error_body("this needs the workspace's control token", "auth", "denied"), 403
            )
        facts = {"kind": controller.server.kind, "version": controller.server.version, **server_facts}
        return json_reply(
            {
                "pid": os.getpid(),
                "server": {**facts, "fault": controller.server_fault},
                "endpoints": {name: _endpoint(controller, name) for name in sorted(controller.endpoints)},
            }
        )

    return app


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
                return json_reply(form.error_body(message, "auth", "wrong_host"), 403)
        elif scope["path"] != "/healthz":
            given = headers.get(b"authorization", "").removeprefix("Bearer ")
            if not hmac.compare_digest(given.encode(), self.access.token.encode()):
                return json_reply(form.error_body("a bearer token is needed", "auth", "invalid_api_key"), 401)
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
