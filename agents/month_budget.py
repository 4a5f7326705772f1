"""Budgets of a calendar month: what one person's runs, and everybody's, may take. They are the policy's.

What is reserved counts as spent until it is settled, so two runs at once cannot both have the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from ..core.contract import Cost
from ..core.errors import BudgetError
from ..core.plan import Budget
from ..core.workspace import Workspace
from ..record.index import Criteria
from ..record.ledger import Ledger
from ..record.spending import LOOK_BACK, SpendBook, spend_book
from . import budget
from .policy import MonthBudgets


@dataclass(frozen=True)
class MonthLimit:
    """One budget of the month that a step has to fit: whose it is (None: everybody's), and its limits."""

    person: str | None
    limits: Budget

    @property
    def in_words(self) -> str:
        """Whose it is, as the beginning of a sentence."""
        return "everybody's budget" if self.person is None else f"{self.person}'s budget"


def limits_of(budgets: MonthBudgets, person: str) -> list[MonthLimit]:
    """The budgets that a person's runs are held against."""
    return [MonthLimit(whose, limits) for whose, limits in budgets.of(person)]


class MonthSpending:
    """What was spent and reserved this month, kept up to date with the ledger."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._ledger = Ledger.of(workspace)
        self._book: SpendBook | None = None

    def check(
        self,
        step: str,
        cost: Cost,
        limits: list[MonthLimit],
        at: datetime,
        instead: Mapping[tuple[str, str], Mapping[str, float]] | None = None,
    ) -> None:
        """BudgetError when what a step is expected to take does not fit what a month's budgets have left.

        Called under the ledger's lock, it sees every reservation there is. instead: what an attempt that a
        crash cut, by run and step, is about to be settled with.
        """
        if not limits:
            return
        book = self._up_to_date(at)
        month = f"{at.astimezone(UTC):%Y-%m}"
        sentences = []
        for one in limits:
            taken = book.charged(one.person, month, instead or {})
            found = budget.over(budget.left(one.limits, taken), {step: cost})
            whose = f"{one.in_words} of {month} ({_told(one.limits.limits, taken)})"
            sentences += [f"{whose}: {sentence}" for sentence in found]
        if sentences:
            raise BudgetError(
                f"step {step} was not begun: {'; '.join(sentences)} Budgets of a month are in the policy; "
                "`opswright spend --by person` tells what took them."
            )

    def _up_to_date(self, at: datetime) -> SpendBook:
        if self._book is None:
            first = at.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0) - LOOK_BACK
            self._book = spend_book(self._workspace, Criteria({}, first, None))
        return self._book.take_in(self._ledger.records(after=self._book.seq))


def _told(limits: Mapping[str, float], taken: Mapping[str, float]) -> str:
    spent = {name: taken.get(name, 0.0) for name in limits}
    return f"{budget.in_words(spent)} taken of {budget.in_words(limits)}"
