"""What somebody types in the first hour, a little wrong: what was asked, what was found, what to do."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import pytest

from opswright.core.registry import Registry
from opswright.ui.cli import run

Captured = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_skills: ModuleType) -> Path:
    monkeypatch.setenv("OPSWRIGHT_MLFLOW__MIRROR", "off")
    (tmp_path / "lines.txt").write_text("one\ntwo\nthree\n")
    (tmp_path / "plan.yaml").write_text(small_skills.PLAN)
    (tmp_path / "empty.yaml").touch()
    (tmp_path / "bad.json").write_text("[1")
    (tmp_path / "w").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("plan w", "w is a folder, not a plan file. Name a file in it."),
        ("apply w", "w is a folder, not a compiled plan. Name a file in it."),
        ("plan empty.yaml", "a plan must be a mapping of names to values, found nothing."),
        ("plan plan.yaml -o w", "--output w is a folder: name a file, such as w/plan.json."),
        ("apply plan.yaml", "`opswright run plan.yaml` carries it out"),
        ("apply bad.json", "`opswright plan FILE -o plan.json` makes a compiled plan."),
        ("artifacts model", "unknown kind 'model' (there are: "),
        ("artifacts chekpoint", "Did you mean 'checkpoint'?"),
        ("export plan.yaml", "No such command 'plan.yaml'. (there are: argo, kubeflow) Try"),
        ("--home lines.txt status", "lines.txt is a file: name a folder with --home or OPSWRIGHT_HOME."),
        ("init nope.csv", "no file or folder 'nope.csv' (looked in "),
    ],
)
def test_a_wrong_command_is_answered_with_what_was_found_and_what_to_do(
    words: str, told: str, capsys: Captured, small_skills: ModuleType
) -> None:
    assert run(words.split(), Registry(small_skills.SKILLS)) == 2
    shown = capsys.readouterr()
    assert told in shown.err and shown.err.count("\n") == 1 and not shown.out


def test_a_project_that_is_there_hides_no_file_that_is_not(capsys: Captured) -> None:
    Path("plans").mkdir()
    Path("plans/ship.yaml").touch()
    assert run(["init", "nope.csv"]) == 2
    assert "no file or folder 'nope.csv'" in capsys.readouterr().err


def test_a_model_that_is_no_model_is_named_by_its_kind_and_an_address_in_words(capsys: Captured) -> None:
    assert run(["evaluate", "model=dataset:b46e1639b36c", "suite=clinc150"]) == 2
    assert "argument 'model': a dataset is not taken here (of artifacts it takes: " in capsys.readouterr().err
    assert run(["evaluate", "model=something", "suite=clinc150"]) == 2
    told = capsys.readouterr().err
    assert "or: expected an address like http://host:8000/v1 (found 'something')" in told and "^" not in told


def test_consent_to_another_plan_is_told_to_be_none(capsys: Captured, small_skills: ModuleType) -> None:
    assert run(["run", "plan.yaml", "--approve", "0" * 32], Registry(small_skills.SKILLS)) == 5
    assert f"--approve {'0' * 32} is no consent to this plan, which is " in capsys.readouterr().err


def test_nothing_found_prints_no_empty_table(capsys: Captured) -> None:
    assert run(["leaderboard"]) == 0 and run(["audit", "list", "--run", "nope"]) == 0
    shown = capsys.readouterr()
    assert shown.out == "" and "leaderboard is empty" in shown.err and "no record matches" in shown.err


def test_json_and_stream_together_are_the_stream_and_its_last_line_is_the_document(
    capsys: Captured, small_skills: ModuleType
) -> None:
    assert run(["run", "plan.yaml", "--yes", "--json", "--stream"], Registry(small_skills.SKILLS)) == 0
    *events, last = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert last["what"] == "outcome" and last["status"] == "done" and last["exit_code"] == 0
    assert events and all(event["what"] != "outcome" for event in events)
    assert run(["run", "plan.yaml", "--yes", "--json"], Registry(small_skills.SKILLS)) == 0
    assert set(json.loads(capsys.readouterr().out)) == set(last) - {"what"}


@pytest.mark.parametrize(("command", "name"), [("apply", "plan.json"), ("plan", "plan.yaml")])
def test_a_file_that_is_far_too_large_is_refused_before_it_is_read(
    command: str, name: str, capsys: Captured
) -> None:
    with Path(name).open("wb") as file:
        file.truncate(100 << 20)  # takes no room on the disk
    assert run([command, name]) == 2
    told = capsys.readouterr().err
    assert f"{name} is too large: a " in told


def test_the_examples_of_the_help_stand_line_by_line(capsys: Captured) -> None:
    assert run(["--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    first = lines.index("  Examples:")
    assert all(line.startswith("    opswright ") and len(line) < 80 for line in lines[first + 1 : first + 6])
