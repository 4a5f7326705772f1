"""How long a request may take: its body to come, its answer to be made, while its caller stays."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from starlette.responses import JSONResponse

from .openai_api import error_body, event
from .openai_requests import MAX_BODY_BYTES

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_STATE = "opswright_ending"
DEADLINE: Literal["error: DeadlineError"] = "error: DeadlineError"
Reason = Literal["cancelled", "error: DeadlineError"]
_DEADLINE_HEADER = b"x-request-timeout"


@dataclass
class Ending:
    """Why a request was ended before its answer was whole; empty while it was not."""

    reason: Literal[""] | Reason = ""


def ending_of(scope: Scope) -> Ending:
    """How a request ended, to be asked once it was cancelled."""
    found: Ending = scope["state"].get(_STATE) or Ending()
    return found


@dataclass(frozen=True)
class Patience:
    """Seconds that a body may take to come, and an answer to be made."""

    body_s: float
    answer_s: float


class PatienceMiddleware:
    """Reads a request's body, then answers it while its caller stays and its time lasts.

    The body is read here, so that one that never comes holds nothing. A caller that leaves, or a deadline,
    cancels the work; a caller may ask for a shorter deadline by `x-request-timeout`, in seconds, and has left
    when that is over.
    """

    def __init__(self, app: ASGIApp, patience: Patience) -> None:
        self.app = app
        self.patience = patience

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer; 408 for a body that does not come in time, 504 for an answer that is not made in time."""
        if scope["type"] != "http" or scope["method"] != "POST":
            await self.app(scope, receive, send)
            return
        try:
            async with asyncio.timeout(self.patience.body_s):
                body = await _read(receive)
        except TimeoutError:
            message = f"the request's body did not come within {self.patience.body_s:g} s"
            await _refuse(scope, receive, send, message, "request_timeout", 408)
            return
        if body is not None:
            await self._answer(scope, receive, send, body)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, body: bytes) -> None:
        ending = scope.setdefault("state", {})[_STATE] = Ending()
        reply = _Reply(send)
        limit_s = self._limit_s(scope)
        left = asyncio.create_task(_until_gone(receive))
        late: Reason = DEADLINE if limit_s >= self.patience.answer_s else "cancelled"
        with _Clock(ending, left, limit_s, late) as clock:
            try:
                await self.app(scope, _replay(body, left), reply.send)
            except asyncio.CancelledError:
                if not clock.has_ended_it():
                    raise  # the server itself stops
        if clock.is_late:
            await reply.end(scope, receive, f"the answer was not made within {limit_s:g} s")

    def _limit_s(self, scope: Scope) -> float:
        """The deadline: the gateway's, or a shorter one that the caller asks for."""
        given = dict(scope["headers"]).get(_DEADLINE_HEADER, b"")
        try:
            asked_s = float(given)
        except ValueError:
            return self.patience.answer_s
        return min(asked_s, self.patience.answer_s) if asked_s > 0 else self.patience.answer_s


class _Clock:
    """Cancels the task that answers when its caller leaves or its time is over, and notes which it was.

    The answer is made in the server's own task: one of its own for each request costs what a rail does.
    """

    def __init__(self, ending: Ending, left: asyncio.Task[None], limit_s: float, late: Reason) -> None:
        self.is_late = False
        self._ending = ending
        self._left = left
        self._limit_s = limit_s
        self._late = late

    def __enter__(self) -> _Clock:
        self._task = asyncio.current_task()
        self._handle = asyncio.get_running_loop().call_later(self._limit_s, self._on_late)
        self._left.add_done_callback(self._on_left)
        return self

    def __exit__(self, *exception: object) -> None:
        self._handle.cancel()
        self._left.remove_done_callback(self._on_left)
        self._left.cancel()

    def _on_left(self, left: asyncio.Task[None]) -> None:
        if not left.cancelled():
            left.exception()  # a connection that broke is one that was left
            self._end("cancelled")

    def _on_late(self) -> None:
        self.is_late = not self._ending.reason
        self._end(self._late)

    def _end(self, reason: Reason) -> None:
        if self._task is not None and not self._ending.reason:
            self._ending.reason = reason
            self._task.cancel()

    def has_ended_it(self) -> bool:
        """Whether a cancellation was this clock's alone."""
        return bool(self._ending.reason) and self._task is not None and self._task.uncancel() == 0


class _Reply:
    """What was sent of an answer, so that one can be ended as it was begun."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._started = False
        self._is_stream = False
        self._ended = False

    async def send(self, message: Message) -> None:
        """Pass a part on."""
        if message["type"] == "http.response.start":
            self._started = True
            self._is_stream = b"text/event-stream" in dict(message["headers"]).get(b"content-type", b"")
        else:
            self._ended = not message.get("more_body", False)
        await self._send(message)

    async def end(self, scope: Scope, receive: Receive, message: str) -> None:
        """Say that the time is over: with a status, or as the last event of a stream."""
        if not self._started:
            await _refuse(scope, receive, self._send, message, "deadline", 504)
        elif not self._ended:
            last = event(error_body(message, "server_error", "deadline")) if self._is_stream else b""
            await self._send({"type": "http.response.body", "body": last, "more_body": False})


async def _read(receive: Receive) -> bytes | None:
    """A request's body, of one that is too large only so much that this shows; None when its caller left."""
    parts, size = [], 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if not message.get("more_body", False) or size > MAX_BODY_BYTES:
            return b"".join(parts)


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        continue  # the rest of a body that is too large


def _replay(body: bytes, left: asyncio.Task[None]) -> Receive:
    """Gives a body that was read once, and then only that the caller left."""
    parts = [body]

    async def receive() -> Message:
        if parts:
            return {"type": "http.request", "body": parts.pop(), "more_body": False}
        await asyncio.wait({left})
        return {"type": "http.disconnect"}

    return receive


async def _refuse(scope: Scope, receive: Receive, send: Send, message: str, code: str, status: int) -> None:
    kind = "invalid_request_error" if status < 500 else "server_error"
    headers = {"connection": "close"} if status == 408 else None
    await JSONResponse(error_body(message, kind, code), status, headers)(scope, receive, send)
