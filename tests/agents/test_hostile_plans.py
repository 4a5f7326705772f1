"""Plans that would show an approver something else than they do, or crash whoever reads them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from opswright.agents.agent import Agent
from opswright.agents.planner import Ask
from opswright.core.errors import OpswrightError
from opswright.core.files import canonical_json, sha256_json
from opswright.core.plan import Plan

HIDING = ["", " ", "\u200b", "\x1b[2K", "fine\x1b[1A", "fine \u202e ton", "fine\x9b2K", "...", "one\ntwo"]


def written(one: Agent, plan_file: Path, old: str, new: str) -> Plan:
    text = plan_file.read_text()
    assert old in text
    plan_file.write_text(text.replace(old, new))
    return one.plan_for(Ask("plan_file", str(plan_file))).plan


@pytest.mark.parametrize("text", [text for text in HIDING if text != "one\ntwo"])
def test_a_goal_or_waiver_that_an_approver_would_not_see_is_refused(
    agent: Any, plan_file: Path, text: str
) -> None:
    before = plan_file.read_text()
    with pytest.raises(OpswrightError, match=r"plan\.yaml, line 1: .*goal"):
        written(agent(), plan_file, "Put a small model on the board", json.dumps(text))
    plan_file.write_text(before)
    with pytest.raises(OpswrightError, match=r"plan\.yaml, line 6: .*waive"):
        written(agent(), plan_file, "{skill: publish", f"{{skill: publish, waive_gate: {json.dumps(text)}")


def test_a_goal_over_several_lines_is_one_sentence(agent: Any, plan_file: Path) -> None:
    plan = written(agent(), plan_file, "Put a small model on the board", "|\n  Put a model\n  on the board\n")
    assert plan.goal == "Put a model on the board"


@pytest.mark.parametrize(
    "after", ["5", "[[collect]]", "{a: b}", "[1]", "!!int abc", "!!timestamp abc", "9" * 5000]
)
def test_an_order_that_is_none_is_said_in_words(agent: Any, plan_file: Path, after: str) -> None:
    with pytest.raises(OpswrightError, match=r"plan\.yaml, line 4"):
        written(agent(), plan_file, "{skill: train,", f"{{skill: train, after: {after},")


def _deep(plan: dict[str, Any]) -> None:
    value: Any = "x"
    for _ in range(900):
        value = [value]
    plan["steps"][0]["arguments"]["source"] = value


CHANGES: dict[str, Callable[[dict[str, Any]], object]] = {
    "no steps": lambda plan: plan.update(steps=[]),
    "a step id with NUL": lambda plan: plan["steps"][3].update(id="li\0ve"),
    "a step id with an escape": lambda plan: plan["steps"][3].update(id="live\x1b[8m"),
    "an argument with NUL": lambda plan: plan["steps"][3]["arguments"].update(board="a\0b"),
    "a gate's name with an escape": lambda plan: plan.update(gates={"\x1b[2K": {"suite": "s"}}),
    "deep arguments": _deep,
    **{f"goal {text!r}": lambda plan, text=text: plan.update(goal=text) for text in HIDING},  # type: ignore[misc]
    **{
        f"waiver {text!r}": lambda plan, text=text: plan["steps"][3].update(waive_gate=text)  # type: ignore[misc]
        for text in HIDING
    },
}


def compiled(one: Agent, plan_file: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(one.plan_for(Ask("plan_file", str(plan_file))).plan.document())
    return document


@pytest.mark.parametrize("change", CHANGES)
def test_a_compiled_plan_that_hides_something_or_holds_nothing_is_refused(
    agent: Any, plan_file: Path, change: str
) -> None:
    one: Agent = agent()
    document = compiled(one, plan_file)
    CHANGES[change](document["plan"])
    if change != "deep arguments":  # whoever changes a plan gives it its new id
        document["id"] = sha256_json(document["plan"])
    Path("plan.json").write_bytes(
        json.dumps(document).encode() if change == "deep arguments" else canonical_json(document)
    )
    with pytest.raises(OpswrightError) as caught:
        one.plan_for(Ask("compiled_plan", "plan.json"))
    assert caught.value.exit_code in (2, 7) and "\x1b" not in str(caught.value)


@pytest.mark.parametrize("folder", ["\0", "a\x1b[2K", 5, None, ["x"]])
def test_a_compiled_plan_whose_folder_is_no_path_is_refused(agent: Any, plan_file: Path, folder: Any) -> None:
    one: Agent = agent()
    Path("plan.json").write_text(json.dumps({**compiled(one, plan_file), "folder": folder}))
    with pytest.raises(OpswrightError, match="'folder' must be a path"):
        one.plan_for(Ask("compiled_plan", "plan.json"))
