"""Notes: the description that MLflow shows above a run's or a step's figures, in Markdown.

Lists and no tables: MLflow sets table cells edge to edge. The first lines matter most, the rest is folded.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...core.contract import Effect
from ..ledger import Phase
from ..run_state import RunState, StepState
from .status import Status, step_status

_SHORT = 12
_MESSAGE_CHARACTERS = 1500


def run_note(state: RunState, status: Status) -> str:
    """How a run ended, who asked and approved, what each step did, what the gates saw."""
    asked = f"Asked by **{state.first.actor}** ({state.first.role}) at {_time(state.first.time)}"
    if source := state.proposal.get("source"):
        asked += f" with `{source}`"
    lines = [_ending(state, status), "", f"{asked}. Plan `{(state.plan or '?')[:_SHORT]}`."]
    if (consent := state.consent) is not None:
        lines += ["", _consent(consent.phase, consent.actor, consent.role, consent.time, consent.detail)]
    lines += ["", "**What happened**", ""]
    steps = sorted(state.steps.values(), key=lambda step: step.number)
    lines += [f"{step.number}. {_step_line(step, status)}" for step in steps]
    for step in state.begun:
        if step.verdict:
            lines += ["", f"**What {step.id} saw**", "", *_verdict_lines(step.verdict)]
    lines += [
        "",
        f"Written from the ledger, records {state.first.seq} to {state.last.seq} (`ledger.jsonl` among the "
        f"artifacts; the last has hash `{state.last.hash[:16]}`). `opswright audit verify` compares the two.",
    ]
    return "\n".join(lines)


def step_note(state: RunState, step: StepState, status: Status) -> str:
    """What a step was, how it ended, what it made, and its records."""
    lines = [
        f"**{_capital(_outcome(step, status))}**. Step {step.number} of {len(state.steps)} of run "
        f"{state.run}, skill {step.skill}: {_effect(step)}.",
        "",
        f"The run is to: {_line(state.goal)}",
    ]
    if step.error:
        lines += ["", _line(str(step.error.get("message", "")))]
    if step.verdict:
        lines += ["", *_verdict_lines(step.verdict)]
    if step.last.artifacts:
        lines += ["", "Made:", "", *(f"- {name}: `{ref}`" for name, ref in step.last.artifacts.items())]
    lines += ["", "In the ledger:", ""]
    lines += [f"- record {r.seq}, {_time(r.time)}: {r.phase}, {r.actor} ({r.role})" for r in step.records]
    return "\n".join(lines)


def _ending(state: RunState, status: Status) -> str:
    end = state.end
    if end is None:
        return {
            Status.RUNNING: "**Running.**",
            Status.SCHEDULED: f"**Waiting for approval**: `opswright resume {state.run}`.",
        }.get(status, f"**Stopped** before its end: `opswright resume {state.run}` goes on.")
    message = end.detail.get("message") or end.detail.get("error", {}).get("message", "")
    word = end.detail.get("verdict") or str(end.detail.get("status", end.phase)).capitalize()
    return f"**{word}**" + (f": {_line(str(message))}" if message else "")


def _consent(phase: str, actor: str, role: str, time: str, detail: Mapping[str, Any]) -> str:
    words = f"**{phase.capitalize()}** by {actor} ({role}) at {_time(time)}"
    words += f", {detail['how']}" if detail.get("how") else ""
    return words + (f": {_line(str(detail['why']))}" if detail.get("why") else "") + "."


def _step_line(step: StepState, run_status: Status) -> str:
    line = f"**{step.id}** ({step.skill}, {_effect(step)}): "
    if not step.records:
        waiting = run_status in (Status.RUNNING, Status.SCHEDULED)
        return line + ("to come" if waiting else "not run")
    line += _outcome(step, step_status(step, run_is_open=run_status is Status.RUNNING))
    outcome = step.outcome
    seconds = outcome.detail.get("seconds") if outcome is not None else None
    if isinstance(seconds, int | float):
        line += f" in {seconds:.1f} s"
    if outcome is not None and outcome.artifacts:
        line += ", made " + ", ".join(f"`{_short(ref)}`" for ref in outcome.artifacts.values())
    if isinstance(endpoint := step.result.get("endpoint"), str) and step.result.get("release"):
        line += f", endpoint {endpoint}: release {step.result['release']} is {step.result.get('route')}"
    if step.error:
        line += f": {_line(str(step.error.get('message', '')))}"
    numbers = " and ".join(str(record.seq) for record in step.records)
    return f"{line} (record{'s' if len(step.records) > 1 else ''} {numbers})"


def _outcome(step: StepState, status: Status) -> str:
    outcome = step.outcome
    if outcome is None:
        return "running" if status is Status.RUNNING else "stopped half-way"
    if step.verdict:
        return f"decided {step.verdict['decision']}"
    if outcome.phase == Phase.REUSED:
        return f"reused what record {outcome.detail.get('receipt')} says was done before"
    tries = f" at attempt {len(step.intents)}" if len(step.intents) > 1 else ""
    return outcome.phase.replace("_", " ") + tries


def _verdict_lines(verdict: Mapping[str, Any]) -> list[str]:
    lines = []
    for row in verdict.get("rows", ()):
        parts = [f"{name} {_number(row[key])}" for name, key in _ROW if row.get(key) is not None]
        if interval := row.get("interval"):
            parts.append(f"interval {interval[0]:.3f} to {interval[1]:.3f}")
        message = _line(str(row["message"])) if row.get("message") else ", ".join(parts)
        lines.append(f"- {row.get('name')}: **{row.get('decision')}**, {message}")
    return lines


_ROW = (("got", "got"), ("bar", "bar"), ("items", "n"), ("p", "p_value"))


def _effect(step: StepState) -> str:
    return Effect(step.effect).in_words if step.effect in set(Effect) else step.effect


def _capital(words: str) -> str:
    return words[:1].upper() + words[1:]


def _number(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _short(ref: str) -> str:
    return ref[: ref.find(":") + 1 + _SHORT]


def _line(text: str) -> str:
    """Text from elsewhere as one line."""
    text = " ".join(text.split())
    return text if len(text) <= _MESSAGE_CHARACTERS else text[:_MESSAGE_CHARACTERS] + " …"


def _time(iso: str) -> str:
    return iso[:19].replace("T", " ") + " UTC"
