"""Judging before serving: whether a plan's steps serve a model which only a later step judges."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .artifact_refs import ArtifactRef, BundleRef, CheckpointRef, EvalReportRef
from .contract import Effect, Skill
from .inputs import types_in
from .plan import StepCall, references
from .references import references_in


def served_before_judged(
    ordered: Sequence[StepCall], skills: Mapping[str, Skill[Any, Any]]
) -> Iterator[tuple[str, str]]:
    """Each step that serves a model before its gate, as (place in the plan file, message)."""
    models = _Models({step.id: step for step in ordered}, skills)
    judged_later: dict[str, str] = {}
    for step in reversed(ordered):
        if step.effect is Effect.READS:
            judged_later |= dict.fromkeys(models.judged_by(step), step.id)
        elif step.effect is Effect.SERVES:
            for model in sorted(models.served_by(step) & judged_later.keys()):
                yield (
                    f"steps.{step.id}",
                    f"step '{step.id}' serves {model} before {judged_later[model]} judged it. Put the step "
                    f"that is judged first, or let '{step.id}' come `after` it.",
                )


def unjudged_models(
    ordered: Sequence[StepCall], skills: Mapping[str, Skill[Any, Any]]
) -> Iterator[tuple[str, list[str]]]:
    """Each step that serves models which no earlier gate of the plan judges, with those models."""
    models = _Models({step.id: step for step in ordered}, skills)
    judged: set[str] = set()
    for step in ordered:
        if step.effect is Effect.READS:
            judged |= models.judged_by(step)
        elif step.effect is Effect.SERVES and (served := models.served_by(step)) and not served & judged:
            yield step.id, sorted(served)


@dataclass(frozen=True)
class _Models:
    """Which models a plan's gates judge and its steps serve, as references or as named in the plan."""

    steps: Mapping[str, StepCall]
    skills: Mapping[str, Skill[Any, Any]]

    def _skill(self, step: StepCall) -> Skill[Any, Any]:
        """A step's skill; a gate's step is not among those of the plan file."""
        return self.skills[step.id]

    def judged_by(self, gate: StepCall) -> set[str]:
        """The models that a gate decides on: behind its report, or named to it."""
        if "verdict" not in self._skill(gate).result.model_fields:
            return set()
        found = {model for model, _ in self._models_of(gate)}
        for _, step, field in references(gate.arguments):
            if EvalReportRef in types_in(self.skills[step].result.model_fields[field].annotation):
                found |= {model for model, _ in self._models_of(self.steps[step])}
        return found

    def served_by(self, step: StepCall) -> set[str]:
        """The models that a step serves, and the checkpoints its bundles are built from.

        None for a skill that says itself what it serves: that is known when the step runs.
        """
        found: set[str] = set()
        for model, kinds in self._models_of(step) if self._skill(step).serves is None else ():
            found.add(model)
            if BundleRef in kinds:
                for _, maker, _ in references(model):
                    found |= {m for m, k in self._models_of(self.steps[maker]) if CheckpointRef in k}
        return found

    def _models_of(self, step: StepCall) -> Iterator[tuple[str, set[type[ArtifactRef]]]]:
        """The checkpoints and bundles among a step's arguments, however deep, with their kinds."""
        for _, maker, field in references(step.arguments):
            types = types_in(self.skills[maker].result.model_fields[field].annotation)
            kinds: set[type[ArtifactRef]] = {one for one in (BundleRef, CheckpointRef) if one in types}
            if kinds:
                yield f"${{{maker}.{field}}}", kinds
        for ref in references_in(step.arguments):
            if isinstance(ref, BundleRef | CheckpointRef):
                yield str(ref), {type(ref)}
