from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from opswright.core.artifact_refs import CheckpointRef, DatasetRef, EvalReportRef, parse_ref
from opswright.core.errors import AskError
from opswright.core.statistics import mcnemar_exact
from opswright.core.workspace import Workspace
from opswright.evals.baselines import Baseline, BaselineRun, to_document
from opswright.evals.head_to_head import compare, find_line, open_measured, render, sentence
from opswright.evals.leaderboard import LeaderboardRow, leaderboard_rows
from opswright.evals.report import facts_of
from opswright.evals.runner import EvalResult, SampleResult, to_lines

A, B = (str(CheckpointRef.of(letter * 64)) for letter in "ab")


def answered(
    model: str, answers: Mapping[str, str | None], domains: Sequence[str] = ("home", "work")
) -> EvalResult:
    """Items i0, i1, ... in the two domains by turns; the right answer is `yes`, None is a failure."""
    items = tuple(
        SampleResult(
            name, f"text {name}", "yes", got, {"exact_match": float(got == "yes"), "known_label": 1.0},
            (domains[index % 2],),
            error="refused" if got is None else None,
        )
        for index, (name, got) in enumerate(answers.items())
    )  # fmt: skip
    return EvalResult(model, "clinc150", "d" * 64, tuple(domains), items)


def series(right: int, wrong: int, first: str = "i") -> dict[str, str | None]:
    return {f"{first}{n:03d}": "yes" if n < right else "no" for n in range(right + wrong)}


def test_what_b_won_and_lost_is_counted_with_the_gates_test() -> None:
    a = answered(A, {"i0": "yes", "i1": "yes", "i2": "no", "i3": "no", "i4": "no", "i5": "yes"})
    b = answered(B, {"i0": "yes", "i1": "no", "i2": "yes", "i3": "yes", "i4": "no", "i5": "yes"})
    found = compare(a, b)
    whole = found.whole
    assert (whole.n, whole.won, whole.lost, whole.p_value) == (6, 2, 1, mcnemar_exact(1, 2))
    assert whole.value_a == 0.5 and whole.value_b == pytest.approx(4 / 6)
    assert whole.difference == pytest.approx(1 / 6) and whole.low < 0 < whole.high
    assert [item.outcome for item in found.items] == [
        "both right", "lost", "won", "won", "both wrong", "both right",
    ]  # fmt: skip
    assert [(row.name, row.won, row.lost) for row in found.slices] == [("home", 1, 0), ("work", 1, 1)]


def test_an_item_that_one_of_them_failed_or_was_not_asked_is_left_out() -> None:
    a = answered(A, {"i0": "yes", "i1": None, "i2": "yes"})
    b = answered(B, {"i0": "no", "i1": "yes", "i2": None, "i3": "yes"})
    found = compare(a, b)
    assert (found.whole.n, found.left_out) == (1, 3)
    assert "3 items that only one of them answered are left out" in sentence(found)


def test_p_values_of_slices_are_corrected_for_their_number() -> None:
    found = compare(answered(A, series(0, 12)), answered(B, series(12, 0)))
    once = mcnemar_exact(0, 6)
    assert [row.p_value for row in found.slices] == [pytest.approx(2 * once)] * 2
    assert found.whole.p_value == mcnemar_exact(0, 12)


def test_the_interval_lies_on_the_side_of_the_difference() -> None:
    better = compare(answered(A, series(40, 60)), answered(B, series(80, 20))).whole
    assert 0 < better.low < better.difference < better.high
    assert better.difference == pytest.approx(0.4)
    worse = compare(answered(A, series(80, 20)), answered(B, series(40, 60))).whole
    assert (worse.low, worse.high) == pytest.approx((-better.high, -better.low))


@pytest.mark.parametrize(
    ("right_a", "right_b", "words"),
    [(50, 90, "B is better"), (90, 50, "B is worse"), (50, 53, "No difference is shown")],
)
def test_the_sentence_claims_no_more_than_the_test_shows(right_a: int, right_b: int, words: str) -> None:
    found = compare(answered(A, series(right_a, 100 - right_a)), answered(B, series(right_b, 100 - right_b)))
    assert sentence(found).startswith(f"{words}: on 100 common items of clinc150 B won ")


def test_reports_that_cannot_be_compared_are_refused() -> None:
    a, b = answered(A, series(5, 5)), answered(B, series(5, 5))
    with pytest.raises(AskError, match=r"measured on clinc150, .* on banking77"):
        compare(a, replace(b, suite="banking77"))
    with pytest.raises(AskError, match="different versions of suite clinc150"):
        compare(a, replace(b, suite_digest="e" * 64))
    with pytest.raises(AskError, match="no answered items in common"):
        compare(a, answered(B, series(5, 5, "other")))


def test_items_are_shown_as_they_are_in_every_format() -> None:
    text = "<script>alert(1)</script> [a](http://b) | `c`\n\x1b[2J"
    a, b = answered(A, {"i0": "yes", "i1": "yes"}), answered(B, {"i0": "**no**", "i1": "yes"})
    a, b = (replace(m, items=(replace(m.items[0], text=text), m.items[1])) for m in (a, b))
    found = compare(a, b)
    assert "\x1b" not in render(found) and "<script>alert(1)</script> [a](http://b) | `c` ?[2J" in render(
        found
    )
    markdown = render(found, "md")
    assert "\\<script\\>" in markdown and "\\[a\\](http://b) \\| \\`c\\`" in markdown
    assert "\\*\\*no\\*\\*" in markdown
    document = json.loads(render(found, "json"))
    assert [(item["text"], item["outcome"]) for item in document["items"]] == [(text, "lost")]
    with pytest.raises(AskError, match="unknown format 'csv'"):
        render(found, "csv")


