"""Where a suite's samples come from: written in it, a file beside it, or another suite."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ...core.errors import AskError
from ...core.explain import explain
from ...data.columns import Columns
from ...data.read import Source, read_samples
from ...data.sample import Sample, Task

_LONGEST_LINE = 1 << 20
_FIELDS = frozenset(
    (
        *("id", "messages", "targets", "choices", "contexts", "tools", "tags", "group", "metadata"),
        *("text", "target"),
    )
)


def read_file(
    path: Path,
    columns: Mapping[str, Any] | None = None,
    tags: Collection[str] = (),
    task: Task | None = None,
    leave_out: bool = False,
) -> list[Sample]:
    """The samples of a file of any shape that datasets may have, or of JSON lines of Sample's own fields.

    columns: which column is what, where its name does not tell. tags: columns that are tags by that name.
    leave_out: whether rows that cannot be taken are left out; without it AskError names the first, and why.
    """
    if columns is None and path.suffix == ".jsonl" and _holds_documents(path):
        return list(_documents(path))
    mapped = as_columns(columns, tags)
    reading = read_samples(Source(path, columns=mapped, task=task))
    samples = list(reading)
    if reading.dropped and not leave_out:
        first = reading.dropped[0]
        why = f"{first.reason}{f': {first.detail}' if first.detail else ''}"
        raise AskError(
            f"{path}, row {first.row}: {why} ({len(reading.dropped)} of "
            f"{len(samples) + len(reading.dropped)} rows cannot be taken). Mend the file, or leave such rows "
            "out by `leave_out: true` beside it."
        )
    return samples


def as_columns(columns: Mapping[str, Any] | None, tags: Collection[str] = ()) -> Columns | None:
    """The mapping that is asked for, with the tags that the suite names; None without any."""
    if columns is None and not tags:
        return None
    try:
        mapped = Columns.model_validate(dict(columns or {}))
    except ValidationError as error:
        raise AskError(f"columns: {'; '.join(explain(error, Columns))}") from error
    return mapped.model_copy(update={"tags": {**{tag: tag for tag in tags}, **mapped.tags}})


def _holds_documents(path: Path) -> bool:
    """Whether the first line is a sample as we write one, which no data set's rows look like."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            first = json.loads(file.readline(_LONGEST_LINE))
    except (OSError, ValueError):
        return False
    return isinstance(first, dict) and ("targets" in first or {"text", "target"} <= set(first))


def _documents(path: Path) -> Iterator[Sample]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise AskError(f"cannot read the samples in {path}: {error}.") from error
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                yield written(json.loads(line), f"{path.stem}-{number:05d}")
            except (ValueError, AskError) as error:
                raise AskError(f"{path}, line {number}: {error}") from error


def written(document: Any, id: str) -> Sample:
    """The sample of a document: Sample's own fields, or in short `text` for what the user says and `target`.

    id: the sample's, where the document has none. AskError for anything else.
    """
    if not isinstance(document, Mapping) or not all(isinstance(name, str) for name in document):
        raise AskError(f"a sample is a mapping, found {type(document).__name__}.")
    if unknown := sorted(set(document) - _FIELDS):
        raise AskError(f"a sample has no field '{unknown[0]}' (it has: {', '.join(sorted(_FIELDS))}).")
    if ("messages" in document) == ("text" in document):
        raise AskError("a sample has `messages`, or `text` for what the user says: one of them.")
    if "target" in document and "targets" in document:
        raise AskError("a sample has `target` or `targets`, not both.")
    targets = document.get("targets", [document["target"]] if "target" in document else [])
    if "text" in document:
        messages: tuple[Any, ...] = ({"role": "user", "content": _text(document["text"], "text")},)
    else:
        messages = _messages(document["messages"])
    group = document.get("group")
    return Sample(
        id=_text(document.get("id", id), "id"),
        messages=messages,
        targets=_texts(targets, "targets"),
        choices=_texts(document.get("choices", []), "choices"),
        contexts=_texts(document.get("contexts", []), "contexts"),
        tools=tuple(document.get("tools", [])),
        tags={name: _text(value, f"tag {name}") for name, value in dict(document.get("tags", {})).items()},
        group=None if group is None else _text(group, "group"),
        metadata=_mapping(document.get("metadata", {}), "metadata"),
    )


def _mapping(value: Any, name: str) -> dict[str, Any]:
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise AskError(f"`{name}` is a mapping.")
    return dict(value)


def _messages(value: Any) -> tuple[Mapping[str, Any], ...]:
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
        raise AskError("`messages` is a list of messages with role and content.")
    for message in value:
        if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
            raise AskError("`messages` is a list of messages with role and content.")
    return tuple(value)


def _texts(value: Any, name: str) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise AskError(f"`{name}` is a list of texts.")
    return tuple(_text(one, name) for one in value)


def _text(value: Any, name: str) -> str:
    """A text; a number that YAML or JSON took for one is refused, since 1.0 would become another text."""
    if not isinstance(value, str):
        raise AskError(f"`{name}` holds {value!r}, which is not text: put it in quotes.")
    return value
