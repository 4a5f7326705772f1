"""Every sentence that is kept: what it must lead to, and above all what it must never lead to."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from opswright.agents.planner.evaluation import SETS

World = Callable[[str], Any]


def _outcomes(scoring: ModuleType, world: World, name: str) -> list[Any]:
    return [scoring.judge(one, world(one.state)) for one in scoring.load(name)]


@pytest.mark.parametrize(
    ("name", "least"),
    [
        ("built", 1.0),
        ("held_out", 0.95),
        ("third", 0.95),
        ("fourth", 0.89),
        ("fifth", 0.94),
        ("sixth", 0.92),
        ("seventh", 0.84),
        ("eighth", 0.96),
        ("ninth", 0.84),
        ("tenth", 0.83),
        ("eleventh", 0.65),
        ("twelfth", 0.72),
    ],
)
def test_the_sentences_lead_where_they_should(
    scoring: ModuleType, world: World, name: str, least: float
) -> None:
    outcomes = _outcomes(scoring, world, name)
    wrong = [f"{one.sentence.say}: {one.got} {one.shown}" for one in outcomes if not one.right]
    assert len(wrong) <= (1 - least) * len(outcomes), "\n".join(wrong)


@pytest.mark.parametrize("name", SETS)
def test_no_trap_leads_to_a_plan_that_changes_something(scoring: ModuleType, world: World, name: str) -> None:
    outcomes = [one for one in _outcomes(scoring, world, name) if one.sentence.trap]
    assert len(outcomes) > 40 and [one.sentence.say for one in outcomes if one.changed_wrongly] == []


def test_there_are_as_many_sentences_as_were_promised_and_none_stands_in_two_sets(
    scoring: ModuleType,
) -> None:
    sets = {name: {one.say for one in scoring.load(name)} for name in ("built", "held_out", "third")}
    assert len(sets["built"]) > 220 and len(sets["held_out"]) > 220
    alike = sets["built"] & (sets["held_out"] | sets["third"])
    assert len(alike) <= 5, alike  # short ones, such as "deploy"
    manners = {one.manner for name in sets for one in scoring.load(name)}
    assert {"terse", "polite", "typos", "non-native", "chatty", "plain", "foreign"} <= manners
