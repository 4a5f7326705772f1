"""What MLflow would show, made from the ledger alone."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from opswright.core.artifact_refs import CheckpointRef
from opswright.core.workspace import Workspace
from opswright.record.ledger import Ledger, Phase
from opswright.record.mirror.files import curve_figures, write_run_files, write_step_files
from opswright.record.mirror.page import HASH, HEAD, SEQ, Page, run_page, step_page
from opswright.record.mirror.status import Status
from opswright.record.run_state import RunState

RUN = "20261120-180101-a1b2c3"


def state_of(workspace: Workspace, run: str = RUN) -> RunState:
    state = RunState(run)
    for record in Ledger.of(workspace).records():
        if record.run == run:
            state.apply(record)
    return state


def page(workspace: Workspace, run: str = RUN, held: bool = False) -> Page:
    return run_page(state_of(workspace, run), "w", held)


def step(workspace: Workspace, name: str, held: bool = False) -> Page:
    state = state_of(workspace)
    return step_page(state, state.steps[name], "w", held)


def test_a_run_is_named_by_its_verdict_goal_and_id(workspace: Workspace, scene: Any) -> None:
    scene.ship(RUN)
    shown = page(workspace)
    assert shown.name == f"GO · Ship an intent router · {RUN}"
    assert shown.status is Status.FINISHED
    assert shown.tags["approved_by"] == "ines" and shown.tags["actor"] == "lise"
    assert shown.params["gates.release.min"] == "0.85"
    assert {f.name: f.value for f in shown.figures}["eval.exact_match"] == 0.88


def test_a_slash_command_makes_a_readable_name(workspace: Workspace, scene: Any) -> None:
    goal = (
        f"/drift endpoint=support  reference=dataset:{'a1' * 32} window=300 alpha=0.01 seed=1111 {'x' * 40}"
    )
    scene.propose(RUN, scene.plan(goal))
    name = page(workspace).name
    assert name.startswith(
        "waiting for approval · /drift endpoint=support reference=dataset:a1a1a1a1a1a1 window=300"
    )
    assert name.endswith(f"alpha=0.01 se… · {RUN}")


def test_the_note_of_a_run_tells_every_step_and_its_records(workspace: Workspace, scene: Any) -> None:
    scene.ship(RUN)
    note = page(workspace).note
    assert note.startswith("**GO**: the gate says GO")
    assert "Approved** by ines (releaser)" in note and "typed on the terminal" in note
    for record in Ledger.of(workspace).records():
        if record.step is not None:
            assert f"**{record.step}** ({record.skill}" in note
            assert str(record.seq) in note
    assert "endpoint support: release r-20261120-180101-a1b2c3 is stable" in note
    assert "- exact_match: **GO**, got 0.88, bar 0.85, items 400" in note


def test_the_steps_that_a_gate_kept_from_running_are_named(workspace: Workspace, scene: Any) -> None:
    scene.ship(RUN, decision="NO_GO")
    shown = page(workspace)
    assert shown.status is Status.FINISHED and shown.name.startswith("NO_GO · ")
    assert "6. **live** (deploy, changes what users of an endpoint get): not run" in shown.note


def test_the_end_of_a_run_anchors_the_head_of_the_ledger(workspace: Workspace, scene: Any) -> None:
    scene.ship(RUN)
    seq, digest = Ledger.of(workspace).head()
    assert page(workspace).tags[HEAD] == f"{seq}:{digest}"
    scene.ship("later")
    assert page(workspace).tags[HEAD] == f"{seq}:{digest}"


def test_a_step_shows_its_request_its_figures_and_its_place_in_the_ledger(
    workspace: Workspace, scene: Any
) -> None:
    scene.ship(RUN)
    shown, done = step(workspace, "data"), Ledger.of(workspace).get(4)
    assert done is not None and done.step == "data"
    assert shown.name == "1 data · curate"
    assert shown.params == {"source": "/data/raw", "near_duplicate_jaccard": "0.7"}
    assert {f.name: f.value for f in shown.figures} == {"rows": 40, "dropped.duplicate": 3, "seconds": 1.5}
    assert (shown.tags[SEQ], shown.tags[HASH]) == ("4", done.hash)
    assert shown.tags["dataset"] == done.artifacts["dataset"]


def test_times_are_the_ledgers_own(workspace: Workspace, scene: Any) -> None:
    from datetime import datetime

    scene.ship(RUN)
    intent, done = Ledger.of(workspace).get(3), Ledger.of(workspace).get(4)
    assert intent is not None and done is not None
    shown = step(workspace, "data")
    assert shown.start_ms == int(datetime.fromisoformat(intent.time).timestamp() * 1000)
    assert shown.end_ms == int(datetime.fromisoformat(done.time).timestamp() * 1000)
    assert {f.at_ms for f in shown.figures} == {shown.end_ms}


def test_a_gate_shows_what_it_saw(workspace: Workspace, scene: Any) -> None:
    scene.ship(RUN, decision="NO_GO")
    shown = step(workspace, "eval.gate")
    assert shown.name == "4 eval.gate · gate · NO_GO" and shown.tags["verdict"] == "NO_GO"
    assert {f.name: f.value for f in shown.figures if "exact" in f.name} == {
        "exact_match.got": 0.88,
        "exact_match.bar": 0.85,
        "exact_match.n": 400,
    }


@pytest.mark.parametrize(
    ("written", "held", "run_status", "state"),
    [
        (["proposed"], True, Status.RUNNING, "running"),
        (["proposed"], False, Status.SCHEDULED, "waiting for approval"),
        (["proposed", "approved", "intent"], True, Status.RUNNING, "running"),
        (["proposed", "approved", "intent"], False, Status.KILLED, "stopped"),
        (["proposed", "approved", "intent", "done"], True, Status.RUNNING, "running"),
        (["proposed", "approved", "intent", "done"], False, Status.KILLED, "stopped"),
        (["proposed", "denied"], False, Status.KILLED, "denied"),
        (["proposed", "approved", "intent", "failed"], False, Status.FAILED, "failed"),
        (["proposed", "refused"], False, Status.FAILED, "refused"),
    ],
)
def test_the_status_of_a_run_is_what_the_ledger_and_its_lock_say(
    workspace: Workspace, scene: Any, written: list[str], held: bool, run_status: Status, state: str
) -> None:
    plan = scene.propose(RUN, scene.plan())
    first = plan.steps[0]
    if "approved" in written:
        scene.approve(RUN, plan)
    if "intent" in written:
        scene.begin(RUN, plan, first)
    if "done" in written:
        scene.finish(RUN, plan, first)
    if "failed" in written:
        scene.fail(RUN, plan, first)
        scene.stop(RUN, plan)
    if "denied" in written:
        scene.approve(RUN, plan, Phase.DENIED)
        scene.end(RUN, plan, "denied", code=5)
    if "refused" in written:
        scene.end(RUN, plan, "refused", code=1)
    shown = page(workspace, held=held)
    assert (shown.status, shown.tags["state"]) == (run_status, state)
    assert (shown.end_ms is None) == (run_status in (Status.RUNNING, Status.SCHEDULED))
    if "intent" in written:
        open_ = Status.RUNNING if held else Status.KILLED
        expected = {"failed": Status.FAILED, "done": Status.FINISHED}.get(written[-1], open_)
        assert step(workspace, "data", held).status is expected


def test_a_run_that_goes_on_after_a_failure_is_open_again(workspace: Workspace, scene: Any) -> None:
    plan = scene.propose(RUN, scene.plan())
    scene.approve(RUN, plan)
    scene.begin(RUN, plan, plan.steps[0])
    scene.fail(RUN, plan, plan.steps[0])
    scene.stop(RUN, plan)
    scene.begin(RUN, plan, plan.steps[0])
    assert page(workspace, held=True).status is Status.RUNNING
    assert HEAD not in page(workspace, held=True).tags
    scene.finish(RUN, plan, plan.steps[0])
    shown = step(workspace, "data", held=True)
    assert (shown.status, shown.tags["attempts"]) == (Status.FINISHED, "2")


def test_a_reused_step_says_what_it_stands_on(workspace: Workspace, scene: Any) -> None:
    scene.ship("earlier")
    plan = scene.propose(RUN, scene.plan())
    call = {"step": "data", "skill": "curate", "effect": "writes", "plan": plan.id}
    result, artifacts, _ = scene.make(RUN, plan.steps[0])
    more = {"request": plan.steps[0].arguments, "detail": {"receipt": 4}}
    scene.append(RUN, Phase.REUSED, **call, result=result, artifacts=artifacts, **more)
    shown = step(workspace, "data")
    assert shown.status is Status.FINISHED and shown.name == "1 data · curate · reused"
    assert "Reused what record 4 says was done before" in shown.note
    assert shown.params["source"] == "/data/raw"


@pytest.mark.parametrize(
    ("request_", "params"),
    [
        ({"a": {"b": {"c": 1}}}, {"a.b.c": "1"}),
        (
            {"domains": ["x", "y"], "on": True, "no": None},
            {"domains": '["x","y"]', "on": "true", "no": "null"},
        ),
        ({"empty": {}, "text": ""}, {"empty": "{}", "text": ""}),
        ({"../climb": 1, "a//b": 2, "ünï (x)": 3}, {"__climb": "1", "a__b": "2", "ünï _x_": "3"}),
    ],
)
def test_any_request_becomes_flat_params(
    workspace: Workspace, scene: Any, request_: dict[str, Any], params: dict[str, str]
) -> None:
    scene.append(RUN, Phase.INTENT, step="s", skill="x", effect="reads", request=request_)
    assert step(workspace, "s").params == params


def test_a_long_param_is_cut_and_says_so(workspace: Workspace, scene: Any) -> None:
    scene.append(RUN, Phase.INTENT, step="s", skill="x", effect="reads", request={"text": "x" * 9000})
    text = step(workspace, "s").params["text"]
    assert len(text) == 6000 and text.endswith("... (9000 characters; whole in request.json)")


def test_reports_and_manifests_are_shown_and_weights_are_not(
    workspace: Workspace, scene: Any, tmp_path: Path
) -> None:
    scene.ship(RUN)
    state = state_of(workspace)
    shown = tmp_path / "shown"
    for name in ("model", "eval", "run"):
        (shown / name).mkdir(parents=True)
    write_step_files(state.steps["model"], workspace.artifacts, shown / "model")
    write_step_files(state.steps["eval"], workspace.artifacts, shown / "eval")
    write_run_files(state, Ledger.of(workspace), shown / "run")
    found = {path.relative_to(shown).as_posix() for path in shown.rglob("*.*") if path.is_file()}
    assert found >= {"model/checkpoint/recipe.yaml", "model/checkpoint/artifact.json", "model/request.json"}
    assert found >= {"eval/report/report.json", "eval/report/items.jsonl", "eval/outcome.json"}
    assert not any("safetensors" in name for name in found)
    (environment,) = json.loads((shown / "run" / "environment.json").read_text()).values()
    assert environment["python"] == platform.python_version()
    lines = (shown / "run" / "ledger.jsonl").read_bytes().splitlines(keepends=True)
    assert b"".join(lines) == Ledger.of(workspace).segments()[0].read_bytes()


def test_an_altered_report_is_not_shown(workspace: Workspace, scene: Any, tmp_path: Path) -> None:
    scene.ship(RUN)
    state = state_of(workspace)
    ref = CheckpointRef(state.steps["model"].last.artifacts["checkpoint"])
    (workspace.artifacts.folder(ref) / "files" / "recipe.yaml").write_text("seed: 9999\n")
    write_step_files(state.steps["model"], workspace.artifacts, tmp_path)
    assert not (tmp_path / "checkpoint" / "recipe.yaml").exists()


def test_a_loss_curve_becomes_figures_by_training_step(workspace: Workspace, scene: Any) -> None:
    scene.ship(RUN)
    model = state_of(workspace).steps["model"]
    curve = list(curve_figures(model, workspace.artifacts))
    loss = [(f.step, f.value) for f in curve if f.name == "training.loss"]
    assert loss == [(n, 5.0 / (n + 1)) for n in range(20)]
    assert {f.name for f in curve} == {"training.loss", "training.lr"}
    assert len({f.at_ms for f in curve}) == 1


def test_an_artifact_that_is_gone_leaves_the_rest_of_the_page(
    workspace: Workspace, scene: Any, tmp_path: Path
) -> None:
    import shutil

    scene.ship(RUN)
    shutil.rmtree(workspace.artifacts.root)
    model = state_of(workspace).steps["model"]
    write_step_files(model, workspace.artifacts, tmp_path)
    assert json.loads((tmp_path / "outcome.json").read_text())["result"]["final_loss"] == 0.25
    assert list(curve_figures(model, workspace.artifacts)) == []


def test_the_agents_process_never_imports_mlflow() -> None:
    code = "import sys; from opswright.record.mirror import start_background; print('mlflow' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert said.strip() == "False"


def test_a_lock_that_cannot_be_looked_at_holds_nothing(workspace: Workspace) -> None:
    (workspace.run_folder(RUN) / "lock").mkdir(parents=True)
    assert not workspace.is_held(RUN)
