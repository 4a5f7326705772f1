"""Authority: what an audit asks of a policy. Policies live above the record and are handed in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from ...core.plan import Plan, StepCall
from ...core.principal import Principal, Ruling
from ..run_state import Approval

Costs = Mapping[str, Mapping[str, float | None] | None]  # by step, as they were proposed


class Authority(Protocol):
    """Who may propose, approve and run, as one policy rules it."""

    def may_propose(self, principal: Principal, plan: Plan, costs: Costs | None = None) -> Ruling:
        """Whether the principal may have this plan considered."""

    def may_approve(
        self, principal: Principal, plan: Plan, proposer: Principal | None, costs: Costs | None = None
    ) -> Ruling:
        """Whether the principal's consent to the plan counts, given who proposed it."""

    def may_run(
        self,
        principal: Principal,
        plan: Plan,
        step: StepCall,
        approvals: Sequence[Approval],
        at: datetime,
        proposer: Principal | None = None,
        costs: Costs | None = None,
    ) -> Ruling:
        """Whether the principal may carry out the step at that time, on the approvals that stand."""

    def month_limits(self, person: str) -> Sequence[tuple[str | None, Mapping[str, float]]]:
        """The limits of a calendar month for a person's runs, by amount, and whose each is (None: all's)."""


# The policy that a record's digest names; None when it is not known. An empty digest asks for the policy of
# records that name none.
Policies = Callable[[str], Authority | None]
