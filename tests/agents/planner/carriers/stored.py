"""What lies in the project and in the store."""

from __future__ import annotations

import csv
from typing import Any

from opswright.core.artifact_refs import CheckpointRef, DatasetRef, EvalReportRef

from .common import Reading, as_file_name, fresh_name, of_cleaned


def file_names(world: Any, texts: list[str]) -> Reading:
    """Names of data files."""
    for text in texts:
        (world.folder / "data" / f"{as_file_name(text)}.csv").write_text("text,label\na,b\n")
    return Reading([("workspace_overview", {})])


def suite_names(world: Any, texts: list[str]) -> Reading:
    """Names of suites."""
    samples = "task: classify\nsamples: {path: items.jsonl}\nscorers: [exact_match]\n"
    for text in texts:
        (world.folder / "suites" / f"{as_file_name(text)}.yaml").write_text(samples)
    return Reading([("workspace_overview", {})])


def dataset_facts(world: Any, texts: list[str]) -> Reading:
    """Facts of a dataset that another tool saved."""
    for text in texts:
        world._save(fresh_name(world), DatasetRef, note=text, labels=[text])
    return Reading([("list_artifacts", {"kind": "dataset"})])


def model_cards(world: Any, texts: list[str]) -> Reading:
    """The card among a checkpoint's facts."""
    for text in texts:
        world._save(fresh_name(world), CheckpointRef, card=text)
    return Reading([("list_artifacts", {"kind": "checkpoint"})])


def report_facts(world: Any, texts: list[str]) -> Reading:
    """Facts of a report that another tool saved; the leaderboard shows them too."""
    for text in texts:
        facts = {"suite": "tickets", "model": text, "value": None, "judge_says": text}
        world._save(fresh_name(world), EvalReportRef, **facts)
    return Reading([("list_artifacts", {"kind": "eval-report"}), ("leaderboard", {})])


def dataset_rows(world: Any, texts: list[str]) -> Reading:
    """Rows and labels of a file that `curate` cleaned: its card shows what was left out."""
    source = f"{fresh_name(world)}.csv"
    with (world.folder / source).open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["text", "label"])
        rows.writerows((f"is parcel {at} of box {7 * at} here", f"kind {at % 2}") for at in range(24))
        rows.writerows((text, text) for text in texts for _ in range(2))
    return of_cleaned(world, source)
