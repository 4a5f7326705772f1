"""What is served without a judgement, or is not what the records say."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from opswright.core.artifact_refs import BundleRef, CheckpointRef, EvalReportRef
from opswright.core.files import canonical_json, write_atomically
from opswright.core.plan import Plan, bind

from .attack import (
    RUN,
    Rewrite,
    attack,
    carry_out,
    changing,
    of_steps,
    one_step,
)

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
