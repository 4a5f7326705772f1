from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import opswright
from opswright.core.artifact_refs import BundleRef, CheckpointRef, DatasetRef, EvalReportRef
from opswright.core.contract import Finding
from opswright.core.errors import AskError, OpswrightError
from opswright.core.gate import Decision, GateSpec
from opswright.core.machine import Machine
from opswright.core.workspace import Workspace
from opswright.data.sample import Sample
from opswright.evals.gate_power import StableFigures, power_findings, size_of
from opswright.evals.report import facts_of
from opswright.evals.runner import EvalResult, SampleResult, to_lines
from opswright.evals.suites import load_suite
from opswright.skills.gate import GateRequest, find_incumbent, gate

SUPPORT = Path(opswright.__file__).parent / "examples/support_router/suites/support.yaml"


def measured(model: str, right: int, n: int = 400, digest: str = "d" * 64) -> EvalResult:
    items = tuple(
        SampleResult(
            f"i{i:04d}",
            f"text {i}",
            "ab"[i % 2],
            "ab"[i % 2] if i < right else "c",
            {"exact_match": float(i < right)},
            ("old_domains",),
        )
        for i in range(n)
    )
    return EvalResult(model, "clinc150", digest, ("old_domains",), items)


@pytest.fixture
def save(workspace: Workspace) -> Any:
    def one(found: EvalResult) -> EvalReportRef:
        with workspace.artifacts.staging() as folder:
            (folder / "items.jsonl").write_bytes(to_lines(found.items))
            return workspace.artifacts.save(EvalReportRef, folder, facts_of(found, len(found.items), {}))

    return one


@pytest.fixture
def bundle(workspace: Workspace, tmp_path: Path) -> tuple[BundleRef, CheckpointRef]:
    """An engine in the store, and the checkpoint behind it."""
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "file.txt").write_text("x")
    checkpoint = workspace.artifacts.save(CheckpointRef, tmp_path / "x", {}, [DatasetRef.of("d" * 64)])
    return workspace.artifacts.save(BundleRef, tmp_path / "x", {}, [checkpoint]), checkpoint


def request(report: EvalReportRef, **spec: Any) -> GateRequest:
    return GateRequest.model_validate({"report": report, "spec": {"suite": "clinc150", **spec}})


def test_a_verdict_comes_with_the_row_behind_it(save: Any, context: Any) -> None:
    report = save(measured("checkpoint:x", 380))
    good = gate(request(report, min=0.8, slices={"old_domains": {"min": 0.9}}), context())
    assert good.verdict.decision is Decision.GO and good.against is None and len(good.verdict.rows) == 2
    bad = gate(request(report, min=0.97), context())
    assert bad.verdict.decision is Decision.NO_GO and bad.verdict.rows[0].got == 0.95


def test_an_endpoint_without_a_release_is_not_compared(save: Any, context: Any) -> None:
    result = gate(
        request(save(measured("checkpoint:x", 380)), against="stable", endpoint="support"), context()
    )
    assert result.verdict.decision is Decision.INCONCLUSIVE and result.verdict.rows == ()
    assert result.verdict.notes[0] == "no stable release yet: nothing was compared"


def test_a_comparison_needs_an_endpoint(save: Any, context: Any) -> None:
    with pytest.raises(AskError, match="needs the gate's `endpoint`"):
        gate(request(save(measured("checkpoint:x", 380)), against="stable"), context())


def test_the_stable_report_is_of_its_bundle_or_the_checkpoint_behind_it(
    save: Any, workspace: Workspace, bundle: tuple[BundleRef, CheckpointRef]
) -> None:
    engine, checkpoint = bundle
    candidate = measured("bundle:new", 300)
    missing = find_incumbent(workspace.artifacts, engine, "r1", candidate)
    assert missing.report is None and missing.command == f"opswright evaluate model={engine} suite=clinc150"
    save(measured(str(checkpoint), 310))
    found = find_incumbent(workspace.artifacts, engine, "r1", candidate)
    assert found.report is not None and found.report.model == checkpoint
    save(measured(str(engine), 320))
    found = find_incumbent(workspace.artifacts, engine, "r1", candidate)
    assert found.report is not None and found.report.model == engine  # measured as what the candidate is
    as_checkpoint = find_incumbent(workspace.artifacts, engine, "r1", measured("checkpoint:new", 300))
    assert as_checkpoint.report is not None and as_checkpoint.report.model == checkpoint


