"""`opswright live`: what endpoints serve and served, on one page and as one document."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from opswright.core.artifact_refs import BundleRef
from opswright.core.registry import Registry
from opswright.core.settings import load_settings
from opswright.core.workspace import Workspace
from opswright.serving.gateway.traffic_log import TrafficLog, TrafficRow
from opswright.serving.releases import EndpointState, new_release, now, write_state
from opswright.ui.cli import run

Captured = pytest.CaptureFixture[str]


def opswright(*argv: str) -> int:
    return run(list(argv), Registry([]))


def deployed(folder: Path) -> str:
    """An endpoint whose first release has answered once; that release's id."""
    workspace = Workspace(load_settings(home=folder / ".opswright"))
    state = EndpointState(endpoint="support")
    stable = new_release(state, BundleRef.of("1" * 64), None, "onnx-int8")
    state = state.model_copy(update={"stable": stable})
    write_state(workspace, state.changed("deployed", stable, "a key of no record"))
    log = TrafficLog(workspace.endpoints / "support")
    log.append(TrafficRow(now(), "1", stable.id, "stable", "hi", "yo", "ok", None, 1.0, 1))
    log.close()
    return stable.id


def test_what_is_live_is_shown_with_digests_and_the_last_request(tmp_path: Path, capsys: Captured) -> None:
    release = deployed(tmp_path)
    assert opswright("live") == 0
    shown = capsys.readouterr().out
    assert all(word in shown for word in (release, "100 % (stable)", "bundle:111111111111", "none"))
    assert f"by {release}" in shown
    assert opswright("live", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    (endpoint,) = document["endpoints"]
    assert endpoint["releases"][0]["bundle"] == "bundle:" + "1" * 64 and endpoint["record"] is None


def test_a_time_with_nothing_live_is_an_answer_and_a_time_to_come_is_refused(
    tmp_path: Path, capsys: Captured
) -> None:
    assert opswright("live") == 0
    assert "Nothing is served" in capsys.readouterr().out
    deployed(tmp_path)
    assert opswright("live", "--at", "2020-01-01") == 0
    assert "Nothing was served at 2020-01-01" in capsys.readouterr().out
    assert opswright("live", "--at", "2020-01-01", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"at": "2020-01-01T00:00:00.000Z", "endpoints": []}
    assert opswright("live", "--at", "2999-01-01") == 2
    assert "still to come" in capsys.readouterr().err
    assert opswright("live", "--endpoint", "nobody") == 2
    assert "endpoint 'nobody' does not exist" in capsys.readouterr().err
