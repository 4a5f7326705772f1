"""Steps out of order, with other arguments or keys, and results that another call gave."""

from __future__ import annotations

from typing import Any

from opswright.core.files import canonical_json, write_atomically
from opswright.core.plan import bind
from opswright.record.ledger import Ledger, Phase

from .attack import (
    RUN,
    Rewrite,
    attack,
    carry_out,
    changing,
    dropping,
    started,
)

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
