"""What a plan would change for users, gathered from its steps."""

from __future__ import annotations

import pytest

from opswright.agents.preflight import impacts
from opswright.core.compile import compile_plan
from opswright.core.contract import Effect, Impact, Request, Result, StepContext, skill
from opswright.core.plan import Plan
from opswright.core.plan_file import parse_plan
from opswright.core.registry import Registry
from opswright.core.workspace import Workspace
from opswright.skills.deploy import deploy
from opswright.skills.promote import promote
from opswright.ui.show import show_plan


class AnyRequest(Request):
    endpoint: str = "support"


class AnyResult(Result):
    said: str = ""


def faulty_impact(arguments: object, workspace: Workspace) -> Impact:
    raise KeyError("forgotten")


@skill(effect=Effect.SERVES, summary="Its author forgot something.", impact=faulty_impact)
def faulty(ask: AnyRequest, ctx: StepContext) -> AnyResult:
    return AnyResult()


@skill(effect=Effect.SERVES, summary="Says nothing about users.")
def silent(ask: AnyRequest, ctx: StepContext) -> AnyResult:
    return AnyResult()


REGISTRY = Registry([deploy, promote, faulty, silent])


def plan(steps: str) -> Plan:
    return compile_plan(parse_plan(f"goal: A change\nsteps:\n{steps}", "a plan"), REGISTRY)


def test_a_step_after_another_on_the_same_endpoint_starts_from_what_that_one_leaves(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    made = plan(
        "  live: {skill: deploy, with: "
        f"{{bundle: 'bundle:{'1' * 64}', canary_percent: 10, endpoint: support}}}}\n"
        "  hush: {skill: silent}\n"
        "  all: {skill: promote, with: {endpoint: support}, after: [live]}\n"
    )
    seen = impacts(made, REGISTRY, workspace)
    assert [step for step, _ in seen] == ["live", "all"]
    assert seen[0][1].before == "nothing is deployed"
    assert seen[1][1].before.startswith("what step 'live' leaves (now: nothing is deployed")
    show_plan(made, REGISTRY, impacts=seen)
    shown = " ".join(capsys.readouterr().err.split())
    assert "its users get before" in shown and "nothing is deployed" in shown and "NO_GO:" in shown


def test_a_plan_is_shown_although_a_skills_impact_fails(workspace: Workspace) -> None:
    ((step, seen),) = impacts(plan("  one: {skill: faulty}\n"), REGISTRY, workspace)
    assert step == "one" and seen.endpoint == "support"
    assert seen.before == seen.after and "not known: KeyError" in seen.before
