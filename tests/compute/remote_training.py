"""A real training of some seconds, in a process of its own that can be killed: for every compute to run."""

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
from opswright.core.artifact_refs import CheckpointRef, DatasetRef
from opswright.core.contract import StepContext
from opswright.core.settings import load_settings
from opswright.core.workspace import Workspace
from opswright.skills.finetune import FinetuneRequest, finetune

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
    return Workspace(load_settings(home=tmp_path_factory.mktemp("remote") / "ws", actor="tester"))


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
    made = finetune(FinetuneRequest.model_validate({"data": data, **ASKED}), ctx).checkpoint
    assert made is not None
    return made


def steps_done(folder: Path) -> int:
    path = folder / "checkpoints" / "training.jsonl"
    return len(path.read_bytes().splitlines()) if path.is_file() else 0


def command(shared: Workspace, data: DatasetRef, compute: str) -> list[str]:
    """The step in a process of its own, which prints its result."""
    request = json.dumps({"data": data, "compute": compute, **ASKED})
    return [sys.executable, "-c", RUN_THE_STEP, str(shared.root), request]


def kill_in_the_middle(command: list[str], shared: Workspace, wait: Any) -> str:
    """Begin the step, kill who asked for it after some steps of training; the job's id."""
    asker = subprocess.Popen(command, start_new_session=True)
    try:
        wait.until(lambda: steps_done(shared.run_folder("run") / "step") >= 15)
    finally:
        os.killpg(asker.pid, signal.SIGKILL)
        asker.wait()
    return str(json.loads((shared.root / "recorded").read_text())["id"])


def go_on(command: list[str]) -> dict[str, Any]:
    """The result of the step, asked for again."""
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout))
