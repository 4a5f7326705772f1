"""The mirror in the background: one process a workspace, there as long as a run goes on, in nobody's way."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from opswright.core.workspace import Workspace
from opswright.record.mirror import start_background
from opswright.record.mirror.tracking import Tracking

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # MLflow's own calls
]
RUN, OTHER = "20261120-1801-aaaaaa", "20261120-1802-bbbbbb"


def status(view: Workspace, run: str, step: str | None = None) -> str:
    tracking = Tracking(view)
    key = f"{tracking.workspace_id}/{run}" + (f"/{step}" if step else "")
    found = list(tracking.runs(f"tags.`opswright.key` = '{key}'"))
    return str(found[0].info.status) if found else "not shown"


@contextmanager
def held(view: Workspace, run: str) -> Iterator[None]:
    from filelock import FileLock

    folder = view.run_folder(run)
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "lock"):
        yield


def followers(view: Workspace) -> list[int]:
    import psutil

    return [
        process.pid
        for process in psutil.process_iter(["cmdline"])
        if "opswright.record.mirror" in (line := process.info["cmdline"] or []) and str(view.root) in line
    ]


def until(condition: Callable[[], bool], seconds: float = 100) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.2)


def test_in_the_background_runs_are_followed_to_their_end_by_one_process(view: Workspace, scene: Any) -> None:
    import psutil

    first = scene.propose(RUN, scene.plan())
    with held(view, RUN):
        assert start_background(view, RUN)
        assert status(view, RUN) == "not shown"  # nobody waited for it to be
        until(lambda: len(followers(view)) == 1)
        until(lambda: psutil.Process(followers(view)[0]).nice() == 10)
        until(lambda: not start_background(view, RUN))  # it has its lock by now: no second one
        scene.approve(RUN, first)
        scene.begin(RUN, first, first.steps[0])
        until(lambda: bool(Tracking(view).exists and list(Tracking(view).runs("tags.step = 'data'"))))
        assert status(view, RUN, "data") == "RUNNING"
        scene.finish(RUN, first, first.steps[0])
        with held(view, OTHER):
            assert not start_background(view, OTHER)
            scene.ship(OTHER, scene.plan("Another one", 0.9))
        assert len(followers(view)) == 1
        scene.stop(RUN, first)
    until(lambda: status(view, RUN) == "FAILED" and status(view, OTHER) == "FINISHED")
    with held(view, "next"):
        assert not start_background(view, "next")  # one that follows soon is not given a process of its own
        scene.ship("next", scene.plan("A third one", 0.8))
    until(lambda: followers(view) == [])
    assert status(view, "next") == "FINISHED"
    assert not any((view.root / "mirror" / "follow").iterdir())


def test_in_the_background_a_run_that_is_killed_is_let_go_and_shown_so(view: Workspace, scene: Any) -> None:
    plan = scene.propose(RUN, scene.plan())
    with held(view, RUN):
        start_background(view, RUN)
        scene.approve(RUN, plan)
        scene.begin(RUN, plan, plan.steps[0])
        until(lambda: len(followers(view)) == 1)
    until(lambda: followers(view) == [])
    assert status(view, RUN) == "KILLED"


def test_in_the_background_a_killed_follower_is_replaced_by_the_next_run(view: Workspace, scene: Any) -> None:
    with held(view, RUN):
        start_background(view, RUN)
        until(lambda: len(followers(view)) == 1)
        os.kill(followers(view)[0], signal.SIGKILL)
        until(lambda: followers(view) == [])
        scene.ship(RUN)
        assert start_background(view, OTHER)
    until(lambda: followers(view) == [])
    assert status(view, RUN) == "FINISHED"


def test_in_the_background_an_mlflow_out_of_reach_holds_nothing_up(workspace: Workspace, scene: Any) -> None:
    dead = workspace.settings.mlflow.model_copy(update={"tracking_uri": "http://127.0.0.1:9"})
    settings = workspace.settings.model_copy(update={"mlflow": dead})
    offline = Workspace(settings)
    with held(offline, RUN):
        log = offline.logs / "mirror.log"
        start_background(offline, RUN)
        assert "will try again" not in log.read_text()  # nobody waited for it
        until(lambda: "will try again" in log.read_text())
        scene.ship(RUN)
    (pid,) = followers(offline)
    os.kill(pid, signal.SIGKILL)  # it would go on trying for a quarter of an hour
    until(lambda: followers(offline) == [])
