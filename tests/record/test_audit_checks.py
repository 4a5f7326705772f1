"""Every check of the audit against what it is there to find: a damaged workspace, at its first record."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import opswright
from opswright.core.artifact_refs import BundleRef, CheckpointRef, EvalReportRef
from opswright.core.contract import Effect
from opswright.core.files import canonical_json, sha256_json, write_atomically
from opswright.core.plan import Budget, Plan, StepCall, bind
from opswright.core.principal import Principal, Ruling
from opswright.core.workspace import Workspace
from opswright.record import audit
from opswright.record.ledger import Ledger, Phase
from opswright.record.run_state import Approval

RUN = "20261120-180101-a1b2c3"
EFFECTS = {
    **dict.fromkeys(("curate", "finetune", "evaluate", "build-engine"), "writes"),
    **dict.fromkeys(("deploy", "promote", "rollback"), "serves"),
    "gate": "reads",
}
RIGHTS = {"viewer": {"reads"}, "operator": {"reads", "writes"}, "releaser": {"reads", "writes", "serves"}}
Rewrite = Callable[..., None]
Damage = Callable[[Any, Rewrite], object]
Place = tuple[str | None, str] | int


@dataclass(frozen=True)
class Roles:
    """A policy by roles, with protected endpoints and approvals that expire."""

    protected: str = ""
    lasts: timedelta = timedelta(days=1)

    def may_propose(self, principal: Principal, plan: Plan, costs: Any = None) -> Ruling:
        return self._rule(principal, {str(step.effect) for step in plan.steps})

    def may_approve(
        self, principal: Principal, plan: Plan, proposer: Principal | None, costs: Any = None
    ) -> Ruling:
        endpoints = {step.arguments.get("endpoint") for step in plan.steps}
        if self.protected in endpoints and proposer is not None and principal.name == proposer.name:
            return Ruling(False, "protected", f"{principal.name} proposed the plan")
        return self._rule(principal, {str(step.effect) for step in plan.steps})

    def may_run(
        self,
        principal: Principal,
        plan: Plan,
        step: StepCall,
        approvals: Sequence[Approval],
        at: datetime,
        proposer: Principal | None = None,
        costs: Any = None,
    ) -> Ruling:
        if step.effect is not Effect.READS and all(at - one.time > self.lasts for one in approvals):
            return Ruling(False, "expiry", "every approval has expired")
        return self._rule(principal, {str(step.effect)})

    def _rule(self, principal: Principal, effects: set[str]) -> Ruling:
        missing = effects - {effect for role in principal.roles for effect in RIGHTS.get(role, set())}
        return Ruling(not missing, "roles", f"{principal} lacks the right: {', '.join(sorted(missing))}")


@pytest.fixture
def scene(full_scene: Any) -> Any:
    return full_scene


def verify(workspace: Workspace, roles: Roles | None = None, **more: Any) -> audit.AuditReport:
    policy = roles or Roles()
    given = {"effects": EFFECTS, "policies": lambda digest: policy if digest == "a" * 64 else None}
    return audit.verify(workspace, mlflow=False, **{**given, **more})


ATTACKS: list[Any] = []


def attack(check: str, at: Place, message: str, **how: Any) -> Callable[[Damage], Damage]:
    """A way to damage a workspace, where the check must find it (0: at no record), and in which words."""

    def keep(damage: Damage) -> Damage:
        name = getattr(damage, "__name__", "damage")
        ATTACKS.append(
            pytest.param(check, damage, at, message, how, id=name, marks=pytest.mark.audits(check))
        )
        return damage

    return keep


def place_of(workspace: Workspace, at: Place) -> int:
    """The number of the last record of that step and phase, as the ledger is now."""
    if isinstance(at, int):
        return at
    return [r.seq for r in Ledger.of(workspace).records() if (r.step, r.phase) == at][-1]


def dropping(step: str | None, phase: str) -> Callable[[dict[str, Any]], object]:
    return lambda body: "drop" if (body["step"], body["phase"]) == (step, phase) else None


def changing(step: str | None, phase: str, *path: str, to: object) -> Callable[[dict[str, Any]], object]:
    def change(body: dict[str, Any]) -> None:
        if (body["step"], body["phase"]) == (step, phase):
            inner: Any = body
            for name in path[:-1]:
                inner = inner[int(name)] if name.isdigit() else inner[name]
            inner[path[-1]] = to

    return change


def of_steps(plan: Plan, *names: str, **changes: Any) -> Plan:
    """A plan with some of another plan's steps, in that order."""
    steps = {step.id: step for step in plan.steps}
    return plan.model_copy(update={"steps": tuple(steps[name] for name in names), **changes})


def one_step(skill: str, effect: str, **arguments: Any) -> Plan:
    step = StepCall(id="live", skill=skill, effect=Effect(effect), arguments=arguments)
    return Plan(goal="One step", budget=Budget(), gates={}, inputs={}, steps=(step,))


