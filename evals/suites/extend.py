"""A suite that also asks what is new: the items of another one, and held-out rows, told apart by a tag."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...core.errors import AskError
from ...core.files import write_atomically
from ...data.golden import write_golden
from ...data.sample import Sample
from ..scorers import ScorerSpec
from . import load_suite
from .base import SliceValues, Suite

ORIGIN, NEW, EARLIER = "origin", "new", "earlier"
NEW_SLICE, EARLIER_SLICE = f"{ORIGIN}={NEW}", f"{ORIGIN}={EARLIER}"
_SAMPLES, _EXAMPLES = "golden.jsonl", "examples.jsonl"
_FILE = "file"
_PRIVATE = 0o600


def extend_suite(suite: Suite, rows: Sequence[Sample], folder: Path) -> Suite:
    """Write a suite of the same name into a folder: its items, tagged `origin: earlier`, and rows as `new`.

    It asks and scores as the suite does, and each origin is a slice. What an earlier extension called new is
    earlier now. Raises AskError where `origin` is a tag of the suite's own, for a suite that asks for several
    turns, and where it would not load.
    """
    if suite.turns != "last":
        raise AskError(
            f"suite {suite.name} asks for several turns of a conversation, which no held-out rows join. Name "
            "a suite that asks what is new by `suite` and `new_items`."
        )
    if suite.lm_eval is not None:
        raise AskError(
            f"suite {suite.name} is a task of lm-evaluation-harness, which no held-out rows join. Name a "
            "suite that asks what is new by `suite` and `new_items`."
        )
    if others := set(suite.tags.get(ORIGIN, ())) - {NEW, EARLIER}:
        raise AskError(
            f"items of suite {suite.name} have a tag '{ORIGIN}' of their own ('{min(others)}'), by which a "
            "retraining tells new items from earlier ones. Rename it in the suite's samples."
        )
    folder.mkdir(parents=True, exist_ok=True)
    items = [*(_tagged(item, EARLIER) for item in suite.items), *(_tagged(row, NEW) for row in rows)]
    write_golden(folder / _SAMPLES, sorted(items, key=lambda item: item.answer is None), _PRIVATE)
    if suite.prompt.examples:
        write_golden(folder / _EXAMPLES, _drawn_in_order(suite.prompt.examples), _PRIVATE)
    path = folder / f"{suite.name}.yaml"
    write_atomically(path, _text(suite).encode(), _PRIVATE)
    return load_suite(path)


def _tagged(sample: Sample, origin: str) -> Sample:
    return replace(sample, tags={**sample.tags, ORIGIN: origin})


def _drawn_in_order(examples: Sequence[Sample]) -> list[Sample]:
    """The examples in the order of a file from which seed 0 draws them all as they are."""
    drawn = random.Random(0).sample(range(len(examples)), len(examples))
    places = sorted(range(len(examples)), key=lambda at: drawn[at])
    return [examples[at] for at in places]


def _text(suite: Suite) -> str:
    import yaml

    body = {name: value for name, value in _parts(suite) if value not in (None, "", {}, [])}
    head = "# Written by `retrain`: what the endpoint's suite asks, and held-out rows of what is new."
    return f"{head}\n{yaml.safe_dump(body, sort_keys=False, allow_unicode=True, width=110)}"


def _parts(suite: Suite) -> Iterator[tuple[str, Any]]:
    yield "summary", suite.summary
    yield "task", suite.task
    yield "samples", {"file": _SAMPLES}
    yield "prompt", _prompt(suite)
    yield "scorers", [_scorer(spec) for spec in suite.scorers]
    groups = {name: _values(suite, values) for name, values in suite.groups.items()}
    groups |= {EARLIER_SLICE: {ORIGIN: [EARLIER]}, NEW_SLICE: {ORIGIN: [NEW]}}
    yield "slices", {"by": list(suite.slice_tags), "groups": groups}
    yield "judge", None if suite.judge is None else suite.judge.model_dump(mode="json", exclude_defaults=True)
    yield "min_items", suite.min_items
    yield "choose_by", suite.choose_by if suite.task == "choose" else None
    yield "max_new_tokens", suite.max_new_tokens
    embedder = suite.embedder
    yield "embedder", None if embedder is None else embedder.model_dump(mode="json", exclude_defaults=True)
    yield "licence", suite.licence
    yield "source", suite.source


def _prompt(suite: Suite) -> dict[str, Any]:
    prompt = suite.prompt
    said = {"system": prompt.system, "template": prompt.template, "answer_prefix": prompt.answer_prefix}
    found: dict[str, Any] = {name: text for name, text in said.items() if text is not None}
    if prompt.examples:
        found["few_shot"] = {"file": _EXAMPLES, "n": len(prompt.examples), "seed": 0}
    return found


def _scorer(spec: ScorerSpec) -> dict[str, Any]:
    found: dict[str, Any] = {"name": spec.name}
    for name, value in spec.parameters.items():
        found[name] = {_FILE: value.resolve().as_posix()} if isinstance(value, Path) else value
    if spec.label:
        found["label"] = spec.label
    if spec.take is not None:
        found["take"] = spec.take
    if spec.file is not None:
        found[_FILE] = spec.file.resolve().as_posix()
    return found


def _values(suite: Suite, values: SliceValues) -> dict[str, list[str]]:
    if not isinstance(values, Mapping):
        values = {suite.slice_tags[0]: values}
    return {tag: list(some) for tag, some in values.items()}
