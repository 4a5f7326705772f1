"""Promote: what is said before anything happens. The rest is in tests/serving and tests/e2e."""

from __future__ import annotations

import pytest

from opswright.core.artifact_refs import BundleRef
from opswright.core.errors import AskError
from opswright.core.machine import Machine
from opswright.core.settings import load_settings
from opswright.core.settings.serving import ServingSettings
from opswright.core.workspace import Workspace
from opswright.serving.releases import EndpointState, new_release, write_state
from opswright.skills.promote import PromoteRequest, promote
from opswright.skills.rollback import RollbackRequest, rollback


@pytest.fixture
def here(workspace: Workspace) -> Workspace:
    chosen = ServingSettings(gateway_port=0, server="in-process")
    return Workspace(load_settings(home=workspace.root, serving=chosen))


def message(here: Workspace) -> str:
    assert promote.preflight is not None
    found = promote.preflight(PromoteRequest(endpoint="support"), Machine.here(here.root), here)
    return " ".join(finding.message for finding in found)


def test_whether_there_is_a_canary_is_said(here: Workspace) -> None:
    state = EndpointState(endpoint="support")
    stable = new_release(state, BundleRef.of("0" * 64), None, "onnx-int8")
    write_state(here, state.model_copy(update={"stable": stable}))
    assert f"has no canary to promote: {stable.id} (" in message(here)
    canary = stable.model_copy(update={"id": "v2-abc", "number": 2})
    write_state(here, state.model_copy(update={"stable": stable, "canary": canary, "canary_percent": 10}))
    assert "canary v2-abc has 10 % of sessions" in message(here)


def test_it_serves_the_canary_of_its_endpoint_and_a_rollback_nothing(here: Workspace) -> None:
    asked, back = PromoteRequest(endpoint="support"), RollbackRequest(endpoint="support")
    assert promote.served(asked, here) == []
    state = EndpointState(endpoint="support")
    stable = new_release(state, BundleRef.of("1" * 64), None, "onnx-int8")
    canary = stable.model_copy(update={"id": "v2-abc", "number": 2, "bundle": BundleRef.of("2" * 64)})
    write_state(here, state.model_copy(update={"stable": stable, "canary": canary, "canary_percent": 10}))
    assert promote.served(asked, here) == [canary.bundle] and rollback.served(back, here) == []


@pytest.mark.parametrize(
    "arguments", [{"max_error_share": 2}, {"max_slower": 0.5}, {"min_requests": -1}, {"endpoint": "No"}]
)
def test_a_wrong_request_is_told_which_argument_is_wrong(arguments: dict[str, object]) -> None:
    with pytest.raises(AskError, match=next(iter(arguments))):
        promote.parse(arguments)
