"""A plan that is changed on its card: shown as YAML, compiled again, and proposed as a plan of its own."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

from ....agents.planner import Proposal
from ....agents.record import load_plan
from ....core.compile import compile_plan
from ....core.errors import AskError, OpswrightError
from ....core.pins import with_pins
from ....core.plan import Plan
from ....core.plan_file import parse_plan
from ....core.plan_yaml import plan_yaml
from ....record.index import LedgerIndex
from ....record.run_state import RunState
from ..auth.users import Person
from ..console import Console
from .run_service import RunService

_NAME = "the edited plan"
_LONGEST = 200_000  # characters


class PlanEdits:
    """The plans of one console's runs, to be changed; consent to a plan is none to what it becomes."""

    def __init__(self, console: Console, run_service: RunService) -> None:
        self._console = console
        self._run_service = run_service

    def text(self, run: str) -> str:
        """A run's plan as YAML."""
        return plan_yaml(
            load_plan(self._console.workspace, self._state(run).plan or ""), self._console.registry
        )

    def check(self, run: str, text: str) -> Plan:
        """The plan that the text is; AskError, with the line, where it is none or nothing was changed."""
        if len(text) > _LONGEST:
            raise AskError(f"{_NAME} is too long: {len(text):,} characters, the limit is {_LONGEST:,}.")
        state, workspace = self._state(run), self._console.workspace
        parsed = with_pins(parse_plan(text, _NAME, _folder(state)), self._console.registry, workspace)
        plan = compile_plan(parsed, self._console.registry, workspace.artifacts.resolve)
        if plan.id == state.plan:
            raise AskError(f"nothing was changed: this is plan {plan.id[:12]}, which is there already.")
        return plan

    def propose(self, person: Person, run: str, text: str) -> str:
        """A new run that proposes the changed plan; the one it replaces is refused if it still waits.

        Consent is to a plan's id, so what was given to the old one does not count for the new one.
        """
        plan = self.check(run, text)
        state = self._state(run)
        made = self._run_service.start(
            person, Proposal(plan, f"edited from run {run}", _folder(state) or Path.cwd(), is_typed=True)
        ).run
        if state.status == "waiting":
            with suppress(OpswrightError):  # who may change a plan may not be one who may refuse it
                self._run_service.refuse(person, run, state.plan or "", f"edited: see run {made}")
        return made

    def _state(self, run: str) -> RunState:
        state = LedgerIndex.of(self._console.workspace).run_state(run)
        if state is None or state.plan is None:
            raise AskError(f"unknown run '{run[:60]}'. /runs lists them.")
        return state


def _folder(state: RunState) -> Path | None:
    """Where the relative inputs of a run's plan lie, as far as the record tells."""
    folder: Any = state.proposal.get("folder")
    return Path(folder) if isinstance(folder, str) and folder else None
