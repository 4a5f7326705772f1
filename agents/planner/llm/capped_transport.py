"""HTTP with an end: a reply that is larger than it may be is cut off while it comes."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from functools import lru_cache

import httpx2


@lru_cache(maxsize=1)
def _trusted() -> ssl.SSLContext:
    """The authorities that are trusted, read once: that takes longer than a message's other work."""
    return httpx2.create_ssl_context()


class CappedTransport(httpx2.AsyncHTTPTransport):
    """Raises httpx2.ReadError once a reply has more than `most_bytes`, or comes packed: it could grow."""

    def __init__(self, most_bytes: int) -> None:
        super().__init__(verify=_trusted())
        self._most_bytes = most_bytes

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """The response with a counted stream."""
        response = await super().handle_async_request(request)
        if response.headers.get("content-encoding", "identity") != "identity":
            await response.aclose()
            raise httpx2.ReadError("the reply is packed, which was not asked for", request=request)
        if isinstance(response.stream, httpx2.AsyncByteStream):
            response.stream = _Capped(response.stream, self._most_bytes, request)
        return response


class _Capped(httpx2.AsyncByteStream):
    def __init__(self, inner: httpx2.AsyncByteStream, most_bytes: int, request: httpx2.Request) -> None:
        self._inner, self._left, self._request = inner, most_bytes, request

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for data in self._inner:
            self._left -= len(data)
            if self._left < 0:
                raise httpx2.ReadError("the reply is too large", request=self._request)
            yield data

    async def aclose(self) -> None:
        await self._inner.aclose()
