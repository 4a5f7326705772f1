"""Has a task of lm-evaluation-harness built, and writes the suite that it then is."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...core.errors import AskError
from ...core.files import write_atomically
from ..lm_eval.environment import Run, run_worker
from ..lm_eval.task import BuiltTask, asked_of_worker, check_folder_trusted, write_requests
from . import load_suite


def build_suite(
    task: str,
    folder: Path,
    tasks: Path | None,
    data: Mapping[str, Path],
    trust: Path | None,
    *,
    chat: bool = False,
    shots: int | None = None,
    run: Run = run_worker,
) -> Path:
    """Have a task built, and write folder/TASK.yaml with its requests beside it; AskError where one is there.

    tasks: folder of the project's own tasks; None: one of lm-evaluation-harness's own, on `data` by split.
    """
    if not task or Path(task).name != task:
        raise AskError(f"'{task}' is no task's name. A folder of your own tasks is named by --tasks.")
    path = folder / f"{task}.yaml"
    requests = folder / f"{task}.requests.jsonl"
    if taken := next((one for one in (path, requests) if one.exists()), None):
        raise AskError(f"{taken} is there already. Remove it to have the task built anew.")
    if tasks is not None:
        check_folder_trusted(task, tasks, trust)
    asked = asked_of_worker(task, tasks, data, chat, shots)
    found = run({**asked, "action": "build"})
    built = BuiltTask.model_validate(
        {name: value for name, value in found.items() if name != "items"}
        | {"task": task, "chat": chat, "shots": shots}
    )
    _check(built)
    folder.mkdir(parents=True, exist_ok=True)
    write_requests(requests, built, found["items"])
    try:
        write_atomically(path, _text(built, requests, tasks, data, len(found["items"])).encode())
        load_suite(path)
    except BaseException:
        requests.unlink()
        path.unlink(missing_ok=True)
        raise
    return path


def _check(built: BuiltTask) -> None:
    """AskError for a task that could not be asked, or is scored only as a whole."""
    if built.chat and built.kind == "loglikelihood_rolling":
        raise AskError(
            f"task {built.task} asks how likely whole texts are, which no chat has: leave out --chat."
        )
    if built.chat and any(one.metric == "acc_mutual_info" for one in built.metrics):
        raise AskError(
            f"task {built.task} asks by acc_mutual_info how likely choices are behind nothing, which no chat "
            "is. Leave out --chat, or take that metric out of the task."
        )
    if not built.scored_by():
        names = ", ".join(one.metric for one in built.metrics)
        raise AskError(
            f"task {built.task} is scored only as a whole ({names}), so models could not be compared item by "
            "item. Add a metric that is a mean of items, as exact_match."
        )


def _text(built: BuiltTask, requests: Path, tasks: Path | None, data: Mapping[str, Path], items: int) -> str:
    import yaml

    def named(path: Path) -> dict[str, str]:
        return {"file": Path(os.path.relpath(path.resolve(), requests.parent.resolve())).as_posix()}

    part: dict[str, Any] = {"requests": named(requests)}
    if tasks is not None:
        part["tasks"] = named(tasks)
    if data:
        part["data"] = {split: named(file) for split, file in data.items()}
    body = {"lm_eval": part, "scorers": list(built.scored_by()), "min_items": min(items, 100)}
    lines = [
        f"# The task '{built.task}' of lm-evaluation-harness {built.version}: {items} items. The first "
        "scorer is what it is judged by.",
        "# May be added: summary, licence, source, slices: {by: [FIELD OF ITS DOCUMENTS], groups: ...}.",
    ]
    return "\n".join([*lines, yaml.safe_dump(body, sort_keys=False, allow_unicode=True)])
