"""Judging before serving: whether a plan's steps serve a model which only a later step judges."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .artifacts import REF_TYPES, ArtifactRef, BundleRef, CheckpointRef
from .contract import Effect, Skill
from .inputs import annotation_options
from .plan import StepCall, references


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
        for _, step, _ in references(gate.arguments.get("report")):
            found |= {model for model, _ in self._models_of(self.steps[step])}
        return found

    def served_by(self, step: StepCall) -> set[str]:
        """The models that a step serves, and the checkpoints its bundles are built from."""
        found = set()
        for model, kind in self._models_of(step):
            found.add(model)
            if kind is BundleRef:
                for _, maker, _ in references(model):
                    found |= {m for m, k in self._models_of(self.steps[maker]) if k is CheckpointRef}
        return found

    def _models_of(self, step: StepCall) -> Iterator[tuple[str, type[ArtifactRef]]]:
        """The checkpoints and bundles among a step's arguments, with their kind."""
        for value in step.arguments.values():
            kind: Any = None
            for _, maker, field in references(value):
                options = annotation_options(self.skills[maker].result.model_fields[field].annotation)
                kind = next((one for one in options if one in (BundleRef, CheckpointRef)), None)
            if isinstance(value, str) and value.partition(":")[0] in ("bundle", "checkpoint"):
                kind = REF_TYPES[value.partition(":")[0]]
            if kind is not None:
                yield value, kind
