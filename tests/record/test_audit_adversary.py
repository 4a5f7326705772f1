"""As an adversary: each way that was tried to make a forged record look right, with a real MLflow."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from opswright.core.errors import IntegrityError
from opswright.core.files import canonical_json
from opswright.core.workspace import Workspace
from opswright.record import audit
from opswright.record.ledger import Ledger, Phase
from opswright.record.mirror import sync
from opswright.record.mirror.tracking import Tracking

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # MLflow's own calls
]
SYNC = """
import json, sys
from pathlib import Path
from opswright.record import audit
from opswright.record.mirror import sync
from opswright.core.settings import load_settings
from opswright.core.workspace import Workspace
workspace = Workspace(load_settings(home=Path(sys.argv[1])))
sync(workspace)
print(json.dumps(audit.verify(workspace).document()))
"""  # in a process of its own: this one still has the removed file open
RUN = "20261120-180101-a1b2c3"
SETUP = 28  # the record that says where the ledger is shown, after the run's 27


@pytest.fixture
def mirrored(view: Workspace, full_scene: Any) -> Workspace:
    full_scene.ship(RUN)
    sync(view)
    return view


def mlflow_id(view: Workspace, step: str | None = None) -> str:
    tracking = Tracking(view)
    key = f"{tracking.workspace_id}/{RUN}" + (f"/{step}" if step else "")
    (found,) = tracking.runs(f"tags.`opswright.key` = '{key}'")
    return str(found.info.run_id)


def cut_tail(view: Workspace, keep: int = 18) -> None:
    """Keep the ledger's first records: here up to the evaluation, before its gate."""
    segment = Ledger.of(view).segments()[0]
    segment.write_bytes(b"".join(segment.read_bytes().splitlines(keepends=True)[:keep]))
    shutil.rmtree(view.root / "endpoints", ignore_errors=True)


def found_by(view: Workspace, check: str) -> list[tuple[int, str]]:
    """What one check finds; without it in the list, none of that is found."""
    report = audit.verify(view)
    found = [(fault.seq, fault.message) for fault in report.faults if fault.check == check]
    without = audit.verify(view, checks=[one for one in audit.CHECKS if one.name != check])
    assert not {message for _, message in found} & {fault.message for fault in without.faults}
    return found


def test_a_workspace_in_order_passes(mirrored: Workspace) -> None:
    report = audit.verify(mirrored, mlflow=True)
    assert report.ok, report.faults
    assert report.notes == () and report.records == SETUP
    counts = {c.name: c.count for c in report.checked}
    assert (counts["mlflow"], counts["mirror"]) == (7, 1)


@pytest.mark.audits("mlflow")
@pytest.mark.parametrize(
    ("step", "seq", "change", "message"),
    [
        (None, 27, lambda c, r: c.set_tag(r, "approved_by", "the board"), "tag approved_by is 'the board'"),
        (
            None,
            27,
            lambda c, r: c.set_tag(r, "verdict", "NO_GO"),
            "tag verdict is 'NO_GO', the ledger says 'GO'",
        ),
        (None, 27, lambda c, r: c.delete_tag(r, "verdict"), "tag verdict is None, the ledger says 'GO'"),
        (None, 27, lambda c, r: c.set_tag(r, "actor", "ines"), "tag actor is 'ines', the ledger says 'lise'"),
        (None, 27, lambda c, r: c.set_tag(r, "role", "viewer"), "tag role is 'viewer'"),
        (None, 27, lambda c, r: c.set_tag(r, "state", "failed"), "tag state is 'failed'"),
        (
            None,
            27,
            lambda c, r: c.set_tag(r, "mlflow.note.content", "fine"),
            "tag mlflow.note.content is 'fine'",
        ),
        (None, 27, lambda c, r: c.set_tag(r, "mlflow.runName", "GO"), "tag mlflow.runName is 'GO'"),
        (
            None,
            27,
            lambda c, r: c.set_terminated(r, "FAILED"),
            "its status is FAILED, the ledger says FINISHED",
        ),
        (None, 27, lambda c, r: c.set_terminated(r, "FINISHED", 7), "its end is 7 ms, the ledger says"),
        (None, 27, lambda c, r: c.set_tag(r, "error", "BackendError"), "tag error is 'BackendError'"),
        ("data", 6, lambda c, r: c.set_tag(r, "verdict", "GO"), "tag verdict is 'GO', the ledger says None"),
        ("data", 6, lambda c, r: c.set_tag(r, "mlflow.user", "ines"), "tag mlflow.user is 'ines'"),
        (
            "data",
            6,
            lambda c, r: c.set_tag(r, "bundle", "bundle:1"),
            "tag bundle is 'bundle:1', the ledger says",
        ),
        ("data", 6, lambda c, r: c.set_tag(r, "mlflow.parentRunId", "x"), "tag mlflow.parentRunId is 'x'"),
        ("eval", 14, lambda c, r: c.log_metric(r, "exact_match", 0.99), "metric exact_match is 0.99"),
        ("eval", 14, lambda c, r: c.log_param(r, "limit", "10"), "param limit is '10', the ledger says None"),
    ],
)
def test_whatever_is_changed_in_mlflow_is_named_at_its_record(
    mirrored: Workspace, step: str | None, seq: int, change: Callable[[Any, str], object], message: str
) -> None:
    change(Tracking(mirrored).client, mlflow_id(mirrored, step))
    found = found_by(mirrored, "mlflow")
    assert {number for number, _ in found} == {seq} and any(message in text for _, text in found), found
    sync(mirrored, everything=True)


