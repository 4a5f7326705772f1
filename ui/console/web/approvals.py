"""The page "Approvals": what waits for consent, for whom, who gave theirs, and giving or taking it there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..auth.users import Person
from ..chat.run_service import RunService
from ..console import Console
from ..markup import render
from ..replies import Answer, reply
from ..waiting import waiting_runs
from .consent_brief import consent_brief
from .frame import OwnPage

_FOLDER = Path(__file__).parent
_OPEN = ("waiting", "approved", "stopped")
_LONGEST_WHY = 400
_BRIEFS = 20  # plans that are told in a few lines; of older ones the chat's card tells all


def page(console: Console, runs: RunService) -> OwnPage:
    """The page, for whoever may look; what each may do is the policy's to say, again, when it is done."""

    def show(asked: Answer, request: Any) -> Answer:
        return reply(console, request, lambda who: {"html": shown(console, who)})

    def approve(asked: Answer, request: Any) -> Answer:
        run, plan = str(asked["run"]), str(asked["plan"])
        return reply(console, request, lambda who: runs.answer(who, run, plan, approved=True))

    def deny(asked: Answer, request: Any) -> Answer:
        run, plan, why = str(asked["run"]), str(asked["plan"]), str(asked.get("why", ""))[:_LONGEST_WHY]
        return reply(console, request, lambda who: runs.refuse(who, run, plan, why))

    def withdraw(asked: Answer, request: Any) -> Answer:
        return reply(console, request, lambda who: runs.withdraw(who, str(asked["run"])))

    return live_page("Approvals", (show, approve, deny, withdraw))


def live_page(name: str, functions: Any) -> OwnPage:
    """A page whose content is what its function `show` gives, asked again while somebody looks."""
    parts = (_FOLDER / "live.css", _FOLDER / "live.js")
    return OwnPage(name, _FOLDER / "live.html", parts, {"@title": name}, functions)


def shown(console: Console, person: Person) -> str:
    """The page's content for a person: what waits for them first."""
    found = waiting_runs(console, person, _OPEN)
    found.sort(key=lambda one: (not one.may_approve, one.state != "waiting"))  # newest first within each
    agent = console.agent(person)
    waiting = [one.run for one in found if one.state == "waiting"][:_BRIEFS]
    briefs = {run: consent_brief(console, agent, run) for run in waiting}
    return render("approvals.html", runs=found, person=person, briefs=briefs)
