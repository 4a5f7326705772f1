"""`opswright skills`: folders for other agents that pass the public validator, and skills of one's own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from opswright.core.exit_code import ExitCode
from opswright.skills import load_registry
from opswright.ui.cli import run

KEYS = {"name", "description", "license", "compatibility", "metadata", "allowed-tools"}


def test_every_skill_is_exported_as_a_folder_that_the_public_validator_passes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["skills", "export", "out"]) == 0
    names = {f"opswright-{skill.name}" for skill in load_registry()}
    assert {path.name for path in Path("out").iterdir()} == names
    assert run(["skills", "validate", "out", "--json"]) == 0
    assert json.loads(capsys.readouterr().out.partition("\n")[2]) == {name: [] for name in names}
    for path in Path("out").iterdir():
        text = (path / "SKILL.md").read_text()
        front = yaml.safe_load(text.split("---\n")[1])
        assert set(front) <= KEYS and front["metadata"]["opswright-effect"] in ("reads", "writes", "serves")
        assert json.loads((path / "references" / "request.schema.json").read_text())["type"] == "object"
        assert len(text.splitlines()) < 500
    assert run(["skills", "export", "out"]) == 0  # again, over what is ours


def test_the_validator_finds_what_is_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    folder = Path("mine")
    folder.mkdir()
    (folder / "SKILL.md").write_text("---\nname: mine\ndescription: x\nwhen_to_use: always\n---\n")
    assert run(["skills", "validate", "mine"]) == 1
    assert "when_to_use" in capsys.readouterr().out


def test_a_folder_that_is_no_skill_is_not_written_into() -> None:
    Path("out/opswright-gate").mkdir(parents=True)
    (Path("out/opswright-gate") / "mine.txt").write_text("")
    assert run(["skills", "export", "out"]) == 2


@pytest.mark.parametrize("how", ["somebody else's skill", "a link", "a link inside", "a file inside"])
def test_nothing_is_exported_over_what_is_somebody_elses(how: str) -> None:
    target, elsewhere = Path("out/opswright-rollback"), Path("elsewhere")
    target.mkdir(parents=True)
    (elsewhere / "references").mkdir(parents=True)
    foreign = "---\nname: opswright-rollback\ndescription: Ours, by hand.\n---\n# Ours\n"
    (elsewhere / "SKILL.md").write_text(foreign)
    if how == "somebody else's skill":
        (target / "SKILL.md").write_text(foreign)
    elif how == "a link":
        target.rmdir()
        target.symlink_to(elsewhere.resolve())
    else:
        assert run(["skills", "export", "made"]) == 0
        (target / "SKILL.md").write_text(Path("made/opswright-rollback/SKILL.md").read_text())
        inside = target / "references"
        inside.symlink_to(elsewhere.resolve()) if how == "a link inside" else inside.write_text("")
    assert run(["skills", "export", "out"]) == 2
    assert (elsewhere / "SKILL.md").read_text() == foreign and not list(elsewhere.glob("**/*.json"))
    assert [path.name for path in Path("out").iterdir()] == ["opswright-rollback"]  # none of the others


def test_an_exported_skill_names_every_exit_code() -> None:
    assert run(["skills", "export", "out"]) == 0
    text = Path("out/opswright-gate/SKILL.md").read_text()
    assert all(f"{code:d} {code.outcome}" in text for code in ExitCode)


def test_a_project_skill_is_added_listed_typed_and_removed(capsys: pytest.CaptureFixture[str]) -> None:
    folder = Path("skills/tidy")
    folder.mkdir(parents=True)
    (folder / "SKILL.md").write_text(
        "---\nname: tidy\ndescription: Clean rows.\nmetadata: {opswright-plan: plan.yaml}\n---\n"
    )
    plan = (
        "inputs: {rows: {type: path}}\ngoal: Clean ${inputs.rows}\n"
        'steps: {data: {skill: curate, with: {source: "${inputs.rows}"}}}\n'
    )
    (folder / "plan.yaml").write_text(plan)
    Path("rows.jsonl").write_text('{"text": "a", "label": "b"}\n' * 3)
    assert run(["skills", "add", "skills/tidy"]) == 0
    assert run(["skills"]) == 0 and "tidy" in capsys.readouterr().out
    assert run(["agent", "/tidy rows=rows.jsonl", "--json"]) == 5
    waiting = json.loads(capsys.readouterr().out)
    assert waiting["status"] == "waiting"
    (folder / "plan.yaml").write_text(plan + "\n")
    assert run(["agent", "/tidy rows=rows.jsonl", "--json"]) == 7
    assert run(["skills", "remove", "tidy"]) == 0
    assert run(["agent", "/tidy rows=rows.jsonl", "--json"]) == 2
