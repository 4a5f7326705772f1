"""Damage to the chain, to records and to the plans they name."""

from __future__ import annotations

from typing import Any

from opswright.core.files import canonical_json, sha256_json, write_atomically
from opswright.record.ledger import Ledger, Phase

from .attack import (
    RUN,
    Rewrite,
    attack,
    changing,
    one_step,
)

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