def carry_out(scene: Any, run: str, plan: Plan, **more: Any) -> Plan:
    """A run of a plan up to its last step's end."""
    scene.propose(run, plan)
    scene.approve(run, plan, **more)
    for step in plan.steps:
        scene.begin(run, plan, step)
        scene.finish(run, plan, step)
    return plan


def started(scene: Any, plan: Plan | None = None) -> Plan:
    """A run that is approved and has not begun."""
    plan = scene.propose(RUN, plan or scene.plan())
    scene.approve(RUN, plan)
    return plan


# chain


@attack("chain", 10, "record 10 was altered: its hash does not match")
def a_figure_that_is_changed(scene: Any, rewrite: Rewrite) -> None:
    scene.ship(RUN)
    segment = Ledger.of(scene.workspace).segments()[0]
    segment.write_bytes(segment.read_bytes().replace(b'"final_loss":0.25', b'"final_loss":0.05', 1))


@attack("chain", 12, "is missing or out of order")
def a_record_that_is_cut_out(scene: Any, rewrite: Rewrite) -> None:
    scene.ship(RUN)
    segment = Ledger.of(scene.workspace).segments()[0]
    lines = segment.read_bytes().splitlines(keepends=True)
    segment.write_bytes(b"".join(lines[:11] + lines[12:]))


# records


@attack("records", ("live", "done"), "is 'done' of deploy without a run")
def a_deployment_without_a_run(scene: Any, rewrite: Rewrite) -> None:
    plan = scene.ship(RUN)
    result = {"endpoint": "other", "release": "r-evil", "route": "stable"}
    call = {"step": "live", "skill": "deploy", "effect": "serves", "plan": plan.id}
    scene.append(None, Phase.DONE, **call, result=result)


@attack("records", (None, "approved"), "acts in run nobody-knows, which nobody proposed")
def a_run_that_nobody_proposed(scene: Any, rewrite: Rewrite) -> None:
    plan = scene.ship(RUN)
    scene.append("nobody-knows", Phase.APPROVED, plan=plan.id, actor="ines")


@attack("records", ("data", "blessed"), "has phase 'blessed', which Opswright does not write")
def a_phase_of_ones_own(scene: Any, rewrite: Rewrite) -> None:
    scene.ship(RUN)
    rewrite(scene.workspace, changing("data", "done", "phase", to="blessed"))


@attack("records", 28, "comes after run 20261120-180101-a1b2c3 was done (record 27)")
def a_step_after_the_end_of_its_run(scene: Any, rewrite: Rewrite) -> None:
    plan = scene.ship(RUN)
    scene.begin(RUN, plan, plan.steps[-1])


@attack("records", (None, "proposed"), "does not have the form of a 'proposed' record")
def a_record_without_the_form_of_its_phase(scene: Any, rewrite: Rewrite) -> None:
    scene.ship(RUN)
    rewrite(scene.workspace, changing(None, "proposed", "detail", "steps", to=[1]))


@attack("records", ("data", "approved"), "is 'approved' of step data")
def an_approval_of_a_single_step(scene: Any, rewrite: Rewrite) -> None:
    plan = scene.propose(RUN, scene.plan())
    scene.append(RUN, Phase.APPROVED, plan=plan.id, step="data", skill="curate", effect="writes")


# plans


@attack("plans", (None, "proposed"), "step live (deploy) reads, but deploy serves")
def a_forged_effect_with_the_id_computed_anew(scene: Any, rewrite: Rewrite) -> None:
    scene.propose(RUN, one_step("deploy", "reads", bundle="bundle:" + "b" * 64, endpoint="support"))


@attack("plans", (None, "proposed"), "which was altered")
def a_plan_that_is_edited_where_it_is_stored(scene: Any, rewrite: Rewrite) -> None:
    plan = scene.ship(RUN)
    path = scene.workspace.plans / f"{plan.id}.json"
    path.write_bytes(path.read_bytes().replace(b'"min":0.85', b'"min":0.05'))


@attack("plans", (None, "proposed"), "is not a well-formed plan")
def a_document_that_hashes_to_its_id_and_is_no_plan(scene: Any, rewrite: Rewrite) -> None:
    body = {**scene.plan().model_dump(mode="json"), "approved_by": "ines"}
    scene.append(RUN, Phase.PROPOSED, plan=sha256_json(body), effect="serves", detail={"steps": []})
    document = canonical_json({"id": sha256_json(body), "plan": body})
    write_atomically(scene.workspace.plans / f"{sha256_json(body)}.json", document)


@attack("plans", (None, "proposed"), "which is not in")
def a_plan_that_is_removed(scene: Any, rewrite: Rewrite) -> None:
    plan = scene.ship(RUN)
    (scene.workspace.plans / f"{plan.id}.json").unlink()


