"""From a row's fields to a sample, by its columns: texts as they are, or the fault of the row."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from .columns import Columns
from .rows import Reason
from .sample import ASSISTANT, Message, Sample

_ROLES = ("system", "developer", "user", "assistant", "tool", "function")
_SHAREGPT = {
    "human": "user",
    "user": "user",
    "gpt": ASSISTANT,
    "chatgpt": ASSISTANT,
    "assistant": ASSISTANT,
    "bot": ASSISTANT,
    "model": ASSISTANT,
    "system": "system",
    "tool": "tool",
    "observation": "tool",
}


class RowFault(Exception):
    """Why a row cannot be a sample."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(detail)
        self.reason, self.detail = reason, detail


def to_sample(fields: Mapping[str, Any], columns: Columns, id: str) -> Sample:
    """The sample of a row's columns; RowFault when a part is missing, empty or of another type."""
    choices = _choices(fields, columns)
    answers: Sequence[str] = ()
    if columns.messages:
        messages = _turns(_needed(fields, columns.messages), columns.messages)
    else:
        messages = _one_turn(fields, columns)
    if columns.target and columns.rejected:
        messages, answers, rejected = _preference(fields, columns, messages)
    else:
        rejected = _texts(fields, columns.rejected)
        if columns.target:
            given = _needed(fields, columns.target)
            answers = (_choice(given, choices, fields, columns),) if choices else _targets(given, columns)
    if answers and messages and messages[-1]["role"] == ASSISTANT:
        raise RowFault(Reason.WRONG_TYPE, "the messages end with an answer, and there is a target too")
    sample = Sample(
        id,
        messages,
        tuple(answers),
        choices,
        _contexts(fields, columns.contexts),
        _tools(fields, columns.tools),
        _tags(fields, columns.tags),
        _name(fields, columns.group),
        tuple(rejected),
        _paraphrase(fields, columns.paraphrase),
    )
    _check(sample)
    return sample


def unused(fields: Mapping[str, Any], used: Mapping[str, str]) -> list[str]:
    """The fields of a row that hold something and are no part of its sample."""
    return [name for name, held in fields.items() if name not in used and held not in (None, "", [], {})]


def _paraphrase(fields: Mapping[str, Any], column: str | None) -> dict[str, str]:
    """The metadata of a row that brings its question in other words."""
    other = fields.get(column) if column else None
    return {"paraphrase": _text(other, str(column))} if other else {}


def _needed(fields: Mapping[str, Any], column: str) -> Any:
    if column not in fields:
        raise RowFault(Reason.MISSING_FIELD, f"no '{column}'")
    return fields[column]


def _text(value: Any, what: str, empty: Reason = Reason.EMPTY_TEXT) -> str:
    if isinstance(value, str):
        return value
    if value is None:
        raise RowFault(empty, f"{what} is empty")
    raise RowFault(Reason.WRONG_TYPE, f"{what} is {type(value).__name__}, not a string")


def _one_turn(fields: Mapping[str, Any], columns: Columns) -> tuple[Message, ...]:
    """The system prompt, if any, and what the user says; a prompt may be a conversation itself."""
    if columns.user is None:
        return ()
    asked = _needed(fields, columns.user)
    if isinstance(asked, list):
        return _turns(asked, columns.user)
    content = _text(asked, columns.user)
    about = fields.get(columns.input) if columns.input else None
    if about not in (None, ""):
        content = f"{content}\n\n{_text(about, str(columns.input))}"
    said: list[Message] = [{"role": "user", "content": content}]
    system = fields.get(columns.system) if columns.system else None
    if system not in (None, ""):
        said.insert(0, {"role": "system", "content": _text(system, str(columns.system))})
    return tuple(said)


def _turns(value: Any, column: str) -> tuple[Message, ...]:
    """Messages as OpenAI has them; ShareGPT's `from` and `value` become `role` and `content`."""
    turns = _unpacked(value)
    if not isinstance(turns, list) or not all(isinstance(turn, dict) for turn in turns):
        raise RowFault(Reason.WRONG_TYPE, f"{column} is not a list of messages")
    if not turns:
        raise RowFault(Reason.EMPTY_TEXT, f"{column} is empty")
    return tuple(_turn(turn, column) for turn in turns)


