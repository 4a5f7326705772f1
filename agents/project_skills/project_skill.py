"""One project skill, loaded from a folder that was found to be what somebody added."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...core.compile import compile_plan
from ...core.contract import Effect
from ...core.errors import AskError
from ...core.pins import with_pins
from ...core.plan_file import plan_text_of
from ...core.registry import Registry
from ...core.strict_yaml import YamlText
from ...core.workspace import Workspace
from ..planner import Proposal
from .inputs import SkillInput, bound_inputs, with_values
from .skill_file import SkillFile


@dataclass(frozen=True)
class ProjectSkill:
    """A plan with inputs, under a name. `digest`: of every file of its folder, as they were read."""

    file: SkillFile
    folder: Path
    digest: str
    signed_by: str | None
    text: YamlText
    inputs: Mapping[str, SkillInput]
    workspace: Workspace
    registry: Registry

    @property
    def name(self) -> str:
        """What it is called by."""
        return self.file.name

    @property
    def summary(self) -> str:
        """What it does and when, as its author says."""
        return self.file.description

    @property
    def effect(self) -> Effect:
        """The strongest effect of the skills that its plan names.

        AskError for a step that names no skill there is: one that an input chose could have any effect.
        """
        where, steps = f"{self.file.plan} of {self.name}", self.text.data.get("steps")
        if not isinstance(steps, dict) or not steps:
            raise AskError(f"{where} is no plan: it has no steps.")
        effects = set()
        for step, body in steps.items():
            name = body.get("skill") if isinstance(body, dict) else None
            if not isinstance(name, str) or name not in self.registry:
                raise AskError(
                    f"{where}: step '{step}' names no skill there is, but {str(name)[:80]!r}. A project "
                    "skill's steps name their skills outright; inputs are for arguments."
                )
            effects.add(self.registry.get(name).effect)
        return next((one for one in (Effect.SERVES, Effect.WRITES) if one in effects), Effect.READS)

    def schema(self) -> dict[str, Any]:
        """The JSON schema of its inputs."""
        return {
            "type": "object",
            "properties": {name: one.json_schema() for name, one in self.inputs.items()},
            "required": [name for name, one in self.inputs.items() if one.default is None],
            "additionalProperties": False,
        }

    def proposal(self, given: Mapping[str, Any]) -> Proposal:
        """Its plan with these inputs; AskError for what is wrong with them or with the plan."""
        values = bound_inputs(self.inputs, given, f"/{self.name}")
        filled = with_values({key: one for key, one in self.text.data.items() if key != "inputs"}, values)
        name = f"{self.file.plan} of {self.name}"
        text = plan_text_of(YamlText(filled, self.text.lines), name, self.folder)
        if any(step.id == "inputs" for step in text.steps):
            raise AskError(f"{name}: a step may not be called 'inputs'.")
        pinned = with_pins(text, self.registry, self.workspace)
        plan = compile_plan(pinned, self.registry, self.workspace.artifacts.resolve)
        words = " ".join([f"/{self.name}", *(f"{key}={value}" for key, value in values.items())])
        signed = f", signed, key {self.signed_by}" if self.signed_by else ""
        return Proposal(plan, f"{words} [project skill, sha256 {self.digest}{signed}]")
