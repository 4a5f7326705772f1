"""The text of a plan: YAML read with its line numbers, so that every error can point."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .errors import AskError, did_you_mean
from .strict_yaml import YamlText, parse_yaml, read_yaml
from .text import one_line, says_something, unseen_in

_TOP = ("goal", "budget", "gates", "steps")
_STEP = ("skill", "with", "gate", "waive_gate", "after")
_STEP_ID = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")


@dataclass(frozen=True)
class StepText:
    """One step as written."""

    id: str
    skill: str
    arguments: Mapping[str, Any]
    gate: str | None = None
    after: tuple[str, ...] = ()
    waive_gate: str | None = None  # why the step may serve what no gate judged


@dataclass(frozen=True)
class PlanText:
    """A plan as written: `lines` maps a dotted path to its line, `base` is where relative inputs also lie."""

    name: str
    goal: str
    budget: Mapping[str, Any]
    gates: Mapping[str, Any]
    steps: tuple[StepText, ...]
    base: Path | None = None
    lines: Mapping[str, int] = field(default_factory=dict)

    def step(self, step_id: str) -> StepText:
        """The step of that id."""
        return next(step for step in self.steps if step.id == step_id)

    def error(self, where: str, message: str) -> AskError:
        """An AskError that points at a dotted path's line, or the nearest line above it."""
        while where and where not in self.lines:
            where = where.rpartition(".")[0]
        line = self.lines.get(where)
        return AskError(f"{self.name}, line {line}: {message}" if line else f"{self.name}: {message}")

    def check(self) -> None:
        """AskError where a person who is asked to approve the plan would not see what it says."""
        if not self.steps:
            raise self.error("steps", "a plan needs at least one step under `steps`.")
        if not says_something(self.goal):
            raise self.error("goal", "a plan needs a `goal`: one sentence saying what it is for.")
        self._refuse_unseen("goal", "the goal", self.goal)
        for name in self.gates:
            self._refuse_unseen(f"gates.{name}", "a gate's name", name)
        for step in self.steps:
            where = f"steps.{step.id}"
            self._refuse_unseen(where, "a step's id", step.id)
            if step.waive_gate is not None:
                self._refuse_unseen(f"{where}.waive_gate", "the reason to waive the gate", step.waive_gate)
                if not says_something(step.waive_gate):
                    raise self.error(f"{where}.waive_gate", _no_reason(step.id))
            if "\0" in _texts_in(step.arguments):
                raise self.error(f"{where}.with", f"the arguments of step '{step.id}' hold a NUL character.")

    def _refuse_unseen(self, where: str, what: str, text: str) -> None:
        if found := unseen_in(text):
            raise self.error(where, f"{what} holds {found}, which shows nothing or moves text: take it out.")

    def locate(self, where: str, path: Path) -> str:
        """An outside input as the plan records it: as given when it is there, else beside the plan file.

        What lies below the current folder is named relative to it, so that the plan is the same, byte for
        byte, wherever the project lies. Raises AskError when it is in neither place.
        """
        if path.exists():
            return path.as_posix()
        if self.base is not None and not path.is_absolute() and (self.base / path).exists():
            found, here = (self.base / path).resolve(), Path.cwd().resolve()
            return (found.relative_to(here) if found.is_relative_to(here) else found).as_posix()
        places = f"{Path.cwd()}" + (f" and {self.base}" if self.base and self.base != Path.cwd() else "")
        raise self.error(where, f"no file or folder '{path}' (looked in {places}). Check the path.")


def single_step(
    skill: str, arguments: Mapping[str, Any], goal: str, waive_gate: str | None = None
) -> PlanText:
    """The plan text of one command."""
    waiver = None if waive_gate is None else one_line(waive_gate)
    return PlanText(
        name=f"/{skill}",
        goal=one_line(goal),
        budget={},
        gates={},
        steps=(StepText(id=skill, skill=skill, arguments=arguments, waive_gate=waiver),),
    )


def read_plan_file(path: Path) -> PlanText:
    """A plan file's text; AskError for what is missing, too large, no YAML or not in a plan's form."""
    return plan_text_of(read_yaml(path, "plan file"), path.name, path.resolve().parent)


