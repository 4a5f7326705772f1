"""The text of a plan: YAML read with its line numbers, so that every error can point."""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import AskError, did_you_mean

if TYPE_CHECKING:
    import yaml

_TOP = ("goal", "budget", "gates", "steps")
_STEP = ("skill", "with", "gate", "waive_gate", "after")
_MAX_DEPTH = 100
_STEP_ID = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
_MAX_BYTES = 1 << 20


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

    def locate(self, where: str, path: Path) -> str:
        """An outside input as the plan records it: as given when it is there, else beside the plan file.

        Raises AskError when it is in neither place.
        """
        if path.exists():
            return path.as_posix()
        if self.base is not None and not path.is_absolute() and (self.base / path).exists():
            return (self.base / path).resolve().as_posix()
        places = f"{Path.cwd()}" + (f" and {self.base}" if self.base and self.base != Path.cwd() else "")
        raise self.error(where, f"no file or folder '{path}' (looked in {places}). Check the path.")


def single_step(
    skill: str, arguments: Mapping[str, Any], goal: str, waive_gate: str | None = None
) -> PlanText:
    """The plan text of one command."""
    return PlanText(
        name=f"/{skill}",
        goal=goal,
        budget={},
        gates={},
        steps=(StepText(id=skill, skill=skill, arguments=arguments, waive_gate=waive_gate),),
    )


def read_plan_file(path: Path) -> PlanText:
    """A plan file's text; AskError for what is missing, too large, no YAML or not in a plan's form."""
    if not path.is_file():
        raise AskError(f"no plan file at {path} (looked from {Path.cwd()}). Check the path.")
    if path.stat().st_size > _MAX_BYTES:
        raise AskError(f"{path} has {path.stat().st_size} bytes; a plan file holds at most {_MAX_BYTES}.")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise AskError(f"{path} is not UTF-8 text: {error}. A plan is a YAML file.") from error
    return parse_plan(text, path.name, path.resolve().parent)


def parse_plan(text: str, name: str, base: Path | None = None) -> PlanText:
    """The plan text of YAML; AskError names the line of what is wrong."""
    import yaml

    _refuse_deep(text, name)
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        raise AskError(f"{name}{line}: not valid YAML: {getattr(error, 'problem', error)}") from error
    builder = _Builder(name)
    data = builder.build(node, "") if node is not None else None
    lines = builder.lines
    bare = PlanText(name=name, goal="", budget={}, gates={}, steps=(), base=base, lines=lines)
    top = _mapping(bare, data, "", "a plan", _TOP)
    if not isinstance(top.get("goal"), str):
        raise bare.error("goal", "a plan needs a `goal`: one sentence saying what it is for.")
    steps = _mapping(bare, top.get("steps"), "steps", "steps", None)
    if not steps:
        raise bare.error("steps", "a plan needs at least one step under `steps`.")
    return PlanText(
        name=name,
        goal=top["goal"],
        budget=_mapping(bare, top.get("budget") or {}, "budget", "budget", None),
        gates=_mapping(bare, top.get("gates") or {}, "gates", "gates", None),
        steps=tuple(_step(bare, step_id, body) for step_id, body in steps.items()),
        base=base,
        lines=lines,
    )


def _refuse_deep(text: str, name: str) -> None:
    """AskError for YAML nested deeper than any plan is, before anything is built from it."""
    import yaml

    depth = 0
    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            if isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
                depth += 1
                if depth > _MAX_DEPTH:
                    line = event.start_mark.line + 1 if event.start_mark else 0
                    raise AskError(f"{name}, line {line}: nested deeper than {_MAX_DEPTH} levels.")
            elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
                depth -= 1
    except yaml.YAMLError:
        return  # said with its place when the text is built


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
    return StepText(
        id=step_id,
        skill=step["skill"],
        arguments=_mapping(text, step.get("with") or {}, f"{where}.with", "with", None),
        gate=gate,
        after=tuple([after] if isinstance(after, str) else after),
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
    if not isinstance(reason, str) or not reason.strip():
        raise text.error(
            f"steps.{step_id}.waive_gate",
            f"`waive_gate` of step '{step_id}' is the reason, in words, for serving what no gate judged.",
        )
    return reason.strip()


def _mapping(
    text: PlanText, value: Any, where: str, what: str, known: tuple[str, ...] | None
) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise text.error(where, f"{what} must be a mapping of names to values, found {type(value).__name__}.")
    for name in value:
        if known is not None and name not in known:
            at = f"{where}.{name}".strip(".")
            raise text.error(
                at, f"unknown '{name}' in {what} (known: {', '.join(known)}).{did_you_mean(name, known)}"
            )
    return value


class _Builder:
    """Builds plain values from YAML nodes, noting each path's line; names are unique, nodes used once."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.lines: dict[str, int] = {}
        self._seen: set[int] = set()

    def build(self, node: yaml.Node, path: str) -> Any:
        """The node's value."""
        import yaml

        line = node.start_mark.line + 1
        if id(node) in self._seen:  # expanding aliases can grow a small file without bound
            raise AskError(
                f"{self.name}, line {line}: YAML anchors and aliases are not supported; write it out."
            )
        self._seen.add(id(node))
        self.lines.setdefault(path, line)
        if isinstance(node, yaml.MappingNode):
            built: dict[str, Any] = {}
            for key, value in node.value:
                word = str(key.value)
                if word in built:
                    raise AskError(f"{self.name}, line {key.start_mark.line + 1}: '{word}' is given twice.")
                at = f"{path}.{word}".strip(".")
                self.lines[at] = key.start_mark.line + 1
                built[word] = self.build(value, at)
            return built
        if isinstance(node, yaml.SequenceNode):
            return [self.build(value, f"{path}.{index}") for index, value in enumerate(node.value)]
        return self._scalar(node)

    def _scalar(self, node: yaml.Node) -> Any:
        import yaml

        try:
            value = yaml.safe_load(yaml.serialize(node))
        except yaml.YAMLError as error:
            raise AskError(f"{self.name}, line {node.start_mark.line + 1}: {error}") from error
        return node.value if isinstance(value, datetime.date) else value  # a date in a plan is text
