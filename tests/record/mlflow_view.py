"""What MLflow shows of a workspace, read back, and processes that write it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from opswright.core.workspace import Workspace
from opswright.record.ledger import Ledger
from opswright.record.mirror.tracking import Tracking

SYNC = """
import sys
from pathlib import Path
from opswright.record.mirror import sync
from opswright.core.settings import load_settings
from opswright.core.workspace import Workspace
print("start", flush=True)
print(sync(Workspace(load_settings(home=Path(sys.argv[1])))).head_seq)
"""
RUN, NAIVE, CANARY = "20261120-1801-aaaaaa", "20261120-1802-bbbbbb", "20261120-1803-cccccc"


def spawn(workspace: Workspace) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", SYNC, str(workspace.root)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def shown(workspace: Workspace) -> dict[str, Any]:
    """Everything MLflow holds of a workspace, by names that do not change from one database to the next."""
    tracking = Tracking(workspace)
    client, experiment = tracking.client, tracking.experiment_id
    runs = list(client.search_runs([experiment], max_results=1000))
    keys = {run.info.run_id: run.data.tags["opswright.key"] for run in runs}
    assert len(set(keys.values())) == len(keys), "a run or step is shown twice"
    found: dict[str, Any] = {}
    for run in runs:
        tags = {name: value for name, value in run.data.tags.items() if name != "mlflow.parentRunId"}
        parent = run.data.tags.get("mlflow.parentRunId")
        found[keys[run.info.run_id]] = {
            "info": (run.info.run_name, run.info.status, run.info.start_time, run.info.end_time),
            "params": run.data.params,
            "tags": tags,
            "parent": keys[parent] if parent else None,
            "datasets": sorted(d.dataset.digest for d in run.inputs.dataset_inputs) if run.inputs else [],
            "files": sorted(walk(client, run.info.run_id)),
            "metrics": {
                name: sorted(
                    (m.timestamp, m.step, m.value) for m in client.get_metric_history(run.info.run_id, name)
                )
                for name in run.data.metrics
            },
        }
    for model in client.search_registered_models():
        for version in client.search_model_versions(f"name = '{model.name}'"):
            key = f"{model.name} {version.tags['artifact']}"
            assert key not in found, "an artifact has two versions"
            aliases = sorted(a for a, v in model.aliases.items() if str(v) == str(version.version))
            found[key] = {"tags": version.tags, "aliases": aliases, "text": version.description}
    for trace in client.search_traces(locations=[experiment], max_results=100):
        spans = sorted((s.start_time_ns, s.end_time_ns, s.name, str(s.status)) for s in trace.data.spans)
        key = f"trace {keys[trace.info.trace_metadata['mlflow.sourceRun']]}"
        assert key not in found, "a run has two traces"
        found[key] = {
            "spans": spans,
            "state": str(trace.info.state),
        }
    return found


def walk(client: Any, run_id: str, path: str | None = None) -> Iterator[str]:
    for entry in client.list_artifacts(run_id, path):
        if entry.is_dir:
            yield from walk(client, run_id, entry.path)
        else:
            yield entry.path


def run_of(view: Workspace, run: str, step: str | None = None) -> Any:
    tracking = Tracking(view)
    key = f"{tracking.workspace_id}/{run}" + (f"/{step}" if step else "")
    (found,) = tracking.runs(f"tags.`opswright.key` = '{key}'")
    return found


def loop(scene: Any) -> None:
    """A small life of an endpoint."""
    scene.ship(RUN)
    scene.ship(NAIVE, scene.plan("Retrain on new data alone", 0.9), decision="NO_GO")
    scene.ship(CANARY, scene.plan("Retrain with replay", 0.86), route="canary")


def elsewhere(view: Workspace, path: Path, fresh: Path | None = None) -> Any:
    """The MLflow settings for another database."""
    if fresh is not None:
        shutil.copy(fresh, path)
    return view.settings.mlflow.model_copy(update={"tracking_uri": f"sqlite:///{path}"})


def view_head(workspace: Workspace) -> int:
    return Ledger.of(workspace).head()[0]
