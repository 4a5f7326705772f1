"""Shortened references in a plan, made whole before it is compiled: its id covers full digests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, get_args

from ...core.artifacts import REF_TYPES, ArtifactStore
from ...core.errors import AskError
from ...core.plan_file import PlanText, StepText
from ...core.registry import Registry


def whole_references(text: PlanText, registry: Registry, artifacts: ArtifactStore) -> PlanText:
    """The plan text with `kind:digits` made a full reference wherever a skill takes one of that kind.

    Six digits are enough when they name one artifact. AskError, with the file's line, when they name none or
    several; unknown skills and arguments are left for the compiler to refuse.
    """
    return replace(text, steps=tuple(_of_step(text, step, registry, artifacts) for step in text.steps))


def _of_step(text: PlanText, step: StepText, registry: Registry, artifacts: ArtifactStore) -> StepText:
    if step.skill not in registry:
        return step
    fields = registry.get(step.skill).request.model_fields

    def whole(value: Any, kinds: frozenset[str], where: str) -> Any:
        if isinstance(value, Mapping):
            return {key: whole(inner, kinds, f"{where}.{key}") for key, inner in value.items()}
        if isinstance(value, list | tuple):
            return [whole(inner, kinds, f"{where}.{place}") for place, inner in enumerate(value)]
        if not isinstance(value, str) or value.partition(":")[0] not in kinds:
            return value
        try:
            return artifacts.resolve(value)
        except AskError as error:
            raise text.error(where, str(error)) from error

    arguments = {
        name: whole(value, reference_kinds(fields[name].annotation), f"steps.{step.id}.with.{name}")
        if name in fields
        else value
        for name, value in step.arguments.items()
    }
    return replace(step, arguments=arguments)


def reference_kinds(annotation: Any) -> frozenset[str]:
    """The kinds of artifacts that an annotation takes, however deep in it."""
    kind = getattr(annotation, "kind", None)
    own = {kind} if isinstance(kind, str) and kind in REF_TYPES else set()
    return frozenset(own.union(*(reference_kinds(inner) for inner in get_args(annotation))))
