from __future__ import annotations

from typing import Any

import pytest

from opswright.core.artifact_refs import EvalReportRef
from opswright.core.errors import AskError
from opswright.core.principal import Principal
from opswright.core.workspace import Workspace
from opswright.evals.report import facts_of
from opswright.evals.runner import EvalResult, SampleResult
from opswright.record.ledger import Ledger, Phase
from opswright.skills.leaderboard import LeaderboardRequest, leaderboard


def save(workspace: Workspace, model: str, right: int) -> EvalReportRef:
    scores = [{"exact_match": float(i < right)} for i in range(10)]
    items = tuple(SampleResult(f"i{i}", "t", "a", "a", scores[i], ("old_domains",)) for i in range(10))
    measured = EvalResult(model, "clinc150", "d" * 64, ("old_domains",), items)
    with workspace.artifacts.staging() as folder:
        (folder / "items.jsonl").write_text("{}\n")
        return workspace.artifacts.save(EvalReportRef, folder, facts_of(measured, 10, {}))


def record(workspace: Workspace, run: str, report: str, decision: str | None) -> None:
    """A gate step of a run as the ledger keeps it: intent, then outcome."""
    who = {
        "principal": Principal("tester", ("releaser",), "test"),
        "run": run,
        "step": "eval.gate",
        "skill": "gate",
    }
    Ledger.of(workspace).append(Phase.INTENT, **who, request={"report": report})  # type: ignore[arg-type]
    if decision is not None:
        result = {"verdict": {"decision": decision, "rows": []}}
        Ledger.of(workspace).append(Phase.DONE, **who, result=result)  # type: ignore[arg-type]


def test_the_rows_are_typed_and_the_text_shows_them(workspace: Workspace, context: Any) -> None:
    save(workspace, "checkpoint:" + "a" * 64, 8)
    save(workspace, "bundle:" + "b" * 64, 9)
    result = leaderboard(LeaderboardRequest(suite="clinc150"), context())
    assert [(row.kind, row.value) for row in result.rows] == [("bundle", 0.9), ("checkpoint", 0.8)]
    assert result.text.splitlines()[1].startswith("bundle:bbbbbbbbbbbb")


def test_an_empty_workspace_has_an_empty_board(context: Any) -> None:
    assert leaderboard(LeaderboardRequest(), context()).rows == ()
    with pytest.raises(AskError, match="unknown suite 'clinc15'"):
        leaderboard(LeaderboardRequest(suite="clinc15"), context())


def test_the_last_verdict_on_a_report_stands_beside_it(workspace: Workspace, context: Any) -> None:
    report = save(workspace, "checkpoint:" + "a" * 64, 8)
    record(workspace, "run-1", report, "INCONCLUSIVE")
    record(workspace, "run-2", report, "GO")
    record(workspace, "run-3", report, None)  # was cut off before it decided
    failed = {
        "principal": Principal("tester", ("releaser",), "test"),
        "run": "run-3",
        "step": "eval.gate",
        "skill": "gate",
    }
    Ledger.of(workspace).append(Phase.FAILED, **failed, detail={"error": "HeldError"})  # type: ignore[arg-type]
    assert leaderboard(LeaderboardRequest(), context()).rows[0].verdict == "GO"
