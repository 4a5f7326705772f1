"""Plans from files: a plan file is its own proposal; a compiled plan is data that is checked like one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...core.check_compiled import check_compiled
from ...core.compile import compile_plan
from ...core.errors import AskError
from ...core.files import read_at_most
from ...core.pins import with_pins
from ...core.plan import Plan
from ...core.plan_file import read_plan_file
from ...core.registry import Registry
from .base import Ask, Proposal, Turn

if TYPE_CHECKING:
    from ...core.workspace import Workspace

_MAX_BYTES = 16 << 20  # of a compiled plan: its text, at most 1 MiB, with every default written out


@dataclass(frozen=True)
class PlanFilePlanner:
    """A plan file, compiled."""

    registry: Registry
    workspace: Workspace

    def propose(self, ask: Ask, conversation: Sequence[Turn]) -> Proposal:
        """The file's plan; AskError with its line for what is wrong."""
        text = with_pins(read_plan_file(Path(ask.text)), self.registry, self.workspace)
        return Proposal(compile_plan(text, self.registry, self.workspace.artifacts.resolve), ask.text)


@dataclass(frozen=True)
class CompiledPlanner:
    """A compiled plan: nothing it says of itself is believed."""

    registry: Registry

    def propose(self, ask: Ask, conversation: Sequence[Turn]) -> Proposal:
        """The plan of the document; IntegrityError when it is not what compiling gives."""
        document = read_document(Path(ask.text))
        plan = Plan.from_document(document)
        check_compiled(plan, self.registry)
        return Proposal(plan, ask.text, Path(str(document.get("folder", Path.cwd()))))


def read_document(path: Path) -> dict[str, Any]:
    """The JSON document of a compiled plan's file; AskError when there is none, or one over 16 MiB."""
    if path.is_dir():
        raise AskError(f"{path} is a folder, not a compiled plan. Name a file in it.")
    if not path.is_file():
        raise AskError(
            f"no compiled plan at {path} (looked from {Path.cwd()}). "
            f"Make one with `opswright plan FILE -o {path.name}`."
        )
    if path.suffix in (".yaml", ".yml"):
        raise AskError(
            f"{path} is a plan file, and apply takes a compiled plan. `opswright run {path}` carries it out; "
            f"`opswright plan {path} -o {path.stem}.json` compiles it."
        )
    try:
        document = json.loads(read_at_most(path, _MAX_BYTES, "compiled plan"))
    except (ValueError, RecursionError) as error:
        raise AskError(
            f"{path} is not JSON: {error}. `opswright plan FILE -o plan.json` makes a compiled plan."
        ) from error
    if not isinstance(document, dict):
        raise AskError(f"{path} is not a compiled plan: expected a JSON object with 'id' and 'plan'.")
    return document
