"""Cards: a run as the chat shows it, from the proposal to the last result."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ....agents.agent import Agent, RunOutcome
from ....agents.approvals import StandingApproval, roles_that_would_do
from ....agents.changes import plan_changes
from ....agents.month_budget import MonthLeft
from ....agents.run_events import RunEvents, StepEvents, run_events_path
from ....agents.stopping import StopWatch
from ....agents.void import void_in_words
from ....core.contract import Cost
from ....core.errors import IntegrityError, OpswrightError
from ....core.plan import StepCall
from ....record.index import LedgerIndex
from ...expected_cost import expected_cost, minutes_in_words
from ...show import gate_words
from ..console import Console
from ..markup import render
from . import blocks
from .curve import curve
from .run_service import RunService

VOID_EVERY_S = 2.0
"""So long a card keeps what it told of changed inputs and settings, and of the month's budgets."""
_KEPT = 64  # cards that are remembered as they were drawn
_CONSENTED = ("approved", "running", "stopped", "failed")
_FINAL = ("done", "denied", "refused")
_PAGES = {
    "eval-report": ("/leaderboard?report=", "Report"),
    "drift-report": ("/drift?report=", "Drift report"),
}

_Outlook = tuple[str, tuple[MonthLeft, ...]]  # why consent is void, and what the month has left


@dataclass(frozen=True)
class Card:
    """A run's card: `is_live` while it may still change."""

    html: str
    is_live: bool
    is_running: bool


class Cards:
    """Draws the cards of one console; what did not change is not drawn again."""

    def __init__(self, console: Console, run_service: RunService) -> None:
        self._console = console
        self._run_service = run_service
        self._drawn: OrderedDict[str, tuple[tuple[Any, ...], Card]] = OrderedDict()
        self._run_events: OrderedDict[str, RunEvents] = OrderedDict()
        self._outlooks: OrderedDict[tuple[str, str], tuple[float, _Outlook]] = OrderedDict()
        self._lock = threading.Lock()

    def draw(self, run: str) -> Card:
        """The card of a run."""
        row = self._run_service.row(run)
        if row is None:
            return Card(render("card_gone.html", run=run), is_live=False, is_running=False)
        workspace = self._console.workspace
        state = "running" if row.state != "running" and self._is_starting(run, row.state) else row.state
        trouble = self._run_service.trouble(run)
        void, month = self._outlook(run, state)
        with self._lock:
            events = self._remember(
                self._run_events, run, RunEvents(run_events_path(workspace, run))
            ).refresh()
            stopped_by = StopWatch(workspace, run, 0).requested_by()
            key = (row.last_seq, events.offset, state, trouble, stopped_by, void, month)
            drawn = self._drawn.get(run)
            if drawn is not None and drawn[0] == key:
                return drawn[1]
            agent = Agent(workspace, self._console.registry)
            try:
                outcome = agent.outcome(run)
            except IntegrityError as error:
                html = render(
                    "card_gone.html", run=run, goal=row.goal, void=void or void_in_words([str(error)])
                )
                return Card(html, is_live=True, is_running=False)
            view = _view(run, state, row, outcome, events, trouble, self._console)
            view["approvals"] = (
                [_approval(one) for one in agent.approvals(run)] if state in _CONSENTED else []
            )
            view["roles"] = self._roles(agent, run, outcome) if state == "waiting" else ()
            html = render("card.html", **view, void=void, month=_month(month, outcome))
            waits_for_end = state == "denied" and not row.message  # the record of it follows the refusal
            is_over = state in _FINAL and not waits_for_end
            card = Card(html, is_live=not is_over, is_running=state == "running")
            self._drawn.pop(run, None)
            self._remember(self._drawn, run, (key, card))
            return card

    def _outlook(self, run: str, state: str) -> _Outlook:
        """Why consent counts no more, and what the month's budgets have left while it is asked for.

        Looked at anew every few seconds.
        """
        if state == "running" or state in _FINAL:
            return "", ()
        with self._lock:
            known = self._outlooks.get((run, state))
        if known is not None and time.monotonic() - known[0] < VOID_EVERY_S:
            return known[1]
        found = self._look(run, state)
        with self._lock:
            self._outlooks.pop((run, state), None)
            self._remember(self._outlooks, (run, state), (time.monotonic(), found))
        return found

    def _look(self, run: str, state: str) -> _Outlook:
        known = LedgerIndex.of(self._console.workspace).run_state(run)
        if known is None:
            return "", ()
        void = self._console.void_of(known)
        if state != "waiting" or known.proposer is None:
            return void, ()
        try:
            return void, tuple(self._console.months_left(known.proposer.name))
        except OpswrightError as error:  # the policy does not read: no step begins
            return void or void_in_words([str(error)]), ()

    def _roles(self, agent: Agent, run: str, outcome: RunOutcome) -> tuple[str, ...]:
        """Whose approval the plan waits for."""
        known = LedgerIndex.of(self._console.workspace).run_state(run)
        if known is None or outcome.plan is None:
            return ()
        try:
            return roles_that_would_do(agent.policy, outcome.plan, known)
        except OpswrightError:  # a policy that does not read: `void` says so
            return ()

    def _is_starting(self, run: str, state: str) -> bool:
        return state not in _FINAL and self._run_service.is_starting(run)

    def _remember(self, kept: OrderedDict[Any, Any], run: Any, made: Any) -> Any:
        found = kept.setdefault(run, made)
        kept.move_to_end(run)
        while len(kept) > _KEPT:
            kept.popitem(last=False)
        return found