def _turn(turn: Mapping[str, Any], column: str) -> Message:
    if "role" not in turn and "from" in turn:
        role = _SHAREGPT.get(str(turn["from"]))
        turn = {"role": role or turn["from"], "content": turn.get("value"), **_others(turn, "from", "value")}
    role, content, calls = turn.get("role"), turn.get("content"), turn.get("tool_calls")
    if role not in _ROLES:
        raise RowFault(Reason.WRONG_TYPE, f"{column}: unknown role {role!r} (known: {', '.join(_ROLES)})")
    empty = [name for name, held in turn.items() if held is None and name != "content"]
    if empty:  # a table fills what one row has and another has not
        turn = _others(turn, *empty)
    if isinstance(content, str) or (content is None and calls) or _is_parts(content):
        return turn
    kind = "missing" if content is None else type(content).__name__
    raise RowFault(Reason.WRONG_TYPE, f"{column}: content of {role} is {kind}, not a string")


def _others(turn: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in turn.items() if name not in names}


def _is_parts(content: Any) -> bool:
    return isinstance(content, list) and all(isinstance(part, dict) and "type" in part for part in content)


def _unpacked(value: Any) -> Any:
    """A list or object that a table's cell holds as JSON; anything else as it is."""
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def _texts(fields: Mapping[str, Any], column: str | None) -> tuple[str, ...]:
    """A text as one, a list of texts as they are; nothing for nothing."""
    value = fields.get(column) if column else None
    if value in (None, "", []):
        return ()
    if isinstance(value, list):
        return tuple(_text(one, f"{column}[{at}]") for at, one in enumerate(value))
    return (_text(value, str(column)),)


def _contexts(fields: Mapping[str, Any], column: str | None) -> tuple[str, ...]:
    if column is None:
        return ()
    value = _unpacked(fields.get(column))
    if isinstance(value, list):
        return _texts({column: value}, column)
    return _texts(fields, column)


def _targets(value: Any, columns: Columns) -> tuple[str, ...]:
    """The right answers: a text, a list of texts, or SQuAD's {text: [...]}."""
    column = str(columns.target)
    if isinstance(value, Mapping) and isinstance(value.get("text"), list):
        value = value["text"]
    if isinstance(value, list) and value and all(isinstance(one, Mapping) for one in value):
        turns = _turns(value, column)
        if len(turns) == 1 and turns[0]["role"] == ASSISTANT and isinstance(turns[0].get("content"), str):
            return (str(turns[0]["content"]),)
        raise RowFault(Reason.WRONG_TYPE, f"{column} is not one message of the assistant")
    if isinstance(value, list):
        if not value:
            raise RowFault(Reason.EMPTY_LABEL, f"{column} is empty")
        texts = tuple(_text(one, f"{column}[{at}]", Reason.EMPTY_LABEL) for at, one in enumerate(value))
        return tuple(dict.fromkeys(texts))
    return (_text(value, column, Reason.EMPTY_LABEL),)


def _choices(fields: Mapping[str, Any], columns: Columns) -> tuple[str, ...]:
    """The choices: of a list, of ARC's {text: [...], label: [...]}, or of a column each."""
    if columns.choices is None:
        return ()
    if isinstance(columns.choices, tuple):
        given = [_needed(fields, name) for name in columns.choices]
        return tuple(
            _text(one, name) for one, name in zip(given, columns.choices, strict=True) if one is not None
        )
    value = _unpacked(_needed(fields, columns.choices))
    if isinstance(value, Mapping):
        value = value.get("text")
    if not isinstance(value, list) or not value:
        raise RowFault(Reason.WRONG_TYPE, f"{columns.choices} is not a list of choices")
    return tuple(_text(one, f"{columns.choices}[{at}]") for at, one in enumerate(value))


