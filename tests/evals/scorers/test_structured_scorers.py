from __future__ import annotations

import json
from typing import Any

import pytest

from opswright.core.errors import AskError
from opswright.data.sample import Sample
from opswright.evals.scorers import Score, ScorerSpec, ScoringContext, load_scorer

CALL = {"name": "book", "arguments": {"city": "Oslo", "people": 4}}
TOOL = {
    "type": "function",
    "function": {
        "name": "book",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "people": {"type": "integer"}},
            "required": ["city"],
        },
    },
}


def score(name: str, answer: Any, target: Any = CALL, tools: Any = (), **parameters: Any) -> Score:
    text = answer if isinstance(answer, str) else json.dumps(answer)
    made = load_scorer(ScorerSpec(name, parameters), ScoringContext("extract"))
    return made.score(Sample.of("1", "q", json.dumps(target), tools=tools), text)


def test_json_is_exact_whatever_its_white_space_and_order() -> None:
    assert score("json_exact", '{"arguments": {"people": 4.0,\n "city": "Oslo"}, "name": "book"}').value == 1
    assert score("json_exact", "```json\n" + json.dumps(CALL) + "\n```").value == 1
    assert score("json_exact", {**CALL, "name": "Book"}).value == 0
    assert score("json_exact", "Sure! " + json.dumps(CALL)).value == 0
    assert score("json_exact", [1, 2], [2, 1]).value == 0


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (True, 1),
        (None, "null"),
        ("1", 1),
        ({"a.b": 1}, {"a": {"b": 1}}),
        ([], {}),
        ({"": 1}, 1),
        ([[1]], [1]),
    ],
)
def test_values_that_only_look_alike_are_told_apart(one: Any, other: Any) -> None:
    assert score("json_exact", one, {"x": other}).value == 0
    assert score("json_exact", {"x": one}, {"x": other}).value == 0
    assert score("json_exact", {"x": one}, {"x": one}).value == 1


@pytest.mark.parametrize(
    "answer", ["", "{", '{"a": 1, "a": 2}', '{"a": NaN}', "[1,]", "[" * 100_000, '{"a": 1} {"b": 2}']
)
def test_what_is_not_one_json_value_is_not_valid_and_not_right(answer: str) -> None:
    assert score("json_valid", answer).value == 0
    assert score("json_exact", answer).value == 0
    assert score("json_field_f1", answer).value == 0


def test_fields_are_counted_one_by_one() -> None:
    assert score("json_field_f1", {"name": "book", "arguments": {"city": "Oslo"}}).value == pytest.approx(0.8)
    assert score("json_field_f1", {"name": "book", "arguments": {"city": "Rome", "people": 4}}).value == (
        pytest.approx(2 / 3)
    )
    assert score("json_field_f1", CALL).value == 1 and score("json_field_f1", {}).value == 0


def test_a_tool_call_is_the_same_in_every_form_it_comes_in() -> None:
    wire = {
        "id": "c1",
        "type": "function",
        "function": {"name": "book", "arguments": json.dumps(CALL["arguments"])},
    }
    for answer in (CALL, [CALL], wire, [wire], {"tool_calls": [wire]}):
        assert score("json_exact", answer).value == 1, answer
        assert score("tool_name", answer).value == 1, answer
    assert score("tool_name", {"name": "book", "arguments": {}}).value == 1
    assert score("tool_name", [CALL, CALL]).value == 0
    assert score("tool_name", {"name": "cancel", "arguments": {}}).value == 0
    said = Sample(
        "1", ({"role": "user", "content": "q"}, {"role": "assistant", "content": None, "tool_calls": [wire]})
    )
    made = load_scorer(ScorerSpec("json_exact"), ScoringContext("extract"))
    assert made.score(said, json.dumps(CALL)).value == 1


def test_a_schema_is_the_suites_or_that_of_the_tool_that_is_called() -> None:
    assert score("json_schema", CALL, tools=(TOOL,)).value == 1
    assert score("json_schema", {"name": "book", "arguments": {"people": 4}}, tools=(TOOL,)).value == 0
    assert score("json_schema", {"name": "cancel", "arguments": {}}, tools=(TOOL,)).value == 0
    assert score("json_schema", CALL) == Score(None)  # no schema at all
    ages = {"type": "object", "properties": {"age": {"type": "integer"}}, "additionalProperties": False}
    assert score("json_schema", {"age": 3}, schema=ages).value == 1
    assert score("json_schema", {"age": "3"}, schema=ages).value == 0
    assert score("json_schema", "no json", schema=ages).value == 0
    with pytest.raises(AskError, match="invalid schema"):
        score("json_schema", CALL, schema={"type": "nonsense"})


def test_a_right_answer_that_is_not_json_is_said_not_scored() -> None:
    made = load_scorer(ScorerSpec("json_exact"), ScoringContext("extract"))
    found = made.score(Sample.of("1", "q", "plain words"), "{}")
    assert found.value is None and "the right answer is not JSON" in str(found.fault)