def test_a_tag_that_people_put_there_is_noted(mirrored: Workspace) -> None:
    Tracking(mirrored).client.set_tag(mlflow_id(mirrored), "reviewed", "yes")
    report = audit.verify(mirrored)
    assert report.ok
    (note,) = report.notes
    assert note.seq == 27 and note.message.endswith("tags that were not written from the ledger: reviewed")


@pytest.mark.audits("mlflow")
def test_a_run_that_only_mlflow_has_is_found(mirrored: Workspace) -> None:
    tracking = Tracking(mirrored)
    tracking.client.create_run(tracking.experiment_id, run_name="GO · a fine model")
    ((seq, message),) = found_by(mirrored, "mlflow")
    assert seq == 0 and "(GO · a fine model) in this workspace's own MLflow was not written" in message


@pytest.mark.audits("mlflow")
def test_a_run_that_was_moved_to_mlflows_bin_is_found(mirrored: Workspace) -> None:
    Tracking(mirrored).client.delete_run(mlflow_id(mirrored, "eval.gate"))
    ((seq, message),) = found_by(mirrored, "mlflow")
    assert seq == 18 and f"does not show {RUN}/eval.gate any more: it was deleted" in message
    sync(mirrored, everything=True)
    assert audit.verify(mirrored).ok


@pytest.mark.audits("mirror")
def test_a_cut_tail_with_the_experiment_deleted_is_found(mirrored: Workspace) -> None:
    tracking = Tracking(mirrored)
    tracking.client.delete_experiment(tracking.experiment_id)
    ((_, message),) = found_by(mirrored, "mlflow")
    assert message == "MLflow experiment 'opswright', which showed this ledger, was deleted"
    cut_tail(mirrored)
    found = found_by(mirrored, "mirror")
    assert found[0][0] == 19 and "the ledger has its end at record 18: it was cut or rewritten" in found[0][1]
    assert any("no record says that it was set up" in message for _, message in found)


@pytest.mark.audits("mirror")
def test_a_cut_tail_with_the_workspace_id_removed_or_changed_is_found(mirrored: Workspace) -> None:
    own = mirrored.root / "workspace-id"
    whole = own.read_text()
    cut_tail(mirrored)
    own.unlink()
    found = [message for _, message in found_by(mirrored, "mirror")]
    assert any("workspace-id is gone" in message for message in found)
    assert any("cut or rewritten" in message for message in found)
    own.write_text("f" * 32)
    assert any("workspace-id is ffffffffffff" in message for _, message in found_by(mirrored, "mirror"))
    own.write_text(whole)
    with pytest.raises(IntegrityError, match="cut or rewritten"):
        sync(mirrored)


