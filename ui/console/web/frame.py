"""The frame of every page: where one can go, who is logged in, and the page's own part, in one answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from ....core.errors import HeldError
from ..auth.users import Person
from ..console import Console
from ..markup import render
from ..replies import Answer, reply
from ..waiting import MOST_TOLD, waits_for_person
from .calls import ServerFunction

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

    from ....record.index import RunSummary

PAGES = {
    "Chat": "/",
    "Approvals": "/approvals",
    "Data": "/data",
    "Leaderboard": "/leaderboard",
    "Endpoints": "/endpoints",
    "Drift": "/drift",
    "Ledger": "/ledger",
    "Budgets": "/budgets",
    "System": "/system",
}
"""Every page by its name, in the order in which they are offered."""

_FOLDER = Path(__file__).parent
_CONSOLE = _FOLDER.parent


def top(
    current: str,
    person: Person | None = None,
    waiting: Sequence[RunSummary] = (),
    *,
    can_log_out: bool = False,
) -> str:
    """The top of a page: the links to every page, who is logged in, and what waits for them."""
    return render(
        "top.html",
        pages=PAGES, current=current, person=person, can_log_out=can_log_out, bell=_ours(bell(waiting)),
    )  # fmt: skip


def bell(waiting: Sequence[RunSummary]) -> str:
    """What waits for the approval of the person who looks; nothing when nothing does."""
    return render("bell.html", waiting=waiting, most=MOST_TOLD)


def bell_function(console: Console) -> ServerFunction:
    """What every page's script asks now and then: what waits for the person who looks."""

    def waiting(asked: Answer, request: Any) -> Answer:
        return reply(console, request, lambda who: {"bell": bell(waits_for_person(console, who))})

    return waiting


@dataclass(frozen=True)
class OwnPage:
    """A page of our own: its body, in which `values` replace names, and its script and style sheets.

    All of it goes into one answer: a browser that has that needs nothing else, and asks for nothing before it
    shows it. functions: what its script may ask of the server. address: of a page that is not among `PAGES`.
    made: the body, of the file's text.
    """

    name: str
    html: Path
    parts: tuple[Path, ...] = ()
    values: Mapping[str, str] = field(default_factory=dict)
    functions: Sequence[ServerFunction] = ()
    address: str = ""
    made: Callable[[str], str] = str

    def route(self, console: Console) -> Route:
        """Where it is served."""
        from starlette.concurrency import run_in_threadpool
        from starlette.responses import HTMLResponse, RedirectResponse
        from starlette.routing import Route

        async def show(request: Request) -> Response:
            try:
                person = console.person(request)
            except HeldError:  # logged out between the guard and here
                return RedirectResponse("/login", 303)
            waiting = await run_in_threadpool(waits_for_person, console, person)
            return HTMLResponse(self.shown(person, waiting, can_log_out=console.users is not None))

        return Route(self.address or PAGES[self.name], show, methods=["GET"])

    def shown(self, person: Person, waiting: Sequence[RunSummary], *, can_log_out: bool) -> str:
        """The page for a person."""
        body = self.made(read(self.html))
        for placeholder, text in self.values.items():
            body = body.replace(placeholder, text)
        sheets = (_CONSOLE / "console.css", _FOLDER / "frame.css", *self._parts(".css"))
        return render(
            "frame.html",
            name=self.name,
            top=_ours(top(self.name, person, waiting, can_log_out=can_log_out)),
            body=_ours(body),
            style=_ours("\n".join(map(read, sheets))),
            script=_ours("\n".join(map(read, (_FOLDER / "boot.js", *self._parts(".js"))))),
        )

    def _parts(self, ending: str) -> list[Path]:
        return [part for part in self.parts if part.suffix == ending]


def _ours(html: str) -> Markup:
    """What templates and files of this package made, in which every value is escaped already."""
    return Markup(html)


@cache
def read(path: Path) -> str:
    """A file of this package, read once."""
    return path.read_text(encoding="utf-8")
