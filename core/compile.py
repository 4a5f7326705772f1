"""Compiling: a plan file, or a plan from outside, as the canonical plan.

Every default is written out, every outside input stands by its digest, every reference is type-checked, and
nothing serves before the gate that judges it. The same inputs give the same bytes, and so the same id.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from .artifact_refs import REF_TYPES, ArtifactRef, EvalReportRef
from .contract import Effect, Skill
from .errors import AskError, did_you_mean
from .explain import explain
from .gate import GateSpec
from .gate_order import served_before_judged
from .input_digest import sha256_input
from .inputs import annotation_options, outside_paths
from .plan import GATE_SKILL, GATE_SUFFIX, Budget, Plan, StepCall, put, references, thaw
from .plan_file import PlanText, StepText, check_step_id
from .registry import Registry
from .suite_source import is_suite_file, suite_name

Digest = Callable[[str], str]
_SHORT = re.compile(r"^[a-z-]+:[0-9a-f]{6,63}$")


def stand_in(arguments: Mapping[str, Any], plan: Plan, registry: Registry) -> dict[str, Any]:
    """Arguments with a stand-in where an earlier step's result will be: for checks before anything runs."""
    skills = {step.id: registry.get(step.skill) for step in plan.steps}
    filled: Any = thaw(arguments)
    for path, step, field in references(arguments):
        filled = put(filled, path, _placeholder(skills[step].result.model_fields[field].annotation))
    return dict(filled)


def compile_plan(
    text: PlanText, registry: Registry, resolve: Callable[[str], ArtifactRef] | None = None
) -> Plan:
    """The canonical plan of a plan file; `resolve` gives the full reference for a shortened one.

    Raises AskError, with the file's line and the nearest known name, for an unknown skill, argument, gate or
    reference, a reference of the wrong kind, a cycle, and a step that serves before its gate.
    """
    if resolve is not None:
        text = _with_full_references(text, resolve)
    return compile_text(text, registry, _digest_of)


def _digest_of(shown: str) -> str:
    return sha256_input(Path(shown))


def _with_full_references(text: PlanText, resolve: Callable[[str], ArtifactRef]) -> PlanText:
    def full(value: Any, where: str) -> Any:
        if isinstance(value, str) and _SHORT.match(value) and value.partition(":")[0] in REF_TYPES:
            try:
                return str(resolve(value))
            except AskError as error:
                raise text.error(where, str(error)) from error
        if isinstance(value, Mapping):
            return {key: full(inner, f"{where}.{key}") for key, inner in value.items()}
        if isinstance(value, list | tuple):
            return [full(inner, f"{where}.{index}") for index, inner in enumerate(value)]
        return value

    steps = (replace(one, arguments=full(one.arguments, f"steps.{one.id}.with")) for one in text.steps)
    return replace(text, steps=tuple(steps))


def compile_text(text: PlanText, registry: Registry, digest: Digest, *, anywhere: bool = False) -> Plan:
    """The plan; `anywhere`: outside inputs need not lie where this process looks."""
    text.check()
    for step in text.steps:
        check_step_id(text, step.id)
    skills = {step.id: _skill_of(text, step, registry) for step in text.steps}
    inputs: dict[str, str] = {}
    calls = {step.id: _compile_step(text, step, skills, inputs, digest, anywhere) for step in text.steps}
    _check_given(text, skills)
    gates = {name: _compile_gate(text, name, calls, inputs, digest, anywhere) for name in text.gates}
    ordered: list[StepCall] = []
    for step_id in _order(text):
        step = text.step(step_id)
        ordered.append(calls[step_id])
        if step.gate is not None:
            ordered.append(_gate_call(text, step, gates, skills[step_id], registry, calls))
    for place, message in served_before_judged(ordered, {c.id: registry.get(c.skill) for c in ordered}):
        raise text.error(place, message)
    return Plan(
        goal=text.goal,
        budget=_budget(text),
        gates=gates,
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
    text: PlanText,
    step: StepText,
    skills: Mapping[str, Skill[Any, Any]],
    inputs: dict[str, str],
    digest: Digest,
    anywhere: bool,
) -> StepCall:
    skill = skills[step.id]
    bound = _with_placeholders(text, step, skills)
    try:
        request = skill.request.model_validate(bound.arguments)
    except ValidationError as error:
        raise _step_error(text, step, skill, error, bound) from error
    dumped: Any = request.model_dump(mode="json")
    paths = set()
    for place, value in outside_paths(request):
        if place in bound.later:
            continue
        where = _argument(step, place)
        shown = value.as_posix() if anywhere else text.locate(where, value)
        dumped = put(dumped, place, shown)
        if shown not in inputs:
            inputs[shown] = digest(shown)
        paths.add(shown)
    for path, reference in bound.later.items():
        dumped = put(dumped, path, reference)
    if step.waive_gate is not None and skill.effect is not Effect.SERVES:
        raise text.error(
            f"steps.{step.id}.waive_gate", f"step '{step.id}' ({skill.name}) serves nothing: leave it out."
        )
    return StepCall(
        id=step.id,
        skill=skill.name,
        effect=skill.effect,
        arguments=dumped,
        inputs=tuple(sorted(paths)),
        waive_gate=step.waive_gate,
    )


