"""What an endpoint may be taken back to: only what the records once made stable."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from opswright.core.principal import Principal
from opswright.core.workspace import Workspace
from opswright.record.audit import verify
from opswright.record.audit.served import compare_endpoint
from opswright.record.endpoint_history import WATCH_SKILL, EndpointHistory
from opswright.record.ledger import Ledger, Phase


def told(*calls: dict[str, Any]) -> EndpointHistory:
    history = EndpointHistory()
    for seq, result in enumerate(calls, 1):
        record: Any = SimpleNamespace(phase="done", seq=seq, run="r", step="s")
        history.take(record, {"bundle": f"bundle:{result['release']}"}, result)
    return history


def release(name: str) -> dict[str, Any]:
    return {"id": name, "bundle": f"bundle:{name}", "guardrails": None}


def faults(tmp_path: Path, history: EndpointHistory, stable: str, *previous: str) -> list[str]:
    path = tmp_path / "desired.json"
    kept = [release(name) for name in previous]
    body = {"stable": release(stable), "canary": None, "canary_percent": 0, "previous": kept, "changes": []}
    path.write_text(json.dumps(body))
    return [message for is_fault, _, message in compare_endpoint("support", path, history) if is_fault]


SHIPPED = {"release": "one", "route": "stable"}
CANARY = {"release": "two", "route": "canary", "canary_percent": 10}
WITHDRAWN = {"release": "one", "canary": "two", "canary_now": "withdrawn"}
PROMOTED = {"release": "two", "canary": "two", "canary_now": "stable"}


def test_a_withdrawn_canary_is_nothing_to_go_back_to(tmp_path: Path) -> None:
    history = told(SHIPPED, CANARY, WITHDRAWN)
    assert faults(tmp_path, history, "one") == []
    assert faults(tmp_path, history, "one", "two") == [
        "endpoint support would roll back to two, which never was stable"
    ]


def test_a_rollback_to_what_never_was_stable_is_a_fault_of_its_record(tmp_path: Path) -> None:
    history = told(SHIPPED, CANARY, WITHDRAWN, {"release": "two", "rolled_back": True})
    assert "record 4 took endpoint support back to two, which never was stable" in faults(
        tmp_path, history, "two"
    )


def test_an_honest_rollback_is_none(tmp_path: Path) -> None:
    history = told(SHIPPED, CANARY, PROMOTED)
    assert faults(tmp_path, history, "two", "one") == []
    back = told(SHIPPED, CANARY, PROMOTED, {"release": "one", "rolled_back": True})
    assert faults(tmp_path, back, "one") == []


def watch_says(workspace: Workspace, stable: str | None) -> list[str]:
    """What an audit says once the watch's record of a withdrawal says that users are left with this."""
    told = {"endpoint": "support", "release": stable, "canary": "two", "canary_now": "withdrawn"}
    Ledger.of(workspace).append(
        Phase.DONE, principal=Principal("canary-watch", (), "the gateway"), skill=WATCH_SKILL, result=told
    )
    return [fault.message for fault in verify(workspace, mlflow=False).faults]


def test_a_withdrawal_without_a_plan_can_give_users_nothing_new(workspace: Workspace) -> None:
    assert watch_says(workspace, None) == []
    (said, *_) = watch_says(workspace, "somebody else's release")
    assert "leaves somebody else's release, stable was None" in said


def test_what_the_watch_withdrew_before_its_deployment_was_recorded_is_no_canary() -> None:
    assert told(SHIPPED, WITHDRAWN, CANARY).canary is None
