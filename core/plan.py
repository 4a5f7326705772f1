"""Plans: skill calls with bound arguments, their order, gates and budget, as canonical JSON.

`compile_plan` turns a plan file into that: every default written out, every outside input by its digest,
every reference type-checked. The same inputs give the same bytes, and so the same id, on every run.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from .artifacts import ArtifactRef, EvalReportRef
from .contract import Effect, InputMarker, Skill, explain
from .errors import AskError, IntegrityError, did_you_mean
from .files import canonical_json, sha256_json, sha256_path
from .gate import GateSpec
from .plan_file import PlanText, StepText
from .registry import Registry

FORMAT = 1
GATE_SKILL = "gate"
_REFERENCE = re.compile(r"^\$\{([A-Za-z][\w-]*)\.([A-Za-z_]\w*)\}$")


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


class Budget(_Frozen):
    """What a run may take; None is no limit, and an unknown estimate breaks any limit."""

    minutes: float | None = Field(None, ge=0, description="Wall minutes of the whole run.")
    gpu_hours: float | None = Field(None, ge=0, description="GPU hours.")
    usd: float | None = Field(None, ge=0, description="US dollars.")
    tokens: float | None = Field(None, ge=0, description="Tokens of paid models, in and out.")


class StepCall(_Frozen):
    """One skill call: `arguments` with every default, references left as `${step.field}`."""

    id: str
    skill: str
    effect: Effect
    arguments: dict[str, Any]
    inputs: tuple[str, ...] = ()  # the outside paths among the arguments


class Plan(_Frozen):
    """A compiled plan. Its id is the SHA-256 of its canonical JSON."""

    format: int = FORMAT
    goal: str
    budget: Budget
    gates: dict[str, GateSpec]
    inputs: dict[str, str]
    steps: tuple[StepCall, ...]

    @cached_property
    def id(self) -> str:
        """64 hex digits."""
        return sha256_json(self.model_dump(mode="json"))

    @property
    def effect(self) -> Effect:
        """The strongest effect of its steps."""
        effects = {step.effect for step in self.steps}
        return next((e for e in (Effect.SERVES, Effect.WRITES) if e in effects), Effect.READS)

    def document(self) -> bytes:
        """The file form: the plan beside its id, canonical JSON and a newline."""
        return canonical_json({"id": self.id, "plan": self.model_dump(mode="json")}) + b"\n"

    @classmethod
    def from_document(cls, document: Any) -> Plan:
        """The plan of a parsed file; IntegrityError when it no longer hashes to the id beside it."""
        if not isinstance(document, dict) or set(document) != {"id", "plan"}:
            raise AskError(
                "not a compiled plan: it needs 'id' and 'plan'. `opswright plan FILE -o plan.json` makes one."
            )
        try:
            plan = cls.model_validate(document["plan"])
        except ValidationError as error:
            raise AskError(f"the compiled plan is damaged: {'; '.join(explain(error, cls))}") from error
        if plan.id != document["id"]:
            raise IntegrityError(
                f"the plan was changed after it was made: it says id {document['id'][:12]}, its content is "
                f"{plan.id[:12]}. Make it again (`opswright plan FILE -o plan.json`) and have it approved."
            )
        return plan

    def changed_inputs(self, step: StepCall) -> list[str]:
        """Sentences for those of a step's outside inputs that are no longer what the plan was made from."""
        found = []
        for path in step.inputs:
            now = sha256_path(Path(path)) if Path(path).exists() else "missing"
            if now != self.inputs[path]:
                found.append(
                    f"{path} changed since the plan was made ({self.inputs[path][:12]} -> {now[:12]})"
                )
        return found


def references(
    value: Any, at: tuple[str | int, ...] = ()
) -> Iterator[tuple[tuple[str | int, ...], str, str]]:
    """Each `${step.field}` in nested arguments as (path, step, field)."""
    if isinstance(value, str) and (match := _REFERENCE.match(value)):
        yield at, match[1], match[2]
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from references(inner, (*at, key))
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            yield from references(inner, (*at, index))