def _argument(step: StepText, path: tuple[str | int, ...]) -> str:
    """Where an argument of a step stands in the plan file."""
    return ".".join(map(str, ("steps", step.id, "with", *path)))


def _with_placeholders(text: PlanText, step: StepText, skills: Mapping[str, Skill[Any, Any]]) -> _Bound:
    arguments: Any = thaw(step.arguments)
    later: dict[tuple[str | int, ...], str] = {}
    for path, other, field in references(step.arguments):
        where = _argument(step, path)
        if other not in skills:
            known = [name for name in skills if name != step.id]
            raise text.error(
                where, f"there is no step '{other}' to take '{field}' from.{did_you_mean(other, known)}"
            )
        if other == step.id:
            raise text.error(where, f"step '{step.id}' refers to itself: name another step.")
        fields = skills[other].result.model_fields
        if field not in fields:
            raise text.error(
                where,
                f"step '{other}' ({skills[other].name}) gives no '{field}' (it gives: {', '.join(fields)})."
                + did_you_mean(field, fields),
            )
        arguments = put(arguments, path, _placeholder(fields[field].annotation))
        later[path] = f"${{{other}.{field}}}"
    return _Bound(dict(arguments), later)


def _check_given(text: PlanText, skills: Mapping[str, Skill[Any, Any]]) -> None:
    """AskError for a reference to what another step's result will not have, as that step is asked."""
    for step in text.steps:
        for path, other, field in references(step.arguments):
            skill = skills[other]
            asked = _with_placeholders(text, text.step(other), skills).arguments
            if why := skill.lacks(skill.request.model_validate(asked)).get(field):
                message = f"step '{other}' ({skill.name}) will give no '{field}': {why}."
                raise text.error(_argument(step, path), message)


def _placeholder(annotation: Any) -> Any:
    """A value of a result's type, to validate a request with before the result exists."""
    for option in annotation_options(annotation):
        if isinstance(option, type) and issubclass(option, ArtifactRef):
            return option.pending()
        if option in (str, int, float, bool):
            return option()
    return None


def _step_error(
    text: PlanText, step: StepText, skill: Skill[Any, Any], error: ValidationError, bound: _Bound
) -> AskError:
    for fault in error.errors():
        for path, reference in bound.later.items():
            if fault["loc"][: len(path)] == path:
                message = f"{skill.name} cannot take {reference} as '{path[0]}': {fault['msg']}"
                return text.error(_argument(step, path), message)
    first = error.errors()[0]["loc"]
    at = f"steps.{step.id}.with" + (f".{first[0]}" if first and str(first[0]) in step.arguments else "")
    return text.error(at, f"{skill.name}: {'; '.join(explain(error, skill.request))}")


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
    ordered: dict[str, None] = {}
    waiting = list(needs)
    while waiting:
        ready = next((place for place, i in enumerate(waiting) if needs[i] <= ordered.keys()), None)
        if ready is None:
            raise text.error(
                f"steps.{waiting[0]}",
                f"these steps wait for each other: {', '.join(waiting)}. Leave a reference out.",
            )
        ordered[waiting.pop(ready)] = None
    return list(ordered)


