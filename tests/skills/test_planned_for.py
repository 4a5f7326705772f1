"""An approval of a promotion or rollback is for the endpoint as it was then."""

from __future__ import annotations

from pathlib import Path

import pytest

from opswright.agents.planner import Ask
from opswright.agents.planner.files import PlanFilePlanner
from opswright.agents.planner.slash import SlashPlanner
from opswright.core.artifact_refs import BundleRef
from opswright.core.workspace import Workspace
from opswright.serving.releases import EndpointState, new_release, write_state
from opswright.skills import load_registry


@pytest.fixture
def state(workspace: Workspace) -> EndpointState:
    empty = EndpointState(endpoint="support")
    stable = new_release(empty, BundleRef.of("1" * 64), None, "onnx-int8")
    canary = stable.model_copy(update={"id": "v2-abc", "number": 2})
    held = empty.model_copy(update={"stable": stable, "canary": canary, "canary_percent": 10})
    return write_state(workspace, held.changed("canary", canary, "key"))


@pytest.mark.parametrize("skill", ["promote", "rollback"])
def test_a_command_is_planned_for_the_endpoint_as_it_is(
    workspace: Workspace, state: EndpointState, skill: str
) -> None:
    planner = SlashPlanner(load_registry(), workspace)
    first = planner.propose(Ask("slash", f"/{skill} endpoint=support")).plan
    assert first.steps[0].arguments["planned_for"] == state.fingerprint
    assert planner.propose(Ask("slash", f"/{skill} endpoint=support")).plan.id == first.id
    write_state(workspace, state.model_copy(update={"canary_percent": 20}))
    assert planner.propose(Ask("slash", f"/{skill} endpoint=support")).plan.id != first.id


def test_a_step_that_another_of_its_plan_comes_before_is_for_what_that_leaves(
    workspace: Workspace, state: EndpointState, tmp_path: Path
) -> None:
    file = tmp_path / "plan.yaml"
    file.write_text(
        "goal: Take it back\nsteps:\n  a: {skill: rollback, with: {endpoint: support}}\n"
        "  b: {skill: rollback, with: {endpoint: support}, after: [a]}\n"
        "  c: {skill: rollback, with: {endpoint: orders}}\n"
    )
    plan = PlanFilePlanner(load_registry(), workspace).propose(Ask("plan_file", str(file)), ()).plan
    assert [step.arguments["planned_for"] for step in plan.steps] == ["", "", ""]
    file.write_text("goal: Take it back\nsteps:\n  a: {skill: rollback, with: {endpoint: support}}\n")
    plan = PlanFilePlanner(load_registry(), workspace).propose(Ask("plan_file", str(file)), ()).plan
    assert plan.steps[0].arguments["planned_for"] == state.fingerprint
