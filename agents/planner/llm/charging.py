"""What planning costs whom it is done for: reserved in the month before each call, settled at the end."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from typing import Any

from ....core.contract import Cost
from ....core.errors import DeniedError
from ....core.files import canonical_json
from ....record.ledger import Entry, Ledger, Phase
from ....record.records import PLANNING
from ...month_budget import MonthSpending, limits_of
from ...policy import policy_of
from ..base import PlannedBy, PlannerSetup


class PlanningAccount:
    """What one message holds of the month's budgets of whom it is planned for.

    Its reservations and what settles them are records of no run that name the message by `message`.
    """

    def __init__(self, setup: PlannerSetup) -> None:
        self._setup = setup
        self._spending = MonthSpending(setup.workspace)
        self._ledger = Ledger.of(setup.workspace)
        self.message = secrets.token_hex(8)
        self._holds = False

    def reserve(self, cost: Cost) -> None:
        """Hold what the message has taken once its next call ends, at most, instead of what it held before.

        The month is looked at while nobody else can reserve, so that two messages at once cannot both have
        what is left. BudgetError when that does not fit or cannot be known, DeniedError where there are
        budgets and nobody to charge.
        """
        principal = self._setup.principal
        if principal is None:
            if policy_of(self._setup.workspace, self._setup.registry).rules.budgets.listed:
                raise DeniedError("nobody is known to plan for, so no budget of a month can be charged.")
            return
        policy = policy_of(self._setup.workspace, self._setup.registry)
        limits = limits_of(policy.rules.budgets, principal.name)
        if not limits:
            return
        self._ledger.keep("policies", policy.digest, canonical_json(policy.document()))
        reserved = {name: value for name, value in cost.amounts.items() if value is not None}
        detail = {"message": self.message, "reserved": reserved, "policy": policy.digest}

        def fits() -> None:
            own = {("", self.message): dict[str, float]()}
            self._spending.check(PLANNING, cost, limits, datetime.now(UTC), own)

        entry = Entry(Phase.RESERVED, skill=PLANNING, detail=detail)
        self._ledger.append_all([entry], principal, guard=fits)
        self._holds = True

    def settle(self, cost: Cost, planned_by: PlannedBy) -> None:
        """Record what the message took, whatever it came to; nothing where no call was made."""
        if self._setup.principal is None or not (self._holds or planned_by.turns):
            return
        detail: dict[str, Any] = {
            "message": self.message,
            "planning": cost.model_dump(mode="json"),
            "planner": planned_by.document(),
        }
        self._ledger.append(Phase.DONE, principal=self._setup.principal, skill=PLANNING, detail=detail)