@attack("plans", (None, "proposed"), "lists other gates")
def gates_that_are_not_the_plans(scene: Any, rewrite: Rewrite) -> None:
    scene.ship(RUN)
    rewrite(scene.workspace, changing(None, "proposed", "detail", "gates", to={}))


@attack("plans", (None, "proposed"), "lists other steps")
def steps_that_are_not_the_plans(scene: Any, rewrite: Rewrite) -> None:
    scene.ship(RUN)
    rewrite(scene.workspace, changing(None, "proposed", "detail", "steps", to=[]))


@attack("plans", (None, "proposed"), "lists other waivers")
def a_waiver_that_is_not_in_the_plan(scene: Any, rewrite: Rewrite) -> None:
    scene.ship(RUN)
    rewrite(scene.workspace, changing(None, "proposed", "detail", "waivers", to={"live": "we are late"}))


@attack("plans", ("extra", "intent"), "step extra, which is not in the plan")
def a_step_outside_the_plan(scene: Any, rewrite: Rewrite) -> None:
    scene.ship(RUN)
    rewrite(scene.workspace, changing("live", "intent", "step", to="extra"))


@attack("plans", ("live", "intent"), "runs deploy (reads) as step live")
def a_record_with_a_weaker_effect(scene: Any, rewrite: Rewrite) -> None:
    scene.ship(RUN)
    rewrite(scene.workspace, changing("live", "intent", "effect", to="reads"))


@attack("plans", (None, "approved"), "is for plan eeeeeeeeeeee")
def an_approval_of_another_plan(scene: Any, rewrite: Rewrite) -> None:
    scene.ship(RUN)
    rewrite(scene.workspace, changing(None, "approved", "plan", to="e" * 64))


# approvals


@attack("approvals", ("data", "intent"), "(writes) without approval of its plan")
def an_approval_that_never_was(scene: Any, rewrite: Rewrite) -> None:
    plan = scene.propose(RUN, scene.plan())
    scene.begin(RUN, plan, plan.steps[0])


@attack("approvals", ("data", "intent"), "(writes) without approval of its plan")
def an_approval_that_comes_afterwards(scene: Any, rewrite: Rewrite) -> None:
    plan = scene.propose(RUN, scene.plan())
    scene.begin(RUN, plan, plan.steps[0])
    scene.approve(RUN, plan)
    scene.finish(RUN, plan, plan.steps[0])


@attack("approvals", ("model", "intent"), "although the plan was denied")
def an_approval_that_was_withdrawn(scene: Any, rewrite: Rewrite) -> None:
    plan = started(scene)
    scene.begin(RUN, plan, plan.steps[0])
    scene.finish(RUN, plan, plan.steps[0])
    scene.approve(RUN, plan, Phase.DENIED)
    scene.begin(RUN, plan, plan.steps[1])


@attack("approvals", ("live", "intent"), "(serves) without approval of its plan", is_first=False)
def a_serving_step_that_says_it_only_reads(scene: Any, rewrite: Rewrite) -> None:
    plan = one_step("deploy", "reads", bundle="bundle:" + "b" * 64, endpoint="support")
    scene.propose(RUN, plan)
    scene.begin(RUN, plan, plan.steps[0])


# policy


@attack("policy", (None, "approved"), "kim (operator) lacks the right: serves")
def an_operator_who_approves_a_serving_plan(scene: Any, rewrite: Rewrite) -> None:
    carry_out(scene, RUN, scene.plan(), by="kim", role="operator")


@attack("policy", (None, "approved"), "mallory (viewer) lacks the right")
def an_approval_by_a_made_up_viewer(scene: Any, rewrite: Rewrite) -> None:
    carry_out(scene, RUN, scene.plan(), by="mallory", role="viewer")


@attack("policy", (None, "approved"), "lise proposed the plan", roles=Roles(protected="support"))
def a_proposer_who_approves_on_a_protected_endpoint(scene: Any, rewrite: Rewrite) -> None:
    carry_out(scene, RUN, scene.plan(), by="lise")


@attack("policy", ("data", "intent"), "every approval has expired")
def an_approval_that_has_expired(scene: Any, rewrite: Rewrite) -> None:
    plan = started(scene)
    scene.begin(RUN, plan, plan.steps[0])
    rewrite(scene.workspace, changing(None, "approved", "time", to="2020-01-01T00:00:00.000000+00:00"))


@attack("policy", ("live", "intent"), "runs step live, which the policy forbids: lise (operator) lacks")
def a_step_run_by_someone_who_may_not(scene: Any, rewrite: Rewrite) -> None:
    scene.ship(RUN)
    rewrite(scene.workspace, changing("live", "intent", "roles", to=["operator"]))


@attack("policy", ("data", "intent"), "lise (viewer) might not propose")
def a_plan_proposed_by_someone_who_may_not(scene: Any, rewrite: Rewrite) -> None:
    plan = started(scene)
    scene.begin(RUN, plan, plan.steps[0])
    rewrite(scene.workspace, changing(None, "proposed", "roles", to=["viewer"]))


