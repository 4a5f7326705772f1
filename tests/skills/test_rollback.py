"""Rollback: what is said before anything happens. The rest is in tests/serving and tests/e2e."""

from __future__ import annotations

import pytest

from opswright.core.artifact_refs import BundleRef
from opswright.core.machine import Machine
from opswright.core.settings import load_settings
from opswright.core.settings.serving import ServingSettings
from opswright.core.workspace import Workspace
from opswright.serving.releases import EndpointState, new_release, write_state
from opswright.skills.rollback import RollbackRequest, rollback


@pytest.fixture
def here(workspace: Workspace) -> Workspace:
    chosen = ServingSettings(gateway_port=0, server="in-process")
    return Workspace(load_settings(home=workspace.root, serving=chosen))


def message(here: Workspace) -> str:
    assert rollback.preflight is not None
    found = rollback.preflight(RollbackRequest(endpoint="support"), Machine.here(here.root), here)
    return " ".join(finding.message for finding in found)


def test_what_users_will_get_is_said(here: Workspace) -> None:
    state = EndpointState(endpoint="support")
    first = new_release(state, BundleRef.of("0" * 64), None, "onnx-int8")
    write_state(here, state.model_copy(update={"stable": first}))
    assert f"nothing to go back to: {first.id} (" in message(here)
    second = first.model_copy(update={"id": "v2-abc", "number": 2})
    moved = write_state(here, state.model_copy(update={"stable": second, "previous": (first,)}))
    assert f"users will get {first.id} again instead of v2-abc" in message(here)
    write_state(here, moved.model_copy(update={"canary": first, "canary_percent": 10}))
    assert f"canary {first.id} will be withdrawn" in message(here)
