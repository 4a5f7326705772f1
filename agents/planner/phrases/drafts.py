"""A plan in the making: steps as they were understood, what is open, and the plan text it comes to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ....core.contract import Skill
from ....core.inputs import annotation_options
from ....core.plan_file import PlanText, StepText
from ....core.registry import Registry
from ....core.text import one_line
from ..base import Draft

LONGEST_GOAL = 200


@dataclass
class StepDraft:
    """One step: `missing` holds what is asked for each field that is open."""

    id: str
    skill: Skill[Any, Any]
    arguments: dict[str, Any] = field(default_factory=dict)
    missing: dict[str, OpenField] = field(default_factory=dict)
    gate: str | None = None

    def outputs(self) -> list[tuple[str, str]]:
        """The artifacts that it will give: field and kind, without those that this request will not have."""
        lacking = _lacking(self)
        found = []
        for name, info in self.skill.result.model_fields.items():
            for option in annotation_options(info.annotation):
                kind = getattr(option, "kind", None)
                if isinstance(kind, str) and name not in lacking:
                    found.append((name, kind))
        return found


def _lacking(step: StepDraft) -> Mapping[str, str]:
    """The result's fields that a step's request will not have."""
    optional = {name: value for name, value in step.arguments.items() if not _is_reference(value)}
    request = step.skill.request.model_construct(**{**step.skill.defaults, **optional})
    try:
        return step.skill.lacks(request)
    except Exception:  # a package's function, given a request that is not whole yet
        return {}


def _is_reference(value: object) -> bool:
    return isinstance(value, str) and value.startswith("${")


@dataclass(frozen=True)
class OpenField:
    """What must be asked about a field, and answers that would be understood."""

    text: str
    choices: tuple[str, ...] = ()


@dataclass
class PlanDraft:
    """Steps in order, gates and budget."""

    steps: list[StepDraft] = field(default_factory=list)
    gates: dict[str, dict[str, Any]] = field(default_factory=dict)
    budget: dict[str, float] = field(default_factory=dict)
    left_out: list[str] = field(
        default_factory=list
    )  # words in no step, where something is served or nothing else said

    def add(self, skill: Skill[Any, Any]) -> StepDraft:
        """A new last step, its id made of the skill's name."""
        taken = {step.id for step in self.steps}
        number, step_id = 1, skill.name
        while step_id in taken:
            number += 1
            step_id = f"{skill.name}-{number}"
        step = StepDraft(step_id, skill)
        self.steps.append(step)
        return step

    def output(self, kinds: Iterable[str], before: StepDraft | None = None) -> tuple[str, str] | None:
        """The newest earlier step's artifact of one of these kinds: its reference and kind."""
        wanted = list(kinds)
        earlier = self.steps if before is None else self.steps[: self.steps.index(before)]
        for step in reversed(earlier):
            given = step.outputs()
            for kind in wanted:
                for name, made in given:
                    if made == kind:
                        return f"${{{step.id}.{name}}}", kind
        return None

    def open_field(self) -> tuple[StepDraft, str, OpenField] | None:
        """The first thing that must be asked."""
        return next(((step, name, one) for step in self.steps for name, one in step.missing.items()), None)

    def text(self, goal: str) -> PlanText:
        """The plan text it comes to."""
        steps = tuple(
            StepText(id=one.id, skill=one.skill.name, arguments=one.arguments, gate=one.gate)
            for one in self.steps
        )
        return PlanText(
            name="the plan",
            goal=one_line(goal)[:LONGEST_GOAL],
            budget=self.budget,
            gates=self.gates,
            steps=steps,
        )

    def document(self, goal: str, asked: tuple[str, str] | None = None) -> Draft:
        """As plain JSON, to be kept with the conversation."""
        steps = [
            {
                "id": one.id,
                "skill": one.skill.name,
                "with": dict(one.arguments),
                **({"gate": one.gate} if one.gate else {}),
                "open": {name: [left.text, list(left.choices)] for name, left in one.missing.items()},
            }
            for one in self.steps
        ]
        found: dict[str, Any] = {"goal": goal, "steps": steps, "gates": self.gates, "budget": self.budget}
        found |= {"left_out": self.left_out} if self.left_out else {}
        return found | ({"asked": {"step": asked[0], "field": asked[1]}} if asked else {})

    def commands(self) -> tuple[str, ...]:
        """Each step as the slash command that would do it; what is open stands in capitals."""
        return tuple(command_of(step) for step in self.steps)


def command_of(step: StepDraft) -> str:
    """A step as a slash command."""
    words = [f"/{step.skill.name}"]
    for name, value in step.arguments.items():
        shown = _shown(value) if not _is_reference(value) else name.upper()
        words.append(f"{name}={shown}")
    words += [f"{name}={name.upper()}" for name in step.missing if name not in step.arguments]
    return " ".join(words)


def _shown(value: Any) -> str:
    import json
    import shlex

    if isinstance(value, Mapping):
        return shlex.quote(json.dumps(value))
    if isinstance(value, list | tuple):
        return shlex.quote(",".join(map(str, value)))
    kind, colon, digits = str(value).partition(":")
    return f"{kind}:{digits[:12]}" if colon and len(digits) == 64 else shlex.quote(str(value))


def from_document(draft: Draft, registry: Registry) -> PlanDraft:
    """The draft that was kept; steps of skills that are gone are left out."""
    made = PlanDraft()
    for one in draft.get("steps", ()):
        if not isinstance(one, Mapping) or one.get("skill") not in registry:
            continue
        step = StepDraft(
            str(one["id"]), registry.get(str(one["skill"])), dict(one.get("with", {})), gate=one.get("gate")
        )
        step.missing = {
            str(name): OpenField(str(left[0]), tuple(map(str, left[1])))
            for name, left in dict(one.get("open", {})).items()
        }
        made.steps.append(step)
    made.gates = {name: dict(gate) for name, gate in dict(draft.get("gates", {})).items()}
    made.budget = dict(draft.get("budget", {}))
    made.left_out = [str(word) for word in draft.get("left_out", ())]
    return made