def save_report(workspace: Workspace, measured: EvalResult, train: str, answer: str) -> None:
    """A report beside a baseline that gives one answer to every item."""
    items = [item.id for item in measured.items]
    baseline = Baseline("majority", (answer,) * len(items), 0.0)
    scored = answered("majority", dict.fromkeys(items, answer))
    facts = facts_of(measured, len(items), {"majority": scored})
    with workspace.artifacts.staging() as folder:
        (folder / "items.jsonl").write_bytes(to_lines(measured.items))
        document = to_document(BaselineRun((baseline,)), items)
        document["scores"] = {"majority": [dict(item.scores) for item in scored.items]}
        (folder / "baselines.json").write_text(json.dumps(document))
        workspace.artifacts.save(EvalReportRef, folder, {**facts, "train_dataset": DatasetRef.of(train * 64)})


@pytest.fixture
def lines(workspace: Workspace) -> list[LeaderboardRow]:
    """Two models on one suite, each beside the baseline of its own rows."""
    for model, train, answer in ((A, "1", "yes"), (B, "2", "no")):
        save_report(workspace, answered(model, series(6, 4)), train, answer)
    return leaderboard_rows(workspace.artifacts)


def test_a_baseline_of_a_report_that_kept_no_scores_is_to_be_measured_again(
    workspace: Workspace, lines: Any
) -> None:
    line = next(one for one in lines if one.kind == "baseline")
    artifact = workspace.artifacts.open(parse_ref(line.report))
    with workspace.artifacts.staging() as folder:
        for name in artifact.files:
            (folder / name).write_bytes((artifact.path / name).read_bytes())
        document = json.loads((folder / "baselines.json").read_text())
        del document["scores"]
        (folder / "baselines.json").write_text(json.dumps(document))
        old = workspace.artifacts.save(EvalReportRef, folder, dict(artifact.facts))
    with pytest.raises(AskError, match="of an earlier version: evaluate its model again"):
        open_measured(workspace.artifacts, replace(line, report=str(old)))


def test_a_baseline_is_compared_by_the_answers_its_report_keeps(workspace: Workspace, lines: Any) -> None:
    store = workspace.artifacts
    report = find_line(lines, A).report
    model, baseline = find_line(lines, A[:17]), find_line(lines, f"{report[:20]}/majority")
    found = compare(open_measured(store, model), open_measured(store, baseline))
    assert (found.b, found.whole.won, found.whole.lost, found.whole.value_b) == ("majority", 4, 0, 1.0)
    assert found.whole.value_b == baseline.value


def test_a_line_is_found_by_name_and_an_unclear_one_is_asked_about(lines: Any) -> None:
    assert find_line(lines, B).model == B
    assert find_line(lines, find_line(lines, B).report).model == B
    assert find_line(lines, find_line(lines, B).id).model == B
    with pytest.raises(AskError, match=r"'majority' is ambiguous: it matches 2 .*:[0-9a-f]{12}/majority"):
        find_line(lines, "majority")
    with pytest.raises(AskError, match=r"not on the leaderboard .*Did you mean"):
        find_line(lines, "checkpoint:aaaaaaaaaaab")
    with pytest.raises(AskError, match="not on the leaderboard"):
        find_line(lines, "check")
    with pytest.raises(AskError, match="it is empty; `opswright evaluate model=REF suite=NAME` fills it"):
        find_line([], "anything")


def test_graded_scores_are_compared_by_how_far_they_differ() -> None:
    """B is a little worse nearly everywhere: no item is right or wrong, and the mean says it all."""
    a, b = answered(A, series(60, 0)), answered(B, series(60, 0))
    graded = [
        replace(m, items=tuple(replace(i, scores={"f1": base + n % 7 / 100}) for n, i in enumerate(m.items)))
        for m, base in ((a, 0.8), (b, 0.6))
    ]
    found = compare(graded[0], graded[1], metric="f1")
    assert found.whole.difference == pytest.approx(-0.2) and found.whole.high < 0
    assert (found.whole.won, found.whole.lost) == (0, 60) and "t-test" in sentence(found)
    assert sentence(found).startswith("B is worse") and "McNemar" not in json.dumps(found.document())
    assert found.items[0].outcome == "lost" and not found.items[0].right_a


def test_items_of_one_group_count_once_in_a_comparison() -> None:
    a, b = answered(A, series(0, 40)), answered(B, series(10, 30))
    alone = compare(a, b).whole
    grouped = [
        replace(m, items=tuple(replace(i, group=f"talk {n // 10}") for n, i in enumerate(m.items)))
        for m in (a, b)
    ]
    together = compare(grouped[0], grouped[1]).whole
    assert alone.n == 40 and alone.p_value < 0.01
    assert together.n == 4 and together.p_value > 0.05
