"""`leaderboard --diff`: what changed since a base, for a comment on a pull request."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from opswright.core.artifact_refs import CheckpointRef, EvalReportRef
from opswright.core.registry import Registry
from opswright.core.workspace import Workspace
from opswright.evals.report import facts_of
from opswright.evals.runner import EvalResult, SampleResult, to_lines
from opswright.ui.cli import run

A, B, C = (str(CheckpointRef.of(letter * 64)) for letter in "abc")
Captured = pytest.CaptureFixture[str]


def measure(workspace: Workspace, model: str, right: int, suite: str = "shop", digest: str = "d") -> None:
    items = tuple(
        SampleResult(f"i{n:03d}", f"text {n}", "yes", "yes", {"exact_match": float(n < right)}, ())
        for n in range(100)
    )
    measured = EvalResult(model, suite, digest * 64, (), items)
    with workspace.artifacts.staging() as folder:
        (folder / "items.jsonl").write_bytes(to_lines(items))
        workspace.artifacts.save(EvalReportRef, folder, facts_of(measured, 100, {}))


def ask(workspace: Workspace, *words: str) -> int:
    return run(["--home", str(workspace.root), "leaderboard", *words], Registry([]))


@pytest.fixture
def base(workspace: Workspace, tmp_path: Path) -> Path:
    """The board of the base: model A with 60 of 100 right."""
    measure(workspace, A, 60)
    path = tmp_path / "base.json"
    assert ask(workspace, "--json", "-o", str(path)) == 0
    return path


def changes(workspace: Workspace, capsys: Captured, *words: str) -> list[dict[str, Any]]:
    capsys.readouterr()
    assert ask(workspace, "--json", *words) == 0
    found: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    return found


def test_nothing_changed_says_so(workspace: Workspace, base: Path, capsys: Captured) -> None:
    assert changes(workspace, capsys, "--diff", str(base)) == []
    assert ask(workspace, "--diff", str(base), "--format", "md") == 0
    assert "Nothing changed since" in capsys.readouterr().out


@pytest.mark.parametrize(("right", "finding"), [(80, "better"), (40, "worse"), (61, "not shown to differ")])
def test_a_new_model_is_held_against_the_bases_best_on_the_same_items(
    workspace: Workspace, base: Path, capsys: Captured, right: int, finding: str
) -> None:
    measure(workspace, B, right)
    (one,) = changes(workspace, capsys, "--diff", str(base))
    assert (one["what"], one["finding"], one["against"]["model"]) == ("new", finding, A)
    assert one["difference"]["basis"] == "the same items"
    assert one["difference"]["low"] <= (right - 60) / 100 <= one["difference"]["high"]


def test_a_base_whose_reports_are_elsewhere_is_compared_by_intervals(
    base: Path, capsys: Captured, tmp_path: Path
) -> None:
    from opswright.core.settings import load_settings

    other = Workspace(load_settings(home=tmp_path / "another"))
    measure(other, B, 75)
    new, gone = changes(other, capsys, "--diff", str(base))
    assert (new["finding"], new["difference"]["basis"]) == ("better", "intervals alone")
    assert new["difference"]["low"] == pytest.approx(0.019, abs=0.002)  # Newcombe's method 10
    assert gone["what"] == "gone" and gone["model"].startswith("checkpoint:aaaaaaaaaaaa")


def test_another_version_of_a_suite_is_not_compared(
    workspace: Workspace, base: Path, capsys: Captured
) -> None:
    measure(workspace, B, 99, digest="e")
    (one,) = changes(workspace, capsys, "--diff", str(base))
    assert one["difference"] is None and one["finding"] == "another version of the suite"


def test_one_model_may_be_the_base(workspace: Workspace, base: Path, capsys: Captured) -> None:
    measure(workspace, B, 80)
    measure(workspace, C, 80, suite="another")
    (one,) = changes(workspace, capsys, "--diff", A)
    assert (one["suite"], one["model"][:16], one["finding"]) == ("shop", "checkpoint:bbbbb", "better")


def test_a_summary_is_added_to_and_holds_no_markup_of_its_names(
    workspace: Workspace, base: Path, tmp_path: Path
) -> None:
    measure(workspace, B, 80, suite="[x](http://evil.example) @all | </td> `a`")
    summary = tmp_path / "summary.md"
    summary.write_text("# before\n")
    assert ask(workspace, "--diff", str(base), "--summary", str(summary)) == 0
    text = summary.read_text()
    assert text.startswith("# before\n## Leaderboard")
    for bad in ("](http", "@all", "</td>", "://evil", "`a`"):
        assert bad not in text
    assert text.count("\n| ") == 2  # heading and one row


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda rows: rows[0].update(value=0.2, low=0.1, high=0.3), 7),
        (lambda rows: rows[0].update(value=0.2), 2),
        (lambda rows: rows[0].update(low=float("nan")), 2),
        (lambda rows: rows[0].pop("n"), 2),
        (lambda rows: rows.append(1), 2),
    ],
)
def test_a_base_that_was_made_up_is_refused(workspace: Workspace, base: Path, change: Any, code: int) -> None:
    rows = json.loads(base.read_text())
    change(rows)
    base.write_text(json.dumps(rows))
    assert ask(workspace, "--diff", str(base)) == code


def test_a_base_that_is_not_there_is_said(workspace: Workspace, base: Path, capsys: Captured) -> None:
    assert ask(workspace, "--diff", "missing.json") == 2
    assert "no leaderboard at missing.json" in capsys.readouterr().err
    assert ask(workspace, "--diff", str(base), "--format", "html") == 2
    assert ask(workspace, "--summary", "x.md") == 2
