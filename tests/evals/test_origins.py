from __future__ import annotations

from typing import Any

from opswright.core.principal import Principal
from opswright.core.workspace import Workspace
from opswright.evals.origins import Origin, origins
from opswright.record.ledger import Ledger, Phase

REPORT = "eval-report:" + "a" * 64


def record(workspace: Workspace, phase: Phase, run: str, step: str, skill: str, **more: Any) -> int:
    who = {"principal": Principal("tester", ("releaser",), "test"), "run": run, "step": step, "skill": skill}
    return Ledger.of(workspace).append(phase, **who, **more).seq  # type: ignore[arg-type]


def test_a_report_leads_to_the_run_that_made_it_and_to_the_last_verdict_on_it(workspace: Workspace) -> None:
    ledger = Ledger.of(workspace)
    ledger.append(
        Phase.PROPOSED,
        principal=Principal("ada", ("releaser",), "test"),
        run="run-1",
        detail={"goal": "Ship it"},
    )
    made = record(workspace, Phase.DONE, "run-1", "eval", "evaluate", artifacts={"report": REPORT})
    record(workspace, Phase.INTENT, "run-1", "gate", "gate", request={"report": REPORT})
    record(
        workspace, Phase.DONE, "run-1", "gate", "gate", result={"verdict": {"decision": "NO_GO", "rows": []}}
    )
    record(workspace, Phase.DONE, "run-2", "eval", "evaluate", artifacts={"report": REPORT})  # the same again
    record(workspace, Phase.INTENT, "run-2", "gate", "gate", request={"report": REPORT})
    record(workspace, Phase.DONE, "run-2", "gate", "gate", result={"verdict": {"decision": "GO", "rows": []}})
    record(workspace, Phase.INTENT, "run-3", "gate", "gate", request={"report": REPORT})  # was cut off
    found = origins(ledger.records())
    time = next(r.time for r in ledger.records() if r.seq == made)
    assert found == {REPORT: Origin("run-1", "Ship it", made, time, "GO")}


def test_a_verdict_on_a_report_that_no_run_made_is_kept_too(workspace: Workspace) -> None:
    record(workspace, Phase.INTENT, "run-1", "gate", "gate", request={"report": REPORT})
    record(workspace, Phase.DONE, "run-1", "gate", "gate", result={"verdict": {"decision": "GO", "rows": []}})
    assert origins(Ledger.of(workspace).records()) == {REPORT: Origin(verdict="GO")}


def test_a_report_that_was_only_used_again_has_no_origin(workspace: Workspace) -> None:
    record(workspace, Phase.REUSED, "run-1", "eval", "evaluate", artifacts={"report": REPORT})
    assert origins(Ledger.of(workspace).records()) == {}
