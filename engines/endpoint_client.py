"""Requests to an OpenAI-compatible server: paced, tried again, held to a time, their failures in words."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from time import monotonic, perf_counter, sleep, time
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from .base import PROMPT_REFUSED

if TYPE_CHECKING:
    import httpx

T = TypeVar("T")

_REFUSALS = {PROMPT_REFUSED, "context_length_exceeded"}
_MOST_BYTES = 32 << 20  # of one reply
_LEAST_KEY = 8  # characters, as for any secret: a shorter one stands in half of every text
_RETRIED = {408, 409, 425, 429, 500, 502, 503, 504}


class BadReply(ValueError):
    """A reply is not what was asked for; its text says how."""


@dataclass(frozen=True)
class EndpointReply(Generic[T]):
    """What was read of a reply, or why there is none.

    is_refused: the server says by its code that it never takes this. status: of the last reply that failed.
    """

    value: T | None
    error: str = ""
    is_refused: bool = False
    waited_ms: float = 0.0
    status: int | None = None


class EndpointClient:
    """`POST <url>/...`, at most `concurrency` requests at a time.

    A request that fails is tried `tries` times in all, `pause_s` and its doubles apart, or as long as the
    server's Retry-After says, a minute at most. timeout_s: of a whole reply. requests_per_minute: None is no
    limit of ours.
    """

    def __init__(
        self,
        url: str,
        route: str,
        api_key: str | None = None,
        concurrency: int = 8,
        tries: int = 3,
        timeout_s: float = 30.0,
        pause_s: float = 0.5,
        requests_per_minute: float | None = None,
    ) -> None:
        import httpx

        from .deadline import DeadlineTransport

        base = url.rstrip("/").removesuffix(route)
        self.url = base if base.endswith("/v1") else f"{base}/v1"
        self.tries, self.pause_s = tries, pause_s
        self._route, self._timeout_s, self._key = route, timeout_s, api_key
        self._pace = _Pace(requests_per_minute)
        self._transport = DeadlineTransport(concurrency)
        self._http = httpx.Client(
            headers={"Authorization": f"Bearer {api_key}"} if api_key else {},
            timeout=timeout_s,
            transport=self._transport,
            trust_env=False,
        )

    def ask(self, body: Mapping[str, Any], read: Callable[[httpx.Response], T]) -> EndpointReply[T]:
        """What `read` makes of the reply to a body; where it raises BadReply, that is asked for again."""
        import httpx

        started, problem, wait_s = perf_counter(), "", 0.0
        status: int | None = None
        for attempt in range(self.tries):
            if attempt:
                sleep(max(wait_s, self.pause_s * 2 ** (attempt - 1)))
            self._pace.wait()
            started, wait_s, status = perf_counter(), 0.0, None
            try:
                response = self._post(body)
                if response.status_code == 200:
                    return EndpointReply(read(response), waited_ms=_ms_since(started))
            except BadReply as error:
                problem = str(error)
                continue
            except httpx.HTTPError as error:
                problem = f"{type(error).__name__}: {error}"
                continue
            if (refusal := _refusal(response)) is not None:
                return EndpointReply(None, self._told(refusal), True, _ms_since(started))
            status = response.status_code
            problem = f"HTTP {status}: {self._told(response.text)[:200]}"
            wait_s = retry_after_s(response.headers.get("retry-after", "0"))
            if status not in _RETRIED:
                break
        return EndpointReply(None, self._told(problem), False, _ms_since(started), status)

    def get(self, route: str) -> httpx.Response:
        """What the server says of itself; asked once."""
        with self._transport.limit(self._timeout_s):
            return self._http.get(f"{self.url}{route}")

    def close(self) -> None:
        """Close the connections that are kept open between requests."""
        self._http.close()

    def _told(self, text: str) -> str:
        """A server's words as they may be recorded: some repeat the key they were sent."""
        return whole_text(text.replace(self._key, "***") if self._key else text)

    def _post(self, body: Mapping[str, Any]) -> httpx.Response:
        """The whole reply, in time and not too large."""
        import httpx

        data, address = bytearray(), f"{self.url}{self._route}"
        with (
            self._transport.limit(self._timeout_s),
            self._http.stream("POST", address, json=body) as response,
        ):
            for piece in response.iter_bytes():
                data += piece
                if len(data) > _MOST_BYTES:
                    raise httpx.DecodingError(f"the reply has more than {_MOST_BYTES:,} bytes")
        headers = {"retry-after": response.headers.get("retry-after", "0")}
        return httpx.Response(response.status_code, headers=headers, content=self._without_key(bytes(data)))

    def _without_key(self, data: bytes) -> bytes:
        """A reply's bytes without the key, before an answer is kept, or an error cut in its middle."""
        key = (self._key or "").encode()
        return data.replace(key, b"***") if len(key) >= _LEAST_KEY else data


class _Pace:
    """Lets threads through no faster than so many a minute, one after another."""

    def __init__(self, per_minute: float | None) -> None:
        self._every_s = 60 / per_minute if per_minute else 0.0
        self._next = 0.0
        self._guard = threading.Lock()

    def wait(self) -> None:
        """Return when it is this thread's turn."""
        if not self._every_s:
            return
        with self._guard:
            turn = max(self._next, monotonic())
            self._next = turn + self._every_s
        sleep(max(0.0, turn - monotonic()))


def whole_text(text: str) -> str:
    """A text that can be written: JSON may hold half of a surrogate pair."""
    return text.encode("utf-8", "replace").decode()


def _ms_since(started: float) -> float:
    return (perf_counter() - started) * 1000


def retry_after_s(said: str) -> float:
    """The seconds that a reply asks to wait, as a number or a date; at most a minute, 0 when it asks none."""
    try:
        asked = float(said)
    except ValueError:
        try:
            asked = parsedate_to_datetime(said).timestamp() - time()
        except ValueError:
            return 0.0
    return min(asked, 60.0) if asked > 0 else 0.0


def _refusal(response: httpx.Response) -> str | None:
    """What a reply says that refuses the request itself; None for any other reply."""
    if response.status_code not in (400, 413, 422):
        return None
    try:
        error = response.json()["error"]
        return str(error["message"]) if error["code"] in _REFUSALS else None
    except (ValueError, LookupError, TypeError):
        return None
