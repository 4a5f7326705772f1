"""Pages: what MLflow shows of a run and of a step, made from their states and nothing else.

The audit makes the same pages anew and compares them with what MLflow holds.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ...core.artifact_refs import REF_TYPES
from ...core.files import canonical_json
from ..ledger import Phase
from ..run_state import RunState, StepState
from .note import run_note, step_note
from .status import Status, milliseconds, run_status, step_status

KEY = "opswright.key"  # what makes a run or step unique on a tracking server
WORKSPACE = "opswright.workspace"
SEQ, HASH, HEAD = "ledger.seq", "ledger.hash", "ledger.head"
# every tag that a page may have, whatever it is about; a step's artifacts go by their own names
PAGE_TAGS = frozenset(
    {
        *("run", "step", "goal", "plan", "skill", "effect", "phase", "actor", "role", "state", "verdict"),
        *("approved_by", "error", "attempts", "environment", SEQ, HASH, HEAD, WORKSPACE, KEY),
        *("mlflow.user", "mlflow.source.name", "mlflow.source.type", *REF_TYPES),
    }
)
PASSING = frozenset({HEAD, "error", "verdict", "attempts"})  # tags that a later page may lack
_PARAM_CHARACTERS = 6000
_TITLE_CHARACTERS = 80
_DIGEST = re.compile(r"\b[0-9a-f]{64}\b")
_NO_NAME = re.compile(r"[^\w\-./: ]")


@dataclass(frozen=True)
class Figure:
    """One metric value: `at_ms` in milliseconds since 1970, `step` a training step or 0."""

    name: str
    value: float
    at_ms: int
    step: int = 0


@dataclass(frozen=True)
class Page:
    """Everything MLflow shows of one run or step, but its files."""

    key: str
    name: str
    status: Status
    start_ms: int
    end_ms: int | None
    params: Mapping[str, str]
    figures: tuple[Figure, ...]
    tags: Mapping[str, str]
    note: str


def run_page(state: RunState, workspace: str, is_held: bool) -> Page:
    """The page of a run."""
    status = run_status(state, is_held)
    end = state.end
    tags = {
        "run": state.run,
        "goal": state.goal,
        "plan": state.plan or "",
        "actor": state.first.actor,
        "role": state.first.role,
        "state": _state(state, status),
        "verdict": state.verdict or "",
        "approved_by": state.consent.actor if state.consent is not None else "",
        "environment": state.first.environment,
        SEQ: str(state.last.seq),
        HASH: state.last.hash,
        WORKSPACE: workspace,
        KEY: run_key(workspace, state.run),
        "mlflow.user": state.first.actor,
        "mlflow.source.name": f"opswright {state.proposal.get('source', '')}".strip(),
        "mlflow.source.type": "LOCAL",
    }
    if end is not None:
        tags[HEAD] = f"{end.seq}:{end.hash}"
    headline = [
        Figure(f"{step.id}.{_name(name)}", float(value), milliseconds(step.last))
        for step in state.begun
        for name, value in _numbers(step.last.detail.get("metrics", {}))
    ]
    if end is not None and "seconds" in end.detail:
        headline.append(Figure("seconds", float(end.detail["seconds"]), milliseconds(end)))
    return Page(
        key=tags[KEY],
        name=f"{state.verdict or _state(state, status)} · {_title(state.goal)} · {state.run}",
        status=status,
        start_ms=milliseconds(state.first),
        end_ms=None if status in (Status.RUNNING, Status.SCHEDULED) else milliseconds(state.last),
        params={
            name: value
            for name, value in _params({"gates": state.proposal.get("gates", {})}).items()
            if value not in ("null", "{}")
        },
        figures=tuple(headline),
        tags={name: value for name, value in tags.items() if value},
        note=run_note(state, status),
    )


def step_page(state: RunState, step: StepState, workspace: str, is_held: bool) -> Page:
    """The page of a step."""
    status = step_status(step, run_is_open=state.end is None and is_held)
    last = step.last
    tags = {
        "run": state.run,
        "step": step.id,
        "skill": step.skill,
        "effect": step.effect,
        "phase": last.phase,
        "plan": last.plan or "",
        "actor": last.actor,
        "role": last.role,
        "verdict": str(step.verdict["decision"]) if step.verdict else "",
        "error": str(step.error.get("family", "")),
        "attempts": str(len(step.intents)) if len(step.intents) > 1 else "",
        "environment": last.environment,
        SEQ: str(last.seq),
        HASH: last.hash,
        WORKSPACE: workspace,
        KEY: step_key(workspace, state.run, step.id),
        "mlflow.user": last.actor,
        "mlflow.source.name": f"opswright {step.skill}",
        "mlflow.source.type": "LOCAL",
        **{name: str(ref) for name, ref in last.artifacts.items()},
    }
    return Page(
        key=tags[KEY],
        name=f"{step.number} {step.id} · {step.skill}" + _name_ending(step, status),
        status=status,
        start_ms=milliseconds(step.records[0]),
        end_ms=None if status is Status.RUNNING else milliseconds(last),
        params=_params(step.request),
        figures=tuple(_figures(step)),
        tags={name: value for name, value in tags.items() if value},
        note=step_note(state, step, status),
    )


def run_key(workspace: str, run: str) -> str:
    """What names a run on a tracking server that several workspaces share."""
    return f"{workspace}/{run}"


def step_key(workspace: str, run: str, step: str) -> str:
    """What names a step there."""
    return f"{workspace}/{run}/{step}"


def _figures(step: StepState) -> Iterator[Figure]:
    outcome = step.outcome
    if outcome is None:
        return
    found = dict(_numbers(outcome.detail.get("result", {})))
    for row in step.verdict.get("rows", ()) if step.verdict else ():
        found.update(_numbers({row["name"]: {key: row.get(key) for key in ("got", "bar", "n")}}))
    found.update(_numbers(outcome.detail.get("metrics", {})))
    found.update(_numbers({"seconds": outcome.detail.get("seconds")}))
    named = {_name(name): value for name, value in found.items()}
    yield from (Figure(name, float(value), milliseconds(outcome)) for name, value in named.items())


def _numbers(value: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, float]]:
    """Every number in nested mappings, by dotted name."""
    for name, inner in value.items():
        if isinstance(inner, Mapping):
            yield from _numbers(inner, f"{path}{name}.")
        elif isinstance(inner, int | float) and not isinstance(inner, bool):
            yield f"{path}{name}", inner


def _params(request: Mapping[str, Any]) -> dict[str, str]:
    """A request as MLflow's flat params: dotted names, text as it is, everything else as JSON."""
    params: dict[str, str] = {}
    for name, value in _leaves(request):
        text = value if isinstance(value, str) else canonical_json(value).decode()
        if len(text) > _PARAM_CHARACTERS:
            ending = f"... ({len(text)} characters; whole in request.json)"
            text = text[: _PARAM_CHARACTERS - len(ending)] + ending
        params[_name(name)] = text
    return params