@attack("policy", (None, "approved"), "names no policy, although record 1 did")
def an_approval_that_hides_its_policy(scene: Any, rewrite: Rewrite) -> None:
    scene.ship(RUN)
    rewrite(scene.workspace, changing(None, "approved", "detail", to={"how": "typed"}))


# order


@attack("order", ("engine", "done"), "no record says it was begun")
def an_intent_that_is_taken_out(scene: Any, rewrite: Rewrite) -> None:
    scene.ship(RUN)
    rewrite(scene.workspace, dropping("engine", "intent"))


@attack("order", ("live", "intent"), "begins step live again, which record 26 says is done")
def a_side_effect_that_happens_twice(scene: Any, rewrite: Rewrite) -> None:
    plan = carry_out(scene, RUN, scene.plan())
    scene.begin(RUN, plan, plan.steps[-1])


@attack("order", 7, "finishes step data again (record 6 did)")
def a_step_that_ends_twice(scene: Any, rewrite: Rewrite) -> None:
    plan = started(scene)
    scene.begin(RUN, plan, plan.steps[0])
    record = scene.finish(RUN, plan, plan.steps[0])
    call = {"step": "data", "skill": "curate", "effect": "writes", "plan": plan.id}
    scene.append(RUN, Phase.DONE, **call, result=record.detail["result"])


@attack("order", ("engine", "intent"), "runs step engine although the gate decided NO_GO")
def a_step_after_the_gate_said_no(scene: Any, rewrite: Rewrite) -> None:
    plan = started(scene)
    for step in plan.steps[:4]:
        scene.begin(RUN, plan, step)
        scene.finish(RUN, plan, step, decision="NO_GO")
    scene.begin(RUN, plan, plan.steps[4])


@attack("order", (None, "done"), "ends the run as done although engine, live never were")
def a_run_that_skips_steps_and_says_it_is_done(scene: Any, rewrite: Rewrite) -> None:
    plan = started(scene)
    for step in plan.steps[:4]:
        scene.begin(RUN, plan, step)
        scene.finish(RUN, plan, step)
    scene.end(RUN, plan, verdict="GO")


@attack("order", (None, "done"), "ends the run with verdict GO, its gate decided NO_GO")
def an_end_with_another_verdict(scene: Any, rewrite: Rewrite) -> None:
    scene.ship(RUN, decision="NO_GO")
    rewrite(scene.workspace, changing(None, "done", "detail", "verdict", to="GO"))


@attack("order", (None, "done"), "ends the run as good although its gate decided NO_GO")
def an_end_with_another_exit_code(scene: Any, rewrite: Rewrite) -> None:
    scene.ship(RUN, decision="NO_GO")
    rewrite(scene.workspace, changing(None, "done", "detail", "exit_code", to=0))


# arguments


@attack("arguments", ("data", "intent"), "runs step data with other arguments than the plan has")
def an_argument_that_is_not_the_plans(scene: Any, rewrite: Rewrite) -> None:
    scene.ship(RUN)
    rewrite(scene.workspace, changing("data", "intent", "detail", "request", "source", to="/evil"))


@attack("arguments", ("live", "intent"), "runs step live with other arguments than the plan has")
def another_bundle_than_the_one_that_was_built(scene: Any, rewrite: Rewrite) -> None:
    plan = scene.ship(RUN)
    other = {**bind(plan.steps[-1].arguments, scene.results[RUN]), "endpoint": "prod"}
    rewrite(scene.workspace, changing("live", "intent", "detail", "request", to=other))


@attack("arguments", ("data", "intent"), "shows another request for step data than its digest says")
def a_request_that_is_not_what_its_digest_says(scene: Any, rewrite: Rewrite) -> None:
    scene.ship(RUN)
    change = changing("data", "intent", "detail", "request", "source", to="/evil")
    rewrite(scene.workspace, change, digests=False)


@attack("arguments", ("eval", "intent"), "before what it stands on is there")
def a_result_that_was_never_recorded(scene: Any, rewrite: Rewrite) -> None:
    scene.ship(RUN)
    rewrite(scene.workspace, dropping("model", "done"))


# keys


@attack("keys", ("data", "intent"), "with another idempotency key than record 4: it may be done twice")
def a_key_that_changes_with_the_code(scene: Any, rewrite: Rewrite) -> None:
    plan = started(scene)
    scene.begin(RUN, plan, plan.steps[0])
    scene.begin(RUN, plan, plan.steps[0], key="f" * 64)


@attack("keys", ("model", "intent"), "with the idempotency key of step data")
def a_key_of_another_step(scene: Any, rewrite: Rewrite) -> None:
    plan = started(scene)
    for step in plan.steps[:2]:
        scene.begin(RUN, plan, step, key="f" * 64)
        scene.finish(RUN, plan, step)


