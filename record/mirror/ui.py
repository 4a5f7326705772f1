"""MLflow's own pages on the workspace."""

from __future__ import annotations

import shutil
import socket
import sys

from ...core.errors import AskError, NeedsError
from ...core.workspace import Workspace
from .tracking import Tracking

HOST = "127.0.0.1"


def remote_ui(workspace: Workspace) -> str | None:
    """Where MLflow's pages are when a server holds the view; None when they are opened here."""
    tracking = Tracking(workspace)
    return tracking.shown_uri if tracking.is_remote else None


def ui_url(workspace: Workspace, port: int) -> str:
    """The page to open first, once the server of `ui_command` runs: the runs, newest first."""
    tracking = Tracking(workspace)
    with workspace.lock("mirror", timeout_s=120), tracking.errors("its pages were looked up"):
        experiment = tracking.experiment_id
    # without the query MLflow opens in its view for LLM applications, which hides runs
    return f"http://{HOST}:{port}/#/experiments/{experiment}/runs?workflowType=machine_learning"


def ui_command(workspace: Workspace, port: int) -> list[str]:
    """The command that serves MLflow's pages on this workspace, at 127.0.0.1 only.

    Makes the database when there is none yet. Raises AskError when a server holds the view, NeedsError when
    the port is taken.
    """
    tracking = Tracking(workspace)
    if tracking.is_remote:
        raise AskError(f"MLflow is at {tracking.shown_uri}: open that address in a browser.")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise NeedsError(
                f"port {port} of {HOST} is taken ({error.strerror}). Choose another one with --port."
            ) from error
    with workspace.lock("mirror", timeout_s=120), tracking.errors("its database was made"):
        _ = tracking.experiment
    return [
        # no job runner: nine processes more, for features that need an LLM
        *(shutil.which("env") or "/usr/bin/env", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false"),
        *(sys.executable, "-m", "mlflow", "server", "--backend-store-uri", tracking.uri),
        *("--host", HOST, "--port", str(port), "--workers", "1", "--no-serve-artifacts"),
    ]
