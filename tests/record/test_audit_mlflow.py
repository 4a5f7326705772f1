"""The audit of MLflow: whatever differs from the ledger is found, in either direction."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from opswright.core.errors import BackendError
from opswright.core.workspace import Workspace
from opswright.record import audit
from opswright.record.ledger import Ledger
from opswright.record.mirror import sync
from opswright.record.mirror.tracking import Tracking

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # MLflow's own calls
]
RUN, LATER = "20261120-180101-a1b2c3", "20261120-180102-ffffff"
SYNC = """
import sys
from pathlib import Path
from opswright.record.mirror import sync
from opswright.core.settings import load_settings
from opswright.core.workspace import Workspace
from opswright.record.ledger import Ledger
sync(Workspace(load_settings(home=Path(sys.argv[1]))))
"""


@pytest.fixture
def mirrored(view: Workspace, scene: Any) -> Workspace:
    scene.ship(RUN)
    sync(view)
    return view


def faults(view: Workspace) -> list[tuple[int, str]]:
    return [(fault.seq, fault.message) for fault in audit.verify(view).faults]


def mlflow_id(view: Workspace, step: str | None = None) -> str:
    tracking = Tracking(view)
    key = f"{tracking.workspace_id}/{RUN}" + (f"/{step}" if step else "")
    (found,) = tracking.runs(f"tags.`opswright.key` = '{key}'")
    return str(found.info.run_id)


def test_a_view_in_order_passes(mirrored: Workspace) -> None:
    report = audit.verify(mirrored, mlflow=True)
    assert report.ok and report.notes == ()
    assert {c.name: (c.count, c.not_done) for c in report.checked}["mlflow"] == (7, "")


def test_a_view_that_is_behind_is_noted(mirrored: Workspace, scene: Any) -> None:
    scene.ship(LATER)
    report = audit.verify(mirrored)
    assert report.ok
    (note,) = report.notes
    assert (note.seq, note.message) == (
        17,
        "MLflow is behind by 15 records: `opswright audit sync` catches up",
    )


def test_a_run_that_was_removed_from_mlflow_is_named_and_can_be_written_again(mirrored: Workspace) -> None:
    Tracking(mirrored).client.delete_run(mlflow_id(mirrored, "live"))
    (found,) = faults(mirrored)
    assert (found[0], found[1].partition(":")[0]) == (14, f"MLflow does not show {RUN}/live any more")
    sync(mirrored, everything=True)
    report = audit.verify(mirrored)
    assert report.ok and report.notes == ()


def test_a_run_that_never_was_is_a_fault(mirrored: Workspace) -> None:
    tracking = Tracking(mirrored)
    own = tracking.workspace_id
    tags = {"opswright.workspace": own, "opswright.key": f"{own}/forged", "ledger.seq": "7"}
    tracking.client.create_run(tracking.experiment_id, tags=tags, run_name="GO · a fine model")
    (found,) = faults(mirrored)
    assert found[0] == 7 and "says it shows record 7, which is of" in found[1]


def test_a_run_with_no_record_at_all_is_a_fault(mirrored: Workspace) -> None:
    tracking = Tracking(mirrored)
    tags = {"opswright.workspace": tracking.workspace_id, "opswright.key": "forged"}
    tracking.client.create_run(tracking.experiment_id, tags=tags)
    (found,) = faults(mirrored)
    assert "shows record 0, which the ledger does not have" in found[1]


def test_a_run_shown_twice_is_a_fault(mirrored: Workspace) -> None:
    tracking = Tracking(mirrored)
    first = tracking.client.get_run(mlflow_id(mirrored, "data"))
    again = tracking.client.create_run(tracking.experiment_id, tags=dict(first.data.tags))
    found = [message for _, message in faults(mirrored)]
    assert f"MLflow shows {RUN}/data twice" in found
    assert any(again.info.run_id[:12] in message and "param source is None" in message for message in found)


@pytest.mark.parametrize(
    ("step", "seq", "change", "message"),
    [
        (
            "eval",
            8,
            lambda c, r: c.log_metric(r, "exact_match", 0.99),
            "metric exact_match is 0.99, the ledger",
        ),
        ("eval", 8, lambda c, r: c.log_metric(r, "bonus", 1.0), "metric bonus is 1.0, the ledger says None"),
        ("eval", 8, lambda c, r: c.log_param(r, "limit", "10"), "param limit is '10', the ledger says None"),
        (
            "data",
            4,
            lambda c, r: c.set_tag(r, "ledger.hash", "0" * 64),
            "record 4 with hash 0000000000000000",
        ),
        ("data", 5, lambda c, r: c.set_tag(r, "ledger.seq", "5"), "record 5, which is of"),
        (
            "data",
            17,
            lambda c, r: c.set_tag(r, "ledger.seq", "99"),
            "record 99, which the ledger does not have",
        ),
        (None, 15, lambda c, r: c.set_tag(r, "ledger.head", "15:00"), "tag ledger.head is '15:00'"),
        (None, 15, lambda c, r: c.log_metric(r, "eval.exact_match", 1.0), "metric eval.exact_match is 1.0"),
    ],
)
def test_what_was_changed_in_mlflow_is_named(
    mirrored: Workspace, step: str | None, seq: int, change: Callable[[Any, str], object], message: str
) -> None:
    change(Tracking(mirrored).client, mlflow_id(mirrored, step))
    found = faults(mirrored)
    assert [number for number, _ in found] == [seq] and message in found[0][1]


def test_a_cut_ledger_is_shown_by_the_head_that_mlflow_holds(mirrored: Workspace) -> None:
    segment = Ledger.of(mirrored).segments()[0]
    segment.write_bytes(b"".join(segment.read_bytes().splitlines(keepends=True)[:12]))
    report = audit.verify(mirrored)
    assert report.first_bad == 13
    found = [fault.message for fault in report.faults if fault.check == "mlflow" and fault.seq == 13]
    assert "MLflow was given record 16" in found[0] and "cut or rewritten" in found[0]


def test_a_rewritten_ledger_is_shown_from_the_first_record_that_differs(
    mirrored: Workspace, rewrite: Callable[..., None]
) -> None:
    rewrite(mirrored, lambda body: body.update(roles=["operator"]) if body["seq"] >= 8 else None)
    assert Ledger.of(mirrored).verify() == []
    report = audit.verify(mirrored)
    assert report.first_bad == 8
    assert {fault.seq for fault in report.faults} == {8, 10, 12, 14, 15, 16}


def test_a_ledger_that_was_cut_and_went_on_is_still_shown(mirrored: Workspace, scene: Any) -> None:
    segment = Ledger.of(mirrored).segments()[0]
    segment.write_bytes(b"".join(segment.read_bytes().splitlines(keepends=True)[:12]))
    scene.ship(LATER)
    assert Ledger.of(mirrored).verify() == []
    assert audit.verify(mirrored).first_bad == 14  # record 13 was an intent: the first that MLflow names


def test_a_mirror_killed_half_way_gives_no_false_alarm(
    view: Workspace, scene: Any, tmp_path: Path, fresh_mlflow: Path
) -> None:
    for run in ("a", "b", "c", "d"):
        scene.ship(run, scene.plan(f"Goal {run}"))
    dice = random.Random(11)
    for _ in range(5):
        victim = subprocess.Popen([sys.executable, "-c", SYNC, str(view.root)])
        time.sleep(4 + dice.random() * 3)
        victim.kill()
        victim.wait()
        assert audit.verify(view).faults == ()
    sync(view)
    report = audit.verify(view)
    assert report.faults == report.notes == ()


def test_a_run_in_progress_gives_no_false_alarm(view: Workspace, scene: Any) -> None:
    plan = scene.propose(RUN, scene.plan())
    scene.approve(RUN, plan)
    for place, step in enumerate(plan.steps[:3]):
        scene.begin(RUN, plan, step)
        sync(view)
        assert audit.verify(view).ok
        if place == 1:
            scene.fail(RUN, plan, step)
            scene.stop(RUN, plan)
            sync(view)
            assert audit.verify(view).ok
            scene.begin(RUN, plan, step)
        scene.finish(RUN, plan, step)
        assert audit.verify(view).ok


def test_an_mlflow_out_of_reach_is_noted_unless_it_was_asked_for(mirrored: Workspace) -> None:
    dead = mirrored.settings.mlflow.model_copy(update={"tracking_uri": "http://127.0.0.1:9"})
    offline = Workspace(mirrored.settings.model_copy(update={"mlflow": dead}))
    report = audit.verify(offline)
    assert report.ok and any("not compared with MLflow" in note.message for note in report.notes)
    assert {c.name: c.not_done for c in report.checked}["mlflow"] == "MLflow does not answer"
    with pytest.raises(BackendError):
        audit.verify(offline, mlflow=True)


def test_a_workspace_that_was_never_mirrored_says_so(workspace: Workspace, scene: Any) -> None:
    scene.ship(RUN)
    report = audit.verify(workspace)
    assert report.ok
    assert {c.name: c.not_done for c in report.checked}["mlflow"] == "nothing was mirrored yet"


def test_it_costs_no_import_of_mlflow_where_there_is_nothing_to_compare(workspace: Workspace) -> None:
    code = (
        "import sys; from pathlib import Path; from opswright.record import audit; "
        "from opswright.core.settings import load_settings; from opswright.core.workspace import Workspace; "
        "audit.verify(Workspace(load_settings(home=Path(sys.argv[1])))); print('mlflow' in sys.modules)"
    )
    command = [sys.executable, "-c", code, str(workspace.root)]
    said = subprocess.run(command, check=True, env=dict(os.environ), capture_output=True, text=True).stdout
    assert said.strip() == "False"


def test_a_database_that_is_gone_is_named(mirrored: Workspace) -> None:
    (mirrored.root / "mlflow.db").unlink()
    shutil.rmtree(mirrored.root / "mlflow-artifacts")
    assert faults(mirrored) == [(0, "mlflow.db is gone, which showed this ledger up to record 16")]
