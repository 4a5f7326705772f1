"""The server the console runs in: it takes its port first, and ends at once on a signal."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import nullcontext
from types import FrameType
from typing import TYPE_CHECKING, Any

from ...core.errors import AskError, NeedsError, from_os_error

if TYPE_CHECKING:
    from .auth.guard import App


def listen(host: str, port: int) -> socket.socket:
    """A socket bound to the address; NeedsError when the port is taken, AskError when it is not ours."""
    name = host.strip("[]")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            name, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise AskError(
            f"not an address of this machine: {host!r} ({error}). Try --host 127.0.0.1."
        ) from error
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind(address)
        made.listen(128)
    except OSError as error:
        made.close()
        if error.errno == errno.EADDRINUSE:
            raise NeedsError(
                f"port {port} on {host} is in use ({error.strerror}). Choose another one with --port."
            ) from error
        if error.errno == errno.EADDRNOTAVAIL:
            raise AskError(f"{host} is not an address of this machine. Try --host 127.0.0.1.") from error
        raise from_os_error(error, f"port {port} of {host} was opened") from error
    return made


def end_on_sigterm() -> None:
    """Have SIGTERM end this process with exit code 0, from now on; the server takes over when it is up."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _exit)


def _exit(number: int, frame: FrameType | None) -> None:
    sys.exit(0)


def run(
    app: App,
    bound: socket.socket,
    url: str,
    when_ready: Callable[[], object],
    when_over: Callable[[], object] = lambda: None,
    *,
    is_proxied: bool = False,
) -> None:
    """Serve until SIGTERM, after which it returns, or Ctrl-C, which is a KeyboardInterrupt.

    is_proxied: a proxy on this machine says who asks (X-Forwarded-For); else nobody else may say that.
    Neither waits for open pages: their streams never end by themselves. What a thread is still doing ends
    with the process, as in a crash; `opswright resume RUN` continues a run.
    """
    import uvicorn

    class Server(uvicorn.Server):
        caught: int | None = None

        def capture_signals(self) -> Any:
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, self.handle_exit)
            return nullcontext()

        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            self.caught = sig
            self.should_exit = True

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            print(f"The console is at {url} (Ctrl-C ends it)", file=sys.stderr, flush=True)
            threading.Thread(target=when_ready, daemon=True).start()

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # streams are cut off, as expected
            for server in self.servers:
                server.close()
            for task in list(self.server_state.tasks):
                task.cancel()
            await self.lifespan.shutdown()

    config = uvicorn.Config(
        app,
        lifespan="on",
        log_level="warning",
        access_log=False,
        server_header=False,
        ws="none",
        proxy_headers=is_proxied,
    )
    server = Server(config)
    with asyncio.Runner() as runner:
        runner.run(server.serve(sockets=[bound]))
        when_over()
        _leave_if_threads_are_busy(code := 130 if server.caught == signal.SIGINT else 0)
    _leave_if_threads_are_busy(code)  # those of a question that came just now: nobody tells them to end
    if server.caught == signal.SIGINT:
        raise KeyboardInterrupt


def _leave_if_threads_are_busy(code: int) -> None:
    """Python would wait for every thread: minutes for a skill at work, forever for one that is forgotten."""
    for thread in threading.enumerate():
        if thread is threading.current_thread() or thread.daemon:
            continue
        thread.join(timeout=0.3)
        if thread.is_alive():
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
