"""A rollback needs no gate, but the record that everybody got it before: what the disk says is no proof."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from opswright.agents.agent import Agent, RunOutcome
from opswright.agents.approvals import Consent
from opswright.agents.planner import Ask
from opswright.core.artifact_refs import ArtifactRef, BundleRef
from opswright.core.contract import Effect, Request, Result, StepContext, skill
from opswright.core.registry import Registry
from opswright.core.workspace import Workspace

NOW, BEFORE = Path("now.json"), Path("before.json")  # what the endpoint serves, and would go back to


class PutRequest(Request):
    bundle: BundleRef
    endpoint: str = "shop"


class PutResult(Result):
    endpoint: str
    release: str
    route: str
    bundle: BundleRef


class BackRequest(Request):
    endpoint: str = "shop"


class BackResult(Result):
    endpoint: str
    release: str
    bundle: BundleRef
    rolled_back: bool


def bundle(workspace: Workspace, name: str) -> BundleRef:
    with workspace.artifacts.staging() as folder:
        (folder / "engine.json").write_text(json.dumps(name))
        return workspace.artifacts.save(BundleRef, folder, {})


@skill(effect=Effect.SERVES, summary="Serve.", serves=lambda ask, workspace: [])
def put(request: PutRequest, ctx: StepContext) -> PutResult:
    if NOW.exists():
        BEFORE.write_text(NOW.read_text())
    NOW.write_text(str(request.bundle))
    ref = request.bundle
    return PutResult(endpoint=request.endpoint, release=ref.short, route="stable", bundle=ref)


def what_comes_back(ask: BackRequest, workspace: Workspace) -> list[ArtifactRef]:
    return [BundleRef(BEFORE.read_text())]


@skill(effect=Effect.SERVES, summary="Go back.", serves=what_comes_back, restores=True)
def back(request: BackRequest, ctx: StepContext) -> BackResult:
    NOW.write_text(BEFORE.read_text())
    ref = BundleRef(NOW.read_text())
    return BackResult(endpoint=request.endpoint, release=ref.short, bundle=ref, rolled_back=True)


def run(one: Agent, text: str) -> RunOutcome:
    Path("plan.yaml").write_text(f"goal: x\nsteps:\n  only: {text}\n")
    proposal = one.plan_for(Ask("plan_file", "plan.yaml"))
    return one.start(proposal, Consent(proposal.plan.id, "test"))


@pytest.fixture
def one(agent: Any) -> Agent:
    made: Agent = agent()
    made.registry = Registry([put, back])
    for name in ("one", "two"):
        call = f'{{skill: put, with: {{bundle: "{bundle(made.workspace, name)}"}}}}'
        assert run(made, call).status == "done"
    return made


def test_what_everybody_had_before_comes_back_without_a_gate(one: Agent) -> None:
    was = BEFORE.read_text()
    assert run(one, "{skill: back}").status == "done"
    assert NOW.read_text() == was


@pytest.mark.parametrize("where", ["shop", "other"])
def test_what_no_record_made_stable_there_does_not_come_back(one: Agent, where: str) -> None:
    if where == "shop":  # somebody wrote another bundle where the one before should stand
        BEFORE.write_text(str(bundle(one.workspace, "planted")))
    now = NOW.read_text()
    held = run(one, f"{{skill: back, with: {{endpoint: {where}}}}}")
    assert held.exit_code == 8
    assert f"from endpoint {where} before" in held.message
    assert NOW.read_text() == now


def test_a_skill_that_restores_names_its_endpoint() -> None:
    def nowhere(request: NowhereRequest, ctx: StepContext) -> BackResult:
        raise NotImplementedError

    class NowhereRequest(Request):
        pass

    nowhere.__annotations__["request"] = NowhereRequest
    with pytest.raises(TypeError, match="needs a field `endpoint`"):
        skill(effect=Effect.SERVES, summary="x", restores=True)(nowhere)