@pytest.mark.audits("mirror")
def test_what_the_workspace_remembers_of_its_view_cannot_be_removed_unseen(mirrored: Workspace) -> None:
    (mirrored.root / "mirror.json").unlink()
    ((seq, message),) = found_by(mirrored, "mirror")
    assert seq == SETUP and "mirror.json, which says how far, is gone" in message
    cut_tail(mirrored)  # and with it the record that says that there was a view
    (mirrored.root / "workspace-id").unlink()
    found = found_by(mirrored, "mlflow")
    assert any("mirror.json, which says how far, is gone" in message for _, message in found)
    assert any("the ledger has its end at record 18" in message for _, message in found)


@pytest.mark.audits("mirror")
def test_a_database_that_is_removed_is_found_and_its_return_leaves_a_trace(mirrored: Workspace) -> None:
    (mirrored.root / "mlflow.db").unlink()
    ((_, message),) = found_by(mirrored, "mirror")
    assert message == f"mlflow.db is gone, which showed this ledger up to record {SETUP}"
    shutil.rmtree(mirrored.root / "mlflow-artifacts")
    command = [sys.executable, "-c", SYNC, str(mirrored.root)]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    report = json.loads(said.splitlines()[-1])
    assert report["ok"], report["faults"]
    (note,) = report["notes"]
    assert note["seq"] == SETUP + 1 and "was set up anew here" in note["message"]


@pytest.mark.audits("mirror")
def test_a_head_forged_in_the_workspace_is_found(mirrored: Workspace) -> None:
    path = mirrored.root / "mirror.json"
    body = json.loads(path.read_bytes())
    (view,) = body["views"].values()
    view["hash"] = "0" * 64
    path.write_bytes(canonical_json(body))
    ((seq, message),) = found_by(mirrored, "mirror")
    assert seq == SETUP and "cut or rewritten" in message
    path.write_bytes(b"{")
    ((seq, message),) = found_by(mirrored, "mirror")
    assert seq == 0 and "does not read" in message


def test_a_database_put_back_to_an_earlier_day_is_found(
    mirrored: Workspace, full_scene: Any, tmp_path: Path
) -> None:
    shutil.copy(mirrored.root / "mlflow.db", tmp_path / "old.db")
    full_scene.ship("later", full_scene.plan("Another one", 0.9))
    sync(mirrored)
    shutil.copy(tmp_path / "old.db", mirrored.root / "mlflow.db")
    found = [message for _, message in found_by(mirrored, "mlflow")]
    assert any("and stands at record 28: it was emptied or put back" in message for message in found)


def test_a_release_that_no_record_made_is_found(mirrored: Workspace) -> None:
    path = mirrored.endpoints / "support" / "desired.json"
    path.write_bytes(path.read_bytes().replace(f'"id":"r-{RUN}"'.encode(), b'"id":"v9-evil"'))
    assert any("v9-evil, which no record made" in message for _, message in found_by(mirrored, "served"))


def test_a_deployment_recorded_without_a_run_is_found(mirrored: Workspace, full_scene: Any) -> None:
    result = {"endpoint": "support", "release": "v9-evil", "route": "stable"}
    full_scene.append(None, Phase.DONE, step="live", skill="deploy", effect="serves", result=result)
    found = found_by(mirrored, "records")
    assert [seq for seq, _ in found] == [SETUP + 1] and "without a run" in found[0][1]


def test_what_is_rewritten_everywhere_passes_and_only_a_head_kept_elsewhere_shows_it(
    mirrored: Workspace, tmp_path: Path
) -> None:
    """The limit, as docs/guide/record.md says it: who can write everything can forge everything."""
    anchor = audit.anchor(mirrored)
    public = audit.make_keys(tmp_path / "key")
    signature = tmp_path / "head.json"
    signature.write_bytes(audit.sign_head(mirrored, tmp_path / "key"))
    cut_tail(mirrored)
    for name in ("mlflow.db", "mirror.json", "workspace-id"):
        (mirrored.root / name).unlink()
    assert audit.verify(mirrored).ok
    found = audit.verify(mirrored, anchors=(anchor,), signatures=(signature,), key=public).faults
    assert [(fault.seq, fault.check) for fault in found] == [(19, "anchors"), (19, "signatures")]
