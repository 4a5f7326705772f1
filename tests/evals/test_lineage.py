from __future__ import annotations

from pathlib import Path
from typing import Any

from opswright.core.artifact_refs import AdapterRef, ArtifactRef, BundleRef, CheckpointRef, DatasetRef
from opswright.core.artifacts import RefT
from opswright.core.principal import Principal
from opswright.core.workspace import Workspace
from opswright.data.dataset import training_rows, write_samples
from opswright.data.sample import Sample
from opswright.evals.contamination import find_overlap, training_texts
from opswright.evals.lineage import (
    ReportLineage,
    built_from,
    own_answers_in,
    report_lineage,
    training_dataset,
    training_datasets,
)
from opswright.record.index import LedgerIndex
from opswright.record.ledger import Ledger, Phase

REPORT = "eval-report:" + "a" * 64


def save(workspace: Workspace, kind: type[RefT], name: str, *parents: ArtifactRef) -> RefT:
    with workspace.artifacts.staging() as folder:
        (folder / "file.txt").write_text(name)
        return workspace.artifacts.save(kind, folder, {"name": name}, parents)


def test_a_bundle_leads_to_its_checkpoint_and_the_nearest_training_set(workspace: Workspace) -> None:
    first = save(workspace, DatasetRef, "first")
    v1 = save(workspace, CheckpointRef, "v1", first)
    second = save(workspace, DatasetRef, "second", first)
    v2 = save(workspace, CheckpointRef, "v2", v1, second)
    bundle = save(workspace, BundleRef, "engine", v2)
    store = workspace.artifacts
    assert training_dataset(store, bundle) == training_dataset(store, v2) == second
    assert built_from(store, bundle) == v2
    adapter = save(workspace, AdapterRef, "adapter", v2, second)
    assert built_from(store, save(workspace, BundleRef, "unmerged", adapter)) == adapter


def test_a_model_of_unknown_origin_has_no_training_set(workspace: Workspace) -> None:
    lost = CheckpointRef.of("a" * 64)
    bundle = save(workspace, BundleRef, "engine", lost)
    assert training_dataset(workspace.artifacts, bundle) is None
    assert built_from(workspace.artifacts, bundle) == lost


def test_a_model_trained_in_stages_has_seen_every_stage_but_not_what_its_datasets_were_made_of(
    workspace: Workspace,
) -> None:
    golden, earlier = save(workspace, DatasetRef, "golden"), save(workspace, DatasetRef, "earlier")
    first = save(workspace, DatasetRef, "first", golden, earlier)
    v1 = save(workspace, CheckpointRef, "v1", first)
    second = save(workspace, DatasetRef, "second", golden)
    v2 = save(workspace, CheckpointRef, "v2", v1, second)
    probe = save(workspace, DatasetRef, "what the engine was compared on")
    bundle = save(workspace, BundleRef, "engine", v2, probe)
    store = workspace.artifacts
    assert training_datasets(store, bundle) == training_datasets(store, v2) == [second, first]
    assert training_datasets(store, golden) == []


def test_a_clean_second_stage_does_not_hide_the_leaks_of_the_first(
    workspace: Workspace, tmp_path: Path
) -> None:
    def dataset(name: str, *texts: str) -> DatasetRef:
        samples = [Sample.of(f"{name}{n}", text, "x") for n, text in enumerate(texts)]
        (tmp_path / name).mkdir()
        write_samples(tmp_path / name, samples, "train", {})
        return workspace.artifacts.save(DatasetRef, tmp_path / name, {"name": name})

    leaky = dataset("leaky", "which train leaves first", "play some jazz")
    v1 = save(workspace, CheckpointRef, "v1", leaky)
    v2 = save(workspace, CheckpointRef, "v2", v1, dataset("clean", "roll a dice"))
    seen = training_texts(workspace.artifacts, training_datasets(workspace.artifacts, v2))
    assert len(find_overlap(seen, ["Which train leaves first?", "is it warm"])) == 1


def test_only_the_training_side_is_what_a_model_was_trained_on(workspace: Workspace, tmp_path: Path) -> None:
    import polars as pl

    (tmp_path / "d").mkdir()
    rows = {"text": ["a", "b", "c"], "label": ["x", "y", "z"], "split": ["train", "validation", "train"]}
    pl.DataFrame(rows).write_parquet(tmp_path / "d" / "rows.parquet")
    ref = workspace.artifacts.save(DatasetRef, tmp_path / "d", {})
    assert training_rows(workspace.artifacts.open(ref)) == [("a", "x"), ("c", "z")]


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
    found = report_lineage(LedgerIndex.of(workspace), [REPORT])
    time = next(r.time for r in ledger.records() if r.seq == made)
    assert found == {REPORT: ReportLineage("run-1", "Ship it", made, time, "GO")}


def test_a_verdict_on_a_report_that_no_run_made_is_kept_too(workspace: Workspace) -> None:
    record(workspace, Phase.INTENT, "run-1", "gate", "gate", request={"report": REPORT})
    record(workspace, Phase.DONE, "run-1", "gate", "gate", result={"verdict": {"decision": "GO", "rows": []}})
    assert report_lineage(LedgerIndex.of(workspace), [REPORT]) == {REPORT: ReportLineage(verdict="GO")}


def test_a_report_that_was_only_used_again_has_no_lineage(workspace: Workspace) -> None:
    record(workspace, Phase.REUSED, "run-1", "eval", "evaluate", artifacts={"report": REPORT})
    assert report_lineage(LedgerIndex.of(workspace), [REPORT]) == {}


def test_rows_that_our_own_endpoints_answered_are_those_the_curation_counted_and_kept(
    workspace: Workspace,
) -> None:
    kept, dropped, plain = (save(workspace, DatasetRef, name) for name in ("kept", "dropped", "plain"))
    counts = {kept: {"own_answers": 7}, dropped: {"own_answers": 5, "dropped": {"own_answer": 5}}, plain: {}}
    for ref, result in counts.items():
        record(workspace, Phase.DONE, "r", "data", "curate", artifacts={"dataset": ref}, result=result)
    index = LedgerIndex.of(workspace)
    assert own_answers_in(index, [kept, dropped, plain]) == 7
    assert own_answers_in(index, [DatasetRef.of("f" * 64)]) == own_answers_in(index, []) == 0
