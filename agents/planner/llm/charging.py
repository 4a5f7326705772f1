"""What planning costs the person it is done for: held against the month's budgets before, recorded after."""

from __future__ import annotations

from datetime import UTC, datetime

from ....core.contract import Cost
from ....core.errors import DeniedError
from ....record.ledger import Ledger, Phase
from ....record.records import PLANNING
from ...month_budget import MonthSpending, limits_of
from ...policy import policy_of
from ..base import PlannedBy, PlannerSetup


def check_month(setup: PlannerSetup, cost: Cost) -> None:
    """BudgetError when what a message may take does not fit a month's budgets, or cannot be known.

    DeniedError where there are budgets and nobody to charge.
    """
    budgets = policy_of(setup.workspace, setup.registry).rules.budgets
    if setup.principal is None and budgets.listed:
        raise DeniedError("nobody is known to plan for, so no budget of a month can be charged.")
    person = setup.principal.name if setup.principal is not None else ""
    MonthSpending(setup.workspace).check(PLANNING, cost, limits_of(budgets, person), datetime.now(UTC))


def settle_planning(setup: PlannerSetup, cost: Cost, planned_by: PlannedBy | None) -> None:
    """Record what a message took that proposed nothing; a proposal's own record tells it."""
    if setup.principal is None:
        return
    detail = {
        "planning": cost.model_dump(mode="json"),
        "planner": planned_by.document() if planned_by is not None else {},
    }
    Ledger.of(setup.workspace).append(Phase.DONE, principal=setup.principal, skill=PLANNING, detail=detail)
