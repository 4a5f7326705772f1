"""An audit beside a mirror that is at work: what moves on honestly in between is no fault."""

from __future__ import annotations

from typing import Any

import pytest

from opswright.core.workspace import Workspace
from opswright.record.audit import verify
from opswright.record.audit.verify import _Audit
from opswright.record.mirror import sync

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # MLflow's own calls
]


@pytest.mark.parametrize("seen", [[], [1]])
def test_a_mirror_that_moves_on_while_the_ledger_is_read(
    workspace: Workspace, scene: Any, monkeypatch: pytest.MonkeyPatch, seen: list[int]
) -> None:
    scene.ship("one")
    sync(workspace)
    monkeypatch.setattr(_Audit, "_remembered", lambda self: seen)  # as it was when the walk began
    assert verify(workspace).faults == ()
