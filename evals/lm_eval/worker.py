"""Builds a task's requests and scores what was answered, by lm-evaluation-harness in its own environment.

It runs as `python -I worker.py ASKED.json FOUND.json` and imports nothing of Opswright. What is asked of it
cannot be told from code of the task's folder, so it runs only where that folder is trusted.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

FORMATS = ("json", "csv", "parquet", "text", "arrow")
SEED, FEW_SHOT_SEED = 0, 1234  # lm-evaluation-harness's own defaults
_LONGEST_FIELD = 80


class TaskRefused(Exception):
    """A task that cannot be asked here, in words."""


def main() -> None:
    """Do what a file asks, and write what was found into another."""
    given, wanted = (Path(one).resolve() for one in sys.argv[1:3])
    asked = json.loads(given.read_text(encoding="utf-8"))
    action = {"build": build, "score": score}[asked["action"]]
    try:
        found = action(asked)
    except TaskRefused as error:
        found = {"refused": str(error)}
    wanted.write_text(json.dumps(found), encoding="ascii")


def build(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Every item of a task as it would be asked, and what its metrics are."""
    from importlib.metadata import version

    task = _task(asked)
    return {
        "version": version("lm-eval"),
        "kind": task.OUTPUT_TYPE,
        "generation": _generation(task),
        "metrics": _metrics(task),
        "items": _items(task, asked),
    }


def score(asked: Mapping[str, Any]) -> dict[str, Any]:
    """What the task makes of the answers: values of each item by metric, and of the whole.

    asked: as for `build`, with `digest` of the items, and `answers`, by item its responses in order.
    """
    task = _task(asked)
    items = _items(task, asked)
    if digest_of(items) != asked["digest"]:
        raise TaskRefused("the task gives other requests than it did when its suite was written")
    answers = asked["answers"]
    names = {number: item["id"] for number, item in enumerate(items)}
    answered = [one for one in task.instances if names[one.doc_id] in answers]
    for one in answered:
        one.resps = [_response(one.request_type, answers[names[one.doc_id]][one.idx])]
    task._instances = answered  # documents without an answer are in no figure
    task.apply_filters()
    by_document: dict[int, list[Any]] = {}
    for one in sorted(answered, key=lambda one: (one.doc_id, one.idx)):
        by_document.setdefault(one.doc_id, []).append(one)
    values: dict[str, dict[str, Any]] = {name: {} for name in answers}
    columns: dict[tuple[str, str], list[Any]] = {}
    for kind in answered[0].filtered_resps:
        for number, requests in by_document.items():
            given = [one.filtered_resps[kind] for one in requests]
            for metric, value in task.process_results(requests[0].doc, given).items():
                columns.setdefault((metric, kind), []).append(value)
                values[names[number]][f"{metric},{kind}"] = _plain(value)
    totals = {f"{metric},{kind}": _total(task, metric, some) for (metric, kind), some in columns.items()}
    return {"values": values, "totals": totals}


def digest_of(items: Sequence[Mapping[str, Any]]) -> str:
    """64 hex digits over all that is asked and expected."""
    lines = (json.dumps(item, sort_keys=True, ensure_ascii=False) for item in items)
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogatepass")).hexdigest()


def _task(asked: Mapping[str, Any]) -> Any:
    """The task with its requests built, as lm-evaluation-harness's own command builds them."""
    import numpy
    from lm_eval.tasks import TaskManager

    random.seed(SEED)
    numpy.random.seed(FEW_SHOT_SEED)
    folder, name = asked["folder"], asked["task"]
    if folder is not None:
        os.chdir(folder)
    _keep_to_files(name, None if folder is None else Path(folder).resolve(), asked["data"])
    manager = TaskManager(include_path=folder, include_defaults=folder is None)
    if name not in manager.all_subtasks:
        raise TaskRefused(_unknown(name, manager))
    task = manager.load([name])["tasks"][name]
    _check(task)
    if asked["shots"] is not None and task.get_config("num_fewshot") != 0:
        task.set_config(key="num_fewshot", value=asked["shots"])
    elif task.get_config("num_fewshot") is None:
        task.set_config(key="num_fewshot", value=0)
    task.set_fewshot_seed(seed=FEW_SHOT_SEED)
    task.build_all_requests(
        apply_chat_template=asked["chat"],
        fewshot_as_multiturn=asked["chat"],
        chat_template=_as_json if asked["chat"] else None,
    )
    return task


def _unknown(name: str, manager: Any) -> str:
    if name in manager.all_groups:
        return f"'{name}' is a group of tasks; name one of them"
    known = sorted(manager.all_subtasks)
    return f"there is no task '{name}' (there are {len(known)}: {', '.join(known[:20])})"


def _keep_to_files(name: str, folder: Path | None, data: Mapping[str, str]) -> None:
    """Have data sets read from files alone, and below the folder: no plan's digest holds any others.

    data: files in place of the task's own data, by split.
    """
    import datasets

    load = datasets.load_dataset

    def load_files(path: str, *more: Any, data_files: Any = None, **options: Any) -> Any:
        if data:
            return load(_format(data), data_files=dict(data))
        if path not in FORMATS or data_files is None:
            raise TaskRefused(
                f"task '{name}' takes its data from a hub ({path}), where it may change and which no plan's "
                "digest holds. Download it once, and name each split's file: --data test=FILE"
            )
        for file in _files(data_files):
            if folder is not None and not Path(file).resolve().is_relative_to(folder):
                raise TaskRefused(
                    f"the data file {file} of task '{name}' lies outside its folder; put it there"
                )
        return load(path, *more, data_files=data_files, **options)

    datasets.load_dataset = load_files


