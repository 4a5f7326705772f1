"""What was done beyond the budget of a month, and amounts that were moved out of its way."""

from __future__ import annotations

from typing import Any

from opswright.core.plan import Plan
from opswright.record.ledger import Phase
from opswright.record.records import PLANNING

from .attack import RUN, Rewrite, Roles, attack, changing, started

TEN = Roles(person={"usd": 10})
LATER = "2999-12-01T00:00:00.000000+00:00"
BEYOND = "18 usd taken and reserved of 10"


def two_steps(scene: Any, rewrite: Rewrite, taken: object = 9) -> Plan:
    """The first step took 9 dollars, and 9 more are held for the second."""
    plan = started(scene)
    scene.begin(RUN, plan, plan.steps[0], usd=9)
    scene.finish(RUN, plan, plan.steps[0])
    scene.begin(RUN, plan, plan.steps[1], usd=9)
    rewrite(scene.workspace, changing("data", "settled", "detail", "spent", "usd", to=taken))
    return plan


@attack("months", ("model", "intent"), BEYOND, roles=TEN)
def a_step_beyond_what_its_person_has_left(scene: Any, rewrite: Rewrite) -> None:
    two_steps(scene, rewrite)


@attack("months", ("model", "intent"), "beyond everybody's budget of", roles=Roles(everybody={"usd": 10}))
def a_step_beyond_what_all_have_left(scene: Any, rewrite: Rewrite) -> None:
    two_steps(scene, rewrite)


@attack("months", ("model", "intent"), BEYOND, roles=TEN)
def a_settlement_in_another_persons_name(scene: Any, rewrite: Rewrite) -> None:
    two_steps(scene, rewrite)
    for phase in ("reserved", "settled"):
        rewrite(scene.workspace, changing("data", phase, "actor", to="somebody else"))


@attack("months", ("model", "intent"), BEYOND, roles=TEN)
def a_settlement_in_a_month_to_come(scene: Any, rewrite: Rewrite) -> None:
    two_steps(scene, rewrite)
    rewrite(scene.workspace, changing("data", "settled", "time", to=LATER))


@attack("months", ("data", "settled"), "although it was reserved in", roles=TEN)
def a_settlement_in_a_month_that_is_over(scene: Any, rewrite: Rewrite) -> None:
    two_steps(scene, rewrite)
    rewrite(scene.workspace, changing("data", "settled", "time", to="2020-01-01T00:00:00.000000+00:00"))


@attack("months", ("data", "settled"), "without an amount of usd, which record 3 reserved", roles=TEN)
def a_settlement_that_is_no_number(scene: Any, rewrite: Rewrite) -> None:
    two_steps(scene, rewrite, taken="9")


@attack("months", ("data", "settled"), "without an amount of gpu_hours, usd, tokens")
def a_settlement_that_leaves_out_what_was_held(scene: Any, rewrite: Rewrite) -> None:
    scene.ship(RUN)
    rewrite(scene.workspace, changing("data", "settled", "detail", "spent", to={"minutes": 0.1}))


@attack("months", ("data", "settled"), "without an amount of usd")
def a_settlement_that_is_true(scene: Any, rewrite: Rewrite) -> None:
    two_steps(scene, rewrite, taken=True)


@attack(
    "months",
    ("data", "intent"),
    "without a known amount of tokens, which lise's budget limits",
    roles=Roles(person={"tokens": 5}),
)
def a_step_of_unknown_cost_in_a_limited_month(scene: Any, rewrite: Rewrite) -> None:
    plan = started(scene)
    scene.begin(RUN, plan, plan.steps[0], tokens=None)


def planned(scene: Any, calls: int = 1, **reserved: float) -> None:
    """A message to a planner holds so much, and for each further call as much instead of that."""
    detail = {"message": "m", "reserved": reserved, "policy": "a" * 64}
    for _ in range(calls):
        scene.append(None, Phase.RESERVED, skill=PLANNING, detail=detail)


@attack("months", (None, "reserved"), "holds for planning beyond lise's budget", roles=TEN)
def a_message_that_holds_more_than_is_left(scene: Any, rewrite: Rewrite) -> None:
    planned(scene, usd=10.5)


@attack("months", (None, "reserved"), "holds for planning without a known amount of usd", roles=TEN)
def a_message_that_holds_an_unknown_amount(scene: Any, rewrite: Rewrite) -> None:
    planned(scene, tokens=10)


@attack("months", ("model", "intent"), "13 usd taken and reserved of 10", roles=TEN)
def a_step_beyond_what_a_message_left(scene: Any, rewrite: Rewrite) -> None:
    plan = started(scene)
    scene.begin(RUN, plan, plan.steps[0], usd=3)
    scene.finish(RUN, plan, plan.steps[0])
    planned(scene, calls=2, usd=5)
    taken = {"message": "m", "planning": {"usd": 4}}
    scene.append(None, Phase.DONE, skill=PLANNING, detail=taken)
    scene.begin(RUN, plan, plan.steps[1], usd=9)
