from __future__ import annotations

import json
from typing import Any

import pytest

from opswright.core.artifact_refs import CheckpointRef, EvalReportRef
from opswright.core.workspace import Workspace
from opswright.evals.leaderboard import render
from opswright.evals.report import facts_of
from opswright.evals.runner import EvalResult, SampleResult, to_lines
from opswright.ui.console.gradio_import import import_gradio

import_gradio()

from opswright.ui.console.console import Console  # noqa: E402
from opswright.ui.console.pages import leaderboard as shown  # noqa: E402

A, B = (str(CheckpointRef.of(letter * 64)) for letter in "ab")
ODD = '<script>alert(1)</script> [a](http://b) {{ x }} ${y} <img src=x onerror="z">'


@pytest.fixture
def console(workspace: Workspace) -> Any:
    """The console of a workspace with two models, 3 and 6 of 10 right, on items with odd texts."""
    for model, right in ((A, 3), (B, 6)):
        items = tuple(
            SampleResult(f"i{n}", f"{ODD} {n}", "yes", got, {"exact_match": float(got == "yes")}, ("home",))
            for n, got in enumerate(["yes"] * right + [ODD] * (10 - right))
        )
        measured = EvalResult(model, "clinc150", "d" * 64, ("home",), items)
        with workspace.artifacts.staging() as folder:
            (folder / "items.jsonl").write_bytes(to_lines(items))
            workspace.artifacts.save(EvalReportRef, folder, facts_of(measured, 10, {}))
    return _console(workspace)


def _console(workspace: Workspace) -> Console:
    from opswright.core.registry import Registry

    return Console(Registry([]), workspace.settings)


def _picked(console: Console) -> tuple[str, str]:
    lines, _ = shown.read_lines(console)
    by_model = {line.model: line.id for line in lines}
    return by_model[A], by_model[B]


def test_a_filter_keeps_the_lines_that_hold_every_word(console: Console) -> None:
    lines, fault = shown.read_lines(console)
    assert fault == "" and len(lines) == 2

    def kept(suite: str = shown.ALL, kind: str = shown.ALL, text: str = "") -> list[str]:
        return [line.model for line in shown.narrowed(lines, suite, kind, text)]

    assert kept() == [B, A] and kept(text="CLINC checkpoint:aaa") == [A]
    assert kept(text="clinc nothing") == [] == kept(kind="bundle") == kept(suite="banking77")


def test_an_empty_workspace_says_how_to_fill_the_board(workspace: Workspace) -> None:
    lines, fault = shown.read_lines(_console(workspace))
    table, _ = shown.show_board(lines, fault, shown.ALL, shown.ALL, "", ("", ""))
    assert "No model has been measured yet" in table and "opswright evaluate" in table


def test_a_damaged_ledger_is_said_instead_of_a_board(console: Console) -> None:
    (console.workspace.root / "ledger").mkdir(exist_ok=True)
    (console.workspace.root / "ledger" / "000001.jsonl").write_text("{not json\n")
    lines, fault = shown.read_lines(console)
    assert lines == [] and "ledger is damaged" in fault
    assert "ledger is damaged" in shown.show_board(lines, fault, shown.ALL, shown.ALL, "", ("", ""))[0]


def test_the_items_that_b_won_are_shown_as_text(console: Console) -> None:
    found, values = shown.compare_lines(console, _picked(console))
    assert found is not None and (found.whole.won, found.whole.lost) == (3, 0)
    assert values["sentence"].startswith("No difference is shown: on 10 common items")
    html = shown.show_items(found, "won", shown.ALL, "")
    assert "3 items." in html and "<script" not in html and "<img" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt; [a](http://b) {{ x }} ${y}" in html
    assert "4 items." in shown.show_items(found, "both wrong", "home", "onerror")
    assert "0 items." in shown.show_items(found, "lost", shown.ALL, "")


def test_two_that_cannot_be_compared_are_a_sentence_and_no_error(console: Console) -> None:
    a, b = _picked(console)
    assert shown.compare_lines(console, (a, ""))[1] == {"fault": "", "found": None}
    assert "same line" in shown.compare_lines(console, (a, a))[1]["fault"]
    assert "no longer on the leaderboard" in shown.compare_lines(console, (a, "eval-report:0"))[1]["fault"]
    (console.workspace.artifacts.folder(EvalReportRef(b)) / "files" / "items.jsonl").write_text("{}\n")
    assert "is damaged" in shown.compare_lines(console, (a, b))[1]["fault"]


def test_a_download_is_what_the_command_line_gives(console: Console) -> None:
    lines, _ = shown.read_lines(console)
    for form, media_type in shown.DOWNLOADS.values():
        file = shown.file_of(lines, form, media_type)
        assert (file["name"], file["type"]) == (f"leaderboard.{form}", media_type)
        assert form == "html" or file["text"] == render(lines, form) + "\n"
    assert len(json.loads(shown.file_of(lines, "json", "application/json")["text"])) == 2
