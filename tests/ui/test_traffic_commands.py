"""`opswright traffic export`: what users labelled, as a file that data preparation reads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from opswright.core.artifact_refs import BundleRef
from opswright.core.registry import Registry
from opswright.core.settings import load_settings
from opswright.core.workspace import Workspace
from opswright.data.read import Source, read_samples
from opswright.serving.gateway.feedback import Feedback, FeedbackLog
from opswright.serving.gateway.traffic_log import TrafficLog, TrafficRow
from opswright.serving.releases import EndpointState, new_release, write_state
from opswright.ui.cli import run

Captured = pytest.CaptureFixture[str]
TIME = "2026-01-01T00:00:00.000Z"


def opswright(*argv: str) -> int:
    return run(list(argv), Registry([]))


@pytest.fixture
def traffic(tmp_path: Path) -> None:
    workspace = Workspace(load_settings(home=tmp_path / ".opswright"))
    state = EndpointState(endpoint="support")
    stable = new_release(state, BundleRef.of("1" * 64), None, "onnx-int8")
    write_state(workspace, state.model_copy(update={"stable": stable}))
    rows, said = TrafficLog.of(workspace, "support"), FeedbackLog.of(workspace, "support")
    for name in ("a", "b", "c"):
        rows.append(TrafficRow(TIME, name, stable.id, "stable", f"{name} asks", "pin", "ok", None, 1.0, 1))
    said.append(Feedback(TIME, "a", None, "lost_card"))
    said.append(Feedback(TIME, "b", "up", None))
    rows.close()
    said.close()


@pytest.mark.usefixtures("traffic")
def test_labelled_requests_are_exported_in_a_shape_that_is_read_by_itself(tmp_path: Path) -> None:
    out = tmp_path / "labelled.jsonl"
    assert opswright("traffic", "export", "support", "--labelled", "-o", str(out)) == 0
    found = [(sample.question, sample.answer) for sample in read_samples(Source(out))]
    assert found == [("a asks", "lost_card"), ("b asks", "pin")]
    assert out.stat().st_mode & 0o077 == 0


@pytest.mark.usefixtures("traffic")
def test_without_labels_every_answered_request_is_exported_and_says_who_answered(capsys: Captured) -> None:
    assert opswright("traffic", "export", "support") == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["label"] for row in rows] == ["lost_card", "pin", "pin"]
    assert ["release" in row for row in rows] == [False, False, True]


@pytest.mark.usefixtures("traffic")
def test_an_endpoint_there_is_not_is_refused_with_those_there_are(capsys: Captured) -> None:
    assert opswright("traffic", "export", "shop") == 2
    assert "it has: support" in capsys.readouterr().err