def _leaves(value: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for name, inner in value.items():
        if isinstance(inner, Mapping) and inner:
            yield from _leaves(inner, f"{path}{name}.")
        else:
            yield f"{path}{name}", inner


def _name(name: str) -> str:
    """A name that MLflow takes: its characters, at most 250, not like a path that climbs."""
    name = _NO_NAME.sub("_", name)[:250] or "_"
    climbs = posixpath.normpath(name) != name or name.startswith(("/", "."))
    return name.replace("/", "_").replace("..", "_") if climbs else name


def _title(goal: str) -> str:
    """A goal as a name: one line, digests cut to the digits that people read."""
    short = _DIGEST.sub(lambda match: match[0][:12], " ".join(goal.split()))
    return short if len(short) <= _TITLE_CHARACTERS else short[: _TITLE_CHARACTERS - 1] + "…"


def _name_ending(step: StepState, status: Status) -> str:
    if step.verdict:
        return f" · {step.verdict['decision']}"
    if step.last.phase in (Phase.REUSED, Phase.FAILED, Phase.DENIED, Phase.ROLLED_BACK):
        return f" · {step.last.phase.replace('_', ' ')}"
    return " · stopped" if status is Status.KILLED else ""


def _state(state: RunState, status: Status) -> str:
    """The run's state in one word."""
    end = state.end
    if end is not None:
        return str(end.detail.get("status", end.phase))
    return {Status.RUNNING: "running", Status.SCHEDULED: "waiting for approval"}.get(status, "stopped")