def parse_plan(text: str, name: str, base: Path | None = None) -> PlanText:
    """The plan text of YAML; AskError names the line of what is wrong."""
    return plan_text_of(parse_yaml(text, name), name, base)


def plan_text_of(found: YamlText, name: str, base: Path | None) -> PlanText:
    """The plan text of YAML that was read; AskError names the line of what is wrong."""
    lines = found.lines
    bare = PlanText(name=name, goal="", budget={}, gates={}, steps=(), base=base, lines=lines)
    top = _mapping(bare, found.data, "", "a plan", _TOP)
    if not isinstance(top.get("goal"), str):
        raise bare.error("goal", "a plan needs a `goal`: one sentence saying what it is for.")
    steps = _mapping(bare, top.get("steps"), "steps", "steps", None)
    if not steps:
        raise bare.error("steps", "a plan needs at least one step under `steps`.")
    return PlanText(
        name=name,
        goal=one_line(top["goal"]),
        budget=_mapping(bare, top.get("budget") or {}, "budget", "budget", None),
        gates=_mapping(bare, top.get("gates") or {}, "gates", "gates", None),
        steps=tuple(_step(bare, step_id, body) for step_id, body in steps.items()),
        base=base,
        lines=lines,
    )


def _step(text: PlanText, step_id: str, body: Any) -> StepText:
    where = f"steps.{step_id}"
    check_step_id(text, step_id)
    step = _mapping(text, body, where, f"step '{step_id}'", _STEP)
    if not isinstance(step.get("skill"), str):
        raise text.error(where, f"step '{step_id}' needs a `skill`.")
    gate = step.get("gate")
    if gate is not None and not isinstance(gate, str):
        raise text.error(
            f"{where}.gate", f"`gate` of step '{step_id}' is the name of one of the plan's gates."
        )
    after = step.get("after") or []
    after = [after] if isinstance(after, str) else after
    if not isinstance(after, list) or not all(isinstance(other, str) for other in after):
        raise text.error(f"{where}.after", f"`after` of step '{step_id}' is a step's id, or a list of ids.")
    return StepText(
        id=step_id,
        skill=step["skill"],
        arguments=_mapping(text, step.get("with") or {}, f"{where}.with", "with", None),
        gate=gate,
        after=tuple(after),
        waive_gate=_waiver(text, step_id, step),
    )


def check_step_id(text: PlanText, step_id: str) -> None:
    """AskError for an id that is not one: it names folders, so it holds nothing that leads elsewhere."""
    if not _STEP_ID.fullmatch(step_id):
        raise text.error(
            f"steps.{step_id}",
            f"invalid step id {step_id[:80]!r}: expected a letter, then up to 63 letters, digits, '-', '_'.",
        )


def _waiver(text: PlanText, step_id: str, step: dict[str, Any]) -> str | None:
    if "waive_gate" not in step:
        return None
    reason = step["waive_gate"]
    if not isinstance(reason, str):
        raise text.error(f"steps.{step_id}.waive_gate", _no_reason(step_id))
    return one_line(reason)


def _no_reason(step_id: str) -> str:
    return f"`waive_gate` of step '{step_id}' is the reason, in words, for serving what no gate judged."


def _mapping(
    text: PlanText, value: Any, where: str, what: str, known: tuple[str, ...] | None
) -> dict[str, Any]:
    if not isinstance(value, dict):
        found = (
            "nothing" if value is None else "a list" if isinstance(value, list) else f"'{str(value)[:40]}'"
        )
        raise text.error(where, f"{what} must be a mapping of names to values, found {found}.")
    for name in value:
        if known is not None and name not in known:
            at = f"{where}.{name}".strip(".")
            raise text.error(
                at, f"unknown '{name}' in {what} (known: {', '.join(known)}).{did_you_mean(name, known)}"
            )
    return value


def _texts_in(value: Any) -> str:
    """All text of nested arguments, names too, run together."""
    if isinstance(value, Mapping):
        return "".join(f"{name}{_texts_in(inner)}" for name, inner in value.items())
    if isinstance(value, list | tuple):
        return "".join(map(_texts_in, value))
    return value if isinstance(value, str) else ""
