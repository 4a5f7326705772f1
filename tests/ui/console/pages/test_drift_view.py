"""What the page "Drift" draws of a report, and the command it hands to the chat."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from opswright.core.artifact_refs import BundleRef, DatasetRef, DriftReportRef
from opswright.core.errors import AskError
from opswright.core.workspace import Workspace
from opswright.ui.console.markup import render
from opswright.ui.console.pages.drift_view import (
    LEFT,
    RIGHT,
    chat_link,
    choices,
    p_text,
    pairs,
    scale,
    view,
)

MEAN = '<img src=x onerror="alert(1)"> [a](http://example.com) ${1+1} {{value}}'


def a_test(name: str, p: float, corrected: float, alarm: bool, **detail: Any) -> dict[str, Any]:
    figures = {"name": name, "statistic": 0.1, "p": p, "p_corrected": corrected, "alarm": alarm}
    return {**figures, "message": f"saw {name}", "detail": detail}


def report(workspace: Workspace, alarm: bool) -> DriftReportRef:
    tests = [
        a_test("embedding", 0.001, 0.004, alarm),
        a_test("labels", 1e-9, 4e-9, alarm, moved=[{"label": MEAN, "live": 8, "expected": 2.5}]),
    ]
    about = {
        "endpoint": "support", "reference": DatasetRef.of("d" * 64), "reference_rows": 900, "n": 120,
        "first": "2026-01-01T00:00:00.000Z", "last": "2026-01-01T00:01:00.000Z", "alpha": 0.01, "seed": 1,
    }  # fmt: skip
    texts = [{"text": MEAN, "output": MEAN, "witness": 0.01, "nearest": MEAN, "cosine": 0.5}]
    with workspace.artifacts.staging() as stage:
        (stage / "report.json").write_text(json.dumps({**about, "alarm": alarm, "tests": tests}))
        (stage / "examples.json").write_text(json.dumps({"texts": texts, "unknown_words": [[MEAN, 3]]}))
        facts = {**about, "alarm": alarm, "tests": {test["name"]: test for test in tests}}
        return workspace.artifacts.save(DriftReportRef, stage, facts)


def test_p_values_lie_on_a_logarithmic_axis_with_the_alarm_line_among_them() -> None:
    drawn = scale([a_test("length", 0.001, 1.0, False), a_test("labels", 0.0, 0.0, True)], 0.01)
    one, floor = drawn.rows
    assert (one.corrected, floor.corrected, floor.raw) == (LEFT, RIGHT, RIGHT)
    assert one.corrected < drawn.alarm < one.raw
    assert [tick.text for tick in drawn.ticks][:3] == ["1", "0.1", "0.01"]
    assert drawn.ticks[2].at == drawn.alarm and floor.is_alarm and drawn.ticks[-1].text == "1e-06"


def test_a_p_value_too_small_to_tell_says_so() -> None:
    assert [p_text(p) for p in (0.0123, 1e-6, 0.0)] == ["0.012", "1e-06", "< 1e-06"]


def test_bars_of_labels_share_one_scale() -> None:
    (a, b) = pairs([{"label": "a", "live": 8, "expected": 2}, {"label": "b", "live": 0, "expected": 4.0}])
    assert (a.live_length, a.expected_length, b.live_length, b.expected_length) == (100, 25, 0, 50)
    assert pairs([]) == []


def test_the_chat_gets_the_command_with_the_reports_digest_and_a_place_for_the_data() -> None:
    ref = DriftReportRef.of("a" * 64)
    link = urlsplit(chat_link(ref))
    assert link.path == "/" and parse_qs(link.query)["say"] == [f"/retrain alarm={ref} new_data="]


@pytest.mark.parametrize("alarm", [True, False])
def test_a_report_is_shown_with_its_facts_and_all_it_quotes_as_text(
    workspace: Workspace, alarm: bool
) -> None:
    ref = report(workspace, alarm)
    ((words, found),) = choices(workspace)
    assert found == ref and ("alarm by meaning, predicted labels" in words) is alarm
    shown = render("drift.html", **view(workspace, ref))
    assert "<img src=x" not in shown and shown.count("&lt;img src=x") >= 4
    assert ref in shown and "dataset:dddddddddddd" in shown and "saw embedding" in shown
    assert ("Propose a retraining" in shown) is alarm
    assert ("Nothing needs to be done" in shown) is not alarm


def test_what_is_no_drift_report_is_refused(workspace: Workspace) -> None:
    with workspace.artifacts.staging() as stage:
        (stage / "manifest.json").write_text("{}")
        other = workspace.artifacts.save(BundleRef, stage, {})
    with pytest.raises(AskError, match="is not a drift report"):
        view(workspace, other)
