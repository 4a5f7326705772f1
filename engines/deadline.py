"""HTTP that is held to a time from first byte to last, however slowly a server lets bytes fall.

httpx's own timeouts are of each wait, so a server that sends a byte now and then would hold a request for
ever: in its status line, its headers, or between the chunks of its body.
"""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpcore
import httpx

_IDLE_S = 5.0  # as httpx' own


class _Until(threading.local):
    """When the request of this thread must be over, by the monotonic clock."""

    at: float | None = None
    seconds: float = 0.0


class DeadlineTransport(httpx.HTTPTransport):
    """A transport whose requests end within `limit`, in the thread that makes them."""

    def __init__(self, connections: int) -> None:
        super().__init__(trust_env=False)
        self._until = _Until()
        self._pool = httpcore.ConnectionPool(
            ssl_context=httpx.create_ssl_context(trust_env=False),
            max_connections=connections,
            keepalive_expiry=_IDLE_S,
            network_backend=_Backend(self._until),
        )

    @contextmanager
    def limit(self, seconds: float) -> Iterator[None]:
        """What is asked within raises httpx.ReadTimeout once it has taken so long."""
        self._until.at, self._until.seconds = time.monotonic() + seconds, seconds
        try:
            yield
        finally:
            self._until.at = None


class _Backend(httpcore.SyncBackend):
    def __init__(self, until: _Until) -> None:
        self._until = until

    def connect_tcp(self, *args: Any, **options: Any) -> httpcore.NetworkStream:
        return _Stream(super().connect_tcp(*args, **options), self._until)


class _Stream(httpcore.NetworkStream):
    """A connection whose every wait ends with its thread's time."""

    def __init__(self, stream: httpcore.NetworkStream, until: _Until) -> None:
        self._stream, self._until = stream, until

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, self._left(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, self._left(timeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        return _Stream(self._stream.start_tls(ssl_context, server_hostname, self._left(timeout)), self._until)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)

    def _left(self, timeout: float | None) -> float | None:
        if self._until.at is None:
            return timeout
        left = self._until.at - time.monotonic()
        if left <= 0:
            raise httpcore.ReadTimeout(f"the reply was not whole after {self._until.seconds:g} s")
        return left if timeout is None else min(timeout, left)