def _choice(given: Any, choices: tuple[str, ...], fields: Mapping[str, Any], columns: Columns) -> str:
    """The choice that a key means: its text, its label, its letter, or its number from 0."""
    if isinstance(given, list) and len(given) == 1:
        given = given[0]
    if isinstance(given, str) and given in choices:
        return given
    key = str(given).strip()
    held = _unpacked(fields.get(columns.choices)) if isinstance(columns.choices, str) else None
    labels = held.get("label") if isinstance(held, Mapping) else columns.choices
    if isinstance(labels, list | tuple) and key in labels and len(labels) == len(choices):
        return choices[labels.index(key)]
    if len(key) == 1 and "A" <= key.upper() <= "Z" and ord(key.upper()) - 65 < len(choices):
        return choices[ord(key.upper()) - 65]
    if key.isdecimal() and not isinstance(given, bool) and int(key) < len(choices):
        return choices[int(key)]
    if given in (None, ""):
        raise RowFault(Reason.EMPTY_LABEL, f"{columns.target} is empty")
    raise RowFault(Reason.WRONG_TYPE, f"{columns.target} {key!r} is none of {len(choices)} choices")


def _preference(
    fields: Mapping[str, Any], columns: Columns, messages: tuple[Message, ...]
) -> tuple[tuple[Message, ...], Sequence[str], Sequence[str]]:
    """What is asked, the better answer, the worse one. Both may be whole conversations that share a start."""
    better, worse = _needed(fields, str(columns.target)), _needed(fields, str(columns.rejected))
    if not isinstance(better, list):
        text = _text(better, str(columns.target), Reason.EMPTY_LABEL)
        if not messages:
            raise RowFault(Reason.MISSING_FIELD, "no prompt: chosen and rejected are texts alone")
        return messages, (text,), (_text(worse, str(columns.rejected), Reason.EMPTY_LABEL),)
    good, bad = _turns(better, str(columns.target)), _turns(worse, str(columns.rejected))
    same = min(len(good), len(bad)) - 1
    answers = [one[-1].get("content") for one in (good, bad)]
    if (
        good[:same] != bad[:same]
        or len(good) != len(bad)
        or any(one[-1]["role"] != ASSISTANT for one in (good, bad))
    ):
        raise RowFault(
            Reason.WRONG_TYPE, "chosen and rejected must differ in the assistant's last message alone"
        )
    texts = [_text(answer, "the last message", Reason.EMPTY_LABEL) for answer in answers]
    return good[:same] or messages, texts[:1], texts[1:]


def _tools(fields: Mapping[str, Any], column: str | None) -> tuple[Mapping[str, Any], ...]:
    value = _unpacked(fields.get(column)) if column else None
    if not value:
        return ()
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise RowFault(Reason.WRONG_TYPE, f"{column} is not a list of tool schemas")
    return tuple(value)


def _tags(fields: Mapping[str, Any], tags: Mapping[str, str]) -> dict[str, str]:
    values = {name: _name(fields, column) for name, column in tags.items()}
    return {name: value for name, value in values.items() if value is not None}


def _name(fields: Mapping[str, Any], column: str | None) -> str | None:
    """A value that names something, as text; None for nothing, NaN among it."""
    value = fields.get(column) if column else None
    return None if value is None or value == "" or value != value else str(value)


def _check(sample: Sample) -> None:
    """RowFault for blank texts, and for what no file can hold: half of a surrogate pair, NaN."""
    if not any(_says_something(one) for one in sample.messages if one["role"] != ASSISTANT):
        raise RowFault(Reason.EMPTY_TEXT)
    for target in sample.targets:
        if not target.strip():
            raise RowFault(Reason.EMPTY_LABEL)
    last = sample.messages[-1]
    if last["role"] == ASSISTANT and not last.get("tool_calls") and not _says_something(last):
        raise RowFault(Reason.EMPTY_LABEL)
    texts = [*sample.targets, *sample.choices, *sample.contexts, *sample.rejected, *sample.tags.values()]
    for one in sample.messages:
        content = one.get("content")
        plain = isinstance(content, str) and len(one) == 2
        texts.append(str(content) if plain else _as_json(one))
    if sample.tools:
        texts.append(_as_json(sample.tools))
    try:
        "".join((*texts, sample.group or "")).encode()
    except UnicodeEncodeError:
        raise RowFault(Reason.NOT_UTF8, "half of a surrogate pair, which no file can hold") from None


def _as_json(value: Any) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise RowFault(Reason.WRONG_TYPE, f"a message or tool is no JSON: {error}") from None


def _says_something(message: Message) -> bool:
    content = message.get("content")
    return bool(content.strip() if isinstance(content, str) else content)
