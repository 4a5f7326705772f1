"""Where a workspace stands: what is live, what waits for whom, what was found last, what to do next."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from ...agents.budget import in_words
from ...agents.runs import run_rows
from ...core.errors import OpswrightError
from ...record.index import Criteria, LedgerIndex
from ...record.ledger import Phase, Record
from ...serving.fleet import gateway_record, url_of
from ...serving.releases import EndpointState, endpoint_names, read_state
from .auth.users import Person
from .chat.blocks import DECISION_TONE, STATE_TONE
from .console import Console
from .markup import render
from .next_steps import next_steps, users_of
from .waiting import waiting_runs

_VERDICTS = 4
_LOOKED_AT = 60  # newest runs among which verdicts are looked for
_UNFINISHED = 5


def overview(console: Console, person: Person) -> str:
    """The first screen, from the index and the endpoints' own files: no report is read, nothing is asked."""
    workspace = console.workspace
    endpoints = {name: read_state(workspace, name) for name in endpoint_names(workspace)}
    gateway = gateway_record(workspace)
    newest = run_rows(workspace, _LOOKED_AT)
    waiting = waiting_runs(console, person)
    going = [row for row in newest if row.state in ("running", "approved", "stopped")]
    return render(
        "overview.html",
        live=[_live(name, state) for name, state in endpoints.items()],
        gateway=url_of(gateway) if gateway is not None else "",
        waiting=waiting,
        going=going[:_UNFINISHED],
        verdicts=[row for row in newest if row.verdict][:_VERDICTS],
        alarms=_alarms(LedgerIndex.of(workspace)),
        steps=next_steps(workspace, console.registry, endpoints),
        has_runs=bool(newest),
        month=_month(console, person),
        tone=DECISION_TONE,
        state_tone=STATE_TONE,
    )


def _month(console: Console, person: Person) -> dict[str, Any]:
    """What was taken this month, and what is left of the budgets of who looks; empty where nothing was."""
    try:
        taken = console.month_spending.taken(datetime.now(UTC))[None]
        left = [
            f"{one.in_words}: {in_words(one.left.limits)} left" for one in console.months_left(person.name)
        ]
    except OpswrightError as error:
        return {"taken": "not known what was", "left": [str(error)]}
    told = {name: amount for name, amount in taken.items() if name != "minutes" or amount >= 0.1}
    return {"taken": in_words(told), "left": left} if any(told.values()) or left else {}


def _live(name: str, state: EndpointState) -> dict[str, Any]:
    """An endpoint: what users get, since when, and the canary's share."""
    stable, canary, percent = state.routes()
    since = ""
    for change in reversed(state.changes):
        if change.stable != stable:
            break
        since = change.at
    return {"endpoint": name, "stable": stable, "since": since, "canary": canary, "percent": percent}


def _alarms(index: LedgerIndex) -> list[dict[str, Any]]:
    """The newest look at each endpoint's traffic, with an alarm, and whether a retraining took it up."""
    found: dict[str, dict[str, Any]] = {}
    for record in index.page(Criteria.of(skill="drift", phase=Phase.DONE), 20):
        result = record.detail.get("result", {}) if isinstance(record, Record) else {}
        if isinstance(name := result.get("endpoint"), str):
            found.setdefault(name, {**result, "at": getattr(record, "time", "")})
    alarms = [one for one in found.values() if one.get("alarm") is True]
    return [{**one, "is_answered": bool(users_of(index, str(one.get("report", ""))))} for one in alarms]