@attack("keys", ("rollback", "intent"), "with the idempotency key of step rollback of run first")
def a_serving_key_of_another_run(scene: Any, rewrite: Rewrite) -> None:
    for run in ("first", "second"):
        plan = scene.propose(run, scene.serve_plan("rollback"))
        scene.approve(run, plan)
        scene.begin(run, plan, plan.steps[0], key="f" * 64)


@attack("keys", ("data", "intent"), "without an idempotency key")
def a_key_that_is_taken_out(scene: Any, rewrite: Rewrite) -> None:
    scene.ship(RUN)
    rewrite(scene.workspace, changing("data", "intent", "detail", "idempotency_key", to=None))


# reuse


def reusing(scene: Any, told: dict[str, Any], **changes: Any) -> None:
    """A second run whose first step stands on the first run's, with something wrong about it."""
    plan = scene.ship(RUN)
    earlier = Ledger.of(scene.workspace).get(6)
    assert earlier is not None and earlier.phase == "done"
    scene.propose("again", plan)
    scene.approve("again", plan)
    call = {"step": "data", "skill": "curate", "effect": "writes", "plan": plan.id}
    told = {"receipt": 6, "receipt_hash": earlier.hash, **told}
    given = {"request": plan.steps[0].arguments, "result": earlier.detail["result"], **changes}
    scene.append("again", Phase.REUSED, **call, **given, artifacts=earlier.artifacts, detail=told)


@attack("reuse", ("data", "reused"), "stands on record 99, which is no finished call before it")
def a_reuse_of_nothing(scene: Any, rewrite: Rewrite) -> None:
    reusing(scene, {"receipt": 99})


@attack("reuse", ("data", "reused"), "stands on record 10, which is another call")
def a_reuse_of_another_call(scene: Any, rewrite: Rewrite) -> None:
    reusing(scene, {"receipt": 10})


@attack("reuse", ("data", "reused"), "stands on record 6 with hash 000000000000")
def a_reuse_of_a_record_that_was_replaced(scene: Any, rewrite: Rewrite) -> None:
    reusing(scene, {"receipt_hash": "0" * 64})


@attack("reuse", ("data", "reused"), "another call or gave another result")
def a_reuse_with_another_result(scene: Any, rewrite: Rewrite) -> None:
    reusing(scene, {}, result={"dataset": "x"})


@attack("reuse", ("data", "reused"), "without naming its hash")
def a_reuse_that_names_no_hash(scene: Any, rewrite: Rewrite) -> None:
    reusing(scene, {"receipt_hash": None})


# gates


@attack("gates", ("eval.gate", "done"), "decides GO, its rows lead to NO_GO")
def a_verdict_against_its_rows(scene: Any, rewrite: Rewrite) -> None:
    scene.ship(RUN)
    path = ("detail", "result", "verdict", "rows", "0", "decision")
    rewrite(scene.workspace, changing("eval.gate", "done", *path, to="NO_GO"))


@attack("gates", ("eval.gate", "done"), "decides GO, its rows lead to NO_GO")
def a_bad_row_that_calls_itself_advisory(scene: Any, rewrite: Rewrite) -> None:
    scene.ship(RUN)
    rows = [{"decision": "GO"}, {"decision": "NO_GO", "tier": "advisory"}]
    rewrite(scene.workspace, changing("eval.gate", "done", "detail", "result", "verdict", "rows", to=rows))


@attack("gates", ("eval.gate", "done"), "criteria that are not among the plan's gates")
def a_bar_that_was_lowered(scene: Any, rewrite: Rewrite) -> None:
    plan = scene.plan()
    gate = plan.steps[3]
    low = {**gate.arguments, "spec": {**gate.arguments["spec"], "min": 0.1}}
    steps = (*plan.steps[:3], gate.model_copy(update={"arguments": low}), *plan.steps[4:])
    carry_out(scene, RUN, plan.model_copy(update={"steps": steps}))


# serving


@attack("serving", ("live", "intent"), "which no gate judged before, without a waiver")
def a_bundle_that_no_gate_judged(scene: Any, rewrite: Rewrite) -> None:
    carry_out(scene, RUN, of_steps(scene.plan(), "data", "model", "engine", "live", gates={}))


@attack(
    "serving", (None, "proposed"), "proposes to serve with step live what only eval.gate judges afterwards"
)
def a_plan_that_serves_and_judges_afterwards(scene: Any, rewrite: Rewrite) -> None:
    scene.propose(RUN, of_steps(scene.plan(), "data", "model", "engine", "live", "eval", "eval.gate"))


@attack("serving", ("live", "intent"), "decided NO_GO on clinc150")
def a_bundle_that_a_later_gate_refused(scene: Any, rewrite: Rewrite) -> None:
    carry_out(scene, RUN, of_steps(scene.plan(), "data", "model", "eval", "eval.gate", "engine"))
    judging = of_steps(scene.plan(), "eval", "eval.gate")
    evaluate, gate = judging.steps
    model = {**evaluate.arguments, "model": scene.results[RUN]["model"]["checkpoint"]}
    again = judging.model_copy(update={"steps": (evaluate.model_copy(update={"arguments": model}), gate)})
    scene.ship("again", again, decision="NO_GO")
    bundle = scene.results[RUN]["engine"]["bundle"]
    carry_out(scene, "serve", one_step("deploy", "serves", bundle=bundle, endpoint="support"))


