"""An answer of the console that a test holds back while other things happen."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.sync_api import APIResponse, Page, Route

LONGEST_S = 60


class HeldAnswer:
    """Holds back what the server answers to the first request to an address with some words, until let go."""

    def __init__(self, page: Page, address: str, *words: str) -> None:
        self._page, self._words = page, words
        self._held: list[tuple[Route, APIResponse]] = []
        page.route(re.compile(address), self._take)

    def _take(self, route: Route) -> None:
        asked = route.request.post_data or ""
        if not self._held and all(word in asked for word in self._words):
            self._held.append((route, route.fetch()))
        else:
            route.continue_()

    def wait(self) -> None:
        """Until there is an answer."""
        deadline = time.monotonic() + LONGEST_S
        while not self._held:
            assert time.monotonic() < deadline, "the page did not ask"
            self._page.wait_for_timeout(20)

    @property
    def document(self) -> Any:
        """What is held back."""
        self.wait()
        return self._held[0][1].json()

    def let_go(self, **instead: Any) -> None:
        """Pass the answer on, some of its values replaced, and wait until the page has had it."""
        document = {**self.document, **instead}
        ((route, answer),) = self._held
        with self._page.expect_response(lambda response: response.request == route.request) as answered:
            route.fulfill(response=answer, json=document)
        answered.value.finished()
        self._page.evaluate("() => new Promise((done) => setTimeout(done, 100))")
