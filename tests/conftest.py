"""Fixtures for the tests of every layer: a workspace in a temporary folder, contexts for calling a skill."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from opswright.core.contract import StepContext
from opswright.core.settings import load_settings
from opswright.core.workspace import Workspace

ContextFactory = Callable[..., StepContext]


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("OPSWRIGHT_HOME", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(load_settings(home=tmp_path / "workspace", actor="tester"))


@pytest.fixture
def context(workspace: Workspace) -> ContextFactory:
    def make(step: str = "step", run: str = "run-1") -> StepContext:
        workdir = workspace.run_folder(run) / step
        workdir.mkdir(parents=True, exist_ok=True)
        return StepContext(
            workspace=workspace, run_id=run, step_id=step, idempotency_key=f"{run}-{step}", workdir=workdir
        )

    return make
