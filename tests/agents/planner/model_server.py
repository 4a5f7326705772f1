"""A server that speaks OpenAI's protocol over real sockets, and plays what a test has written for it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Part = Callable[["_Handler"], None]
"""What the server does with one request."""


@dataclass
class ModelServer:
    """A running server: each request takes the next part of the script, the last one is repeated."""

    url: str
    script: list[Part] = field(default_factory=list)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)
    broken: threading.Event = field(default_factory=threading.Event)  # somebody closed the line on us

    def play(self, *parts: Part) -> None:
        """The script, from its start."""
        self.script = list(parts)
        self.bodies.clear()
        self.headers.clear()

    @property
    def said(self) -> str:
        """All that the model was told in the last request, as one text."""
        return json.dumps(self.bodies[-1]["messages"], ensure_ascii=False)


@contextmanager
def model_server() -> Iterator[ModelServer]:
    """A server on a free port of this machine."""
    http = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    http.daemon_threads = True
    server = ModelServer(f"http://127.0.0.1:{http.server_address[1]}/v1")
    http.model = server  # type: ignore[attr-defined]
    thread = threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.ended.set()
        http.shutdown()
        http.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        server: ModelServer = self.server.model  # type: ignore[attr-defined]
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        server.bodies.append(json.loads(body))
        server.headers.append({name.lower(): value for name, value in self.headers.items()})
        part = server.script[min(len(server.bodies), len(server.script)) - 1]
        try:
            part(self)
        except OSError:
            server.broken.set()
        self.close_connection = True

    def stream(self) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()

    def event(self, value: Any) -> None:
        data = value if isinstance(value, str) else json.dumps(value)
        self.wfile.write(f"data: {data}\n\n".encode())
        self.wfile.flush()

    def wait(self, seconds: float) -> bool:
        """Wait; whether the server is to end meanwhile."""
        server: ModelServer = self.server.model  # type: ignore[attr-defined]
        return server.ended.wait(seconds)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: tests read what they need from the server."""


def delta(finish: str | None = None, **content: Any) -> dict[str, Any]:
    """One event of a stream."""
    choice = {"index": 0, "delta": content, "finish_reason": finish}
    return {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}


def usage(read: int = 6000, written: int = 50) -> dict[str, Any]:
    """The event with what was used; it has no choices."""
    counted = {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}
    return {**delta(), "choices": [], "usage": counted}


def events(*values: Any, pause_s: float = 0.0) -> Part:
    """A stream of these events as they are, and [DONE]."""

    def part(handler: _Handler) -> None:
        handler.stream()
        for value in values:
            handler.event(value)
            if pause_s and handler.wait(pause_s):
                return
        handler.event("[DONE]")

    return part


def says(text: str, pause_s: float = 0.0) -> Part:
    """Text alone, a word at a time."""
    words = [delta(content=f"{word} ") for word in text.split()]
    return events(*words, delta("stop"), usage(), pause_s=pause_s)


def calls(name: str, arguments: Any = None, *, thinks: str = "", call_id: str = "call_1") -> Part:
    """One call of a tool, its arguments in two pieces as servers send them. A text is sent as it is."""
    text = arguments if isinstance(arguments, str) else json.dumps(arguments or {})
    half = len(text) // 2
    first = {
        "index": 0,
        "id": call_id,
        "type": "function",
        "function": {"name": name, "arguments": text[:half]},
    }
    rest = {"index": 0, "function": {"arguments": text[half:]}}
    spoken = [delta(content=thinks)] if thinks else []
    return events(*spoken, delta(tool_calls=[first]), delta(tool_calls=[rest]), delta("tool_calls"), usage())


def calls_all(*called: tuple[str, Any]) -> Part:
    """Several calls in one reply."""
    listed = [
        {
            "index": at,
            "id": f"call_{at}",
            "type": "function",
            "function": {"name": name, "arguments": json.dumps(arguments)},
        }
        for at, (name, arguments) in enumerate(called)
    ]
    return events(delta(tool_calls=listed), delta("tool_calls"), usage())


def proposes(*steps: dict[str, Any], **more: Any) -> Part:
    """A proposed plan."""
    return calls("propose_plan", {"steps": list(steps), **more})


def fails(status: int, message: str = "no", **headers: str) -> Part:
    """An error by its HTTP status."""

    def part(handler: _Handler) -> None:
        body = json.dumps({"error": {"message": message, "code": None}}).encode()
        handler.send_response(status)
        handler.send_header("content-type", "application/json")
        handler.send_header("content-length", str(len(body)))
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(body)

    return part


def raw(data: bytes, *, content_type: str = "text/event-stream", **headers: str) -> Part:
    """Bytes as they are, and the end of the connection."""

    def part(handler: _Handler) -> None:
        handler.send_response(200)
        handler.send_header("content-type", content_type)
        handler.send_header("connection", "close")
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(data)

    return part


def drips(pause_s: float = 0.05) -> Part:
    """A byte now and then, and never a whole event."""

    def part(handler: _Handler) -> None:
        handler.stream()
        while not handler.wait(pause_s):
            handler.wfile.write(b"x")
            handler.wfile.flush()

    return part


def pours(chunk: bytes = b"x" * 65_536) -> Part:
    """Bytes without an end, as fast as they are taken."""

    def part(handler: _Handler) -> None:
        handler.stream()
        handler.wfile.write(b'data: {"choices": [{"delta": {"content": "')
        deadline = time.monotonic() + 20
        with suppress(ConnectionError):
            while time.monotonic() < deadline:
                handler.wfile.write(chunk)
            return
        raise BrokenPipeError

    return part
