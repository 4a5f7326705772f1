"""What was done without the consent or the right to do it, or beyond the budget."""

from __future__ import annotations

from typing import Any

from opswright.core.plan import Budget
from opswright.record.ledger import Phase

from .attack import (
    RUN,
    Rewrite,
    Roles,
    attack,
    carry_out,
    changing,
    dropping,
    one_step,
    started,
)

# approvals


@attack("approvals", ("data", "intent"), "(writes) without approval of its plan")
def an_approval_that_never_was(scene: Any, rewrite: Rewrite) -> None:
    plan = scene.propose(RUN, scene.plan())
    scene.begin(RUN, plan, plan.steps[0])


@attack("approvals", ("data", "intent"), "(writes) without approval of its plan")
def an_approval_that_comes_afterwards(scene: Any, rewrite: Rewrite) -> None:
    plan = scene.propose(RUN, scene.plan())
    scene.begin(RUN, plan, plan.steps[0])
    scene.approve(RUN, plan)
    scene.finish(RUN, plan, plan.steps[0])


@attack("approvals", ("model", "intent"), "although the plan was denied")
def an_approval_that_was_withdrawn(scene: Any, rewrite: Rewrite) -> None:
    plan = started(scene)
    scene.begin(RUN, plan, plan.steps[0])
    scene.finish(RUN, plan, plan.steps[0])
    scene.approve(RUN, plan, Phase.DENIED)
    scene.begin(RUN, plan, plan.steps[1])


@attack("approvals", ("live", "intent"), "(serves) without approval of its plan", is_first=False)
def a_serving_step_that_says_it_only_reads(scene: Any, rewrite: Rewrite) -> None:
    plan = one_step("deploy", "reads", bundle="bundle:" + "b" * 64, endpoint="support")
    scene.propose(RUN, plan)
    scene.begin(RUN, plan, plan.steps[0])


# policy


@attack("policy", (None, "approved"), "kim (operator) lacks the right: serves")
def an_operator_who_approves_a_serving_plan(scene: Any, rewrite: Rewrite) -> None:
    carry_out(scene, RUN, scene.plan(), by="kim", role="operator")


@attack("policy", (None, "approved"), "mallory (viewer) lacks the right")
def an_approval_by_a_made_up_viewer(scene: Any, rewrite: Rewrite) -> None:
    carry_out(scene, RUN, scene.plan(), by="mallory", role="viewer")


@attack("policy", (None, "approved"), "lise proposed the plan", roles=Roles(protected="support"))
def a_proposer_who_approves_on_a_protected_endpoint(scene: Any, rewrite: Rewrite) -> None:
    carry_out(scene, RUN, scene.plan(), by="lise")


@attack("policy", ("data", "intent"), "every approval has expired")
def an_approval_that_has_expired(scene: Any, rewrite: Rewrite) -> None:
    plan = started(scene)
    scene.begin(RUN, plan, plan.steps[0])
    rewrite(scene.workspace, changing(None, "approved", "time", to="2020-01-01T00:00:00.000000+00:00"))


@attack("policy", ("live", "intent"), "runs step live, which the policy forbids: lise (operator) lacks")
def a_step_run_by_someone_who_may_not(scene: Any, rewrite: Rewrite) -> None:
    scene.ship(RUN)
    rewrite(scene.workspace, changing("live", "intent", "roles", to=["operator"]))


@attack("policy", ("data", "intent"), "lise (viewer) might not propose")
def a_plan_proposed_by_someone_who_may_not(scene: Any, rewrite: Rewrite) -> None:
    plan = started(scene)
    scene.begin(RUN, plan, plan.steps[0])
    rewrite(scene.workspace, changing(None, "proposed", "roles", to=["viewer"]))


@attack("policy", (None, "approved"), "names no policy, although record 1 did")
def an_approval_that_hides_its_policy(scene: Any, rewrite: Rewrite) -> None:
    scene.ship(RUN)
    rewrite(scene.workspace, changing(None, "approved", "detail", to={"how": "typed"}))


# budgets


@attack("budgets", ("model", "intent"), "beyond the budget: 9 spent and 9 reserved of 10 usd")
def a_step_beyond_what_is_left(scene: Any, rewrite: Rewrite) -> None:
    plan = started(scene, scene.plan().model_copy(update={"budget": Budget(usd=10)}))
    scene.begin(RUN, plan, plan.steps[0], usd=9)
    scene.finish(RUN, plan, plan.steps[0])
    scene.begin(RUN, plan, plan.steps[1], usd=9)
    rewrite(scene.workspace, changing("data", "settled", "detail", "spent", "usd", to=9))


@attack("budgets", ("data", "intent"), "without a known amount of gpu_hours, which the budget limits")
def a_step_of_unknown_cost_under_a_limit(scene: Any, rewrite: Rewrite) -> None:
    plan = started(scene, scene.plan().model_copy(update={"budget": Budget(gpu_hours=1)}))
    scene.begin(RUN, plan, plan.steps[0], gpu_hours=None)


@attack("budgets", ("data", "done"), "but what record 3 reserved was not settled")
def an_attempt_that_is_never_settled(scene: Any, rewrite: Rewrite) -> None:
    scene.ship(RUN)
    rewrite(scene.workspace, dropping("data", "settled"))


@attack(
    "budgets", ("data", "reserved"), "reserves again for step data; what record 3 reserved was not settled"
)
def two_reservations_at_once(scene: Any, rewrite: Rewrite) -> None:
    plan = started(scene)
    scene.begin(RUN, plan, plan.steps[0])
    scene.begin(RUN, plan, plan.steps[0])
    rewrite(scene.workspace, dropping("data", "settled"))


@attack("budgets", ("data", "intent"), "begins step data without a reservation")
def a_reservation_that_is_taken_out(scene: Any, rewrite: Rewrite) -> None:
    scene.ship(RUN)
    rewrite(scene.workspace, dropping("data", "reserved"))


@attack("budgets", ("data", "settled"), "has settled a negative amount")
def an_amount_that_gives_money_back(scene: Any, rewrite: Rewrite) -> None:
    plan = started(scene)
    scene.begin(RUN, plan, plan.steps[0])
    scene.settle(RUN, plan, plan.steps[0], usd=-50)
