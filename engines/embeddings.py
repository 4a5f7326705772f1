"""Vectors of texts from any OpenAI-compatible `/v1/embeddings`, checked before one is believed."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from .endpoint_client import BadReply, EndpointClient, EndpointReply

if TYPE_CHECKING:
    import httpx

Vector = list[float]
Embedded = Vector | str
"""A text's vector, or why it has none."""
Keep = Callable[[Sequence[str], Sequence[Vector]], None]
"""Told the texts and vectors of a request."""

_NOT_THESE_TEXTS = (400, 413, 422)
_ROUNDS = 4  # requests of each connection before a server that failed on all of them is given up


class EmbeddingEndpoint:
    """Asks for the vectors of texts, some in each request, scaled to length 1.

    A reply counts when it has one vector for each text, told apart by `index`, all finite, none of length 0,
    and all of `dimensions`, or as long as the first that came. What fails is asked again as EndpointClient
    does; then it is the error of its texts. A text that a server refuses costs no other its vector.
    """

    def __init__(
        self, client: EndpointClient, model: str, batch: int, concurrency: int, dimensions: int | None = None
    ) -> None:
        self._client, self._model, self._batch, self._concurrency = client, model, batch, concurrency
        self._guard = threading.Lock()
        self._failed, self._first_failure = 0, ""
        self._dimensions = dimensions

    def embed(self, texts: Sequence[str], keep: Keep) -> list[Embedded]:
        """One of each text, in their order. keep: told each request's as they come."""
        parts = [list(texts[at : at + self._batch]) for at in range(0, len(texts), self._batch)]

        def ask(part: list[str]) -> list[Embedded]:
            return self._ask(part, keep)

        with ThreadPoolExecutor(self._concurrency, thread_name_prefix="embeddings") as pool:
            return [one for some in pool.map(ask, parts) for one in some]

    @property
    def first_failure(self) -> str:
        """Why a request failed for good, but for texts that the server refused; empty while none has."""
        return self._first_failure

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _ask(self, texts: list[str], keep: Keep) -> list[Embedded]:
        if self._failed >= _ROUNDS * self._concurrency:
            why = f"not asked: {self._failed} requests in a row failed: {self._first_failure}"
            return [why] * len(texts)
        body = {"model": self._model, "input": texts, "encoding_format": "float"}
        reply = self._client.ask(body, lambda response: self._read(response, len(texts)))
        if reply.value is not None:
            self._failed = 0
            keep(texts, reply.value)
            return list(reply.value)
        if reply.is_refused or reply.status in _NOT_THESE_TEXTS:
            if len(texts) > 1:
                return [self._ask([text], keep)[0] for text in texts]
        else:
            self._count_failure(reply)
        return [reply.error] * len(texts)

    def _count_failure(self, reply: EndpointReply[Any]) -> None:
        with self._guard:
            self._failed += 1
            self._first_failure = self._first_failure or reply.error

    def _read(self, response: httpx.Response, texts: int) -> list[Vector]:
        """The vectors of a reply in the order of its texts; BadReply for one that cannot be believed."""
        try:
            rows = [(row["index"], row["embedding"]) for row in response.json()["data"]]
        except (ValueError, LookupError, TypeError, RecursionError):
            raise BadReply(f"no embeddings in the reply: {response.text[:200]}") from None
        indexes = [index for index, _ in rows]
        if any(type(index) is not int for index in indexes) or sorted(indexes) != list(range(texts)):
            raise BadReply(f"embeddings of {texts} texts have the indexes {str(indexes)[:80]}")
        vectors = [_checked(vector) for _, vector in sorted(rows, key=lambda row: row[0])]
        self._check_length(vectors)
        return vectors

    def _check_length(self, vectors: Sequence[Vector]) -> None:
        with self._guard:
            wanted = self._dimensions or len(vectors[0])
            if wrong := next((one for one in vectors if len(one) != wanted), None):
                raise BadReply(f"an embedding has {len(wrong)} dimensions, others have {wanted}")
            self._dimensions = wanted


def _checked(vector: object) -> Vector:
    if not isinstance(vector, list) or not vector:
        raise BadReply(f"an embedding is {str(vector)[:40]}, expected a list of numbers")
    if not all(isinstance(one, float | int) and not isinstance(one, bool) for one in vector):
        raise BadReply("an embedding holds what is no number")
    length = math.hypot(*vector) if all(abs(one) < 1e150 for one in vector) else math.nan
    if not math.isfinite(length) or length == 0:
        raise BadReply("an embedding is not finite, or all zeros")
    return [one / length for one in vector]
