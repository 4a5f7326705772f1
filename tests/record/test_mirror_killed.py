"""The mirror on a real MLflow, killed anywhere or written by several processes at once, ends in one view."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from opswright.core.workspace import Workspace
from opswright.record.mirror import sync
from opswright.record.mirror.tracking import Tracking

from .mlflow_view import CANARY, RUN, SYNC, elsewhere, loop, run_of, shown, spawn, view_head

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # MLflow's own calls
]


def test_killed_anywhere_and_run_again_it_ends_in_the_same_view(
    view: Workspace, scene: Any, tmp_path: Path, fresh_mlflow: Path
) -> None:
    loop(scene)
    scene.serve("20261120-1804-dddddd", "promote", f"r-{CANARY}")
    sync(view)
    undisturbed = shown(view)
    other = Workspace(
        view.settings.model_copy(update={"mlflow": elsewhere(view, tmp_path / "k.db", fresh_mlflow)})
    )

    def begin(database: Path) -> subprocess.Popen[str]:
        environment = {**os.environ, "OPSWRIGHT_MLFLOW__TRACKING_URI": f"sqlite:///{database}"}
        command = [sys.executable, "-c", SYNC, str(view.root)]
        begun = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        assert begun.stdout is not None
        begun.stdout.readline()
        return begun

    elsewhere(view, tmp_path / "whole.db", fresh_mlflow)
    began = time.monotonic()
    with begin(tmp_path / "whole.db") as whole:  # how long it takes on this machine, MLflow's import and all
        whole.communicate()
    takes_s = time.monotonic() - began
    dice, kills = random.Random(7), 0
    for _ in range(16):
        victim = begin(tmp_path / "k.db")
        assert victim.stdout is not None
        time.sleep(takes_s * (0.3 + 0.5 * dice.random()))
        victim.kill()
        if victim.wait() == -signal.SIGKILL:
            kills += 1
        else:
            takes_s /= 2  # the machine was busier when it was measured
        victim.stdout.close()
        if kills == 8:
            break
    assert kills >= 4
    sync(other)
    assert shown(other) == undisturbed


def test_a_database_killed_while_it_is_made_is_made_again(workspace: Workspace, scene: Any) -> None:
    scene.ship(RUN)
    for pause in (3.5, 5.0, 6.5):
        victim = spawn(workspace)
        assert victim.stdout is not None
        victim.stdout.readline()
        time.sleep(pause)
        victim.kill()
        victim.communicate()
    assert sync(workspace).head_seq == view_head(workspace)
    assert run_of(workspace, RUN).info.status == "FINISHED"
    assert not list(workspace.root.glob(".mlflow-*"))


def test_several_processes_that_meet_a_fresh_workspace_write_one_view(
    workspace: Workspace, scene: Any
) -> None:
    loop(scene)
    writers = [spawn(workspace) for _ in range(3)]
    said = [writer.communicate(timeout=110)[0] for writer in writers]
    assert [writer.returncode for writer in writers] == [0, 0, 0], said
    own = Tracking(workspace).workspace_id
    assert len([key for key in shown(workspace) if key.startswith(own) and key.count("/") == 1]) == 3
