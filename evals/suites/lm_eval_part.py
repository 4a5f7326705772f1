"""A suite that is a task of lm-evaluation-harness: how its file names it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from ...core.errors import AskError
from ..lm_eval.task import BuiltPrompt, LmEvalTask, read_requests, task_of
from ..scorers import ScorerSpec


class FilePart(BaseModel):
    """A file or folder, named as a plan's digest finds it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: str


class LmEvalPart(BaseModel):
    """A task of lm-evaluation-harness, in place of samples and prompt."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    requests: FilePart = Field(description="What it asks, as the task was built.")
    tasks: FilePart | None = Field(None, description="Folder of its YAML files, data and code.")
    data: dict[str, FilePart] = Field(
        default_factory=dict, description="Files in place of its data, by split."
    )


def read_lm_eval(path: Path, part: LmEvalPart, tags: list[str]) -> dict[str, Any]:
    """The fields of a Suite that its task decides; AskError for a file that is not there or not of a task."""
    beside = path.parent
    built, digest, items = read_requests(beside / part.requests.file, tags)
    task = LmEvalTask(
        built,
        digest,
        None if part.tasks is None else _there(beside / part.tasks.file),
        {split: _there(beside / one.file) for split, one in part.data.items()},
    )
    return {
        "items": items,
        "task": task_of(built),
        "prompt": BuiltPrompt(plain=not built.chat),
        "max_new_tokens": built.generation.max_tokens if built.kind == "generate_until" else None,
        "stop": built.generation.until,
        "lm_eval": task,
        "scorers": tuple(map(ScorerSpec, built.scored_by())),
    }


def _there(path: Path) -> Path:
    """A file or folder that a suite names, as short as it can be typed."""
    found, here = path.resolve(), Path.cwd()
    if not found.exists():
        raise AskError(f"there is no {path}. Check the path.")
    return found.relative_to(here) if found.is_relative_to(here) else found