def _format(data: Mapping[str, str]) -> str:
    """How files are read, by their ending, which is the same for all."""
    endings = {Path(file).suffix for file in data.values()}
    known = {".jsonl": "json", ".json": "json", ".csv": "csv", ".parquet": "parquet"}
    if len(endings) > 1 or not endings <= known.keys():
        raise TaskRefused(f"data files are all JSON, CSV or Parquet; found {', '.join(sorted(endings))}")
    return known[endings.pop()]


def _files(named: Any) -> list[str]:
    """Every file that `data_files` names, in whichever form."""
    if isinstance(named, Mapping):
        return [file for some in named.values() for file in _files(some)]
    return [str(named)] if isinstance(named, str) else [str(file) for file in named]


def _check(task: Any) -> None:
    """Refuse what our engines are not asked: pictures, random answers, several to one question."""
    config = task.config
    if getattr(task, "MULTIMODAL", False) or getattr(task, "UNSAFE_CODE", False):
        raise TaskRefused("the task asks about pictures or sound, or runs the code that models write")
    if config.repeats > 1:
        raise TaskRefused(f"the task asks each question {config.repeats} times")
    options = config.generation_kwargs or {}
    if task.OUTPUT_TYPE == "generate_until" and (options.get("do_sample") or options.get("temperature")):
        raise TaskRefused("the task draws its answers at random, so no score could be had twice")


def _as_json(messages: Sequence[Mapping[str, str]], add_generation_prompt: bool = True) -> str:
    """Messages as they are: the model's own template is put around them where it answers."""
    if not add_generation_prompt:
        raise TaskRefused("the task begins the assistant's answer itself (gen_prefix), which no chat can say")
    return json.dumps([dict(one) for one in messages], ensure_ascii=False)


def _generation(task: Any) -> dict[str, Any]:
    """When an answer ends."""
    if task.OUTPUT_TYPE != "generate_until":
        return {}
    options = task.config.generation_kwargs or {}
    until = options.get("until") or []
    return {
        "until": [until] if isinstance(until, str) else [one for one in until if one],
        "max_tokens": int(options.get("max_gen_toks") or options.get("max_new_tokens") or 256),
    }


def _metrics(task: Any) -> list[dict[str, Any]]:
    """Each metric of each filter; `own`: the task's own code computes it."""
    from lm_eval.api.metrics import mean

    return [
        {
            "metric": metric,
            "filter": one.name,
            "mean": task.aggregation().get(metric) is mean,
            "higher_is_better": bool(task.higher_is_better().get(metric)),
            "own": callable(task.config.process_results),
        }
        for one in task._filters
        for metric in task._metric_fn_list
    ]


def _items(task: Any, asked: Mapping[str, Any]) -> list[dict[str, Any]]:
    documents: dict[int, list[Any]] = {}
    for one in task.instances:
        documents.setdefault(one.doc_id, []).append(one)
    as_context = json.loads if asked["chat"] else str
    make = partial(_item, task, as_context)
    return [make(number, documents[number]) for number in sorted(documents)]


def _item(task: Any, as_context: Any, number: int, requests: list[Any]) -> dict[str, Any]:
    """One document: its question, its right answers, and what a model is asked about it."""
    document = requests[0].doc
    if task.OUTPUT_TYPE == "loglikelihood_rolling":
        asked = [["", requests[0].args[0]]]
        question, choices, targets = requests[0].args[0], [], [requests[0].args[0]]
    else:
        is_text = task.OUTPUT_TYPE == "generate_until"
        pairs = sorted(requests, key=lambda one: one.idx)
        asked = [
            [as_context(one.args[0]) if one.args[0] else "", "" if is_text else one.args[1]] for one in pairs
        ]
        choices = [str(one) for one in task.doc_to_choice(document)] if task.config.doc_to_choice else []
        question, targets = _question_and_targets(task, document, choices)
    fields = (
        {
            name: str(value)
            for name, value in document.items()
            if isinstance(value, str | int) and len(str(value)) <= _LONGEST_FIELD
        }
        if isinstance(document, Mapping)
        else {}
    )
    written = json.dumps(document, sort_keys=True, default=str, ensure_ascii=False)
    return {
        "id": f"{task.config.task}-{number:05d}",
        "question": question,
        "targets": targets,
        "choices": choices,
        "asked": asked,
        "fields": fields,
        "document": hashlib.sha256(written.encode("utf-8", "surrogatepass")).hexdigest(),
    }


def _question_and_targets(task: Any, document: Any, choices: list[str]) -> tuple[str, list[str]]:
    text, target = task.doc_to_text(document), task.doc_to_target(document)
    if isinstance(text, int):  # the choices stand before one ending; the text says which is right
        return str(target), [choices[text]]
    right = target if isinstance(target, list) else [target]
    named = [choices[one] if isinstance(one, int) and one < len(choices) else str(one) for one in right]
    return str(text), named


def _response(kind: str, given: Any) -> Any:
    """An answer in the form in which lm-evaluation-harness's models give one."""
    if kind == "loglikelihood":
        return (float(given[0]), bool(given[1]))
    return float(given[0]) if kind == "loglikelihood_rolling" else str(given)


def _plain(value: Any) -> Any:
    """A metric's value as JSON; None for what is no number, nor a pair of them."""
    try:
        return [float(one) for one in value] if isinstance(value, tuple) else float(value)
    except (TypeError, ValueError):
        return None


def _total(task: Any, metric: str, values: list[Any]) -> float:
    from lm_eval.api.metrics import mean

    return float(task.aggregation().get(metric, mean)(values))


if __name__ == "__main__":
    main()
