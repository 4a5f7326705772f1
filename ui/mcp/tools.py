"""The tools: one for each skill, from its declaration, and four for plans and their runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ...agents.planner.slash import WAIVER
from ...agents.project_skills import ProjectSkill
from ...core.contract import Effect, Skill
from ...core.exit_code import ExitCode
from .answers import RUNNING, WAITING

if TYPE_CHECKING:
    from mcp.types import Tool, ToolAnnotations

PROPOSE, RUN, STATUS, STOP = "propose_plan", "run_plan", "run_status", "stop_run"
_TEXT = {"type": "string"}
_MAYBE_TEXT = {"type": ["string", "null"]}
_ANSWER: dict[str, Any] = {
    "outcome": {"type": "string", "enum": [*(code.outcome for code in ExitCode), WAITING, RUNNING]},
    "exit_code": {"type": "integer", "description": "What the command line would end with."},
    "message": _TEXT,
    "status": _TEXT,
    "run": _MAYBE_TEXT,
    "plan": {**_MAYBE_TEXT, "description": "The plan's id: what run_plan takes."},
    "verdict": _MAYBE_TEXT,
    "cut": {"type": "boolean", "description": "Whether long texts or lists were cut."},
}
_WAITS = (
    "Returns a plan that waits: its id, what it would do, what it costs, what was found, and how a person "
    "approves it. Nothing runs until a person has consented; no tool can give consent."
)


def hints(effect: Effect, *, only_proposes: bool = False) -> ToolAnnotations:
    """The protocol's hints for an effect; what a client may show, never what decides.

    Proposing is hinted as its plan's effect: a client that asks before destructive tools asks here.
    """
    from mcp.types import ToolAnnotations

    return ToolAnnotations(
        read_only_hint=effect is Effect.READS,
        destructive_hint=effect is Effect.SERVES,
        idempotent_hint=effect is not Effect.SERVES and not only_proposes,
        open_world_hint=False,
    )


def skill_tool(skill: Skill[Any, Any]) -> Tool:
    """A skill as a tool."""
    from mcp.types import Tool

    schema = skill.schema()
    if skill.effect is Effect.SERVES:
        reason = {**_TEXT, "description": "Why no gate need have judged what is served."}
        schema = {**schema, "properties": {**schema.get("properties", {}), WAIVER: reason}}
    output = _reading_output(skill) if skill.effect is Effect.READS else _waiting_output()
    return Tool(
        name=skill.name,
        title=skill.name.replace("-", " ").capitalize(),
        description=_description(skill.summary, skill.effect),
        input_schema=schema,
        output_schema=output,
        annotations=hints(skill.effect),
    )


def project_tool(skill: ProjectSkill) -> Tool:
    """A project skill as a tool."""
    from mcp.types import Tool

    return Tool(
        name=skill.name,
        title=skill.name.replace("-", " ").capitalize(),
        description=_description(f"Project skill. {skill.summary}", skill.effect),
        input_schema=skill.schema(),
        output_schema=_waiting_output(),
        annotations=hints(skill.effect),
    )


def plan_tools() -> list[Tool]:
    """The tools about plans and runs."""
    from mcp.types import Tool

    plan_id = {**_TEXT, "pattern": "^[0-9a-f]{64}$", "description": "A plan's id, as a tool returned it."}
    run = {**_TEXT, "description": "A run's id."}
    wait = {
        "type": "number",
        "minimum": 0,
        "maximum": 3600,
        "default": 45,
        "description": "Seconds to wait for the end; 0 returns at once. The run goes on all the same.",
    }
    return [
        Tool(
            name=PROPOSE,
            title="Propose a plan",
            description=f"Propose a plan of several skills from a plan file's YAML. {_WAITS}",
            input_schema=_object({"plan": {**_TEXT, "description": "goal, budget, gates, steps."}}, "plan"),
            output_schema=_waiting_output(),
            annotations=hints(Effect.WRITES, only_proposes=True),
        ),
        Tool(
            name=RUN,
            title="Run an approved plan",
            description=(
                "Carry out a plan that you proposed, once a person has approved it. Where nobody has, the "
                "person at this client is asked, if the client can ask; else the answer says where they "
                "approve it. Finished steps are never done twice; cancelling the call stops the run."
            ),
            input_schema=_object({"plan_id": plan_id, "wait_s": wait}, "plan_id"),
            output_schema=_output({"results": {"type": "object"}, "progress": {"type": "object"}}),
            annotations=hints(Effect.SERVES),
        ),
        Tool(
            name=STATUS,
            title="Status of a run",
            description="How a run stands: status, progress, results, what it took.",
            input_schema=_object({"run": run}, "run"),
            output_schema=_output({"results": {"type": "object"}, "progress": {"type": "object"}}),
            annotations=hints(Effect.READS),
        ),
        Tool(
            name=STOP,
            title="Stop a run",
            description="Stop a run that you proposed; finished steps are kept, and run_plan continues it.",
            input_schema=_object({"run": run}, "run"),
            output_schema=_output({}),
            annotations=hints(Effect.WRITES),
        ),
    ]


def _description(summary: str, effect: Effect) -> str:
    return (
        f"{summary} It {effect.in_words}."
        if effect is Effect.READS
        else f"{summary} It {effect.in_words}. {_WAITS}"
    )


def _object(properties: Mapping[str, Any], *required: str) -> dict[str, Any]:
    made = {"type": "object", "properties": dict(properties), "required": list(required)}
    return {**made, "additionalProperties": False}


def _output(besides: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {**_ANSWER, **besides},
        "required": ["outcome", "exit_code", "message"],
    }


def _waiting_output() -> dict[str, Any]:
    how = {"type": "array", "items": _TEXT, "description": "How a person approves it."}
    return _output({"card": {"type": "object"}, "how_to_approve": how})


def _reading_output(skill: Skill[Any, Any]) -> dict[str, Any]:
    """The answer with the skill's own result; definitions stand at the root, where they are looked for."""
    result = skill.result.model_json_schema(mode="serialization")
    definitions = result.pop("$defs", None)
    made = _output({"result": {"anyOf": [result, {"type": "null"}]}})
    return {**made, "$defs": definitions} if definitions else made
