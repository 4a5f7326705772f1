"""The guard in front of Gradio: it lets through what the console's own pages ask, and nothing else.

Gradio can fetch addresses, record runs, take any file and serve an API; the console needs none of that. So
the guard names what is allowed (hosts, origins, routes, files) and refuses the rest.
"""

from __future__ import annotations

import ipaddress
import json
import re
import secrets
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from ..uploads import KINDS

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_API = "/gradio_api/"
_FILE = f"{_API}file="
_MOST_JSON_BYTES = 8 << 20
_READS = re.compile(
    r"/(config|theme\.css|favicon\.ico|robots\.txt|manifest\.json|(assets|static|ledger/export)/.+"
    r"|gradio_api/(queue/data|heartbeat/[^/]+|upload_progress|info|app_id|login_check|theme\.css|file=.+))"
)
_JSON_WRITES = re.compile(r"/call/[a-z]+/[a-z_]+|/gradio_api/(queue/join|run/[^/]+|cancel|reset)/?")
_UPLOAD = re.compile(r"/gradio_api/upload/?")
LOG_IN, LOG_OUT = "/login", "/logout"
_OPEN = (LOG_IN, "/robots.txt")
_FOR_EVER = "private, max-age=31536000, immutable"  # files whose names hold the digest of what is in them

HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=(), payment=(), usb=()",
}


def policy(nonce: str) -> str:
    """The Content-Security-Policy: only this server, and inline scripts only where the guard marked them.

    Gradio compiles handlers that pages bring (`js=`, `js_on_load`) with `new Function`, which needs
    'unsafe-eval'; its components style themselves, which needs inline styles.
    """
    return (
        f"default-src 'self'; script-src 'self' 'nonce-{nonce}' 'unsafe-eval'; connect-src 'self'; "
        "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
        "media-src 'self' blob:; worker-src 'self' blob:; object-src 'none'; base-uri 'self'; "
        "form-action 'self'; frame-src 'none'; frame-ancestors 'none'"
    )