@attack("serving", ("live", "intent"), "which no gate judged before")
def a_bundle_of_a_model_trained_on_from_a_judged_one(scene: Any, rewrite: Rewrite) -> None:
    scene.ship(RUN)
    judged = CheckpointRef(scene.results[RUN]["model"]["checkpoint"])
    checkpoint = CheckpointRef(scene.save(CheckpointRef, {"model.safetensors": "other"}, {}, [judged]))
    bundle = scene.save(BundleRef, {"engine": "other"}, {}, [checkpoint])
    carry_out(scene, "serve", one_step("deploy", "serves", bundle=bundle, endpoint="support"))


def again(scene: Any, run: str, *names: str, **more: Any) -> Plan:
    """Another run of steps of the plan that was shipped, on the same model and report."""
    steps = {step.id: step for step in scene.plan().steps}
    results = scene.results[RUN]
    bound = tuple(steps[n].model_copy(update={"arguments": bind(steps[n].arguments, results)}) for n in names)
    plan: Plan = scene.plan().model_copy(update={"steps": bound, "goal": run})
    return plan.model_copy(update=more)


def serve_again(scene: Any, bundle: str = "") -> None:
    bundle = bundle or scene.results[RUN]["engine"]["bundle"]
    carry_out(scene, "serve", one_step("deploy", "serves", bundle=bundle, endpoint="support"))


@attack("serving", ("live", "intent"), "which no gate judged before")
def a_bundle_that_no_record_made(scene: Any, rewrite: Rewrite) -> None:
    scene.ship(RUN)
    judged = CheckpointRef(scene.results[RUN]["model"]["checkpoint"])
    serve_again(scene, scene.save(BundleRef, {"engine": "other"}, {}, [judged]))


@attack("serving", ("live", "intent"), "which no gate judged before")
def a_report_that_no_record_made(scene: Any, rewrite: Rewrite) -> None:
    carry_out(scene, RUN, of_steps(scene.plan(), "data", "model", "engine"))
    model = CheckpointRef(scene.results[RUN]["model"]["checkpoint"])
    forged = scene.save(EvalReportRef, {"report.json": "{}"}, {}, [model])
    scene.results[RUN]["eval"] = {"report": forged}
    scene.ship("judge", again(scene, "judge", "eval.gate"))
    serve_again(scene)


@attack("serving", ("live", "intent"), "which no gate judged before")
def a_gate_that_is_approved_after_it_began(scene: Any, rewrite: Rewrite) -> None:
    carry_out(scene, RUN, of_steps(scene.plan(), "data", "model", "eval", "engine", gates={}))
    plan = scene.propose("judge", again(scene, "judge", "eval.gate"))
    scene.begin("judge", plan, plan.steps[0])
    scene.approve("judge", plan)
    scene.finish("judge", plan, plan.steps[0])
    serve_again(scene)


@attack("serving", ("live", "intent"), "which no gate judged before", is_first=False)
def a_gate_whose_approval_is_for_another_plan(scene: Any, rewrite: Rewrite) -> None:
    carry_out(scene, RUN, of_steps(scene.plan(), "data", "model", "eval", "engine", gates={}))
    plan = scene.propose("judge", again(scene, "judge", "eval.gate"))
    scene.approve("judge", scene.plan("Another"))
    scene.begin("judge", plan, plan.steps[0])
    scene.finish("judge", plan, plan.steps[0])
    serve_again(scene)


@attack("serving", ("live", "intent"), "decided NO_GO on clinc150")
def a_no_go_after_which_a_gate_could_not_decide(scene: Any, rewrite: Rewrite) -> None:
    scene.ship(RUN)
    for number, decision in enumerate(("NO_GO", "INCONCLUSIVE")):
        scene.ship(f"judge-{number}", again(scene, f"judge-{number}", "eval", "eval.gate"), decision=decision)
    serve_again(scene)


@attack("serving", ("live", "intent"), "which no gate judged before")
def a_bundle_deep_in_a_request(scene: Any, rewrite: Rewrite) -> None:
    scene.ship(RUN)
    other = scene.save(BundleRef, {"engine": "other"}, {})
    given = {"bundle": scene.results[RUN]["engine"]["bundle"], "shares": [{"of": other, "percent": 5}]}
    carry_out(scene, "serve", one_step("deploy", "serves", endpoint="support", **given))


