"""What planners do meanwhile, for whoever looks: kept while a message is planned."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from ....agents.planner import PlanningEvent
from ....core.errors import AskError, DeniedError
from ..auth.users import Person
from ..markup import render

_LINES = 12  # newest calls and notes that are shown


class Planning:
    """One message while it is planned."""

    def __init__(self, person: Person, conversation: str, message: str) -> None:
        self.person, self.conversation, self.message = person, conversation, message
        self.cancelled = threading.Event()
        self._lines: list[str] = []
        self._thinking = ""
        self._lock = threading.Lock()

    def hear(self, event: PlanningEvent) -> None:
        """Take in what a planner tells."""
        with self._lock:
            if event.kind == "thinking":
                self._thinking = event.text
            else:
                self._lines.append(f"{'reads' if event.kind == 'tool' else 'note:'} {event.text}")

    def html(self) -> str:
        """As the page shows it; empty until there is something to show."""
        with self._lock:
            if not self._lines and not self._thinking:
                return ""
            lines, thinking = self._lines[-_LINES:], self._thinking
        return render(
            "planning.html",
            lines=lines,
            thinking=thinking,
            message=self.message,
            stopping=self.cancelled.is_set(),
        )


class Plannings:
    """Every message that is planned now."""

    def __init__(self) -> None:
        self._open: dict[str, Planning] = {}
        self._lock = threading.Lock()

    @contextmanager
    def of(self, person: Person, conversation: str, message: str) -> Iterator[Planning]:
        """A message, while inside."""
        key, made = f"{conversation}/{message}", Planning(person, conversation, message)
        with self._lock:
            self._open[key] = made
        try:
            yield made
        finally:
            with self._lock:
                del self._open[key]

    def entries(self, conversation: str) -> list[dict[str, object]]:
        """What a conversation's page shows of it."""
        with self._lock:
            found = [one for one in self._open.values() if one.conversation == conversation]
        shown = ((one.message, one.html()) for one in found)
        return [
            {"id": f"{message}-planning", "message": message, "html": html, "live": False, "running": True}
            for message, html in shown
            if html
        ]

    def stop(self, person: Person, conversation: str, message: str) -> None:
        """End it; AskError when it is over, DeniedError for somebody else's."""
        with self._lock:
            found = self._open.get(f"{conversation}/{message}")
        if found is None:
            raise AskError("that message is answered already.")
        if found.person.name != person.name:
            raise DeniedError(f"{found.person.name} asked that; who asked can stop it.")
        found.cancelled.set()

    def stop_all(self) -> None:
        """End everything, as when the console closes."""
        with self._lock:
            for one in self._open.values():
                one.cancelled.set()
