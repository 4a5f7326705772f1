"""Planners: each turns what a person asked into a proposed plan, and can do nothing else."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from ...core.artifacts import ArtifactStore
from ...core.errors import AskError
from ...core.plan import Plan, compile_plan
from ...core.plan_file import read_plan_file
from ...core.registry import Registry
from .references import whole_references

AskKind = Literal["plan_file", "compiled_plan", "slash"]


@dataclass(frozen=True)
class Ask:
    """What a person asked: a plan file's path, a compiled plan's path, or a slash command."""

    kind: AskKind
    text: str


class Planner(Protocol):
    """Proposes a plan for an ask; raises AskError when it cannot."""

    def propose(self, ask: Ask) -> Plan:
        """The plan that would do what was asked."""


@dataclass(frozen=True)
class PlanFilePlanner:
    """A plan file is its own proposal."""

    registry: Registry
    artifacts: ArtifactStore

    def propose(self, ask: Ask) -> Plan:
        """The file, compiled, with every shortened reference made whole."""
        text = whole_references(read_plan_file(Path(ask.text)), self.registry, self.artifacts)
        return compile_plan(text, self.registry)


@dataclass(frozen=True)
class CompiledPlanner:
    """A compiled plan is taken as it is, after its id was checked."""

    registry: Registry

    def propose(self, ask: Ask) -> Plan:
        """The plan of the document; IntegrityError when it was changed."""
        plan = read_compiled_plan(Path(ask.text))
        for step in plan.steps:
            self.registry.get(step.skill)
        return plan


def read_compiled_plan(path: Path) -> Plan:
    """The compiled plan in a file."""
    if not path.is_file():
        raise AskError(
            f"no compiled plan at {path} (looked from {Path.cwd()}). "
            f"`opswright plan FILE -o {path.name}` makes one."
        )
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise AskError(
            f"{path} is not JSON: {error}. `opswright plan FILE -o {path.name}` makes one."
        ) from error
    return Plan.from_document(document)