@attack("serving", ("promote", "intent"), "decided NO_GO on clinc150")
def a_canary_that_is_promoted_although_a_gate_refused_it_since(scene: Any, rewrite: Rewrite) -> None:
    scene.ship("first", scene.plan("First", 0.86))
    scene.ship(RUN, route="canary")
    scene.ship("judge", again(scene, "judge", "eval", "eval.gate"), decision="NO_GO")
    scene.serve("later", "promote", f"r-{RUN}")


@attack("serving", ("promote", "intent"), "which no gate judged before")
def a_canary_under_a_waiver_that_is_promoted_without_one(scene: Any, rewrite: Rewrite) -> None:
    scene.ship("first", scene.plan("First", 0.86))
    plan = of_steps(scene.plan(), "data", "model", "engine", "live", gates={})
    steps = (*plan.steps[:-1], plan.steps[-1].model_copy(update={"waive_gate": "a drill"}))
    waived = plan.model_copy(update={"steps": steps})
    scene.propose(RUN, waived, waivers=waived.waivers)
    scene.approve(RUN, waived)
    for step in waived.steps:
        scene.begin(RUN, waived, step)
        scene.finish(RUN, waived, step, route="canary")
    scene.serve("later", "promote", f"r-{RUN}")


# budgets


@attack("budgets", ("model", "intent"), "beyond the budget: 9 spent and 9 reserved of 10 usd")
def a_step_beyond_what_is_left(scene: Any, rewrite: Rewrite) -> None:
    plan = started(scene, scene.plan().model_copy(update={"budget": Budget(usd=10)}))
    scene.begin(RUN, plan, plan.steps[0], usd=9)
    scene.finish(RUN, plan, plan.steps[0])
    scene.begin(RUN, plan, plan.steps[1], usd=9)
    rewrite(scene.workspace, changing("data", "settled", "detail", "spent", "usd", to=9))


@attack("budgets", ("data", "intent"), "without a known amount of gpu_hours, which the budget limits")
def a_step_of_unknown_cost_under_a_limit(scene: Any, rewrite: Rewrite) -> None:
    plan = started(scene, scene.plan().model_copy(update={"budget": Budget(gpu_hours=1)}))
    scene.begin(RUN, plan, plan.steps[0], gpu_hours=None)


@attack("budgets", ("data", "done"), "but what record 3 reserved was not settled")
def an_attempt_that_is_never_settled(scene: Any, rewrite: Rewrite) -> None:
    scene.ship(RUN)
    rewrite(scene.workspace, dropping("data", "settled"))


@attack(
    "budgets", ("data", "reserved"), "reserves again for step data; what record 3 reserved was not settled"
)
def two_reservations_at_once(scene: Any, rewrite: Rewrite) -> None:
    plan = started(scene)
    scene.begin(RUN, plan, plan.steps[0])
    scene.begin(RUN, plan, plan.steps[0])
    rewrite(scene.workspace, dropping("data", "settled"))


@attack("budgets", ("data", "intent"), "begins step data without a reservation")
def a_reservation_that_is_taken_out(scene: Any, rewrite: Rewrite) -> None:
    scene.ship(RUN)
    rewrite(scene.workspace, dropping("data", "reserved"))


@attack("budgets", ("data", "settled"), "has settled a negative amount")
def an_amount_that_gives_money_back(scene: Any, rewrite: Rewrite) -> None:
    plan = started(scene)
    scene.begin(RUN, plan, plan.steps[0])
    scene.settle(RUN, plan, plan.steps[0], usd=-50)


# receipts, artifacts, environments


@attack("receipts", ("data", "done"), "is not what record 6 says was done")
def a_receipt_with_another_result(scene: Any, rewrite: Rewrite) -> None:
    scene.ship(RUN)
    record = Ledger.of(scene.workspace).get(6)
    assert record is not None
    body = {"seq": 6, "hash": record.hash, "result": {"dataset": "x"}, "artifacts": dict(record.artifacts)}
    write_atomically(scene.workspace.receipts / ("0" * 64 + ".json"), canonical_json(body))


@attack("receipts", 0, "is for record 99; the ledger ends at 27")
def a_receipt_of_no_record(scene: Any, rewrite: Rewrite) -> None:
    scene.ship(RUN)
    write_atomically(scene.workspace.receipts / ("0" * 64 + ".json"), b'{"seq":99}')


@attack("artifacts", ("engine", "done"), "engine/model.onnx does not match")
def an_engine_that_is_swapped(scene: Any, rewrite: Rewrite) -> None:
    scene.ship(RUN)
    (path,) = (scene.workspace.artifacts.root / "bundle").glob("*/files/engine/model.onnx")
    path.write_bytes(path.read_bytes()[::-1])


@attack("environments", 1, "were altered")
def versions_that_are_edited(scene: Any, rewrite: Rewrite) -> None:
    scene.ship(RUN)
    (path,) = (Ledger.of(scene.workspace).folder / "environments").glob("*.json")
    path.write_bytes(path.read_bytes().replace(b'"python":"3', b'"python":"4'))


# served


