"""The stored plans, each read once and held against the id it goes by."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ...core.contract import Effect
from ...core.errors import AskError
from ...core.explain import explain
from ...core.files import sha256_json
from ...core.plan import GATE_SKILL, Plan, StepCall, references
from ..judging import given_to, is_model

_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


@dataclass(frozen=True)
class StoredPlan:
    """A plan as it was stored: `body` is its document, which hashes to its id."""

    id: str
    plan: Plan
    body: Mapping[str, Any]

    @cached_property
    def steps(self) -> Mapping[str, StepCall]:
        """Its steps by id, in order."""
        return {step.id: step for step in self.plan.steps}

    @cached_property
    def summary(self) -> list[tuple[str, str, str]]:
        """Id, skill and effect of each step, as a proposal lists them."""
        return [(step.id, step.skill, str(step.effect)) for step in self.plan.steps]

    @cached_property
    def limits(self) -> Mapping[str, float]:
        """The budget's limits that are set, by amount."""
        return {name: limit for name, limit in self.plan.budget.model_dump().items() if limit is not None}

    def fill(self, call: StepCall, results: Mapping[str, Mapping[str, Any]]) -> bytes:
        """The canonical JSON of a step's arguments, filled in from results; KeyError when one is missing."""
        text, places = self._templates[call.id]
        for mark, step, name in places:
            text = text.replace(mark, plain_json(results[step][name]), 1)
        return text

    @cached_property
    def _templates(self) -> dict[str, tuple[bytes, list[tuple[bytes, str, str]]]]:
        """Each step's arguments as canonical JSON with a mark for each result, and what marks stand for."""
        found = {}
        for call in self.plan.steps:
            marked: Any = call.arguments
            places = []
            for number, (path, step, name) in enumerate(references(call.arguments)):
                mark = f"\0{number}\0"  # no skill takes such a text, and a plan that has it differs: a fault
                marked = _with(marked, path, mark)
                places.append((plain_json(mark), step, name))
            found[call.id] = plain_json(marked), places
        return found

    @cached_property
    def served_before_judged(self) -> list[tuple[str, str]]:
        """Each step that serves a model which only a later gate judges, with that gate's id."""
        found: dict[str, str] = {}
        judged: dict[str, str] = {}
        for step in reversed(self.plan.steps):
            if step.skill == GATE_SKILL:
                judged |= dict.fromkeys(self._models(step.id), step.id)
            elif step.effect is Effect.SERVES:
                later = [judged[name] for name in sorted(self._models(step.id)) if name in judged]
                if later:
                    found[step.id] = later[0]
        return sorted(found.items())

    def _models(self, step_id: str) -> set[str]:
        """The results, by reference, and artifacts, by name, that a step takes a model from.

        A gate takes it through its report, a serving step through its bundle.
        """
        found: set[str] = set()
        waiting = [step_id]
        while waiting:
            step = self.steps.get(waiting.pop())
            arguments = step.arguments if step is not None else {}
            found |= set(filter(is_model, given_to(arguments)))
            for _, maker, name in references(arguments):
                if name in ("bundle", "checkpoint", "adapter"):
                    found.add(f"{maker}.{name}")
                if name in ("bundle", "report"):
                    waiting.append(maker)
        return found


def _with(container: Any, path: Sequence[str | int], value: Any) -> Any:
    """The container with the value at a path; only what lies on the path is copied."""
    if not path:
        return value
    copy: Any = dict(container) if isinstance(container, dict) else list(container)
    copy[path[0]] = _with(copy[path[0]], path[1:], value)
    return copy


def plain_json(value: Any) -> bytes:
    """Canonical JSON of what was JSON before, so that nothing in it can be what JSON lacks."""
    return _ENCODER.encode(value).encode()


class PlanStore:
    """Plans by id."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._read: dict[str, StoredPlan | str] = {}

    @property
    def count(self) -> int:
        """How many plans were read."""
        return len(self._read)

    def get(self, plan: str) -> StoredPlan | None:
        """The plan that a record names; None when it is missing, altered or no plan."""
        found = self._read.get(plan) or self._look(plan)
        return found if isinstance(found, StoredPlan) else None

    def problem(self, plan: str) -> str:
        """What is wrong with the stored plan; empty when nothing is."""
        found = self._look(plan)
        return found if isinstance(found, str) else ""

    def _look(self, plan: str) -> StoredPlan | str:
        if plan not in self._read:
            self._read[plan] = self._open(plan)
        return self._read[plan]

    def _open(self, plan: str) -> StoredPlan | str:
        try:
            document = json.loads((self.folder / f"{plan}.json").read_bytes())
            body = document["plan"]
            found = sha256_json(body)
            if found != plan or document.get("id") != plan:
                return f"was altered: it hashes to {found[:12]}"
            return StoredPlan(plan, Plan.recorded(body), body)
        except OSError:
            return f"is not in {self.folder}"
        except ValidationError as error:
            return f"is not a well-formed plan: {'; '.join(explain(error, Plan)[:3])}"
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, AskError) as error:
            return f"does not read: {error}"
