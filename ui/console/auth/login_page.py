"""Logging in and out: a form, and a cookie no script can read."""

from __future__ import annotations

import math
import sys
import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from ....core.errors import OpswrightError
from ..markup import render
from .guard import LOG_IN, LOG_OUT
from .logins import Logins, WrongPasswords
from .users import User

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

_AT_ONCE = threading.BoundedSemaphore(
    2
)  # a hash takes 32 MB and a core: more at once would be a way to stall


def login_routes(logins: Logins | None, cookie: str, pages: Iterable[str]) -> list[Route]:
    """The routes of the form; without logins they lead to the first page."""
    from starlette.concurrency import run_in_threadpool
    from starlette.responses import HTMLResponse, RedirectResponse
    from starlette.routing import Route

    known = tuple(pages)
    wrong = WrongPasswords()

    def form(to: str, status: int = 200, message: str = "", name: str = "") -> HTMLResponse:
        return HTMLResponse(render("login.html", to=to, message=message, name=name), status)

    async def show(request: Request) -> Response:
        to = _target(request.query_params.get("to", "/"), known)
        if logins is None or logins.get(request.cookies.get(cookie, "")):
            return RedirectResponse(to, 303)
        return form(to)

    async def log_in(request: Request) -> Response:
        fields = {
            key: values[0]
            for key, values in parse_qs((await request.body()).decode(errors="replace")).items()
        }
        to = _target(fields.get("to", "/"), known)
        if logins is None:
            return RedirectResponse(to, 303)
        name, password = fields.get("name", "").strip()[:200], fields.get("password", "")[:1000]
        address = request.client.host if request.client is not None else ""
        if (wait := math.ceil(wrong.wait_s(address))) > 0:
            refused = form(to, 429, f"Too many tries. Wait {wait} s, then try again.", name)
            refused.headers["Retry-After"] = str(wait)
            return refused
        wrong.add(address)
        user = await run_in_threadpool(_check, logins, name, password)
        if user is None:
            print(f"opswright: {name[:80]!r} was not let in from {address}", file=sys.stderr, flush=True)
            return form(to, 401, _why_not(logins), name)
        wrong.take_back(address)
        answer = RedirectResponse(to, 303)
        is_tls = request.url.scheme == "https"
        answer.set_cookie(cookie, logins.begin(user), httponly=True, secure=is_tls, samesite="lax", path="/")
        return answer

    async def log_out(request: Request) -> Response:
        if logins is not None:
            logins.end(request.cookies.get(cookie, ""))
        answer = RedirectResponse(LOG_IN, 303)
        answer.delete_cookie(cookie, path="/")
        return answer

    return [
        Route(LOG_IN, show, methods=["GET"]),
        Route(LOG_IN, log_in, methods=["POST"]),
        Route(LOG_OUT, log_out, methods=["POST"]),
    ]


def _check(logins: Logins, name: str, password: str) -> User | None:
    with _AT_ONCE:
        return logins.users.log_in(name, password)


def _why_not(logins: Logins) -> str:
    try:
        logins.users.users()
    except OpswrightError:
        return "Nobody can log in: the users file cannot be used. Its owner runs `opswright users list`."
    return "Name or password is wrong."


def _target(to: str, pages: tuple[str, ...]) -> str:
    """Where to go after logging in: a page of this console, never another site."""
    parts = urlsplit(to)
    if parts.scheme or parts.netloc or parts.path not in pages:
        return "/"
    return parts.path + (f"?{parts.query}" if parts.query else "")