class Refused(Exception):
    """A request the guard does not let through."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass
class Guard:
    """An ASGI application in front of another one."""

    app: App
    pages: Iterable[str]  # paths of the pages, such as "/" and "/ledger"
    hosts: Callable[[str], bool]  # whether browsers may call this server by that name
    uploads: Path  # the only folder that files are served from
    most_upload_bytes: int
    logged_in: Callable[[Mapping[str, str]], bool] = field(default=lambda cookies: True)
    may_upload: Callable[[Mapping[str, str]], bool] = field(default=lambda cookies: True)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or have the application answer it."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        path = scope["path"]
        nonce = secrets.token_urlsafe(16)
        is_page = path in self.pages
        kept = "no-store" if is_page else _FOR_EVER if path.startswith("/assets/") else "private, no-cache"
        dressed = _Dressed(send, nonce, is_page, kept)
        try:
            self._check_source(scope["method"], headers)
            self._check_route(scope["method"], path)
            cookies = _cookies(headers.get("cookie", ""))
            if path not in _OPEN and not self.logged_in(cookies):
                await self._send_to_log_in(scope, is_page, dressed)
                return
            if path.startswith(_FILE):
                self._check_file(path.removeprefix(_FILE))
            if is_page:  # the guard marks the inline scripts, so it must be able to read the page
                scope["headers"] = [pair for pair in scope["headers"] if pair[0] != b"accept-encoding"]
            if scope["method"] == "POST" and _UPLOAD.fullmatch(path):
                if not self.may_upload(cookies):
                    raise Refused(403, "your role may not upload a file.")
                await self._upload(scope, _limited(receive, headers, self.most_upload_bytes), dressed)
            elif scope["method"] == "POST" and _JSON_WRITES.fullmatch(path):
                await self.app(scope, await _checked_json(receive, headers, path), dressed)
            elif scope["method"] == "POST":
                await self.app(scope, _limited(receive, headers, 1 << 16), dressed)
            else:
                await self.app(scope, receive, dressed)
        except Refused as refused:
            if dressed.has_begun:
                raise
            await answer(dressed, refused.status, str(refused))

    def _check_source(self, method: str, headers: Mapping[str, str]) -> None:
        """Refuse another site: a name that is not ours (DNS rebinding), or a page that is not ours."""
        host = headers.get("host", "")
        if not self.hosts(_name_of(host)):
            raise Refused(
                403,
                f"this console is not {host[:80]!r}. Open it under the address it printed at its start, or "
                "name the host in allowed_hosts of [console] in opswright.toml.",
            )
        origin = headers.get("origin")
        site = headers.get("sec-fetch-site", "same-origin")
        ours = site in ("same-origin", "none")
        if method in ("GET", "HEAD"):
            if not ours and headers.get("sec-fetch-mode") != "navigate":
                raise Refused(403, "another site may not read this console.")
        elif not ours or (origin is not None and not _is_same(origin, host)):
            raise Refused(403, f"a page of {(origin or 'another site')[:80]} may not act on this console.")

    def _check_route(self, method: str, path: str) -> None:
        if "\\" in path or "\0" in path or ".." in path.split("/"):
            raise Refused(403, "no such path.")
        reads = path in self.pages or path == LOG_IN or _READS.fullmatch(path)
        writes = path in (LOG_IN, LOG_OUT) or _UPLOAD.fullmatch(path) or _JSON_WRITES.fullmatch(path)
        if not (reads if method in ("GET", "HEAD") else writes if method == "POST" else False):
            raise Refused(404, "there is nothing here.")

    def _check_file(self, name: str) -> None:
        """Only what was uploaded here or made for download; Gradio would also fetch an address."""
        try:
            path = Path(name).resolve()
            is_there = path.is_file()
        except (OSError, ValueError):
            is_there = False
        if not is_there or not path.is_relative_to(self.uploads.resolve()):
            raise Refused(403, "this file is not served.")

    async def _send_to_log_in(self, scope: Scope, is_page: bool, send: Send) -> None:
        if scope["method"] != "GET" or not is_page:
            raise Refused(401, "log in to continue.")
        wanted = scope["path"] + (
            f"?{scope['query_string'].decode('latin-1')}" if scope["query_string"] else ""
        )
        await answer(send, 303, "log in", {"Location": f"{LOG_IN}?to={quote(wanted, safe='')}"})

    async def _upload(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Have Gradio store the files, then remove files of a type that no page accepts."""
        held: list[Message] = []

        async def hold(message: Message) -> None:
            held.append(message)

        scope["headers"] = [pair for pair in scope["headers"] if pair[0] != b"accept-encoding"]
        await self.app(scope, receive, hold)
        body = b"".join(message.get("body", b"") for message in held[1:])
        if held[0]["status"] == 200:
            stored = [Path(name) for name in json.loads(body)]
            if wrong := [path for path in stored if path.suffix.lower() not in KINDS]:
                for path in stored:
                    path.unlink(missing_ok=True)
                raise Refused(
                    415, f"{wrong[0].name[:80]!r} has an unsupported type; supported: {', '.join(KINDS)}."
                )
        for message in held:
            await send(message)


class _Dressed:
    """`send` with the security headers; on a page, with inline scripts marked as the server's own."""

    def __init__(self, send: Send, nonce: str, is_page: bool, kept: str) -> None:
        self._send = send
        self._kept = kept  # how long a browser may keep it
        self._nonce = nonce
        self._is_page = is_page
        self._start: Message = {}
        self._body = b""
        self.has_begun = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._start = message
            names = {name.lower().encode() for name in (*HEADERS, "Content-Security-Policy", "Server")}
            kept = [pair for pair in message["headers"] if pair[0].lower() not in names]
            added = {**HEADERS, "Content-Security-Policy": policy(self._nonce)}
            if not any(name.lower() == b"cache-control" for name, _ in kept):
                added["Cache-Control"] = self._kept if message["status"] in (200, 304) else "no-store"
            message["headers"] = [*kept, *((n.lower().encode(), v.encode()) for n, v in added.items())]
            if not self._is_page:
                await self._begin()
            return
        if not self._is_page:
            await self._send(message)
            return
        self._body += message.get("body", b"")
        if not message.get("more_body"):
            # Gradio writes data into a page only as JSON without a "<", so each of these is a tag of its own
            body = self._body.replace(b"<script", b'<script nonce="%s"' % self._nonce.encode())
            length = (b"content-length", str(len(body)).encode())
            headers = [pair for pair in self._start["headers"] if pair[0].lower() != b"content-length"]
            self._start["headers"] = [*headers, length]
            await self._begin()
            await self._send({"type": "http.response.body", "body": body})

    async def _begin(self) -> None:
        self.has_begun = True
        await self._send(self._start)


