"""Promises of the kernel that only an attacker, or bad luck, puts to the test."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from opswright.agents import receipts
from opswright.agents.agent import Agent
from opswright.agents.approvals import Consent
from opswright.agents.judgement import judgement_on
from opswright.agents.planner import Ask
from opswright.core.artifact_refs import AdapterRef, BundleRef, CheckpointRef
from opswright.core.contract import Cost, Effect, Request, Result, StepContext, skill
from opswright.core.errors import AskError, IntegrityError
from opswright.core.files import sha256_json
from opswright.core.gate import Check, Decision, Verdict
from opswright.core.principal import Principal
from opswright.core.registry import Registry
from opswright.record.judging import models_behind
from opswright.record.ledger import Ledger, Phase
from opswright.record.run_state import RunState

RIA = Principal("ria", ("releaser",), "test")
VIC = Principal("vic", ("viewer",), "test")
MakeAgent = Callable[..., Agent]


def phases(one: Agent, run: str) -> list[tuple[str | None, str]]:
    return [(r.step, r.phase) for r in Ledger.of(one.workspace).records() if r.run == run]


def waits(one: Agent, plan_file: Path) -> Any:
    return one.start(Ask("plan_file", str(plan_file)))


def test_a_viewer_who_resumes_an_approved_run_runs_nothing(agent: Any, plan_file: Path) -> None:
    ria, vic = agent(), agent()
    vic.acting = VIC
    waiting = waits(ria, plan_file)
    ria.answer(waiting.run, Consent(waiting.plan.id, "test"))
    held = vic.resume(waiting.run)
    assert held.exit_code == 8 and "vic" in held.message and held.results == {}
    assert ria.resume(waiting.run).status == "done"


def test_a_role_that_the_policy_does_not_know_does_nothing(agent: Any, plan_file: Path) -> None:
    one = agent()
    one.acting = Principal("kim", ("releaser", "king"), "test")
    with pytest.raises(AskError, match="unknown role 'king'"):
        waits(one, plan_file)
    assert list(Ledger.of(one.workspace).records()) == []


def test_consent_to_another_plan_in_the_ledger_opens_nothing(
    agent: Any, plan_file: Path, faults: Any
) -> None:
    one = agent()
    waiting = waits(one, plan_file)
    Ledger.of(one.workspace).append(Phase.APPROVED, principal=RIA, run=waiting.run, plan="0" * 64)
    held = one.resume(waiting.run)
    assert held.exit_code == 5 and "approved was 000000000000" in held.message and held.results == {}
    assert any("plan" in fault for fault in faults(one))


def test_a_run_carries_out_the_plan_it_was_proposed_with(agent: Any, plan_file: Path) -> None:
    one = agent()
    waiting = waits(one, plan_file)
    plan_file.write_text(plan_file.read_text().replace("decision: GO", "decision: NO_GO"))
    other = one.plan_for(Ask("plan_file", str(plan_file))).plan
    (one.workspace.plans / f"{waiting.plan.id}.json").write_bytes(other.document())
    with pytest.raises(IntegrityError, match="recorded was"):
        one.resume(waiting.run, Consent(waiting.plan.id, "test"))


def test_a_run_id_in_the_ledger_that_is_a_path_leads_nowhere(agent: Any, plan_file: Path) -> None:
    one = agent()
    waiting = waits(one, plan_file)
    detail = {"goal": "x", "steps": []}
    run = "../../../escape/x"
    Ledger.of(one.workspace).append(
        Phase.PROPOSED, principal=RIA, run=run, plan=waiting.plan.id, effect="reads", detail=detail
    )
    with pytest.raises(AskError, match="unknown run"):
        one.resume(run)
    assert not (one.workspace.root / "runs" / run).resolve().exists()


class ModelRequest(Request):
    model: CheckpointRef | None = None


class BundleResult(Result):
    bundle: BundleRef


class CheckpointResult(Result):
    checkpoint: CheckpointRef


def save(one: Agent, kind: Any, name: str, *parents: Any) -> Any:
    store = one.workspace.artifacts
    with store.staging() as folder:
        (folder / "config.json").write_text(json.dumps({"name": name}))
        return store.save(kind, folder, {"name": name}, parents)


def test_a_bundle_is_judged_by_its_checkpoint_and_not_by_what_that_was_trained_from(agent: Any) -> None:
    one = agent()
    base = save(one, CheckpointRef, "base")
    tuned = save(one, CheckpointRef, "tuned", base)
    bundle = save(one, BundleRef, "bundle", tuned)
    made = {bundle: {str(tuned)}, tuned: {str(base)}}
    assert models_behind(bundle, lambda ref: made[ref]) == {bundle, tuned}
    assert models_behind(tuned, lambda ref: made[ref]) == {tuned}
    adapter = save(one, AdapterRef, "adapter", base)
    unmerged = save(one, BundleRef, "unmerged", adapter)
    made |= {unmerged: {str(adapter)}, adapter: {str(base)}}
    assert models_behind(unmerged, lambda ref: made[ref]) == {unmerged, adapter}


class PickRequest(Request):
    name: str = "tuned"


@skill(effect=Effect.WRITES, summary="Pick a checkpoint that nobody judged.", reusable=False)
def pick(request: PickRequest, ctx: StepContext) -> CheckpointResult:
    with ctx.artifacts.staging() as folder:
        (folder / "config.json").write_text(f'"{request.name}"')
        return CheckpointResult(checkpoint=ctx.artifacts.save(CheckpointRef, folder, {}))


def test_what_an_earlier_step_made_is_held_at_the_step_when_no_gate_judged_it(
    agent: Any, plan_file: Path, small: Any
) -> None:
    one = agent()
    one.registry = Registry((*one.registry, pick))
    model = small.judged(one, plan_file)
    Path("serve.yaml").write_text(
        f"goal: Serve what came in between\nsteps:\n  new: {{skill: pick}}\n"
        f'  again: {{skill: judge, with: {{model: "{model}"}}}}\n'
        f'  live: {{skill: publish, with: {{model: "${{new.checkpoint}}", board: board.txt}}}}\n'
    )
    proposal = one.plan_for(Ask("plan_file", "serve.yaml"))
    refused = one.start(proposal, Consent(proposal.plan.id, "test"))
    assert refused.status == "refused" and refused.exit_code == 8
    lines = Path("board.txt").read_text().splitlines()
    runner_held = small.force(one, proposal)
    assert runner_held.exit_code == 8 and "may not serve" in runner_held.message
    assert Path("board.txt").read_text().splitlines() == lines


class SlowRequest(Request):
    pass


class SlowResult(Result):
    ok: bool


@skill(
    effect=Effect.WRITES,
    summary="Say it takes no time, and take some.",
    reusable=False,
    estimate=lambda request, machine, workspace: Cost(minutes=0, gpu_hours=0, usd=0),
)
def slow(request: SlowRequest, ctx: StepContext) -> SlowResult:
    end = time.monotonic() + 600
    while time.monotonic() < end:
        ctx.progress(0, 1, "naps")
        time.sleep(0.01)
    return SlowResult(ok=True)


def test_a_step_that_takes_longer_than_the_plan_may_is_stopped(agent: Any, faults: Any) -> None:
    one = agent()
    one.registry = Registry([slow])
    Path("slow.yaml").write_text("goal: x\nbudget: {minutes: 0.005}\nsteps:\n  a: {skill: slow}\n")
    proposal = one.plan_for(Ask("plan_file", "slow.yaml"))
    ended = one.start(proposal, Consent(proposal.plan.id, "test"))
    assert ended.exit_code == 6 and "time budget ended" in ended.message
    assert ended.spent["minutes"] < 10 and faults(one) == []


def test_a_finished_serving_step_is_not_done_again_when_a_later_one_failed(
    agent: Any, plan_file: Path, faults: Any
) -> None:
    plan_file.write_text(
        plan_file.read_text()
        + '  after: {skill: fragile, with: {model: "${model.checkpoint}", unless: ok.txt}, after: [live]}\n'
    )
    one = agent()
    proposal = one.plan_for(Ask("plan_file", str(plan_file)))
    failed = one.start(proposal, Consent(proposal.plan.id, "test"))
    assert failed.status == "failed"
    one.resume(failed.run)
    Path("ok.txt").touch()
    assert one.resume(failed.run).status == "done"
    assert faults(one) == []
    assert len(Path("board.txt").read_text().splitlines()) == 1
    assert [p for s, p in phases(one, failed.run) if s == "live" and p == "intent"] == ["intent"]


def test_a_receipt_of_another_result_is_held_against_the_record_it_names(agent: Any, plan_file: Path) -> None:
    """As when somebody writes a receipt for a record of another call, or with another result."""
    one = agent()
    proposal = one.plan_for(Ask("plan_file", str(plan_file)))
    first = one.start(proposal, Consent(proposal.plan.id, "test"))
    records = [r for r in Ledger.of(one.workspace).records() if (r.step, r.phase) == ("data", "done")]
    key = str(records[0].detail["key"])
    path = one.workspace.receipts / f"{key}.json"
    honest = json.loads(path.read_bytes())
    assert receipts.find_receipt(one.workspace, "collect", key) is not None
    other = next(r for r in Ledger.of(one.workspace).records() if (r.step, r.phase) == ("model", "done"))
    forgeries: list[dict[str, Any]] = [
        {**honest, "hash": "0" * 64},
        {**honest, "seq": other.seq, "hash": other.hash},
        {**honest, "result": {**honest["result"], "rows": 7}},
        {**honest, "artifacts": {"dataset": "dataset:" + "0" * 64}},
        {**honest, "seq": 10**9},
        {
            "seq": other.seq,
            "hash": other.hash,
            "result": other.detail["result"],
            "artifacts": dict(other.artifacts),
        },
    ]
    for forged in forgeries:
        forged.pop("digest", None)
        path.write_text(json.dumps({**forged, "digest": sha256_json(forged)}))
        assert receipts.find_receipt(one.workspace, "collect", key) is None, forged
    assert first.status == "done"


def test_a_gate_that_could_not_decide_is_asked_again(
    agent: Any, plan_file: Path, small: Any, faults: Any
) -> None:
    one = agent()
    one.registry = Registry((*[s for s in one.registry if s.name != "judge"], small.unsure))
    text = plan_file.read_text().replace("skill: judge", "skill: unsure")
    plan_file.write_text(text.replace(", decision: GO", ""))
    proposal = one.plan_for(Ask("plan_file", str(plan_file)))
    ended = one.start(proposal, Consent(proposal.plan.id, "test"))
    assert ended.exit_code == 4
    assert one.resume(ended.run).exit_code == 4
    Path("evidence").touch()
    done = one.resume(ended.run)
    assert (done.status, done.verdict, done.exit_code) == ("done", "GO", 0)
    assert len(Path("board.txt").read_text().splitlines()) == 1
    assert one.resume(ended.run).exit_code == 0
    assert faults(one) == []


def test_nothing_judged_is_not_go(agent: Any) -> None:
    one = agent()
    model = save(one, CheckpointRef, "model")
    judged = judgement_on(one.workspace, [model], RunState("none"))
    assert not judged.allowed and "no gate judged" in judged.message


class UnsureRequest(Request):
    model: CheckpointRef


class UnsureResult(Result):
    verdict: Verdict


@skill(effect=Effect.READS, summary="Decide once there is evidence.")
def unsure(request: UnsureRequest, ctx: StepContext) -> UnsureResult:
    decision = Decision.GO if Path("evidence").exists() else Decision.INCONCLUSIVE
    return UnsureResult(verdict=Verdict.of([Check(name="evidence", decision=decision)]))


class _Small:
    """Small things that several tests here share."""

    unsure = unsure

    @staticmethod
    def judged(one: Agent, plan_file: Path) -> str:
        """The checkpoint of a run whose gate said GO."""
        proposal = one.plan_for(Ask("plan_file", str(plan_file)))
        done = one.start(proposal, Consent(proposal.plan.id, "test"))
        return str(done.results["model"]["checkpoint"])

    @staticmethod
    def force(one: Agent, proposal: Any) -> Any:
        """Start a plan although pre-flight refuses it, as forged records would."""
        run = "20260101-000000-abcdef"
        plan = proposal.plan
        (one.workspace.plans / f"{plan.id}.json").write_bytes(plan.document())
        detail = {
            "goal": plan.goal,
            "folder": str(Path.cwd()),
            "steps": [{"id": s.id, "skill": s.skill, "effect": str(s.effect)} for s in plan.steps],
        }
        ledger = Ledger.of(one.workspace)
        ledger.append(Phase.PROPOSED, principal=RIA, run=run, plan=plan.id, effect="serves", detail=detail)
        ledger.append(Phase.APPROVED, principal=RIA, run=run, plan=plan.id)
        return one.resume(run)


@pytest.fixture
def small() -> type[_Small]:
    return _Small
