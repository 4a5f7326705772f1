"""Who is logged in, what waits for their approval, and the way out, on every page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gradio as gr

from ....core.errors import OpswrightError
from ..console import Console
from ..markup import render
from .users import Person

if TYPE_CHECKING:
    from ....record.index import RunSummary

_EVERY_S = 20  # seconds between two looks at what waits
_MOST = 20


def build(console: Console, app: gr.Blocks) -> None:
    """Lay it out on the page that is being built."""

    def show(request: gr.Request) -> str:
        person = console.person(request)
        waiting = _waits_for(console, person)
        can_log_out = console.users is not None
        return render("user_bar.html", person=person, can_log_out=can_log_out, waiting=waiting, most=_MOST)

    shown = gr.HTML(elem_id="person", apply_default_css=False)
    told: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
    app.load(show, None, shown, **told)
    gr.Timer(_EVERY_S).tick(show, None, shown, **told)


def _waits_for(console: Console, person: Person) -> list[RunSummary]:
    """What waits for the person's approval; nothing where the policy or the record cannot be read."""
    from ....agents.approvals import waits_for

    try:
        agent = console.agent(person)
        return waits_for(agent.workspace, agent.policy, console.principal(person), limit=_MOST)
    except OpswrightError:
        return []  # the page itself says so
