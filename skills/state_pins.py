"""The state of an endpoint as an argument: what a change of it is planned for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..core.errors import OpswrightError
from ..core.workspace import Workspace


def state_pins(arguments: Mapping[str, Any], workspace: Workspace) -> dict[str, str]:
    """The fingerprint of the endpoint as it is now; nothing where it cannot be read, which planning says."""
    from ..serving.releases import read_state

    try:
        state = read_state(workspace, str(arguments.get("endpoint", "")))
    except OpswrightError:
        return {}
    return {"planned_for": state.fingerprint} if state.changes else {}
