"""What an endpoint shows is known before anybody is asked: a change that cannot be made is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from opswright.agents.agent import Agent, RunOutcome
from opswright.agents.planner import Ask
from opswright.core.artifact_refs import BundleRef
from opswright.core.settings import load_settings
from opswright.core.settings.serving import ServingSettings
from opswright.core.workspace import Workspace
from opswright.serving.releases import EndpointState, Release, new_release, write_state
from opswright.skills import load_registry


@pytest.fixture
def here(workspace: Workspace) -> Workspace:
    chosen = ServingSettings(gateway_port=0, server="in-process")
    return Workspace(load_settings(home=workspace.root, serving=chosen, mlflow={"mirror": "off"}))


def bundle(here: Workspace, weights: str = "weights") -> BundleRef:
    with here.artifacts.staging() as stage:
        (stage / "engine").mkdir()
        (stage / "engine" / "model.onnx").write_text(weights)
        return here.artifacts.save(BundleRef, stage, {"target": "onnx-int8"})


def deployed(here: Workspace, *served: BundleRef, canary: BundleRef | None = None) -> EndpointState:
    """Endpoint `support` with these releases one after the other, and perhaps a canary."""
    state = EndpointState(endpoint="support")
    releases: list[Release] = []
    for one in (*served, *([canary] if canary is not None else [])):
        releases.append(new_release(state, one, None, "onnx-int8"))
        state = state.model_copy(update={"last_number": releases[-1].number})
    there = releases.pop() if canary is not None else None
    held = {"stable": releases[-1], "previous": tuple(reversed(releases[:-1]))}
    if there is not None:
        held |= {"canary": there, "canary_percent": 10}
    state = state.model_copy(update=held)
    return write_state(here, state.changed("deployed", releases[-1], "key"))


def asked(here: Workspace, text: str) -> RunOutcome:
    return Agent(here, load_registry()).start(Ask("slash", text))


def planned(here: Workspace, steps: str) -> RunOutcome:
    path = here.root / "plan.yaml"
    path.write_text(f"goal: Change it\nsteps:\n{steps}")
    return Agent(here, load_registry()).start(Ask("plan_file", str(path)))


@pytest.mark.parametrize("skill", ["promote", "rollback"])
def test_a_change_of_an_endpoint_that_is_not_there_is_refused_before_anybody_is_asked(
    here: Workspace, skill: str
) -> None:
    nothing = asked(here, f"/{skill} endpoint=suport")
    assert nothing.status == "refused" and "nothing is deployed here" in nothing.message
    deployed(here, bundle(here), canary=bundle(here, "others"))
    refused = asked(here, f"/{skill} endpoint=suport")
    assert (refused.status, refused.exit_code) == ("refused", 1)
    assert "unknown endpoint 'suport' (there are: support). Did you mean 'support'?" in refused.message
    assert asked(here, f"/{skill} endpoint=support waive_gate=test").status == "waiting"


@pytest.mark.parametrize(
    ("skill", "why"), [("promote", "has no canary to promote"), ("rollback", "nothing to go back to")]
)
def test_what_an_endpoint_cannot_do_now_is_refused_with_what_it_serves(
    here: Workspace, skill: str, why: str
) -> None:
    state = deployed(here, bundle(here))
    assert state.stable is not None
    refused = asked(here, f"/{skill} endpoint=support")
    assert refused.status == "refused" and why in refused.message and state.stable.id in refused.message


@pytest.mark.parametrize("damage", ["altered", "gone"])
def test_a_release_that_would_not_load_any_more_is_refused(here: Workspace, damage: str) -> None:
    former = bundle(here)
    deployed(here, former, bundle(here, "newer"))
    weights = here.artifacts.folder(former) / "files" / "engine" / "model.onnx"
    weights.write_text("other!!") if damage == "altered" else weights.unlink()
    refused = asked(here, "/rollback endpoint=support")
    assert refused.status == "refused" and "cannot be served" in refused.message
    assert "model.onnx" in refused.message


def test_another_canary_in_the_way_is_known_before_anybody_is_asked(here: Workspace) -> None:
    stable, canary, third = bundle(here), bundle(here, "canary"), bundle(here, "third")
    deployed(here, stable, canary=canary)
    refused = asked(here, f"/deploy bundle={third} endpoint=support canary_percent=5 waive_gate=test")
    assert refused.status == "refused" and "has a canary already" in refused.message
    for one in (stable, canary):  # what is there already is no other canary
        again = asked(here, f"/deploy bundle={one} endpoint=support canary_percent=5 waive_gate=test")
        assert again.status == "waiting", again.message


def test_what_an_earlier_step_of_the_plan_changes_is_left_for_when_the_step_runs(here: Workspace) -> None:
    engine = bundle(here)
    live = f"  live: {{skill: deploy, with: {{bundle: '{engine}', endpoint: %s}}, waive_gate: test}}\n"
    back = "  back: {skill: rollback, with: {endpoint: support}, after: [live]}\n"
    waits = planned(here, live % "support" + back)
    assert waits.status == "waiting"
    (left,) = [one for one in waits.findings if "checked when it runs" in one["message"]]
    assert left["step"] == "back" and set(left) == {"step", "level", "message", "fix"}
    other = planned(here, live % "orders" + back)
    assert other.status == "refused" and "unknown endpoint 'support'" in other.message


def test_a_refused_change_asks_nobody_and_changes_nothing(here: Workspace) -> None:
    deployed(here, bundle(here))
    before: dict[str, Any] = {str(p): p.read_bytes() for p in Path(here.endpoints).rglob("*") if p.is_file()}
    run = asked(here, "/rollback endpoint=support").run
    assert Agent(here, load_registry()).approval(run).status == "refused"
    assert {str(p): p.read_bytes() for p in Path(here.endpoints).rglob("*") if p.is_file()} == before