def bind(arguments: Mapping[str, Any], results: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Arguments with each reference replaced by the result it names."""
    bound: Any = _thaw(arguments)
    for path, step, field in references(arguments):
        bound = _put(bound, path, results[step][field])
    return dict(bound)


def stand_in(arguments: Mapping[str, Any], plan: Plan, registry: Registry) -> dict[str, Any]:
    """Arguments with a stand-in where an earlier step's result will be: for checks before anything runs."""
    skills = {step.id: registry.get(step.skill) for step in plan.steps}
    filled: Any = _thaw(arguments)
    for path, step, field in references(arguments):
        filled = _put(filled, path, _placeholder(skills[step].result.model_fields[field].annotation))
    return dict(filled)


def compile_plan(text: PlanText, registry: Registry) -> Plan:
    """The canonical plan of a plan file.

    Raises AskError, with the file's line and the nearest known name, for an unknown skill, argument, gate or
    reference, a reference of the wrong kind, and a cycle.
    """
    skills = {step.id: _skill_of(text, step, registry) for step in text.steps}
    calls: dict[str, StepCall] = {}
    inputs: dict[str, str] = {}
    for step in text.steps:
        calls[step.id] = _compile_step(text, step, skills, inputs)
    ordered: list[StepCall] = []
    gates = {name: _gate_spec(text, name, value) for name, value in text.gates.items()}
    for step_id in _order(text):
        step = text.step(step_id)
        ordered.append(calls[step_id])
        if step.gate is not None:
            ordered.append(_gate_call(text, step, gates, skills[step_id], registry, calls))
    return Plan(
        goal=text.goal,
        budget=_budget(text),
        gates={name: _with_endpoint(text, name, spec, calls) for name, spec in gates.items()},
        inputs=dict(sorted(inputs.items())),
        steps=tuple(ordered),
    )


def _skill_of(text: PlanText, step: StepText, registry: Registry) -> Skill[Any, Any]:
    try:
        return registry.get(step.skill)
    except AskError as error:
        raise text.error(f"steps.{step.id}.skill", str(error)) from error


@dataclass(frozen=True)
class _Bound:
    """A step's arguments with placeholders where references stand."""

    arguments: dict[str, Any]
    later: dict[tuple[str | int, ...], str]  # path -> the reference's text


def _compile_step(
    text: PlanText, step: StepText, skills: Mapping[str, Skill[Any, Any]], inputs: dict[str, str]
) -> StepCall:
    skill = skills[step.id]
    bound = _with_placeholders(text, step, skills)
    try:
        request = skill.request.model_validate(bound.arguments)
    except ValidationError as error:
        raise _step_error(text, step, skill, error, bound) from error
    dumped: Any = request.model_dump(mode="json")
    paths = []
    for name, value in _outside_paths(request):
        if any(path[0] == name for path in bound.later):
            continue
        shown = text.locate(f"steps.{step.id}.with.{name}", value)
        dumped = _put(dumped, (name,), shown)
        if shown not in inputs:
            inputs[shown] = sha256_path(Path(shown))
        paths.append(shown)
    for path, reference in bound.later.items():
        dumped = _put(dumped, path, reference)
    return StepCall(
        id=step.id, skill=skill.name, effect=skill.effect, arguments=dumped, inputs=tuple(sorted(paths))
    )


def _with_placeholders(text: PlanText, step: StepText, skills: Mapping[str, Skill[Any, Any]]) -> _Bound:
    arguments: Any = _thaw(step.arguments)
    later: dict[tuple[str | int, ...], str] = {}
    for path, other, field in references(step.arguments):
        where = ".".join(map(str, ("steps", step.id, "with", *path)))
        if other not in skills:
            known = [name for name in skills if name != step.id]
            raise text.error(
                where, f"there is no step '{other}' to take '{field}' from.{did_you_mean(other, known)}"
            )
        if other == step.id:
            raise text.error(where, f"step '{step.id}' refers to itself.")
        fields = skills[other].result.model_fields
        if field not in fields:
            raise text.error(
                where,
                f"step '{other}' ({skills[other].name}) gives no '{field}' (it gives: {', '.join(fields)})."
                + did_you_mean(field, fields),
            )
        arguments = _put(arguments, path, _placeholder(fields[field].annotation))
        later[path] = f"${{{other}.{field}}}"
    return _Bound(dict(arguments), later)


def _placeholder(annotation: Any) -> Any:
    """A value of a result's type, to validate a request with before the result exists."""
    for option in _options(annotation):
        if isinstance(option, type) and issubclass(option, ArtifactRef):
            return option.pending()
        if option in (str, int, float, bool):
            return option()
    return None


def _options(annotation: Any) -> Iterator[Any]:
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from _options(get_args(annotation)[0])
    elif origin in (Union, UnionType):
        for option in get_args(annotation):
            yield from _options(option)
    else:
        yield annotation


def _step_error(
    text: PlanText, step: StepText, skill: Skill[Any, Any], error: ValidationError, bound: _Bound
) -> AskError:
    for fault in error.errors():
        for path, reference in bound.later.items():
            if fault["loc"][: len(path)] == path:
                where = ".".join(map(str, ("steps", step.id, "with", *path)))
                return text.error(
                    where, f"{skill.name} cannot take {reference} as '{path[0]}': {fault['msg']}"
                )
    first = error.errors()[0]["loc"]
    at = f"steps.{step.id}.with" + (f".{first[0]}" if first and str(first[0]) in step.arguments else "")
    return text.error(at, f"{skill.name}: {'; '.join(explain(error, skill.request))}")


def _outside_paths(request: BaseModel) -> Iterator[tuple[str, Path]]:
    for name, field in type(request).model_fields.items():
        value = getattr(request, name)
        marked = any(isinstance(m, InputMarker) for m in field.metadata) or _marked(field.annotation)
        if marked and isinstance(value, Path):
            yield name, value


def _marked(annotation: Any) -> bool:
    if get_origin(annotation) is Annotated:
        return any(isinstance(m, InputMarker) for m in get_args(annotation)[1:])
    return any(_marked(option) for option in get_args(annotation))


def _order(text: PlanText) -> list[str]:
    """Step ids in the file's order, moved only where a reference or `after` demands it."""
    needs = {
        step.id: {other for _, other, _ in references(step.arguments)} | set(step.after)
        for step in text.steps
    }
    for step in text.steps:
        for other in step.after:
            if other not in needs:
                raise text.error(
                    f"steps.{step.id}.after", f"there is no step '{other}'.{did_you_mean(other, needs)}"
                )
    ordered: list[str] = []
    while len(ordered) < len(needs):
        ready = next((i for i in needs if i not in ordered and needs[i] <= set(ordered)), None)
        if ready is None:
            waiting = [i for i in needs if i not in ordered]
            raise text.error(f"steps.{waiting[0]}", f"these steps wait for each other: {', '.join(waiting)}.")
        ordered.append(ready)
    return ordered


def _gate_spec(text: PlanText, name: str, value: Any) -> GateSpec:
    try:
        return GateSpec.model_validate(value)
    except ValidationError as error:
        raise text.error(f"gates.{name}", f"gate '{name}': {'; '.join(explain(error, GateSpec))}") from error


def _with_endpoint(text: PlanText, name: str, spec: GateSpec, calls: Mapping[str, StepCall]) -> GateSpec:
    if spec.against is None or spec.endpoint is not None:
        return spec
    endpoints = {
        c.arguments["endpoint"] for c in calls.values() if isinstance(c.arguments.get("endpoint"), str)
    }
    if len(endpoints) != 1:
        raise text.error(
            f"gates.{name}",
            f"gate '{name}' compares against stable: name its `endpoint` (found {len(endpoints)}).",
        )
    return spec.model_copy(update={"endpoint": endpoints.pop()})


def _gate_call(
    text: PlanText,
    step: StepText,
    gates: Mapping[str, GateSpec],
    judged: Skill[Any, Any],
    registry: Registry,
    calls: Mapping[str, StepCall],
) -> StepCall:
    where = f"steps.{step.id}.gate"
    name = step.gate or ""
    if name not in gates:
        raise text.error(
            where, f"there is no gate '{name}' (there are: {', '.join(gates)}).{did_you_mean(name, gates)}"
        )
    report = judged.result.model_fields.get("report")
    if report is None or EvalReportRef not in _options(report.annotation):
        raise text.error(
            where, f"step '{step.id}' ({judged.name}) gives no eval report, so no gate can judge it."
        )
    suite = calls[step.id].arguments.get("suite")
    if suite != gates[name].suite:
        raise text.error(
            where, f"gate '{name}' judges suite '{gates[name].suite}', step '{step.id}' runs '{suite}'."
        )
    skill = registry.get(GATE_SKILL)
    spec = _with_endpoint(text, name, gates[name], calls)
    return StepCall(
        id=f"{step.id}.gate",
        skill=skill.name,
        effect=skill.effect,
        arguments={"report": f"${{{step.id}.report}}", "spec": spec.model_dump(mode="json")},
    )


def _budget(text: PlanText) -> Budget:
    try:
        return TypeAdapter(Budget).validate_python(text.budget)
    except ValidationError as error:
        raise text.error("budget", f"budget: {'; '.join(explain(error, Budget))}") from error


def _thaw(value: Any) -> Any:
    """A deep copy of nested arguments as plain dictionaries and lists."""
    if isinstance(value, Mapping):
        return {key: _thaw(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_thaw(inner) for inner in value]
    return value


def _put(container: Any, path: Sequence[str | int], value: Any) -> Any:
    """The container with the value at a path, changed in place."""
    if not path:
        return value
    inner = container
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return container
