"""What the rows of a source are: the shape of each by the names of its columns, the task by what they say."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import NamedTuple

from .columns import LABELS, Columns, recognise, usual_text
from .sample import Sample, Task

LABEL_COLUMN = "label"
_KNOWN = 2000  # sets of names that are remembered
_FEW_ROWS = 20  # too few to tell labels from free answers by how often they recur
_LABEL_CHARS = 80


class RowShape(NamedTuple):
    """Which columns hold what, the task of such rows, and each column with the part it is taken for."""

    columns: Columns
    task: Task
    used: dict[str, str]


class RowShapes:
    """The shape of a row by the names of its columns; each set of names is recognised once."""

    def __init__(self, mapping: Columns) -> None:
        self.mapping, self.known = mapping, dict[tuple[str, ...], RowShape | None]()

    def of(self, fields: Mapping[str, object]) -> RowShape | None:
        """The shape of a row; None for one that is not known."""
        names = tuple(fields)
        if names not in self.known:
            if len(self.known) > _KNOWN:  # rows of ever new names must not fill the memory
                self.known.clear()
            self.known[names] = self._find(names)
        return self.known[names]

    def _find(self, names: tuple[str, ...]) -> RowShape | None:
        known, task = recognise(names) or (Columns(), None)
        asked = self.mapping
        if asked.target and not asked.says_what_is_asked and not known.says_what_is_asked:
            known = Columns(user=usual_text(names))
        elif (
            asked.user and asked.user != known.user
        ):  # what is known of another text's answer is not known here
            usual = LABEL_COLUMN if LABEL_COLUMN in names else known.target or LABEL_COLUMN
            known, task = Columns(target=usual), None
        columns = asked.over(known)
        if not columns.says_what_is_asked:
            return None
        return RowShape(columns, _task_of(asked) or task or _usual_task(columns), columns.used())


def _task_of(columns: Columns) -> Task | None:
    """The task that only rows with such columns have."""
    if columns.rejected:
        return "prefer"
    if columns.choices:
        return "choose"
    return "answer" if columns.contexts else None


def _usual_task(columns: Columns) -> Task:
    if columns.messages:
        return "chat"
    return "classify" if columns.target in LABELS else "generate"


def no_shape(fields: Mapping[str, object]) -> str:
    """That the columns of a row say nothing, in words."""
    return f"none of the shapes is known by the columns {', '.join(map(str, list(fields)[:30]))}"


def refined_task(task: Task, samples: list[Sample], named: bool) -> Task:
    """The task, told from what is asked and answered where the names of columns do not tell it.

    named: whether the column of the labels was named by a person.
    """
    if task not in ("classify", "generate", "chat") or not samples:
        return task
    if any(len(one.prompt) > 1 or one.tools for one in samples):
        return task
    answers = [one.answer for one in samples if one.answer is not None]
    if answers and sum(map(_is_json, answers)) >= 0.9 * len(answers):
        return "extract"
    free: Task = "generate"
    if len(answers) < _FEW_ROWS:
        return free if task == "chat" else task
    different, chars = len(set(answers)), sum(map(len, answers))
    if task == "classify":
        return task if named or different <= len(answers) / 2 else free
    short = chars <= _LABEL_CHARS / 2 * len(answers) and max(map(len, answers)) <= _LABEL_CHARS
    return "classify" if short and different <= len(answers) / 5 else free


def _is_json(answer: str) -> bool:
    if answer.lstrip()[:1] not in ("{", "["):
        return False
    try:
        return isinstance(json.loads(answer), dict | list)
    except (ValueError, RecursionError):
        return False