def _view(
    run: str,
    state: str,
    row: Any,
    outcome: RunOutcome,
    events: RunEvents,
    trouble: str | None,
    console: Console,
) -> dict[str, Any]:
    plan = outcome.plan
    if plan is None:
        raise RuntimeError(f"run {run} was recorded without a plan")
    workspace = console.workspace
    stopped_by = (
        StopWatch(workspace, run, 0).requested_by() if state in ("running", "failed", "stopped") else None
    )
    if state == "failed" and stopped_by:
        state = "stopped"  # as was wished
    tone = blocks.DECISION_TONE.get(row.verdict or "", blocks.STATE_TONE.get(state, ""))
    return {
        "run": run,
        "plan": plan,
        "state": state,
        "tone": blocks.STATE_TONE.get(state, ""),
        "outcome_tone": tone,
        "verdict": row.verdict,
        "verdict_tone": blocks.DECISION_TONE.get(row.verdict or "", ""),
        "message": _message(state, row, outcome, trouble, stopped_by),
        "by": row.by,
        "source": "" if row.source.strip() == plan.goal else row.source,
        "started": row.started,
        "steps": [_step(step, state, outcome, events.steps.get(step.id)) for step in plan.steps],
        "gates": {name: gate_words(gate.model_dump()) for name, gate in plan.gates.items()},
        "findings": [found for found in outcome.findings if found["level"] != "ok"],
        "checked": sum(found["level"] == "ok" for found in outcome.findings),
        "cost": expected_cost(plan, outcome.costs),
        "changes": plan_changes(plan, run, console.registry, workspace) if state == "waiting" else None,
        "stopped_by": stopped_by,
        "pages": _pages(outcome),
    }


def _approval(one: StandingApproval) -> dict[str, Any]:
    """An approval on the card; `lapses_s` is in seconds since 1970."""
    lapses_s = None if one.lapses is None else datetime.fromisoformat(one.lapses).timestamp()
    name = one.by.rpartition(" (")[0]
    return {
        "by": one.by,
        "name": name,
        "lapses": one.lapses,
        "lapses_s": lapses_s,
        "has_lapsed": one.has_lapsed,
    }


def _message(state: str, row: Any, outcome: RunOutcome, trouble: str | None, stopped_by: str | None) -> str:
    if state == "waiting":
        return f"Nothing was run: {trouble}" if trouble else ""
    if state == "stopped" and stopped_by:
        return f"Stopped by {stopped_by}. Finished steps are kept; Resume continues from there."
    if state == "stopped":
        return trouble or "Its process is gone. Finished steps are kept; Resume continues from there."
    if state == "approved":
        return trouble or "Approved, and no process carries it out yet: Resume does."
    if state == "running":
        return ""
    told = {found["message"] for found in outcome.findings}  # the card has those above
    message = row.message or outcome.message
    return "" if state == "refused" and any(one and one in message for one in told) else message


def _step(step: StepCall, run_state: str, outcome: RunOutcome, events: StepEvents | None) -> dict[str, Any]:
    """One line of the card: how far the step is, and what it reported."""
    result = outcome.results.get(step.id)
    state = events.state if events is not None else "done" if result is not None else "pending"
    if state in ("running", "failed") and run_state == "stopped":
        state = "stopped"  # by a person, or before it could record it
    share = None
    if events is not None and events.total and state == "running":
        share = max(0.0, min(1.0, events.done / events.total))
    minutes = outcome.costs.get(step.id, {}).get("minutes")
    return {
        "id": step.id,
        "skill": step.skill,
        "effect": step.effect,
        "arguments": {name: value for name, value in step.arguments.items() if value is not None},
        "state": state,
        "tone": blocks.STATE_TONE.get(state, "soft"),
        "expected": "" if minutes is None else minutes_in_words(minutes),
        "share": share,
        "count": _count(events) if events is not None and state == "running" else "",
        "started_s": events.started_s if events is not None else None,
        "seconds": events.seconds if events is not None else None,
        "figures": {} if events is None else {k: f"{v:.4g}" for k, v in list(events.figures.items())[-4:]},
        "curve": None if events is None else _curve(events),
        "lines": [] if events is None else list(events.lines),
        "lines_before": 0 if events is None else events.lines_seen - len(events.lines),
        "result": blocks.result(result) if result is not None else [],
    }


def _count(events: StepEvents) -> str:
    if not events.unit:
        return ""  # it has reported nothing yet
    return f"{events.done:,.0f}{f' of {events.total:,.0f}' if events.total else ''} {events.unit}"


def _curve(events: StepEvents) -> Any:
    """The loss, or else the first figure that has a curve."""
    names = sorted(events.curves, key=lambda name: ("loss" not in name, name))
    return next((made for name in names if (made := curve(name, events.curves[name]))), None)


def _month(left: Sequence[MonthLeft], outcome: RunOutcome) -> list[dict[str, Any]]:
    """What each budget of the month has left, and why the plan would not fit it."""
    costs = {step: Cost.model_validate(cost) for step, cost in outcome.costs.items()}
    return [{"words": one.in_words, "left": one.left_in_words, "over": one.over(costs)} for one in left]


def _pages(outcome: RunOutcome) -> list[dict[str, str]]:
    """The console's pages on what the run made."""
    found = []
    for step, result in outcome.results.items():
        for value in result.values():
            kind = value.partition(":")[0] if isinstance(value, str) else ""
            if kind in _PAGES and len(value) == len(kind) + 65:
                path, message = _PAGES[kind]
                found.append({"href": f"{path}{value}", "text": f"{message} of {step}"})
    return found
