"""Deploy: what is refused or said before anything happens. The rest is in tests/serving and tests/e2e."""

from __future__ import annotations

import json
import os
import socket

import pytest

from opswright.agents.agent import Agent
from opswright.agents.planner import Ask
from opswright.agents.preflight import preflight
from opswright.core.artifact_refs import BundleRef, GuardrailRef, PendingArtifact
from opswright.core.contract import Finding
from opswright.core.errors import AskError, IntegrityError
from opswright.core.machine import Machine
from opswright.core.settings import load_settings
from opswright.core.settings.serving import ServingSettings
from opswright.core.workspace import Workspace
from opswright.skills import load_registry
from opswright.skills.deploy import DeployRequest, deploy


def serving(workspace: Workspace, **settings: object) -> Workspace:
    chosen = ServingSettings.model_validate({"gateway_port": 0, **settings})
    return Workspace(load_settings(home=workspace.root, serving=chosen))


def bundle(workspace: Workspace) -> BundleRef:
    with workspace.artifacts.staging() as stage:
        (stage / "engine").mkdir()
        (stage / "engine" / "model.onnx").write_text("weights")
        return workspace.artifacts.save(BundleRef, stage, {"target": "onnx-int8"})


def findings(workspace: Workspace, request: DeployRequest) -> list[Finding]:
    assert deploy.preflight is not None
    return list(deploy.preflight(request, Machine.here(workspace.root), workspace))


def test_a_port_in_use_stops_the_plan_and_names_who_has_it(workspace: Workspace) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        found = findings(
            serving(workspace, gateway_port=port), DeployRequest(bundle=bundle(workspace), endpoint="shop")
        )
    (stop,) = [finding for finding in found if finding.level == "stop"]
    assert f"port {port}" in stop.message and f"pid {os.getpid()}" in stop.message


def test_a_damaged_bundle_is_found_before_the_plan_runs(workspace: Workspace) -> None:
    ref = bundle(workspace)
    (workspace.artifacts.folder(ref) / "files" / "engine" / "model.onnx").write_text("other")
    with pytest.raises(IntegrityError, match=r"model\.onnx"):
        findings(serving(workspace), DeployRequest(bundle=ref, endpoint="shop"))


def test_a_bundle_that_an_earlier_step_makes_is_left_for_then(workspace: Workspace) -> None:
    with pytest.raises(PendingArtifact):
        findings(serving(workspace), DeployRequest(bundle=BundleRef.pending(), endpoint="shop"))


def test_the_in_process_engine_is_said_before_it_serves(workspace: Workspace) -> None:
    found = findings(
        serving(workspace, server="in-process"), DeployRequest(bundle=bundle(workspace), endpoint="shop")
    )
    assert any("not by Triton" in finding.message and finding.level == "warn" for finding in found)


def test_the_first_deployment_says_that_triton_will_be_installed_and_counts_it(workspace: Workspace) -> None:
    here = serving(workspace, triton_home=workspace.root / "nothing-installed")
    request = DeployRequest(bundle=bundle(workspace), endpoint="shop")
    assert deploy.estimate is not None
    machine = Machine.here(workspace.root)
    first = deploy.estimate(request, machine, here)
    without = deploy.estimate(request, machine, serving(workspace, server="in-process"))
    assert any("will be installed" in finding.message for finding in findings(here, request))
    assert first.minutes is not None and without.minutes is not None and first.minutes > without.minutes
    assert (without.disk_bytes, first.gpu_hours, first.usd) == (0, 0, 0)


def test_serving_without_rails_is_said(workspace: Workspace) -> None:
    found = findings(serving(workspace), DeployRequest(bundle=bundle(workspace), endpoint="shop"))
    assert any("no guardrails" in finding.message for finding in found)
    with pytest.raises(AskError, match=r"guardrails:1+ not found"):
        findings(
            serving(workspace),
            DeployRequest(bundle=bundle(workspace), endpoint="shop", guardrails=GuardrailRef.of("1" * 64)),
        )


@pytest.mark.parametrize(
    "arguments",
    [
        {"endpoint": "Support"},
        {"endpoint": "../up"},
        {"canary_percent": -1},
        {"shadow_percent": 101},
        {"max_disagreement": 0},
        {"canary_percent": 101},
        {"bundle": "dataset:" + "0" * 64},
        {"probes": [""]},
        {"percent": 10},
    ],
)
def test_a_wrong_request_is_told_which_argument_is_wrong(arguments: dict[str, object]) -> None:
    with pytest.raises(AskError) as caught:
        deploy.parse({"bundle": "bundle:" + "0" * 64, **arguments})
    assert next(iter(arguments)) in str(caught.value)


def test_the_request_is_a_json_schema_that_says_what_each_field_is() -> None:
    schema = deploy.schema()
    assert json.dumps(schema)
    assert all("description" in field for field in schema["properties"].values())


def test_a_port_in_use_stops_a_plan_whose_bundle_is_still_to_be_made(workspace: Workspace) -> None:
    """Not after an hour of training."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        here = serving(workspace, gateway_port=taken.getsockname()[1])
        file = workspace.root / "plan.yaml"
        file.write_text(
            "goal: Ship\nsteps:\n"
            f"  engine: {{skill: build-engine, with: {{model: 'checkpoint:{'0' * 64}'}}}}\n"
            "  live: {skill: deploy, with: {bundle: '${engine.bundle}', endpoint: shop}, waive_gate: test}\n"
        )
        agent = Agent(here, load_registry())
        proposal = agent.plan_for(Ask("plan_file", str(file)))
        stops = preflight(proposal.plan, agent.registry, here, file.parent).stops
    assert any(stop.startswith("live: port") and f"pid {os.getpid()}" in stop for stop in stops)
