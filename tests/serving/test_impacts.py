"""What a plan card says about an endpoint: who gets what now, and what a change would give them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from opswright.core.artifact_refs import BundleRef, GuardrailRef
from opswright.core.workspace import Workspace
from opswright.serving.releases import EndpointState, desired_path, new_release, read_state, write_state
from opswright.serving.rollout.impacts import of_deploy, of_promote, of_rollback

ONE, TWO, THREE = (BundleRef.of(digit * 64) for digit in "123")
RAILS = GuardrailRef.of("a" * 64)


def deploying(**changes: Any) -> Mapping[str, Any]:
    usual = {"bundle": ONE, "guardrails": RAILS, "endpoint": "support", "canary_percent": 100, "probes": []}
    return {**usual, **changes}


@pytest.fixture
def served(workspace: Workspace) -> EndpointState:
    """An endpoint whose stable release is the first bundle behind rails, with nothing before it."""
    state = EndpointState(endpoint="support")
    stable = new_release(state, ONE, RAILS, "onnx-int8")
    return write_state(workspace, state.model_copy(update={"stable": stable, "last_number": 1}))


def with_canary(workspace: Workspace, state: EndpointState) -> EndpointState:
    canary = new_release(state, TWO, None, "onnx-int8")
    return write_state(workspace, state.model_copy(update={"canary": canary, "canary_percent": 10}))


def test_a_first_deployment_gets_all_traffic_and_says_so_though_a_canary_was_asked_for(
    workspace: Workspace,
) -> None:
    seen = of_deploy(deploying(canary_percent=10), workspace)
    assert (seen.endpoint, seen.before) == ("support", "nothing is deployed")
    assert "bundle:111111111111 behind guardrails:aaaaaaaaaaaa gets all traffic" in seen.after
    assert "first release is stable whatever its share" in seen.after


def test_a_canary_gets_its_share_beside_the_stable_release(
    workspace: Workspace, served: EndpointState
) -> None:
    assert served.stable is not None
    asked = deploying(bundle="${engine.bundle}", guardrails=None, canary_percent=10)
    seen = of_deploy(asked, workspace)
    assert seen.before == (
        f"{served.stable.id} (bundle:111111111111 behind guardrails:aaaaaaaaaaaa) gets all traffic"
    )
    assert "the bundle of step 'engine' without guardrails gets 10 % of sessions" in seen.after
    assert f"beside {served.stable.id}" in seen.after


def test_deploying_what_is_served_is_said_to_change_nothing(
    workspace: Workspace, served: EndpointState
) -> None:
    assert of_deploy(deploying(), workspace).after.startswith("the same")
    assert "instead of" in of_deploy(deploying(guardrails=None), workspace).after


def test_another_canary_is_said_to_be_in_the_way_and_the_same_ones_share_to_change(
    workspace: Workspace, served: EndpointState
) -> None:
    state = with_canary(workspace, served)
    assert state.canary is not None
    assert "gets 90 % of sessions, canary v2-" in of_deploy(deploying(bundle=THREE), workspace).before
    assert of_deploy(deploying(bundle=THREE), workspace).after.startswith(
        f"refused: canary {state.canary.id}"
    )
    raised = of_deploy(deploying(bundle=TWO, guardrails=None, canary_percent=50), workspace).after
    assert raised.startswith(f"canary {state.canary.id} gets 50 % of sessions")
    same = of_deploy(deploying(bundle=TWO, guardrails=None, canary_percent=10), workspace).after
    assert same.startswith("the same")


def test_promotion_names_the_outcome_of_each_verdict(workspace: Workspace, served: EndpointState) -> None:
    with_canary(workspace, served)
    seen = of_promote({"endpoint": "support"}, workspace)
    assert "canary v2-" in seen.before
    assert all(f"{decision}:" in seen.after for decision in ("GO", "NO_GO", "INCONCLUSIVE"))


def test_rollback_names_the_release_that_comes_back(workspace: Workspace, served: EndpointState) -> None:
    assert served.stable is not None
    assert of_rollback({"endpoint": "support"}, workspace).after.startswith("refused")
    state = with_canary(workspace, served)
    seen = of_rollback({"endpoint": "support"}, workspace)
    assert seen.after.startswith("canary v2-") and "is withdrawn; v1-" in seen.after
    promoted = {"stable": state.canary, "canary": None, "canary_percent": 0, "previous": (served.stable,)}
    write_state(workspace, state.model_copy(update=promoted))
    again = of_rollback({"endpoint": "support"}, workspace).after
    assert again.startswith(f"{served.stable.id} (bundle:111111111111") and "all traffic again" in again


@pytest.mark.parametrize(
    ("endpoint", "words"),
    [
        ("${live.endpoint}", "an earlier step says which"),
        ("Not A Name", "not known"),
        ("broken", "not known"),
    ],
)
def test_what_cannot_be_known_is_said_and_nothing_is_raised_or_changed(
    workspace: Workspace, endpoint: str, words: str
) -> None:
    path = desired_path(workspace, "broken")
    path.parent.mkdir(parents=True)
    path.write_text("{}")
    for seen in (
        of_deploy(deploying(endpoint=endpoint), workspace),
        of_promote({"endpoint": endpoint}, workspace),
        of_rollback({"endpoint": endpoint}, workspace),
    ):
        assert words in seen.before
    assert read_state(workspace, "support").serial == 0 and path.read_text() == "{}"
