"""One HTTP request with an end: the time holds for all of it, however slowly the other side writes."""

from __future__ import annotations

import socket
import ssl
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import Any


@contextmanager
def open_in_time(
    request: urllib.request.Request, timeout_s: float, *, use_proxies: bool
) -> Iterator[HTTPResponse]:
    """The reply, to be read within the block; no redirect is followed.

    TimeoutError once timeout_s are over, whatever came until then: a socket's own timeout begins anew with
    each byte. Else as urllib: HTTPError for a status that is none of 200 to 299, URLError, HTTPException.
    """
    deadline = _Deadline()
    proxies = [] if use_proxies else [urllib.request.ProxyHandler({})]
    opener = urllib.request.build_opener(
        *proxies, _NoRedirect, _PlainHandler(deadline), _SecureHandler(deadline)
    )
    timer = threading.Timer(timeout_s, deadline.end)
    timer.daemon = True
    timer.start()
    try:
        with opener.open(request, timeout=timeout_s) as reply:
            yield reply
    except (OSError, HTTPException, ValueError) as error:
        if deadline.is_over:
            raise TimeoutError(f"no whole reply in {timeout_s:g} s") from error
        raise
    finally:
        timer.cancel()
    if deadline.is_over:  # a reply whose length is not told ends like one that was cut
        raise TimeoutError(f"no whole reply in {timeout_s:g} s")


class _Deadline:
    """Shuts the connections of one request down when the time is over, so that whoever reads wakes."""

    def __init__(self) -> None:
        self.is_over = False
        self._sockets: list[socket.socket] = []
        self._lock = threading.Lock()

    def watch(self, connected: socket.socket) -> None:
        with self._lock:
            self._sockets.append(connected)
            over = self.is_over
        if over:
            self.end()

    def end(self) -> None:
        with self._lock:
            self.is_over = True
            for one in self._sockets:
                with suppress(OSError):
                    socket.socket.shutdown(one, socket.SHUT_RDWR)  # of TLS too, without its farewell


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Redirects lead elsewhere than the settings say: none is followed."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        """No request."""


class _PlainHandler(urllib.request.HTTPHandler):
    def __init__(self, deadline: _Deadline) -> None:
        super().__init__()
        self._deadline = deadline

    def http_open(self, req: urllib.request.Request) -> HTTPResponse:
        deadline = self._deadline

        class Connection(HTTPConnection):
            def connect(self) -> None:
                super().connect()
                deadline.watch(self.sock)

        return self.do_open(Connection, req)


class _SecureHandler(urllib.request.HTTPSHandler):
    def __init__(self, deadline: _Deadline) -> None:
        super().__init__()
        self._deadline = deadline

    def https_open(self, req: urllib.request.Request) -> HTTPResponse:
        deadline = self._deadline

        class Connection(HTTPSConnection):
            def connect(self) -> None:
                super().connect()  # TLS's handshake ends in time by itself
                deadline.watch(self.sock)

        return self.do_open(Connection, req, context=_trusted())


@lru_cache(maxsize=1)
def _trusted() -> ssl.SSLContext:
    """The authorities that are trusted, read once."""
    return ssl.create_default_context()
