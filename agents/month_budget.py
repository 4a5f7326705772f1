"""Budgets of a calendar month: what one person's runs, and everybody's, may take. They are the policy's.

What is reserved counts as spent until it is settled, so two runs at once cannot both have the rest.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ..core.contract import Cost
from ..core.errors import BudgetError
from ..core.plan import Budget
from ..core.workspace import Workspace
from ..record.index import Criteria
from ..record.ledger import Ledger
from ..record.spending import LOOK_BACK, SpendBook, spend_book
from . import budget
from .policy import MonthBudgets, Policy

if TYPE_CHECKING:
    from .record import RunRecord


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


@dataclass(frozen=True)
class MonthLeft:
    """What a budget of the month has left: its limits, and what is taken or reserved of them."""

    limit: MonthLimit
    month: str  # 2026-11
    taken: Mapping[str, float]

    @property
    def left(self) -> Budget:
        """What may still be taken."""
        return budget.left(self.limit.limits, self.taken)

    @property
    def left_in_words(self) -> str:
        """What is left of each limit, also where that is nothing."""
        return ", ".join(
            f"{budget.figure(value)} {budget.UNITS[name]}" for name, value in self.left.limits.items()
        )

    @property
    def in_words(self) -> str:
        """Whose budget of which month it is, and what of it is taken."""
        limits = self.limit.limits.limits
        spent = {name: self.taken.get(name, 0.0) for name in limits}
        told = f"{budget.in_words(spent)} taken of {budget.in_words(limits)}"
        return f"{self.limit.in_words} of {self.month} ({told})"

    def over(self, costs: Mapping[str, Cost]) -> list[str]:
        """Why what steps are expected to take does not fit: a sentence for each limit."""
        return [f"{self.in_words}: {sentence}" for sentence in budget.over(self.left, costs)]

    def document(self) -> dict[str, Any]:
        """As JSON."""
        limits = self.limit.limits.limits
        taken = {name: round(self.taken.get(name, 0.0), 9) for name in limits}
        left = {name: round(value, 9) for name, value in self.left.limits.items()}
        return {
            "person": self.limit.person,
            "month": self.month,
            "limits": limits,
            "taken": taken,
            "left": left,
        }


class MonthSpending:
    """What was spent and reserved this month, kept up to date with the ledger."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._ledger = Ledger.of(workspace)
        self._book: SpendBook | None = None
        self._lock = threading.Lock()

    def limits(self, record: RunRecord) -> list[MonthLimit]:
        """The month's budgets that a run is held against: those of who proposed it, and everybody's."""
        proposer = record.state.proposer or record.principal
        return limits_of(record.policy.rules.budgets, proposer.name)

    def check_step(self, record: RunRecord, step: str, cost: Cost) -> None:
        """BudgetError when a step does not fit what a budget of this month has left."""
        known, instead = record.state.steps.get(step), {}
        if known is not None and known.is_open:
            instead = {(record.run_id, step): record.taken_by_cut_attempt(step)}
        self.check(step, cost, self.limits(record), datetime.now(UTC), instead)

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
        sentences = [text for one in self.left(limits, at, instead) for text in one.over({step: cost})]
        if sentences:
            raise BudgetError(
                f"step {step} was not begun: {'; '.join(sentences)} Budgets of a month are in the policy; "
                "`opswright spend --by person` tells what took them."
            )

    def left(
        self,
        limits: list[MonthLimit],
        at: datetime,
        instead: Mapping[tuple[str, str], Mapping[str, float]] | None = None,
    ) -> list[MonthLeft]:
        """What each budget has left in the month of a time."""
        if not limits:
            return []
        month = f"{at.astimezone(UTC):%Y-%m}"
        with self._lock:
            book = self._up_to_date(at)
            return [MonthLeft(one, month, book.charged(one.person, month, instead or {})) for one in limits]

    def taken(self, at: datetime) -> dict[str | None, dict[str, float]]:
        """What each person took in the month of a time, with what is reserved; None: all together."""
        month = f"{at.astimezone(UTC):%Y-%m}"
        with self._lock:
            book = self._up_to_date(at)
            return {one: book.charged(one, month) for one in (*sorted(book.people(month)), None)}

    def _up_to_date(self, at: datetime) -> SpendBook:
        if self._book is None:
            first = at.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0) - LOOK_BACK
            self._book = spend_book(self._workspace, Criteria({}, first, None))
        return self._book.take_in(self._ledger.records(after=self._book.seq))


def months_left(
    workspace: Workspace, policy: Policy, person: str, spending: MonthSpending | None = None
) -> list[MonthLeft]:
    """What the budgets that a person's runs are held against have left now.

    spending: one that is kept, for who asks often.
    """
    limits = limits_of(policy.rules.budgets, person)
    return (spending or MonthSpending(workspace)).left(limits, datetime.now(UTC))
