"""Questions about sums of what was spent, and about what a person spent."""

from __future__ import annotations

from typing import Any

import pytest

from opswright.agents.planner import RecordAnswer
from opswright.record.spending import spend_report


@pytest.mark.parametrize(
    "question",
    [
        "how much did we spend this month?",
        "what was spent so far?",
        "who spent the most?",
        "how much have we spent in total",
        "what did everything cost so far?",
    ],
)
def test_a_sum_is_of_everybody_and_says_who_spent_what(ask: Any, world: Any, question: str) -> None:
    report = spend_report(world("rich").workspace, "person")
    found = ask(question)
    assert isinstance(found, RecordAnswer) and found.about == "cost", found
    assert f"{report.total.spent['minutes']:.1f} minutes" in found.text
    assert all(line.name in found.text for line in report.lines) and "opswright spend" in found.text


def test_what_a_person_spent_is_that_persons_alone(ask: Any, world: Any) -> None:
    first, *others = spend_report(world("rich").workspace, "person").lines
    found = ask(f"how many minutes has {first.name} spent?")
    assert isinstance(found, RecordAnswer) and found.text.startswith(f"{first.name} spent so far: ")
    assert f"{first.spent['minutes']:.1f} minutes" in found.text
    assert not any(f"{line.name}:" in found.text for line in others)


def test_a_time_in_which_nothing_was_spent_is_told_as_nothing(ask: Any) -> None:
    found = ask("how much did we spend in March 2020?")
    assert isinstance(found, RecordAnswer) and found.text.startswith("Spent in march 2020: nothing.")


def test_what_one_run_cost_is_not_a_sum(ask: Any) -> None:
    found = ask("what did the last run cost?")
    assert isinstance(found, RecordAnswer) and found.text.startswith("Run ")
