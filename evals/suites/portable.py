"""A suite as one JSON document, for a process that may be on another machine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...core.errors import AskError, IntegrityError
from ...data.sample import Sample
from ..prompts import Prompt
from ..scorers.registry import ScorerSpec
from .base import Suite


def suite_document(suite: Suite) -> dict[str, Any]:
    """What asks and scores of a suite; AskError for one scored by a project's own file or by a judge."""
    if files := [spec.name for spec in suite.specs if spec.file is not None]:
        raise AskError(
            f"suite {suite.name} is scored by the project's own file ({', '.join(files)}), which is not run "
            "there. Take a suite whose scorers are built in or installed."
        )
    if suite.lm_eval is not None:
        raise AskError(
            f"suite {suite.name} is scored by lm-evaluation-harness, which is not there. Take a suite whose "
            "scorers are built in or installed."
        )
    if suite.asks_server:
        raise AskError(
            f"suite {suite.name} asks a judge or an embedder, which costs and may answer otherwise each "
            "time, so its scores do not choose weights. Take a suite whose scorers ask nobody."
        )
    return {
        "name": suite.name,
        "digest": suite.digest,
        "task": suite.task,
        "items": [item.document() for item in suite.items],
        "prompt": suite.prompt.document(),
        "scorers": [
            {"name": spec.name, "parameters": dict(spec.parameters), "label": spec.label, "take": spec.take}
            for spec in suite.scorers
        ],
        "choose_by": suite.choose_by,
        "max_new_tokens": suite.max_new_tokens,
    }


def suite_of(document: Mapping[str, Any]) -> Suite:
    """The suite of a document that `suite_document` gave; IntegrityError when it is not what it was."""
    prompt = document["prompt"]
    suite = Suite(
        name=document["name"],
        items=tuple(Sample.from_document(item) for item in document["items"]),
        task=document["task"],
        prompt=Prompt(
            prompt["system"],
            prompt["template"],
            tuple(Sample.from_document(one) for one in prompt["examples"]),
            prompt["answer_prefix"],
        ),
        scorers=tuple(ScorerSpec(**one) for one in document["scorers"]),
        choose_by=document["choose_by"],
        max_new_tokens=document["max_new_tokens"],
    )
    if suite.digest != document["digest"]:
        raise IntegrityError(f"suite {suite.name} is not what was handed over: its digest is another.")
    return suite
