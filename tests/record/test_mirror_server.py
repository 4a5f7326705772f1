"""MLflow's own pages in a real browser, and the mirror on a real MLflow server."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from opswright.core.errors import AskError, NeedsError
from opswright.core.settings import NO_TELEMETRY
from opswright.core.workspace import Workspace
from opswright.record import audit
from opswright.record.mirror import remote_ui, sync, ui_command, ui_url
from opswright.record.mirror.tracking import Tracking

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(900),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # MLflow's own calls
]
_PATIENCE_S = 240.0
RUN, NAIVE = "20261120-180101-a1b2c3", "20261120-180201-b2c3d4"
CHROMIUM = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


@contextmanager
def served(command: list[str], port: int, folder: Path) -> Iterator[str]:
    """A server in a session of its own, ended with everything it started."""
    environment = {**os.environ, **NO_TELEMETRY}
    with (folder / "server.log").open("wb") as log:
        server = subprocess.Popen(
            command, stdout=log, stderr=log, cwd=folder, env=environment, start_new_session=True
        )
    url = f"http://127.0.0.1:{port}"
    try:
        until = time.monotonic() + _PATIENCE_S
        while not is_up(f"{url}/health"):
            assert server.poll() is None and time.monotonic() < until, (folder / "server.log").read_text()
            time.sleep(0.5)
        yield url
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(timeout=_PATIENCE_S)


def is_up(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=30):
            return True
    except OSError:
        return False


def test_the_mirror_writes_the_same_view_to_a_server(
    workspace: Workspace, scene: Any, tmp_path: Path, free_port: Callable[[], int]
) -> None:
    scene.ship(RUN)
    scene.ship(NAIVE, scene.plan("Retrain on new data alone", 0.9), decision="NO_GO")
    port = free_port()
    store = ["--backend-store-uri", f"sqlite:///{tmp_path / 'server.db'}"]
    files = ["--artifacts-destination", str(tmp_path / "files")]
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "server",
        *store,
        *files,
        "--port",
        str(port),
        "--workers",
        "1",
    ]
    command = ["env", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false", *command]
    with served(command, port, tmp_path) as url:
        away = workspace.settings.mlflow.model_copy(update={"tracking_uri": url})
        remote = Workspace(workspace.settings.model_copy(update={"mlflow": away}))
        assert remote_ui(remote) == url
        with pytest.raises(AskError, match="open that address"):
            ui_command(remote, 5000)

        assert sync(remote).steps == 10
        assert sync(remote).records == 0
        assert sync(remote, everything=True).steps == 10
        report = audit.verify(remote, mlflow=True)
        assert report.ok and {c.name: c.count for c in report.checked}["mlflow"] == 12

        client = Tracking(remote).client
        (model,) = client.search_registered_models("name = 'support'")
        assert dict(model.aliases) == {"stable": "1"}
        traces = client.search_traces(locations=[Tracking(remote).experiment_id])
        assert sorted(len(trace.data.spans) for trace in traces) == [6, 8]
        (step,) = Tracking(remote).runs("tags.step = 'model' and tags.run = '" + RUN + "'")
        assert len(client.get_metric_history(step.info.run_id, "training.loss")) == 20
        names = [entry.path for entry in client.list_artifacts(step.info.run_id, "checkpoint")]
        assert "checkpoint/recipe.yaml" in names


def test_a_reader_finds_every_action_of_a_run_in_the_browser(
    view: Workspace, scene: Any, tmp_path: Path, free_port: Callable[[], int]
) -> None:
    playwright = pytest.importorskip("playwright.sync_api")
    scene.ship(RUN)
    scene.ship(NAIVE, scene.plan("Retrain on new data alone", 0.9), decision="NO_GO")
    sync(view)
    port, away = free_port(), set[str]()
    first = ui_url(view, port)
    with (
        served(ui_command(view, port), port, tmp_path) as url,
        playwright.sync_playwright() as started,
        started.chromium.launch(executable_path="/usr/bin/chromium", args=list(CHROMIUM)) as browser,
    ):
        page = browser.new_page(viewport={"width": 1600, "height": 1400})
        page.set_default_timeout(_PATIENCE_S * 1000)
        page.on("request", lambda r: None if r.url.startswith((url, "data:", "blob:")) else away.add(r.url))

        page.goto(first)
        page.get_by_text("NO_GO · Retrain on", exact=False).first.wait_for()
        page.get_by_text("GO · Ship an", exact=False).last.click()
        page.get_by_text("Show more").first.click()
        page.get_by_text("endpoint support: release").first.wait_for()
        page.get_by_text(f"GO · Ship an intent router · {RUN}").first.wait_for()
        shown = page.inner_text("body")
        assert "Approved by ines (releaser)" in shown
        for number, step in enumerate(scene.plan().steps, 1):
            assert f"{step.id} ({step.skill}" in shown
            page.get_by_text(f"{number} {step.id} · {step.skill}").first.wait_for()  # the nested run, a link
        assert "endpoint support: release" in shown and "exact_match: GO, got 0.88, bar 0.85" in shown

        page.get_by_text("2 model · finetune").first.click()
        page.get_by_text("training.loss").first.wait_for()
        page.get_by_text("ledger.hash").first.wait_for()
        page.get_by_text("Artifacts", exact=True).first.click()
        page.get_by_text("request.json").first.click()
        page.get_by_text("tiny", exact=False).first.wait_for()

        page.goto(f"{url}/#/models/support?workflowType=machine_learning")
        page.get_by_text("@ stable").first.wait_for()
    assert away == set()


def test_a_taken_port_is_said_before_anything_starts(view: Workspace) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(NeedsError, match=r"port \d+ of 127.0.0.1 is taken"):
            ui_command(view, taken.getsockname()[1])
