"""HTTP with an end: a reply that is larger than it may be is cut off; no header goes out but those meant."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from functools import lru_cache

import httpx2


@lru_cache(maxsize=1)
def _trusted() -> ssl.SSLContext:
    """The authorities that are trusted, read once: that takes longer than a message's other work."""
    return httpx2.create_ssl_context()


# All that goes out: the client adds what OPENAI_CUSTOM_HEADERS holds, which may be somebody else's key.
_SENT = ("host", "accept", "accept-encoding", "connection", "content-type", "content-length", "user-agent")


class CappedTransport(httpx2.AsyncHTTPTransport):
    """Raises httpx2.ReadError once a reply has more than `most_bytes`, or comes packed: it could grow.

    key: what a request is authorised with, whatever the environment says.
    """

    def __init__(self, most_bytes: int, key: str) -> None:
        super().__init__(verify=_trusted())
        self._most_bytes, self._key = most_bytes, key

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """The response with a counted stream."""
        sent = {name: request.headers[name] for name in _SENT if name in request.headers}
        request.headers = httpx2.Headers({**sent, "authorization": f"Bearer {self._key}"})
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