async def answer(send: Send, status: int, text: str, headers: Mapping[str, str] | None = None) -> None:
    """A whole answer of plain text."""
    body = text.encode()
    fields = {
        "Content-Type": "text/plain; charset=utf-8",
        "Content-Length": str(len(body)),
        **(headers or {}),
    }
    pairs = [(name.lower().encode(), value.encode()) for name, value in fields.items()]
    await send({"type": "http.response.start", "status": status, "headers": pairs})
    await send({"type": "http.response.body", "body": body})


def _limited(receive: Receive, headers: Mapping[str, str], most_bytes: int) -> Receive:
    """`receive` that refuses a body beyond the limit, whether it says its length or not."""
    too_large = Refused(413, f"more than {most_bytes / 1e6:,.1f} MB; see max_upload_mb in [console].")
    declared = headers.get("content-length", "0")
    if not declared.isdigit() or int(declared) > most_bytes:
        raise too_large
    seen = 0

    async def limited() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > most_bytes:
            raise too_large
        return message

    return limited


async def _checked_json(receive: Receive, headers: Mapping[str, str], path: str) -> Receive:
    """The body as JSON, in which Gradio is told of no file.

    It would fetch an address, and copy a file of the machine to where files are served from, whatever the
    page's part takes. None of its pages sends one.
    """
    limited = _limited(receive, headers, _MOST_JSON_BYTES)
    body, more = b"", True
    while more:
        message = await limited()
        if message["type"] == "http.disconnect":
            return receive
        body += message.get("body", b"")
        more = message.get("more_body", False)
    try:
        json.loads(body or b"null", object_pairs_hook=_no_file if path.startswith(_API) else None)
    except (ValueError, RecursionError) as error:
        raise Refused(400, "the body is not valid JSON.") from error
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return waiting.pop() if waiting else await receive()

    return again


def _no_file(pairs: list[tuple[str, Any]]) -> None:
    """Refuse an object that Gradio could take for a file, also where its path is given twice."""
    if any(name == "path" for name, _ in pairs):
        raise Refused(403, "files must be uploaded; paths and addresses are not accepted.")


def _cookies(header: str) -> dict[str, str]:
    pairs = (part.strip().partition("=") for part in header.split(";"))
    return {name: value for name, _, value in pairs if name}


def _name_of(host: str) -> str:
    """The name in a Host header, without its port; empty when it is none."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _is_same(origin: str, host: str) -> bool:
    """Whether a page's origin is the host it asks; behind a proxy that ends TLS the schemes differ."""
    try:
        parts = urlsplit(origin)
        asked = urlsplit(f"{parts.scheme}://{host}")
        ports = {"http": 80, "https": 443}
        same = (parts.hostname, parts.port or ports.get(parts.scheme))
        return parts.scheme in ports and same == (asked.hostname, asked.port or ports[parts.scheme])
    except ValueError:
        return False


def is_loopback(host: str) -> bool:
    """Whether an address is reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def known_hosts(host: str, allowed: Iterable[str]) -> Callable[[str], bool]:
    """Which names browsers may use for a server that listens on `host`.

    A name can be made to point here by whoever owns it, an address cannot: addresses pass where the server is
    reached by address, names only when they are listed.
    """
    listed = {host.strip("[]").lower(), "localhost", *(name.lower() for name in allowed)}

    def is_known(name: str) -> bool:
        if name in listed or is_loopback(name):
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return not is_loopback(host)

    return is_known
