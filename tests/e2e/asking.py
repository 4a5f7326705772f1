"""Users of an endpoint that keep asking while things change behind it, and patience with what takes time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple, Self

import httpx

PATIENCE_S = 240.0
_POLL_S = 0.02
_PAUSE_S = 0.002


def wait_until(holds: Callable[[], bool], what: str) -> None:
    """Until it holds; the patience only ends a test that would wait for ever."""
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(_POLL_S)


class Reply(NamedTuple):
    """What came of a request; a status of 0 where nothing did."""

    status: int
    release: str = ""
    route: str = ""
    text: str = ""
    has_broken: bool = False  # the connection broke under the request, as when its worker dies


class Clients:
    """Threads that ask an address for as long as the block lasts, each over a connection of its own.

    body: the request of that number.
    """

    def __init__(self, url: str, body: Callable[[int], dict[str, Any]], clients: int = 2) -> None:
        self.url, self.body, self.replies = url, body, list[Reply]()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(clients)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=PATIENCE_S)

    @property
    def answered(self) -> int:
        return sum(reply.status == 200 for reply in self.replies)

    @property
    def failed(self) -> list[Reply]:
        return [reply for reply in self.replies if reply.status != 200]

    @property
    def broken(self) -> list[Reply]:
        return [reply for reply in self.failed if reply.has_broken]

    def wait_for(self, count: int) -> None:
        target = self.answered + count
        wait_until(lambda: self.answered >= target, f"{count} more answers")

    def _ask(self) -> None:
        with httpx.Client(timeout=PATIENCE_S, trust_env=False) as http:
            while not self._stop.wait(_PAUSE_S):
                self.replies.append(self._reply(http, self.body(len(self.replies))))

    def _reply(self, http: httpx.Client, body: dict[str, Any]) -> Reply:
        try:
            reply = http.post(f"{self.url}/v1/chat/completions", json=body)
        except (httpx.ReadError, httpx.RemoteProtocolError, httpx.WriteError) as error:
            return Reply(0, text=repr(error), has_broken=True)
        except httpx.HTTPError as error:
            return Reply(0, text=repr(error))
        told = reply.headers
        return Reply(
            reply.status_code,
            told.get("x-opswright-release", ""),
            told.get("x-opswright-route", ""),
            "" if reply.status_code == 200 else reply.text,
        )
