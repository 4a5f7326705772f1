"""The same recipe on a GPU. Skipped where there is none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from opswright.core.artifact_refs import DatasetRef
from opswright.core.contract import StepContext
from opswright.core.settings import TrainSettings, load_settings
from opswright.core.workspace import Workspace
from opswright.skills.finetune import FinetuneRequest, finetune

pytestmark = [pytest.mark.e2e, pytest.mark.gpu, pytest.mark.timeout(600)]


def test_the_recipe_that_trains_on_cpu_trains_on_a_gpu_unchanged(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    rows = [
        json.dumps({"messages": [{"role": "user", "content": text}, {"role": "assistant", "content": label}]})
        for text, label in [("how much is in my account", "balance"), ("pay the bill", "pay bill")] * 64
    ]
    results = {}
    for device in ("cpu", "cuda"):
        workspace = Workspace(load_settings(home=tmp_path / device, train=TrainSettings(device=device)))
        with workspace.artifacts.staging() as folder:
            (folder / "train.jsonl").write_text("\n".join(rows) + "\n")
            (folder / "validation.jsonl").write_text("\n".join(rows[:8]) + "\n")
            data = workspace.artifacts.save(DatasetRef, folder, {"train_rows": 128, "validation_rows": 8})
        workdir = workspace.run_folder("run") / "step"
        workdir.mkdir(parents=True)
        ctx = StepContext(workspace, "run", "step", "key", workdir)
        results[device] = finetune(FinetuneRequest(data=data, max_steps=30, batch_size=32, epochs=20), ctx)
        trained = results[device].checkpoint
        assert trained is not None
        recipe = workspace.artifacts.open(trained).path / "recipe.yaml"
        (tmp_path / f"{device}.yaml").write_bytes(recipe.read_bytes())
    assert (tmp_path / "cpu.yaml").read_bytes() == (tmp_path / "cuda.yaml").read_bytes()
    assert results["cuda"].device == "cuda" and results["cuda"].final_loss < 3
    assert results["cuda"].validation_loss == pytest.approx(results["cpu"].validation_loss, abs=0.2)
