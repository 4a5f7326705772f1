"""A real training as a Slurm job: killed asker, attached again, requeued, and the same checkpoint as here."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from opswright.core.artifact_refs import CheckpointRef, DatasetRef
from opswright.core.contract import StepContext
from opswright.core.settings import load_settings
from opswright.core.workspace import Workspace
from opswright.skills.finetune import FinetuneRequest, finetune

from .remote_training import (
    ASKED,
    command,
    data,
    go_on,
    kill_in_the_middle,
    shared,
    trained_here,
)

__all__ = ["data", "shared", "trained_here"]  # fixtures
pytestmark = [pytest.mark.slurm, pytest.mark.timeout(300)]


def test_killed_asker_and_requeued_job_end_in_the_same_checkpoint(
    cluster: Any, shared: Workspace, data: DatasetRef, trained_here: CheckpointRef, wait: Any
) -> None:
    step = command(shared, data, "slurm")
    job = kill_in_the_middle(step, shared, wait)
    subprocess.run(["scontrol", "requeue", job], check=True)  # and its node takes the job away, too
    result = go_on(step)
    assert result["compute"] == "slurm" and result["resumed_from"] >= 10 and result["steps"] == 40
    assert result["checkpoint"] == trained_here
    assert len(list((shared.run_folder("run") / "step").glob("job-*"))) == 1


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
