"""What follows the ledger in processes of its own: no run waits for it."""

from __future__ import annotations

from ..core.workspace import Workspace


def notify(workspace: Workspace) -> None:
    """Have webhooks told of what is recorded, where the settings name any."""
    if workspace.settings.notifications.webhooks:
        from .notifications import start_dispatcher

        start_dispatcher(workspace)


def follow(workspace: Workspace, run_id: str) -> None:
    """Have webhooks told, and MLflow shown what became of a run."""
    notify(workspace)
    if workspace.settings.mlflow.mirror == "background":
        from ..record.mirror import start_background

        start_background(workspace, run_id)
