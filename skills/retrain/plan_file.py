"""The text of a proposed plan: its parts, each with the sentence a reader needs."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ...core.artifact_refs import DatasetRef
from ...data.read import TEXT_COLUMN
from ...data.row_shapes import LABEL_COLUMN
from ...engines.registry import DEFAULT_TARGET
from .judging import Judging
from .request import RetrainRequest
from .starting_point import StartingPoint
from .whats_new import WhatsNew

Step = tuple[str, dict[str, Any], str]  # its name, what it is, and the sentence above it


def plan_text(request: RetrainRequest, start: StartingPoint, judging: Judging, news: WhatsNew) -> str:
    """The plan file."""
    budget = {"usd": 0} if request.budget_minutes is None else {"minutes": request.budget_minutes}
    top = {"goal": f"Retrain {start.endpoint} after a drift alarm", "budget": budget}
    steps = "".join(
        textwrap.indent(_yaml({name: step}, message), "  ")
        for name, step, message in _steps(request, start, judging)
    )
    return "".join(
        [
            _comment(_why(start, news)),
            _yaml(top),
            _comment(_of_gate(judging)),
            _yaml({"gates": {"release": judging.gate}}),
            f"steps:\n{steps}",
        ]
    )


def compiled_id(text: str) -> str:
    """The id of the plan's text; AskError, with its line, for what would not run."""
    from ...core.compile import compile_plan
    from ...core.plan_file import parse_plan
    from .. import load_registry

    return compile_plan(parse_plan(text, "the proposed plan"), load_registry()).id


def _why(start: StartingPoint, news: WhatsNew) -> Iterator[str]:
    """The header: figures only, for what users wrote has no place in a plan."""
    facts = start.alarm.facts
    verdict = "raised an alarm" if facts["alarm"] else "raised NO alarm; this plan was forced"
    reference = facts["reference"]
    against = facts.get("compared_with") or (DatasetRef(reference).short if reference else "earlier traffic")
    yield "Proposed by `retrain`; nothing of it has run. Read, change, then: opswright run <this file>"
    yield ""
    level = facts.get("level", facts["alpha"])
    yield f"Why: drift on '{start.endpoint}' {verdict}. {facts['n']} requests, {facts['first']} to"
    yield f"{facts['last']}, against {against}; alarm where the corrected p-value is at most {level:g}:"
    for name, test in facts["tests"].items():
        decides = "" if test.get("decides", True) else " (shown only)"
        yield f"  {name:<11} p = {test['p_corrected']:<9.2g} {'ALARM' if test['alarm'] else 'quiet'}{decides}"
    if facts.get("evidence_windows", 0) > 1:
        yield (
            f"  {facts['evidence_windows']:g} windows together: evidence {facts['evidence']:.3g}, alarm at "
            f"{facts['evidence_bound']:g}"
        )
    if news.shown:
        yield (
            f"Of the {news.shown} texts that moved it most, {news.alike} are more like a row of the new data "
            "than like what the model learned."
        )
    yield "What users wrote is on the page beside this file, and in examples.json of the report."


def _of_gate(judging: Judging) -> Iterator[str]:
    yield "Fixed before training; what it says is final. What its rows can show:"
    yield from (f"- {line}" for line in judging.power)
    yield f"The bar on what is new: {judging.bar_says}."


def _steps(request: RetrainRequest, start: StartingPoint, judging: Judging) -> Iterator[Step]:
    rails = start.stable.guardrails if start.stable is not None else None
    yield "golden", _step("golden", suite=judging.source), "What the gate asks must not be learnt."
    yield "data", _step("curate", **_curate(request, start)), _says_of_data(request)
    yield (
        "model",
        _step("finetune", data="${data.dataset}", base=start.base, **start.training),
        "Goes on from the checkpoint that is served, as that was trained.",
    )
    asked = {"suite": judging.source, **judging.arguments}
    asked |= {"slices": judging.slices} if judging.slices else {}
    if not judging.is_measured:
        stable = _step("evaluate", model=start.base, baselines=False, **asked)
        yield "stable", stable, "What is served now, on the same items: the gate compares with it."
    judged = _step("evaluate", model="${model.checkpoint}", **asked) | {"gate": "release"}
    judged |= {} if judging.is_measured else {"after": ["stable"]}
    yield "eval", judged, "NO_GO ends the plan here."
    yield "engine", _engine(request, start, judging), "Must answer as the checkpoint that was judged."
    yield (
        "live",
        _step(
            "deploy",
            bundle="${engine.bundle}",
            **({} if rails is None else {"guardrails": rails}),
            endpoint=start.endpoint,
            canary_percent=request.canary_percent,
        ),
        f"A canary: {request.canary_percent} % of sessions meet it; rails stay as they are.",
    )
    yield (
        "promote",
        _step("promote", endpoint=start.endpoint) | {"after": ["live"]},
        "For everybody, once its probes hold against the stable release.",
    )


def _engine(request: RetrainRequest, start: StartingPoint, judging: Judging) -> dict[str, Any]:
    usual = start.stable.engine if start.stable is not None else ""
    return _step(
        "build-engine",
        model="${model.checkpoint}",
        target=request.target or usual or DEFAULT_TARGET,
        parity_suite=judging.source,
        max_new_tokens=judging.arguments.get("max_new_tokens") or judging.suite.longest_answer,
    )


def _curate(request: RetrainRequest, start: StartingPoint) -> dict[str, Any]:
    source = start.source
    arguments: dict[str, Any] = {"source": source.path.resolve().as_posix(), "layout": source.layout.value}
    arguments |= {"golden": "${golden.dataset}", "task": source.task, "split": source.split}
    arguments |= {"domain_column": source.domain_column, "group_column": source.group_column}
    arguments |= {"text_column": source.text_column if source.text_column != TEXT_COLUMN else None}
    arguments |= {"label_column": source.label_column if source.label_column != LABEL_COLUMN else None}
    if source.columns is not None:
        arguments["columns"] = source.columns.model_dump(mode="json", exclude_defaults=True)
    arguments |= {"domains": list(request.domains) or None, **start.cleaning}
    if request.replay_ratio > 0:
        arguments |= {"replay": start.replay, "replay_ratio": request.replay_ratio}
    return {name: value for name, value in arguments.items() if value is not None}


def _says_of_data(request: RetrainRequest) -> str:
    if request.replay_ratio > 0:
        return f"New data, and {request.replay_ratio:g} earlier rows for each new one."
    return "New data alone: expect the model to forget what it knew; replay_ratio mixes earlier rows in."


def _step(name: str, /, **arguments: Any) -> dict[str, Any]:
    return {"skill": name} | ({"with": arguments} if arguments else {})


def _comment(lines: Iterator[str]) -> str:
    """Lines as comments: what does not print could end the comment and begin a step."""
    plain = ("".join(c if c.isprintable() else "?" for c in line) for line in lines)
    return "".join(f"# {line}".rstrip() + "\n" for line in plain)


def _yaml(value: Mapping[str, Any], message: str = "") -> str:
    """A part of a plan as YAML, below its sentence."""
    import yaml

    plain = yaml.safe_dump(_plain(value), sort_keys=False, width=110)
    return (f"# {message}\n" if message else "") + plain


def _plain(value: Any) -> Any:
    """The value without types that YAML would tag: of references, paths and frozen mappings."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return str(value) if isinstance(value, str | Path) else value
