"""Scorers of JSON answers, tool calls among them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from ...core.errors import AskError, NeedsError
from ...core.install import install_hint
from ...data.sample import Sample
from .base import ScoreFunction, ScoringContext, last_tool_calls, right_answers
from .words import overlap_f1

_FENCED = re.compile(r"\A\s*```(?:json)?\s*\n(.*?)\n?\s*```\s*\Z", re.DOTALL)
_NOT_PLAIN = re.compile(r"[.\[\]\"]")  # a name that would read as a path
_CALL_KEYS = {"id", "type", "index", "function"}


class NotJson(ValueError):
    """A text is not one JSON value, or says a name twice."""


def read_json(text: str) -> Any:
    """The JSON value a text is, also one between the fences of a code block; NotJson for any other text.

    Strict: no name twice in an object, no NaN or infinity, no nesting deeper than the parser takes.
    """
    if fenced := _FENCED.match(text):
        text = fenced[1]
    try:
        return json.loads(text, object_pairs_hook=_once, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise NotJson(str(error)) from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise NotJson("a name is given twice")
    return found


def _no_constant(name: str) -> Any:
    raise NotJson(f"{name} is no JSON number")


def json_valid(context: ScoringContext) -> ScoreFunction:
    """The answer is one JSON value."""
    return lambda sample, answer: _read_or_none(answer) is not None


def json_schema(context: ScoringContext, schema: dict[str, Any] | None = None) -> ScoreFunction:
    """The answer is JSON that its schema takes: the suite's, else that of the tool it calls."""
    check = _checker(schema) if schema is not None else None

    def score(sample: Sample, answer: str) -> bool | None:
        if check is None and not sample.tools:
            return None
        read = _read_or_none(answer)
        if read is None:
            return False
        if check is not None:
            return bool(check(read[0]))
        calls = canonical(read[0])
        calls = calls if isinstance(calls, list) else [calls]
        return bool(calls) and all(_fits_a_tool(call, sample) for call in calls)

    return score


def _checker(schema: Mapping[str, Any]) -> Any:
    try:
        from jsonschema import Draft202012Validator, FormatChecker, SchemaError
    except ImportError as error:
        raise NeedsError(f"schemas need jsonschema ({error}). Install: {install_hint('scorers')}") from error
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        raise AskError(f"scorer json_schema: invalid schema: {error.message}") from error
    return Draft202012Validator(schema, format_checker=FormatChecker()).is_valid


def _fits_a_tool(call: Any, sample: Sample) -> bool:
    if not isinstance(call, dict) or "name" not in call:
        return False
    for tool in sample.tools:
        function = tool.get("function", tool)
        if function.get("name") == call["name"]:
            return bool(_checker(function.get("parameters") or {})(call.get("arguments", {})))
    return False


def json_exact(context: ScoringContext) -> ScoreFunction:
    """The answer is the right JSON value, whatever its white space and the order of its names."""

    def score(sample: Sample, answer: str) -> bool:
        read = _read_or_none(answer)
        return read is not None and _key(read[0]) in {_key(one) for one in right_values(sample)}

    return score


def json_field_f1(context: ScoringContext) -> ScoreFunction:
    """F1 of the fields (a path and its value) shared with the right JSON value; not JSON is 0."""

    def score(sample: Sample, answer: str) -> float:
        wanted = [list(fields(one)) for one in right_values(sample)]
        read = _read_or_none(answer)
        return max(overlap_f1(one, list(fields(read[0]))) for one in wanted) if read is not None else 0.0

    return score


def tool_name(context: ScoringContext) -> ScoreFunction:
    """The answer calls the right tools, in their order, whatever their arguments."""

    def score(sample: Sample, answer: str) -> bool:
        read = _read_or_none(answer)
        return read is not None and _names(read[0]) in [_names(one) for one in right_values(sample)]

    return score


def right_values(sample: Sample) -> list[Any]:
    """The right JSON values of a sample; ValueError when a right answer is none."""
    texts = right_answers(sample)
    if not texts and (calls := last_tool_calls(sample)):
        return [list(calls)]
    try:
        return [read_json(text) for text in texts]
    except NotJson as error:
        raise ValueError(f"the right answer is not JSON: {error}") from error


def canonical(value: Any) -> Any:
    """A value with tool calls in one form, {name, arguments}; a list of one call is that call."""
    if isinstance(value, dict) and set(value) == {"tool_calls"}:
        value = value["tool_calls"]
    if isinstance(value, list | tuple):
        calls = [_call(one) for one in value]
        is_one = len(calls) == 1 and isinstance(calls[0], dict) and set(calls[0]) == {"name", "arguments"}
        return calls[0] if is_one else calls
    return _call(value)


def _call(value: Any) -> Any:
    if isinstance(value, Mapping) and isinstance(value.get("function"), Mapping) and set(value) <= _CALL_KEYS:
        value = dict(value["function"])
    if (
        isinstance(value, dict)
        and set(value) == {"name", "arguments"}
        and isinstance(value["arguments"], str)
    ):
        read = _read_or_none(value["arguments"])
        return {**value, "arguments": read[0] if read is not None else value["arguments"]}
    return value


def _names(value: Any) -> list[Any]:
    """The tools that a value calls, in order."""
    value = canonical(value)
    calls = value if isinstance(value, list) else [value]
    return [call.get("name") if isinstance(call, dict) else None for call in calls]


def fields(value: Any) -> Iterator[tuple[str, str]]:
    """Each leaf of a JSON value: its path and its value, numbers by what they are worth."""
    yield from _leaves(canonical(value), "")


def _leaves(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            step = json.dumps(name, ensure_ascii=False) if _NOT_PLAIN.search(name) or not name else name
            yield from _leaves(inner, f"{path}.{step}" if path else step)
    elif isinstance(value, list) and value:
        for number, inner in enumerate(value):
            yield from _leaves(inner, f"{path}[{number}]")
    else:
        yield path, _leaf(value)


def _leaf(value: Any) -> str:
    """A leaf so that 1 is 1.0 and not true."""
    is_whole = isinstance(value, float) and value.is_integer()
    return json.dumps(int(value) if is_whole else value, ensure_ascii=False)


def _key(value: Any) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(fields(value)))


def _read_or_none(text: str) -> tuple[Any] | None:
    try:
        return (read_json(text),)
    except NotJson:
        return None