def edit_desired(scene: Any, change: Callable[[dict[str, Any]], object]) -> None:
    path = scene.workspace.endpoints / "support" / "desired.json"
    body = json.loads(path.read_bytes())
    change(body)
    path.write_bytes(canonical_json(body))


@attack("served", ("live", "done"), "endpoint support holds release r-evil, which no record made")
def a_release_that_no_record_made(scene: Any, rewrite: Rewrite) -> None:
    scene.ship(RUN)
    edit_desired(scene, lambda body: body["stable"].update(id="r-evil"))


@attack(
    "served", ("live", "done"), "is made of bundle:eeeeeeeeeeee with no guardrails, the records say bundle:"
)
def another_bundle_under_a_releases_name(scene: Any, rewrite: Rewrite) -> None:
    scene.ship(RUN)
    edit_desired(scene, lambda body: body["stable"].update(bundle="bundle:" + "e" * 64))


@attack("served", ("live", "done"), "canary r-canary at 90 %, the records say")
def a_share_of_users_that_nobody_recorded(scene: Any, rewrite: Rewrite) -> None:
    scene.ship(RUN)
    scene.ship("canary", scene.plan("Another", 0.86), route="canary")
    edit_desired(scene, lambda body: body.update(canary_percent=90))


@attack("served", ("live", "done"), "has no desired.json, record 26 says that it serves")
def an_endpoint_whose_state_is_removed(scene: Any, rewrite: Rewrite) -> None:
    scene.ship(RUN)
    (scene.workspace.endpoints / "support" / "desired.json").unlink()


@attack("served", 0, "endpoint shadow holds release r-evil, which no record made")
def an_endpoint_that_no_record_knows(scene: Any, rewrite: Rewrite) -> None:
    scene.ship(RUN)
    path = scene.workspace.endpoints / "support" / "desired.json"
    body = path.read_bytes().replace(f"r-{RUN}".encode(), b"r-evil")
    write_atomically(scene.workspace.endpoints / "shadow" / "desired.json", body)


@attack("served", ("live", "done"), "does not read")
def a_state_that_is_no_state(scene: Any, rewrite: Rewrite) -> None:
    scene.ship(RUN)
    (scene.workspace.endpoints / "support" / "desired.json").write_bytes(b'{"stable": 7}')


# the tests


@pytest.mark.parametrize(("check", "damage", "at", "message", "how"), ATTACKS)
def test_what_was_tried_is_found_at_its_record_and_by_its_check_alone(
    workspace: Workspace,
    scene: Any,
    rewrite: Rewrite,
    check: str,
    damage: Damage,
    at: Place,
    message: str,
    how: dict[str, Any],
) -> None:
    how = dict(how)
    is_first = how.pop("is_first", True)
    damage(scene, rewrite)
    report = verify(workspace, **how)
    found = [fault for fault in report.faults if fault.check == check and message in fault.message]
    assert found, report.faults
    assert found[0].seq == place_of(workspace, at) and found[0].remedy
    assert report.first_bad == (found[0].seq or None) or not is_first, report.faults

    others = [one for one in audit.CHECKS if one.name != check]
    without = verify(workspace, **how, checks=others)
    assert not [fault for fault in without.faults if message in fault.message]


def checks_with_attacks() -> set[str]:
    """The checks that some test in this folder damages a workspace for."""
    sources = "".join(path.read_text() for path in Path(__file__).parent.glob("test_audit*.py"))
    return set(re.findall(r'(?:@attack|mark\.audits)\(\s*"([a-z]+)"', sources))


def test_what_was_recorded_before_a_plan_could_say_more_still_verifies(
    workspace: Workspace, scene: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an upgrade the policy must still know which plan an approval was of."""

    class LaterPlan(Plan):
        note: str = ""

    class Strict(Roles):
        def may_run(self, principal: Principal, plan: Plan, *rest: Any, **more: Any) -> Ruling:
            (_, approvals, *_) = rest
            known = any(one.plan == plan.id for one in approvals)
            return super().may_run(principal, plan, *rest, **more) if known else Ruling(False, "roles", "no")

    scene.ship(RUN)
    monkeypatch.setattr("opswright.record.audit.plans.Plan", LaterPlan)
    assert verify(workspace, Strict()).faults == ()


def test_every_check_is_in_the_guide_and_has_a_test_that_damages_a_workspace() -> None:
    names = [check.name for check in audit.CHECKS]
    assert len(set(names)) == len(names) and checks_with_attacks() == set(names)
    guide = (Path(opswright.__file__).parent / "docs/guide/record.md").read_text()
    rows = [f"| **{check.name}** | {check.looks_at} |" for check in audit.CHECKS]
    assert re.findall(r"^\| \*\*[a-z]+\*\* \|.*$", guide, re.MULTILINE) == rows


def test_every_check_says_what_to_do_about_its_faults() -> None:
    assert [check.name for check in audit.CHECKS if len(check.remedy) < 30] == []
