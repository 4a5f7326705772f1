"""A real training as a Slurm job: killed asker, attached again, requeued, and the same checkpoint as here."""

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
from opswright.core.settings import load_settings
from opswright.core.workspace import Workspace
from opswright.skills.finetune import FinetuneRequest, finetune

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(300)]
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
    return Workspace(load_settings(home=tmp_path_factory.mktemp("slurm") / "ws", actor="tester"))


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


def command(shared: Workspace, data: DatasetRef) -> list[str]:
    request = json.dumps({"data": data, "compute": "slurm", **ASKED})
    return [sys.executable, "-c", RUN_THE_STEP, str(shared.root), request]


def test_killed_asker_and_requeued_job_end_in_the_same_checkpoint(
    cluster: Any, shared: Workspace, data: DatasetRef, trained_here: CheckpointRef, wait: Any
) -> None:
    folder = shared.run_folder("run") / "step"
    asker = subprocess.Popen(command(shared, data), start_new_session=True)
    try:
        wait.until(lambda: steps_done(folder) >= 15)
    finally:
        os.killpg(asker.pid, signal.SIGKILL)
        asker.wait()
    job_id = json.loads((shared.root / "recorded").read_text())["id"]
    subprocess.run(["scontrol", "requeue", job_id], check=True)  # and its node takes the job away, too
    again = subprocess.run(command(shared, data), capture_output=True, text=True, check=True)
    result = json.loads(again.stdout)
    assert result["compute"] == "slurm" and result["resumed_from"] >= 10 and result["steps"] == 40
    assert result["checkpoint"] == trained_here
    assert len(list(folder.glob("job-*"))) == 1


def test_a_workspace_the_nodes_do_not_see_trains_in_a_shared_folder(
    cluster: Any,
    shared: Workspace,
    data: DatasetRef,
    trained_here: CheckpointRef,
    tmp_path: Path,
) -> None:
    settings = load_settings(home=shared.root, compute={"slurm": {"shared_folder": tmp_path / "nfs"}})
    workspace = Workspace(settings)
    workdir = workspace.run_folder("shared") / "step"
    workdir.mkdir(parents=True)
    ctx = StepContext(workspace, "shared", "step", "key", workdir)
    request = FinetuneRequest.model_validate({"data": data, "compute": "slurm", **ASKED})
    result = finetune(request, ctx)
    assert result.checkpoint == trained_here and ctx.metrics["loss"] > 0
    assert not (workdir / "checkpoints").exists() and list((tmp_path / "nfs").glob("*/checkpoints"))
