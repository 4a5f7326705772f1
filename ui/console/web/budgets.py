"""The page "Budgets": what was spent, by whom and on what, from the ledger alone."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, get_args

from ....core.errors import AskError
from ....record.spending import SpendKey, spend_report
from ..console import Console
from ..markup import render
from ..replies import Answer, reply
from .approvals import live_page
from .frame import OwnPage

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
    return render("budgets.html", report=report, by=by, since=since, keys=_KEYS, times=list(_SINCE))
