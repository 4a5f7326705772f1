"""A real training as a Job: killed asker, evicted pod, attached again, and the same checkpoint as here."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import opswright
from opswright.core.artifacts import CheckpointRef, DatasetRef
from opswright.core.contract import StepContext
from opswright.core.settings import KubernetesSettings, load_settings
from opswright.core.workspace import Workspace
from opswright.skills.finetune import FinetuneRequest, finetune

from .fake_cluster import FakeCluster

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]
RAW = Path(opswright.__file__).parent / "examples" / "support_router" / "raw" / "clinc150"
ASKED = {"max_steps": 40, "batch_size": 32, "epochs": 20, "checkpoint_every_steps": 10}
RUN_THE_STEP = """
import json, sys
from pathlib import Path
from opswright.core.contract import JobHandle, StepContext
from opswright.core.settings import load_settings
from opswright.core.workspace import Workspace
from opswright.skills.finetune import FinetuneRequest, finetune
home, request = sys.argv[1:]
workspace = Workspace(load_settings(home=Path(home)))
workdir = workspace.run_folder("run") / "step"
workdir.mkdir(parents=True, exist_ok=True)
ctx = StepContext(workspace, "run", "step", "key", workdir)
record = Path(home) / "recorded"
if record.exists():
    ctx.job = JobHandle.model_validate_json(record.read_text())
ctx.on_submit = lambda handle: record.write_text(handle.model_dump_json()) and None
print(finetune(FinetuneRequest.model_validate(json.loads(request)), ctx).model_dump_json())
"""


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return Workspace(load_settings(home=tmp_path_factory.mktemp("kubernetes") / "ws", actor="tester"))


@pytest.fixture(scope="module")
def data(shared: Workspace) -> DatasetRef:
    intents = set(json.loads((RAW / "domains.json").read_text())["banking"])
    rows = [row for row in json.loads((RAW / "data_full.json").read_text())["train"] if row[1] in intents]
    random.Random(1).shuffle(rows)
    with shared.artifacts.staging() as folder:
        with (folder / "train.jsonl").open("w") as file:
            for text, label in rows[:300]:
                messages = [{"role": "user", "content": text}, {"role": "assistant", "content": label}]
                file.write(json.dumps({"messages": messages}) + "\n")
        return shared.artifacts.save(DatasetRef, folder, {"train_rows": 300, "validation_rows": 0})


@pytest.fixture(scope="module")
def trained_here(shared: Workspace, data: DatasetRef) -> CheckpointRef:
    workdir = shared.run_folder("here") / "step"
    workdir.mkdir(parents=True)
    ctx = StepContext(shared, "here", "step", "key", workdir)
    return finetune(FinetuneRequest.model_validate({"data": data, **ASKED}), ctx).checkpoint


def steps_done(folder: Path) -> int:
    path = folder / "checkpoints" / "training.jsonl"
    return len(path.read_bytes().splitlines()) if path.is_file() else 0


def test_killed_asker_and_evicted_pod_end_in_the_same_checkpoint(
    fake: FakeCluster,
    kubernetes_settings: KubernetesSettings,
    shared: Workspace,
    data: DatasetRef,
    trained_here: CheckpointRef,
    wait: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPSWRIGHT_COMPUTE__KUBERNETES__SHARED_FOLDER", str(shared.root.parent))
    fake.volumes["work"] = shared.root.parent
    folder = shared.run_folder("run") / "step"
    request = json.dumps({"data": data, "compute": "kubernetes", **ASKED})
    command = [sys.executable, "-c", RUN_THE_STEP, str(shared.root), request]
    asker = subprocess.Popen(command, start_new_session=True)
    try:
        wait.until(lambda: steps_done(folder) >= 15)
    finally:
        os.killpg(asker.pid, signal.SIGKILL)
        asker.wait()
    job_name = json.loads((shared.root / "recorded").read_text())["id"]
    fake.disrupt(job_name, "DeletionByPodGC", kill=True)  # and another pod goes on
    again = subprocess.run(command, capture_output=True, text=True, check=True)
    result = json.loads(again.stdout)
    assert result["compute"] == "kubernetes" and result["resumed_from"] >= 10 and result["steps"] == 40
    assert result["checkpoint"] == trained_here
    assert len(list(folder.glob("job-*"))) == 1 and len(fake.objects("jobs")) == 1
    assert len(fake.objects("pods")) == 2


def test_a_workspace_the_pods_do_not_see_trains_on_the_volume_under_another_path(
    fake: FakeCluster,
    kubernetes_settings: KubernetesSettings,
    shared: Workspace,
    data: DatasetRef,
    trained_here: CheckpointRef,
    tmp_path: Path,
) -> None:
    volume = tmp_path / "volume"
    volume.mkdir()
    fake.volumes["work"] = volume
    changes = {"shared_folder": volume, "mount_path": tmp_path / "in" / "pod"}
    cluster = kubernetes_settings.model_copy(update=changes).model_dump()
    workspace = Workspace(load_settings(home=shared.root, compute={"kubernetes": cluster}))
    workdir = workspace.run_folder("staged") / "step"
    workdir.mkdir(parents=True)
    ctx = StepContext(workspace, "staged", "step", "key", workdir)
    request = FinetuneRequest.model_validate({"data": data, "compute": "kubernetes", **ASKED})
    result = finetune(request, ctx)
    assert result.checkpoint == trained_here and ctx.metrics["loss"] > 0
    assert not (workdir / "checkpoints").exists() and list(volume.glob("*/checkpoints"))
