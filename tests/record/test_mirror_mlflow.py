"""The mirror on a real MLflow: every action shown, once, whatever happens to the process that writes it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from opswright.core.errors import BackendError, IntegrityError
from opswright.core.settings import load_settings
from opswright.core.workspace import Workspace
from opswright.record.ledger import Ledger, Phase
from opswright.record.mirror import Mirror, sync
from opswright.record.mirror.tracking import Tracking

from .mlflow_view import CANARY, NAIVE, RUN, elsewhere, loop, run_of, shown

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # MLflow's own calls
]


def test_every_action_of_a_run_is_found(view: Workspace, scene: Any) -> None:
    loop(scene)
    report = sync(view)
    assert (report.records, report.runs, report.steps) == (Ledger.of(view).head()[0], 3, 6 + 4 + 6)

    found, own = shown(view), Tracking(view).workspace_id
    for record in Ledger.of(view).records():
        if record.run is None:  # says that the view was set up
            continue
        step = found[f"{own}/{record.run}/{record.step}"] if record.step else found[f"{own}/{record.run}"]
        assert step["parent"] == (f"{own}/{record.run}" if record.step else None)
        assert step["info"][1] == "FINISHED"
        assert int(step["tags"]["ledger.seq"]) >= record.seq
        if record.step and record.phase == Phase.DONE:
            assert step["tags"]["ledger.hash"] == record.hash
    model = found[f"{own}/{RUN}/model"]
    assert model["params"]["base"] == "tiny" and len(model["metrics"]["training.loss"]) == 20
    assert "checkpoint/recipe.yaml" in model["files"] and len(model["datasets"]) == 1
    spans = {name for _, _, name, _ in found[f"trace {own}/{RUN}"]["spans"]}
    steps = {found[f"{own}/{RUN}/{step.id}"]["info"][0] for step in scene.plan().steps} - {
        "4 eval.gate · gate · GO"
    }
    assert spans == {"Ship an intent router", "approved by ines", "4 eval.gate · gate", *steps}


def test_syncing_again_changes_nothing(view: Workspace, scene: Any) -> None:
    loop(scene)
    sync(view)
    before = shown(view)
    assert sync(view).records == 0
    assert shown(view) == before
    assert sync(view, everything=True).records == Ledger.of(view).head()[0]
    assert shown(view) == before


def test_what_was_lost_in_mlflow_is_written_again(view: Workspace, scene: Any) -> None:
    loop(scene)
    sync(view)
    before = shown(view)
    tracking = Tracking(view)
    tracking.client.delete_run(run_of(view, RUN).info.run_id)
    tracking.client.delete_run(run_of(view, RUN, "model").info.run_id)
    sync(view, everything=True)
    assert shown(view) == before


def test_record_by_record_ends_in_the_same_view_as_all_at_once(
    view: Workspace, scene: Any, fresh_mlflow: Path, tmp_path: Path
) -> None:
    mirror = Mirror(view)
    plan = scene.propose(RUN, scene.plan())
    mirror.sync()
    scene.approve(RUN, plan)
    for step in plan.steps:
        scene.begin(RUN, plan, step)
        mirror.sync()
        scene.finish(RUN, plan, step)
        mirror.sync() if step.id in ("data", "eval.gate") else sync(view)
    scene.end(RUN, plan, verdict="GO")
    sync(view)
    bit_by_bit = shown(view)

    shutil.copy(fresh_mlflow, view.root / "mlflow.db")
    shutil.rmtree(view.root / "mlflow-artifacts")
    sync(
        Workspace(
            view.settings.model_copy(update={"mlflow": elsewhere(view, tmp_path / "other.db", fresh_mlflow)})
        )
    )
    at_once = shown(
        Workspace(view.settings.model_copy(update={"mlflow": elsewhere(view, tmp_path / "other.db")}))
    )
    assert bit_by_bit == at_once


def test_a_run_that_failed_and_went_on_is_shown_as_one(view: Workspace, scene: Any) -> None:
    plan = scene.propose(RUN, scene.plan())
    scene.approve(RUN, plan)
    data = plan.steps[0]
    scene.begin(RUN, plan, data)
    scene.fail(RUN, plan, data)
    scene.stop(RUN, plan)
    sync(view)
    assert run_of(view, RUN).info.status == run_of(view, RUN, "data").info.status == "FAILED"
    assert "the trainer died" in run_of(view, RUN, "data").data.tags["mlflow.note.content"]

    for step in plan.steps:
        scene.begin(RUN, plan, step)
        scene.finish(RUN, plan, step)
    scene.end(RUN, plan, verdict="GO")
    sync(view)
    found, own = shown(view), Tracking(view).workspace_id
    assert run_of(view, RUN).info.status == run_of(view, RUN, "data").info.status == "FINISHED"
    assert found[f"trace {own}/{RUN}"]["state"] == "OK"
    attempts = [span for span in found[f"trace {own}/{RUN}"]["spans"] if span[2] == "1 data · curate"]
    assert len(attempts) == 2


def test_a_run_that_died_without_a_record_is_shown_as_killed_and_comes_back(
    view: Workspace, scene: Any
) -> None:
    from filelock import FileLock

    folder = view.run_folder(RUN)
    folder.mkdir(parents=True)
    plan = scene.propose(RUN, scene.plan())
    with FileLock(folder / "lock"):
        scene.approve(RUN, plan)
        scene.begin(RUN, plan, plan.steps[0])
        sync(view)
        assert run_of(view, RUN).info.status == run_of(view, RUN, "data").info.status == "RUNNING"
    sync(view)  # no new record, but nobody holds the run any more
    assert run_of(view, RUN).info.status == run_of(view, RUN, "data").info.status == "KILLED"
    with FileLock(folder / "lock"):
        scene.begin(RUN, plan, plan.steps[0])
        sync(view)
        assert run_of(view, RUN).info.status == run_of(view, RUN, "data").info.status == "RUNNING"


def test_aliases_follow_deploy_canary_promote_and_rollback(view: Workspace, scene: Any) -> None:
    def served() -> dict[str, str]:
        client = Tracking(view).client
        (model,) = client.search_registered_models("name = 'support'")
        runs = {str(v.version): v.tags["run"] for v in client.search_model_versions("name = 'support'")}
        return {alias: runs[str(version)] for alias, version in model.aliases.items()}

    scene.ship(RUN)
    sync(view)
    assert served() == {"stable": RUN}
    scene.ship(CANARY, scene.plan("Retrain with replay", 0.86), route="canary")
    sync(view)
    assert served() == {"stable": RUN, "canary": CANARY}
    scene.serve("20261120-1804-dddddd", "promote", f"r-{RUN}", decision="INCONCLUSIVE")
    sync(view)
    assert served() == {"stable": RUN, "canary": CANARY}
    scene.serve("20261120-1805-dddddd", "promote", f"r-{CANARY}")
    sync(view)
    assert served() == {"stable": CANARY}
    scene.serve("20261120-1806-eeeeee", "rollback", f"r-{RUN}")
    sync(view)
    assert served() == {"stable": RUN}
    scene.ship(NAIVE, scene.plan("Retrain again", 0.84), route="canary")
    scene.serve("20261120-1808-eeeeee", "promote", f"r-{RUN}", decision="NO_GO")
    sync(view)
    assert served() == {"stable": RUN}
    sync(view, everything=True)
    assert served() == {"stable": RUN}
    assert run_of(view, "20261120-1806-eeeeee", "rollback").data.tags["phase"] == "rolled_back"


def test_a_cut_ledger_is_not_mirrored_over_what_mlflow_knows(view: Workspace, scene: Any) -> None:
    loop(scene)
    sync(view)
    before = shown(view)
    segment = Ledger.of(view).segments()[0]
    segment.write_bytes(b"".join(segment.read_bytes().splitlines(keepends=True)[:-4]))
    with pytest.raises(IntegrityError, match="cut or rewritten"):
        sync(view)
    assert shown(view) == before


def test_a_rewritten_ledger_is_not_mirrored_over_what_mlflow_knows(
    view: Workspace, scene: Any, rewrite: Callable[..., None]
) -> None:
    scene.ship(RUN)
    sync(view)
    rewrite(view, lambda body: body.update(actor="mallory"))
    assert Ledger.of(view).verify() == []
    with pytest.raises(IntegrityError, match="cut or rewritten"):
        sync(view)
    with pytest.raises(IntegrityError, match="cut or rewritten"):
        sync(view, everything=True)


@pytest.mark.timeout(100)  # MLflow's own tries would go on for two minutes
def test_an_mlflow_out_of_reach_is_an_error_that_hides_its_password(workspace: Workspace, scene: Any) -> None:
    scene.ship(RUN)
    uri = "http://lise:secret@127.0.0.1:9"
    settings = workspace.settings.model_copy(
        update={"mlflow": workspace.settings.mlflow.model_copy(update={"tracking_uri": uri})}
    )
    with pytest.raises(BackendError, match="Nothing is lost") as caught:
        sync(Workspace(settings))
    assert "secret" not in str(caught.value) and "127.0.0.1:9" in str(caught.value)


def test_a_deleted_experiment_is_said_and_not_written_to(view: Workspace, scene: Any) -> None:
    scene.ship(RUN)
    sync(view)
    tracking = Tracking(view)
    tracking.client.delete_experiment(tracking.experiment_id)
    with pytest.raises(BackendError, match="was deleted"):
        sync(view)


def test_workspaces_that_share_a_database_do_not_touch_each_other(
    view: Workspace, scene: Any, tmp_path: Path
) -> None:
    scene.ship(RUN)
    sync(view)
    before = shown(view)
    uri = {"tracking_uri": f"sqlite:///{view.root / 'mlflow.db'}"}
    other = Workspace(load_settings(home=tmp_path / "other", actor="ada", mlflow=uri))
    type(scene)(other).ship(RUN)
    sync(other)
    own = Tracking(view).workspace_id
    assert {key: value for key, value in shown(view).items() if own in key} == {
        key: value for key, value in before.items() if own in key
    }
    assert Tracking(other).workspace_id != own
    models = {model.name: dict(model.aliases) for model in Tracking(view).client.search_registered_models()}
    theirs = f"support-{Tracking(other).workspace_id[:6]}"
    assert models["support"].keys() == models[theirs].keys() == {"stable"}
