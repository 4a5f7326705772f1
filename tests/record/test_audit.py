"""The audit: everything that is wrong with a record is found, at the right record, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from opswright.core.files import canonical_json, files_below, sha256_file
from opswright.core.plan import bind
from opswright.core.workspace import Workspace
from opswright.record import audit
from opswright.record.ledger import Ledger, Phase, Record

RUN = "20261120-180101-a1b2c3"
Rewrite = Callable[[Workspace, Callable[[dict[str, Any]], object]], None]


def verify(workspace: Workspace, **more: Any) -> audit.AuditReport:
    return audit.verify(workspace, mlflow=False, **more)


def faults(workspace: Workspace, **more: Any) -> list[tuple[int, str]]:
    return [(fault.seq, fault.message) for fault in verify(workspace, **more).faults]


def test_a_record_in_order_passes_and_says_what_was_looked_at(workspace: Workspace, full_scene: Any) -> None:
    full_scene.ship(RUN)
    full_scene.ship("naive", full_scene.plan("Retrain on new data alone", 0.9), decision="NO_GO")
    full_scene.serve("undo", "rollback", f"r-{RUN}")
    report = verify(workspace)
    assert report.ok and report.first_bad is None and report.notes == ()
    assert (report.records, report.head_seq, report.head_hash) == (53, *Ledger.of(workspace).head())
    assert {c.name: c.count for c in report.checked} == {
        **dict.fromkeys(("chain", "records", "plans"), 53),
        **dict.fromkeys(("approvals", "arguments", "keys"), 6 + 4 + 1),
        **{"policy": 0, "order": 11 + 11 + 3, "reuse": 0, "gates": 11, "serving": 3 + 11},
        **{"budgets": 4 * 11, "receipts": 0, "artifacts": 4 + 3, "environments": 1, "served": 1},
        **dict.fromkeys(("months", "anchors", "signatures", "mirror", "mlflow"), 0),
    }
    assert {c.name: c.not_done for c in report.checked if c.not_done} == {
        **dict.fromkeys(("policy", "months"), "no policy is at hand"),
        "mlflow": "not asked for",
        "mirror": "nothing was mirrored yet",
        **dict.fromkeys(("anchors", "signatures"), "none was given"),
    }
    assert json.loads(canonical_json(report.document()))["ok"] is True


def test_an_empty_workspace_passes(workspace: Workspace) -> None:
    assert verify(workspace).ok and audit.anchor(workspace) == f"0:{'0' * 64}"


def test_looking_changes_nothing(workspace: Workspace, scene: Any) -> None:
    scene.ship(RUN)
    before = {name: sha256_file(path) for name, path in files_below(workspace.root).items()}
    verify(workspace)
    assert {name: sha256_file(path) for name, path in files_below(workspace.root).items()} == before


def test_a_broken_chain_is_named_and_nothing_behind_it_is_trusted(workspace: Workspace, scene: Any) -> None:
    scene.ship(RUN)
    segment = Ledger.of(workspace).segments()[0]
    segment.write_bytes(segment.read_bytes().replace(b'"rows":40', b'"rows":41', 1))
    report = verify(workspace)
    assert (report.ok, report.first_bad, report.records) == (False, 4, 3)
    assert "record 4 was altered" in report.faults[0].message
    assert [note.message for note in report.notes if "not looked at" in note.message]


def is_at(step: str | None, phase: str) -> Callable[[dict[str, Any]], bool]:
    return lambda body: (body["step"], body["phase"]) == (step, phase)


def dropping(step: str | None, phase: str) -> Callable[[dict[str, Any]], object]:
    return lambda body: "drop" if is_at(step, phase)(body) else None


def changing(step: str | None, phase: str, change: Callable[[dict[str, Any]], object]) -> Any:
    return lambda body: change(body) if is_at(step, phase)(body) else None


def set_in(*path: str, to: object) -> Callable[[dict[str, Any]], None]:
    def change(body: dict[str, Any]) -> None:
        inner: Any = body
        for name in path[:-1]:
            inner = inner[int(name)] if name.isdigit() else inner[name]
        inner[path[-1]] = to

    return change


LOW_BAR = {"suite": "clinc150", "metric": "exact_match", "min": 0.1, "slices": {}, "against": None}


@pytest.mark.parametrize(
    ("change", "seq", "message"),
    [
        (dropping(None, "approved"), 2, "step data (writes) without approval"),
        (changing(None, "approved", set_in("plan", to="e" * 64)), 2, "is for plan eeeeeeeeeeee"),
        (dropping(None, "proposed"), 1, "which nobody proposed"),
        (changing(None, "proposed", set_in("detail", "gates", to={})), 1, "lists other gates"),
        (changing(None, "proposed", set_in("detail", "steps", to=[])), 1, "lists other steps"),
        (changing("data", "intent", set_in("detail", "request", "source", to="/evil")), 3, "other arguments"),
        (changing("live", "intent", set_in("detail", "request", "bundle", to="x")), 13, "other arguments"),
        (changing("data", "done", set_in("detail", "result", "dataset", to="x")), 5, "other arguments"),
        (changing("live", "intent", set_in("step", to="extra")), 13, "extra, which is not in the plan"),
        (changing("live", "intent", set_in("effect", to="reads")), 13, "deploy (reads) as step live"),
        (changing("live", "intent", set_in("skill", to="promote")), 13, "promote (serves) as step live"),
        (dropping("engine", "intent"), 11, "no record says it was begun"),
        (dropping("eval", "done"), 8, "before what it stands on is there ('eval')"),
        (dropping("data", "done"), 4, "before what it stands on is there"),
        (
            changing(
                "eval.gate",
                "done",
                set_in("detail", "result", "verdict", "rows", "0", "decision", to="NO_GO"),
            ),
            10,
            "decides GO, its rows lead to NO_GO",
        ),
        (
            changing("eval.gate", "done", set_in("detail", "result", "verdict", "rows", to=[])),
            10,
            "decides GO, its rows lead to INCONCLUSIVE",
        ),
        (
            changing("eval.gate", "intent", set_in("detail", "request", "spec", to=LOW_BAR)),
            9,
            "other arguments",
        ),
        (
            changing(None, "done", set_in("detail", "verdict", to="NO_GO")),
            15,
            "ends the run with verdict NO_GO",
        ),
        (changing("data", "intent", set_in("detail", "request", to=7)), 3, "other arguments"),
        (changing(None, "proposed", set_in("detail", "steps", to=[1])), 1, "does not have the form"),
    ],
)
def test_a_rewritten_record_that_breaks_a_rule_is_named(
    workspace: Workspace, scene: Any, rewrite: Rewrite, change: Any, seq: int, message: str
) -> None:
    scene.ship(RUN)
    rewrite(workspace, change)
    report = verify(workspace)
    assert report.first_bad == seq
    assert message in " | ".join(fault.message for fault in report.faults if fault.seq == seq)


def test_the_criteria_a_gate_judged_by_must_be_the_plans(
    workspace: Workspace, scene: Any, rewrite: Rewrite
) -> None:
    scene.ship(RUN)
    spec = scene.plan().gates["release"].model_dump(mode="json")
    rewrite(
        workspace,
        changing("eval.gate", "intent", set_in("detail", "request", "spec", to={**spec, "min": 0.1})),
    )
    assert any("criteria that are not among the plan's gates" in message for _, message in faults(workspace))


@pytest.mark.parametrize(("lowered", "wrong"), [(False, []), (True, ["judges by criteria"])])
def test_a_gate_that_a_plan_asks_for_itself_judges_by_that_steps_arguments(
    workspace: Workspace, scene: Any, rewrite: Rewrite, lowered: bool, wrong: list[str]
) -> None:
    scene.ship(RUN)
    gate = scene.plan().steps[3]
    asked = gate.model_copy(
        update={"id": "gate", "arguments": {**gate.arguments, "report": scene.results[RUN]["eval"]["report"]}}
    )
    scene.ship("asked", scene.plan().model_copy(update={"steps": (asked,), "gates": {}}))
    if lowered:
        low = {**gate.arguments["spec"], "min": 0.1}
        rewrite(workspace, changing("gate", "intent", set_in("detail", "request", "spec", to=low)))
    found = faults(workspace)
    assert [words for words in wrong if any(words in message for _, message in found)] == wrong
    assert lowered or found == []


@pytest.mark.parametrize("decision", ["GO", "NO_GO", "INCONCLUSIVE"])
def test_the_verdict_on_a_canary_needs_no_gate_in_the_plan(
    workspace: Workspace, scene: Any, decision: str
) -> None:
    scene.ship(RUN)
    scene.serve("promotion", "promote", f"r-{RUN}", decision=decision)
    assert verify(workspace).ok


def test_nothing_may_run_after_a_gate_said_no(workspace: Workspace, scene: Any) -> None:
    plan = scene.propose(RUN, scene.plan())
    scene.approve(RUN, plan)
    for step in plan.steps:
        scene.begin(RUN, plan, step)
        scene.finish(RUN, plan, step, decision="NO_GO")
    scene.end(RUN, plan, verdict="NO_GO", code=0)
    found = faults(workspace)
    assert [seq for seq, message in found if "although the gate decided NO_GO" in message] == [11, 13]
    assert [seq for seq, message in found if "ends the run as good" in message] == [15]


def test_nothing_may_run_after_a_person_said_no(workspace: Workspace, scene: Any) -> None:
    plan = scene.propose(RUN, scene.plan())
    scene.approve(RUN, plan, Phase.DENIED)
    intent = scene.begin(RUN, plan, plan.steps[0])
    found = faults(workspace)
    assert {seq for seq, _ in found} == {intent.seq} and any(
        "plan was denied" in message for _, message in found
    )


def test_a_run_may_not_skip_a_step_and_say_it_is_done(workspace: Workspace, scene: Any) -> None:
    plan = scene.propose(RUN, scene.plan())
    scene.approve(RUN, plan)
    for step in plan.steps[:4]:
        scene.begin(RUN, plan, step)
        scene.finish(RUN, plan, step)
    end = scene.end(RUN, plan, verdict="GO")
    assert faults(workspace) == [
        (end.seq, f"record {end.seq} ends the run as done although engine, live never were")
    ]


def test_a_side_effect_that_happens_twice_is_named(workspace: Workspace, scene: Any) -> None:
    plan = scene.ship(RUN)
    again = scene.begin(RUN, plan, plan.steps[-1])
    scene.finish(RUN, plan, plan.steps[-1])
    message = f"record {again.seq} comes after run {RUN} was done (record 15)"
    assert faults(workspace)[0] == (again.seq, message)


def test_a_failed_step_may_be_tried_again(workspace: Workspace, scene: Any) -> None:
    plan = scene.propose(RUN, scene.plan())
    scene.approve(RUN, plan)
    scene.begin(RUN, plan, plan.steps[0])
    scene.fail(RUN, plan, plan.steps[0])
    scene.stop(RUN, plan)
    for step in plan.steps:
        scene.begin(RUN, plan, step)
        scene.finish(RUN, plan, step)
    scene.end(RUN, plan, verdict="GO")
    report = verify(workspace)
    assert report.ok and report.notes == ()


def test_what_a_crash_cut_short_is_noted_and_is_no_fault(workspace: Workspace, scene: Any) -> None:
    plan = scene.propose(RUN, scene.plan())
    scene.approve(RUN, plan)
    first = scene.begin(RUN, plan, plan.steps[0])
    second = scene.begin(RUN, plan, plan.steps[0])
    report = verify(workspace)
    assert report.ok
    assert [(note.seq, note.message) for note in report.notes] == [
        (first.seq, f"step data of run {RUN} was cut short and begun again ({second.seq})"),
        (second.seq, f"step data of run {RUN} was begun and has no outcome: it was cut short"),
    ]


def test_what_is_going_on_right_now_is_said_to(workspace: Workspace, scene: Any) -> None:
    from filelock import FileLock

    plan = scene.propose(RUN, scene.plan())
    scene.approve(RUN, plan)
    scene.begin(RUN, plan, plan.steps[0])
    workspace.run_folder(RUN).mkdir(parents=True)
    with FileLock(workspace.run_folder(RUN) / "lock"):
        (note,) = verify(workspace).notes
    assert note.message.endswith("is being carried out")


def test_a_gate_that_was_set_after_the_training_is_noted(workspace: Workspace, scene: Any) -> None:
    scene.ship(RUN, scene.plan("First", 0.95), decision="NO_GO")
    run, plan = "again", scene.plan("First", 0.8)
    scene.propose(run, plan)
    scene.approve(run, plan)
    for place, step in enumerate(plan.steps[:4]):
        if place < 3:
            earlier = next(
                r for r in Ledger.of(workspace).records() if (r.step, r.phase) == (step.id, "done")
            )
            reuse(scene, run, plan, step, earlier)
            scene.results[run][step.id] = earlier.detail["result"]
        else:
            scene.begin(run, plan, step)
            judged = scene.finish(run, plan, step)
    report = verify(workspace)
    assert report.ok
    (note,) = report.notes
    assert (note.seq, note.message) == (
        judged.seq,
        f"the gate was set (record 12) after the model it judges was trained (record 5, run {RUN})",
    )


def reuse(scene: Any, run: str, plan: Any, step: Any, earlier: Record, **changes: Any) -> Record:
    fields = {
        "step": step.id,
        "skill": step.skill,
        "effect": str(step.effect),
        "plan": plan.id,
        "request": bind(step.arguments, scene.results[run]),
        "result": earlier.detail["result"],
        "artifacts": earlier.artifacts,
        "detail": {"receipt": earlier.seq},
        **changes,
    }
    record: Record = scene.append(run, Phase.REUSED, **fields)
    return record


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"request": {"source": "/evil"}}, "runs step data with other arguments"),
        ({"detail": {"receipt": 99}}, "stands on record 99, which is no finished call before it"),
        ({"detail": {"receipt": 3}}, "stands on record 3, which is no finished call before it"),
        ({"detail": {"receipt": None}}, "stands on record None, which is no finished call"),
        ({"detail": {"receipt": 6}}, "stands on record 6, which is another call"),
        ({"result": {"dataset": "x"}}, "stands on record 4, which is another call or gave another result"),
    ],
)
def test_what_is_reused_must_have_been_done(
    workspace: Workspace, scene: Any, changes: dict[str, Any], message: str
) -> None:
    scene.ship(RUN)
    earlier = Ledger.of(workspace).get(4)
    plan = scene.propose("again", scene.plan())
    scene.approve("again", plan)
    assert earlier is not None
    record = reuse(scene, "again", plan, plan.steps[0], earlier, **changes)
    found = faults(workspace)
    assert {seq for seq, _ in found} == {record.seq} and any(message in text for _, text in found)


def test_two_runs_that_go_on_at_once_are_kept_apart(workspace: Workspace, scene: Any) -> None:
    plans = {run: scene.propose(run, scene.plan(f"Goal {run}")) for run in ("a", "b")}
    for run, plan in plans.items():
        scene.approve(run, plan)
    for place in range(6):
        for run, plan in plans.items():
            scene.begin(run, plan, plan.steps[place])
        for run, plan in plans.items():
            scene.finish(run, plan, plan.steps[place])
    for run, plan in plans.items():
        scene.end(run, plan, verdict="GO")
    assert verify(workspace).ok