def _compile_gate(
    text: PlanText,
    name: str,
    calls: Mapping[str, StepCall],
    inputs: dict[str, str],
    digest: Digest,
    anywhere: bool,
) -> GateSpec:
    """A gate's criteria, complete; the files of the suites it requires are put among the inputs."""
    spec = _with_suite(_gate_spec(text, name), text, name, calls)
    spec = _with_required(spec, text, name, calls, anywhere)
    for file in _required_files(spec):
        if file not in inputs:
            inputs[file] = digest(file)
    return _with_endpoint(text, name, spec, calls)


def _gate_spec(text: PlanText, name: str) -> GateSpec:
    try:
        return GateSpec.model_validate(text.gates[name])
    except ValidationError as error:
        raise text.error(f"gates.{name}", f"gate '{name}': {'; '.join(explain(error, GateSpec))}") from error


def _with_suite(spec: GateSpec, text: PlanText, name: str, calls: Mapping[str, StepCall]) -> GateSpec:
    """The gate's criteria with the suite as the step that it judges has it: a file where it was found."""
    for step in text.steps:
        run = calls[step.id].arguments.get("suite")
        if step.gate == name and isinstance(run, str) and suite_name(run) == suite_name(spec.suite):
            return GateSpec.model_validate({**spec.model_dump(mode="json"), "suite": run})
    return spec


def _with_required(
    spec: GateSpec, text: PlanText, name: str, calls: Mapping[str, StepCall], anywhere: bool
) -> GateSpec:
    """The gate's criteria with the file of each required suite that is one: as named, or as a step has it."""
    run: dict[str, set[str]] = {}
    for call in calls.values():
        if isinstance(suite := call.arguments.get("suite"), str) and is_suite_file(suite):
            run.setdefault(suite_name(suite), set()).add(suite)
    bars = {}
    for required, bar in spec.suites.items():
        where, files = f"gates.{name}.suites.{required}", sorted(run.get(required, ()))
        if isinstance(bar.suite, Path):
            files = [bar.suite.as_posix() if anywhere else text.locate(f"{where}.suite", bar.suite)]
        elif bar.suite is None and len(files) > 1:
            raise text.error(
                where,
                f"steps evaluate {len(files)} suites called '{required}' ({', '.join(files)}). Name the one "
                "that is meant as its `suite`.",
            )
        meant = Path(files[0]) if files and (bar.suite is None or isinstance(bar.suite, Path)) else bar.suite
        bars[required] = bar.model_copy(update={"suite": meant})
    return spec.model_copy(update={"suites": bars})


def _required_files(spec: GateSpec) -> list[str]:
    """The files of the suites that a gate requires."""
    return sorted({bar.suite.as_posix() for bar in spec.suites.values() if isinstance(bar.suite, Path)})


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
    if report is None or EvalReportRef not in annotation_options(report.annotation):
        raise text.error(
            where, f"step '{step.id}' ({judged.name}) gives no eval report, so no gate can judge it."
        )
    spec, suite = gates[name], calls[step.id].arguments.get("suite")
    if suite != str(spec.suite):
        raise text.error(
            where, f"gate '{name}' judges suite '{spec.suite}', step '{step.id}' runs '{suite}'."
        )
    skill = registry.get(GATE_SKILL)
    return StepCall(
        id=step.id + GATE_SUFFIX,
        skill=skill.name,
        effect=skill.effect,
        arguments={"report": f"${{{step.id}.report}}", "spec": spec.model_dump(mode="json")},
        inputs=tuple(sorted({*_required_files(spec), *({suite} & {*calls[step.id].inputs})})),
    )


def _budget(text: PlanText) -> Budget:
    try:
        return TypeAdapter(Budget).validate_python(text.budget)
    except ValidationError as error:
        raise text.error("budget", f"budget: {'; '.join(explain(error, Budget))}") from error
