"""Rows of one group are one thing: a question of a group that was learned from is leaked in any words."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from opswright.core.artifact_refs import CheckpointRef, DatasetRef, EvalReportRef
from opswright.core.contract import StepContext
from opswright.core.gate import GateSpec
from opswright.data.dataset import dataset_rows, dataset_samples, write_samples
from opswright.data.sample import Sample
from opswright.evals.contamination import find_leaks
from opswright.evals.gate_evidence import collect
from opswright.evals.lineage import training_datasets
from opswright.evals.report import facts_of
from opswright.evals.runner import EvalResult, SampleResult, to_lines
from opswright.skills.curate import CurateRequest, CurateResult, curate

Context = Callable[..., StepContext]
TOPICS = ["rent", "gas", "milk", "bread", "train", "hotel", "music", "film", "wifi", "phone"]


def rows(path: Path, groups: Callable[[int], str], n: int = 40) -> Path:
    lines = (
        {"text": f"question {i} about {TOPICS[i % 10]}", "label": TOPICS[i % 10], "who": groups(i)}
        for i in range(n)
    )
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def golden(ctx: StepContext, *samples: Sample) -> DatasetRef:
    with ctx.artifacts.staging() as folder:
        write_samples(folder, samples, "golden", {})
        return ctx.artifacts.save(DatasetRef, folder, {"golden": True, "n": [s.id for s in samples]})


def cured(ctx: StepContext, path: Path, **more: Any) -> CurateResult:
    return curate(CurateRequest(source=path, group_column="who", **more), ctx)


def test_an_item_of_a_group_that_was_learned_from_is_leaked(context: Context, tmp_path: Path) -> None:
    ctx = context()
    data = cured(ctx, rows(tmp_path / "a.jsonl", lambda i: f"user {i % 5}"), validation_fraction=0).dataset
    asked = [("something else", "user 3"), ("something else again", "user 9"), ("another", None)]
    assert find_leaks(ctx.artifacts, [data], asked) == {0}
    assert find_leaks(ctx.artifacts, [data], [("question 7 about film", None)]) == {0}


def test_only_rows_that_were_trained_on_tell(context: Context, tmp_path: Path) -> None:
    ctx = context()
    data = cured(ctx, rows(tmp_path / "a.jsonl", lambda i: f"user {i}"), validation_fraction=0.4).dataset
    held = {one.group for one in dataset_samples(ctx.artifacts.open(data), "validation")}
    assert held and find_leaks(ctx.artifacts, [data], [("x y z", group) for group in held]) == set()


def test_a_golden_row_whose_group_is_its_own_id_keeps_its_group_out(context: Context, tmp_path: Path) -> None:
    ctx = context()
    ref = golden(ctx, Sample.of("user 3", "what nobody asked", "x", group="user 3"))
    found = cured(ctx, rows(tmp_path / "a.jsonl", lambda i: f"user {i % 5}"), golden=ref)
    assert found.dropped["golden_group"] == 8 and found.leaked["group"] == 8
    free = golden(ctx, Sample.of("user 3", "what nobody asked", "x"))
    found = cured(ctx, rows(tmp_path / "b.jsonl", lambda i: f"user {i % 5}"), golden=free)
    assert "golden_group" not in found.dropped


def test_groups_of_personal_data_are_not_written_and_still_tell(context: Context, tmp_path: Path) -> None:
    ctx = context()
    path = rows(tmp_path / "a.jsonl", lambda i: f"user{i % 5}@example.org")
    found = cured(ctx, path, personal_data="mask", validation_fraction=0)
    opened = ctx.artifacts.open(found.dataset)
    assert all("@" not in (row["own_group"] or "") for row in dataset_rows(opened))
    assert len({row["own_group"] for row in dataset_rows(opened)}) == 5
    asked = [("something else", "user3@example.org"), ("something else", "user8@example.org")]
    assert find_leaks(ctx.artifacts, [found.dataset], asked) == {0}
    ref = golden(ctx, Sample.of("g", "what nobody asked", "x", group="user3@example.org"))
    assert cured(ctx, path, personal_data="mask", golden=ref).dropped["golden_group"] == 8


def test_a_replayed_row_of_a_golden_group_is_left_out(context: Context, tmp_path: Path) -> None:
    ctx = context()
    earlier = cured(ctx, rows(tmp_path / "a.jsonl", lambda i: f"user {i % 5}"), validation_fraction=0).dataset
    ref = golden(ctx, Sample.of("g", "what nobody asked", "x", group="user 3"))
    new = tmp_path / "new.jsonl"
    lines = ({"text": f"new {topic} matter", "label": topic, "who": f"n{topic}"} for topic in TOPICS)
    new.write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = cured(ctx, new, golden=ref, replay=earlier, replay_ratio=4.0)
    assert found.dropped["golden_group"] == 8
    kept = dataset_samples(ctx.artifacts.open(found.dataset))
    assert "user 3" not in {sample.group for sample in kept}


def test_the_report_a_gate_judges_counts_them(context: Context, tmp_path: Path) -> None:
    ctx = context()
    data = cured(ctx, rows(tmp_path / "a.jsonl", lambda i: f"user {i % 5}"), validation_fraction=0).dataset
    with ctx.artifacts.staging() as folder:
        (folder / "w").write_text("w")
        model = ctx.artifacts.save(CheckpointRef, folder, {}, [data])
    assert training_datasets(ctx.artifacts, model) == [data]
    items = tuple(
        SampleResult(f"i{n}", f"never said {n}", "a", "a", {"exact_match": 1.0}, (), group=f"user {n}")
        for n in range(30)
    )
    measured = EvalResult(str(model), "tones", "d" * 64, (), items)
    with ctx.artifacts.staging() as folder:
        (folder / "items.jsonl").write_bytes(to_lines(items))
        report = ctx.artifacts.save(EvalReportRef, folder, facts_of(measured, 30, {}))
    spec = GateSpec(suite="tones", min=0.5, leaked="leave_out")
    assert set(collect(ctx.workspace, spec, report, measured, None).leaked or ()) == {
        f"i{n}" for n in range(5)
    }
