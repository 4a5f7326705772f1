"""A real training as a Job: killed asker, evicted pod, attached again, and the same checkpoint as here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from opswright.core.artifact_refs import CheckpointRef, DatasetRef
from opswright.core.contract import StepContext
from opswright.core.settings import load_settings
from opswright.core.settings.compute import KubernetesSettings
from opswright.core.workspace import Workspace
from opswright.skills.finetune import FinetuneRequest, finetune

from .fake_cluster import FakeCluster
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
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]


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
    step = command(shared, data, "kubernetes")
    fake.disrupt(
        kill_in_the_middle(step, shared, wait), "DeletionByPodGC", kill=True
    )  # and another pod goes on
    result = go_on(step)
    assert result["compute"] == "kubernetes" and result["resumed_from"] >= 10 and result["steps"] == 40
    assert result["checkpoint"] == trained_here
    assert len(list((shared.run_folder("run") / "step").glob("job-*"))) == 1
    assert len(fake.objects("jobs")) == 1 and len(fake.objects("pods")) == 2


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
