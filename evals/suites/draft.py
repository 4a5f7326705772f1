"""A first suite for a file of samples, and what a suite's scorers make of its own right answers."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...core.errors import AskError
from ...core.files import write_atomically
from ...data.read import Source, read_samples
from ...data.sample import Sample
from ..prompts import tag_values
from ..scorers import DEFAULT_SCORERS, right_answers
from ..scorers.base import BatchFunction
from . import load_suite
from .base import Suite
from .samples import as_columns, read_file

_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_-]*$")
_MOST_VALUES = 20  # of a tag that makes slices


def draft_suite(
    name: str,
    samples: Path,
    folder: Path,
    columns: Mapping[str, str] | None = None,
    task: str | None = None,
    leave_out: bool = False,
) -> Path:
    """Write folder/NAME.yaml for a file of samples; AskError when there is one, or it would not load.

    columns, leave_out: see `read_file`. task: what is asked; None: what the samples look like.
    """
    if not _NAME.match(name):
        raise AskError(f"'{name}' is no name for a suite: use letters, digits, - and _.")
    path = folder / f"{name}.yaml"
    if path.exists():
        raise AskError(f"{path} is there already. Choose another name, or remove it.")
    items = read_file(samples, columns, leave_out=leave_out)
    task = task or _task(samples, items, columns)
    if task not in DEFAULT_SCORERS:
        known = ", ".join(DEFAULT_SCORERS)
        raise AskError(
            f"{samples} is data of the task '{task}'; a suite's may be: {known}. Name one by --task."
        )
    sliced = [tag for tag, values in tag_values(items).items() if 1 < len(values) <= _MOST_VALUES]
    where = os.path.relpath(samples.resolve(), folder.resolve()).replace(os.sep, "/")
    source: dict[str, Any] = {"file": where}
    source |= {"columns": dict(columns)} if columns else {}
    source |= {"leave_out": True} if leave_out else {}
    write_atomically(path, _text(name, source, task, sliced, len(items)).encode())
    try:
        load_suite(path)
    except AskError:
        path.unlink()
        raise
    return path


def _task(samples: Path, items: Sequence[Sample], columns: Mapping[str, str] | None) -> str:
    if any(len(right_answers(item)) > 1 for item in items):
        return "generate"
    return str(read_samples(Source(samples, columns=as_columns(columns))).task)


def _text(name: str, source: Mapping[str, Any], task: str, sliced: list[str], n: int) -> str:
    """The file: what decides, and beside it what may be added."""
    import yaml

    body: dict[str, Any] = {"task": task, "samples": dict(source)}
    body["scorers"] = list(DEFAULT_SCORERS[task])  # type: ignore[index]  # checked by the caller
    body["slices"] = {"by": sliced} if sliced else {}
    body["min_items"] = min(n, 100)
    lines = [
        f"# The suite '{name}': {n} samples. The first scorer is what it is judged by.",
        "# May be added: summary, licence, source, prompt: {system, template, few_shot: {file, n, seed}}, "
        "slices: {groups: ...}.",
    ]
    return "\n".join([*lines, yaml.safe_dump(body, sort_keys=False, allow_unicode=True)])


def scores_of_right_answers(suite: Suite, trust: Path | None = None) -> dict[str, dict[str, Any]]:
    """What each scorer makes of every sample's first right answer: mean, number scored, faults and the first.

    A scorer that does not give right answers its full score is worth a look. Those that ask a server are
    made, and ask nothing: they are left out.
    """
    found = {}
    for scorer in suite.load_scorers(trust):
        if isinstance(scorer.function, BatchFunction):
            continue
        scores = scorer.score_all([(item, next(iter(right_answers(item)), "")) for item in suite.items])
        values = [one.value for one in scores if one.value is not None]
        faults = [one.fault for one in scores if one.fault is not None]
        found[scorer.name] = {
            "mean": sum(values) / len(values) if values else None,
            "n": len(values),
            "faults": len(faults),
            "fault": faults[0] if faults else None,
        }
    return found
