"""What the workspace itself remembers of where its ledger is shown: `mirror.json`.

A view that was deleted, or a workspace id that was removed, would otherwise look like a ledger that nobody
ever mirrored. The ledger says that a view was set up; this file says how far it came.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...core.errors import IntegrityError
from ...core.files import canonical_json, sha256_json, write_atomically
from ...core.workspace import Workspace

FILE = "mirror.json"
VIEW_SKILL = "mlflow-view"  # of the records that say that a view was set up; they belong to no run


@dataclass(frozen=True)
class RememberedView:
    """One MLflow experiment the ledger was written to, and the last record it was given (0: none yet)."""

    workspace: str
    experiment: str
    experiment_id: str
    seq: int = 0
    hash: str = ""

    @property
    def place(self) -> dict[str, str]:
        """What does not change as the mirror goes on."""
        return {
            "workspace": self.workspace,
            "experiment": self.experiment,
            "experiment_id": self.experiment_id,
        }


def view_key(workspace: Workspace) -> str:
    """A digest of the tracking address and experiment of the settings; a moved workspace keeps it.

    The address itself may hold a password and is not kept.
    """
    root = workspace.root.as_posix()
    address = re.sub(r"//[^/@]*@", "//", workspace.settings.tracking_uri()).replace(root, "WORKSPACE")
    return sha256_json([address, workspace.settings.mlflow.experiment])


def read_views(workspace: Workspace) -> dict[str, RememberedView] | None:
    """The remembered views by key, None when there is no file; IntegrityError when it does not read."""
    path = _path(workspace)
    try:
        found: Mapping[str, Mapping[str, Any]] = json.loads(path.read_bytes())["views"]
        return {key: RememberedView(**view) for key, view in found.items()}
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise IntegrityError(
            f"{path} does not read: {error!r}. Restore it from a backup, or remove it, run "
            "`opswright audit sync --all` and have the audit looked at."
        ) from error


def write_view(workspace: Workspace, view: RememberedView) -> None:
    """Remember how far the view of the settings came."""
    views = {**(read_views(workspace) or {}), view_key(workspace): view}
    body = {"views": {key: asdict(one) for key, one in views.items()}}
    write_atomically(_path(workspace), canonical_json(body))


def _path(workspace: Workspace) -> Path:
    return workspace.root / FILE