def test_of_two_reports_the_one_with_more_items_is_compared_with(
    save: Any, workspace: Workspace, bundle: tuple[BundleRef, CheckpointRef]
) -> None:
    engine, _ = bundle
    save(measured(str(engine), 320, n=400))
    save(measured(str(engine), 80, n=100))
    save(measured(str(engine), 320, n=900, digest="e" * 64))  # of another version of the suite
    found = find_incumbent(workspace.artifacts, engine, "r1", measured("bundle:new", 300))
    assert found.report is not None and len(found.report.items) == 400


def findings(workspace: Workspace, **spec: Any) -> list[Finding]:
    assert gate.preflight is not None
    machine = Machine.here(workspace.root)
    found: list[Finding] = []
    try:
        found.extend(gate.preflight(request(EvalReportRef.pending(), **spec), machine, workspace))
    except OpswrightError as error:
        found.append(Finding(level="stop", message=str(error)))
    return found


def levels(found: list[Finding]) -> list[str]:
    return [one.level for one in found]


def test_preflight_says_what_each_row_can_show_before_training(workspace: Workspace) -> None:
    whole, old, *_ = findings(workspace, suite=SUPPORT, min=0.8, slices={"old_domains": {"min": 0.8}})
    assert whole.level == old.level == "note"
    assert whole.message.startswith("exact_match: 4,500 items, at least 14 needed.")
    assert "passed 4 times in 5 by a model that is truly at 81.8%" in old.message
    assert "is refused 4 times in 5" in old.message


def test_preflight_stops_a_bar_that_no_answers_could_show(workspace: Workspace) -> None:
    stop, *_ = findings(workspace, min=0.9999)
    assert stop.level == "stop" and "even if all are right: that takes 29,956" in stop.message
    assert "at most 99%" in stop.fix
    warn, *_ = findings(workspace, slices={"banking": {"min": 0.999, "tier": "supporting"}}, min=0.5)[1:]
    assert warn.level == "warn"
    for impossible in ({"min": 1.0}, {"against": "stable", "endpoint": "chat", "max_drop": 0.0}):
        assert levels(findings(workspace, **impossible)) == ["stop"]


def test_preflight_stops_a_row_with_fewer_items_than_the_gate_wants(workspace: Workspace) -> None:
    stop, *_ = findings(workspace, slices={"banking": {"min": 0.5}}, min_items=1000)
    assert stop.level == "stop" and "the suite has 450 items, the gate wants 1000" in stop.message


def test_preflight_finds_a_slice_or_suite_that_is_not_there(workspace: Workspace) -> None:
    warn, *_ = findings(workspace, slices={"bankin": {"min": 0.8}})
    assert warn.level == "warn" and warn.fix == "Did you mean 'banking'?"
    missing = findings(workspace, min=0.5, suites={"clinc": {"min": 0.9}})
    assert any(one.level == "warn" and "unknown suite 'clinc'" in one.message for one in missing)


def test_preflight_says_which_drop_the_suite_can_see(
    save: Any, workspace: Workspace, bundle: tuple[BundleRef, CheckpointRef]
) -> None:
    suite = load_suite(SUPPORT)
    sizes = StableFigures(whole=0.9, slices={"banking": 0.9, "old_domains": 0.9})
    spec = GateSpec.model_validate(
        {"suite": SUPPORT, "against": "stable", "endpoint": "chat"}
        | {"slices": {"banking": {"max_drop": 0.02}, "old_domains": {"max_drop": 0.03}}}
    )
    whole, banking, old = power_findings(spec, suite, sizes)
    assert whole.level == old.level == "note" and "this set can see a drop of 6.5 points" in whole.message
    assert banking.level == "warn" and "passes 2 points 36% of the time" in banking.message
    assert banking.fix == "A margin of 4 points would be passed 4 times in 5."


def test_preflight_warns_of_a_margin_that_a_model_without_answers_would_pass(workspace: Workspace) -> None:
    suite = load_suite("clinc150")
    spec = GateSpec.model_validate({"suite": "clinc150", "against": "stable", "endpoint": "chat"})
    (warn,) = power_findings(spec, suite, StableFigures(whole=0.08))
    assert warn.level == "warn" and "more than half of its lead over no right answer" in warn.message
    (warn,) = power_findings(spec, suite, StableFigures(whole=0.75, trivial=0.7))
    assert warn.level == "warn" and "over the trivial baseline: only a rise will be GO" in warn.message
    (ok,) = power_findings(spec, suite, None)
    assert ok.level == "ok" and "nothing will be compared" in ok.message


def test_groups_of_items_count_once_when_power_is_planned() -> None:
    items = [Sample(id=f"i{n}", messages=(), group=f"talk-{n // 10}") for n in range(100)]
    assert size_of(items) == (10, 100)
    assert size_of([*items, Sample(id="alone", messages=())]) == (11, 101)
    assert str(size_of(items)) == "10 groups of 100 items"
