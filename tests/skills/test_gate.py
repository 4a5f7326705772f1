from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from opswright.core.artifacts import (
    BundleRef,
    CheckpointRef,
    DatasetRef,
    EvalReportRef,
)
from opswright.core.errors import AskError
from opswright.core.gate import Decision
from opswright.core.machine import Machine
from opswright.core.workspace import Workspace
from opswright.evals.report import facts_of
from opswright.evals.runner import EvalResult, SampleResult, to_lines
from opswright.skills.gate import GateRequest, find_incumbent, gate


def measured(model: str, right: int, n: int = 400, digest: str = "d" * 64) -> EvalResult:
    items = tuple(
        SampleResult(
            f"i{i:04d}",
            "text",
            "a",
            "a" if i < right else "b",
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
    assert result.verdict.decision is Decision.GO
    assert result.verdict.rows[0].message == "no stable release yet: not compared"


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


def test_preflight_finds_a_metric_or_slice_that_is_not_there_before_training(workspace: Workspace) -> None:
    assert gate.preflight is not None
    machine = Machine.here(workspace.root)

    def found(**spec: Any) -> list[Any]:
        assert gate.preflight is not None
        return list(gate.preflight(request(EvalReportRef.pending(), **spec), machine, workspace))

    assert [one.level for one in found(min=0.8, slices={"banking": {"min": 0.8}})] == ["ok"]
    assert [one.level for one in found(metric="exact_mach")] == ["stop"]
    assert [one.level for one in found(slices={"bankin": {"min": 0.8}})] == ["warn", "ok"]
    assert found(slices={"bankin": {"min": 0.8}})[0].fix == "Did you mean 'banking'?"
