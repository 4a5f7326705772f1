"""The page "Budgets": what was spent, by whom and on what, from the ledger alone."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, get_args

from ....agents.budget import UNITS
from ....agents.month_budget import MonthLeft
from ....agents.policy import policy_of
from ....core.errors import AskError
from ....record.spending import SpendKey, spend_report
from ..console import Console
from ..markup import render
from ..replies import Answer, reply
from .approvals import live_page
from .frame import OwnPage

_TOGETHER = "all together"
_KEYS = get_args(SpendKey)
_SINCE = {"this month": "%Y-%m-01", "this year": "%Y-01-01", "the beginning": ""}


def page(console: Console) -> OwnPage:
    """The page; `by` and `since` are what the person chose to add up by, and from when."""

    def show(asked: Answer, request: Any) -> Answer:
        by, since = str(asked.get("by", "person")), str(asked.get("since", "this month"))
        return reply(console, request, lambda who: {"html": shown(console, by, since)})

    return live_page("Budgets", (show,))


def shown(console: Console, by: str, since: str) -> str:
    """The page's content; AskError for what nothing is added up by."""
    if by not in _KEYS or since not in _SINCE:
        raise AskError(f"cannot add up by {by[:40]!r} since {since[:40]!r}. Reload the page.")
    begin = datetime.now(UTC).strftime(_SINCE[since])
    report = spend_report(console.workspace, by, since=begin or None)  # type: ignore[arg-type]
    known = {"report": report, "keys": _KEYS, "times": list(_SINCE), "limits": month_limits(console)}
    return render("budgets.html", by=by, since=since, **known)


def month_limits(console: Console) -> list[dict[str, Any]]:
    """Each budget of this month: whose it is, what it allows, what is taken and what is left."""
    policy = policy_of(console.workspace, console.registry)
    if not policy.rules.budgets.listed:
        return []
    taken = console.month_spending.taken(datetime.now(UTC))
    people = sorted({*policy.rules.budgets.people, *filter(None, taken)})
    rows = [row for person in people for one in console.months_left(person) for row in _rows(person, one)]
    if not people:
        rows += [row for one in console.months_left("") for row in _rows("each person", one)]
    together = [row for row in rows if row["person"] == _TOGETHER]
    return [row for row in rows if row not in together] + together[: len(policy.rules.budgets.month.limits)]


def _rows(person: str, one: MonthLeft) -> list[dict[str, Any]]:
    """A row for each amount that is limited; `share` is what is taken of it, from 0 to 1."""
    rows = []
    for name, limit in one.limit.limits.limits.items():
        taken = one.taken.get(name, 0.0)
        share = 1.0 if limit <= 0 else min(1.0, taken / limit)
        whose = _TOGETHER if one.limit.person is None else person
        what = {"person": whose, "month": one.month, "unit": UNITS[name]}
        rows.append({**what, "limit": limit, "taken": taken, "left": max(0.0, limit - taken), "share": share})
    return rows
