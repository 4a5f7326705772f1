"""Where a step's artifacts come from unnamed: from earlier steps, from what was spoken of, from a maker."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ....core.artifact_refs import ArtifactRef, parse_ref
from ....core.contract import Effect, Skill
from ....record.judging import is_model
from .drafts import OpenField, PlanDraft, StepDraft
from .fields import FieldWords
from .lexicon import Lexicon
from .surroundings import Surroundings


class Supplies:
    """What the steps of one draft can be given without being told."""

    def __init__(self, lexicon: Lexicon, around: Surroundings, draft: PlanDraft, at_hand: list[Any]) -> None:
        self._lexicon = lexicon
        self._around = around
        self._draft = draft
        self._at_hand = at_hand  # what "it" may be besides: references and paths, the last spoken of first
        self.told: list[str] = []  # words said before the wish, of which one may name an endpoint or a suite

    def best(self, kinds: tuple[str, ...]) -> ArtifactRef | None:
        """The artifact of these kinds with the highest score on the leaderboard."""
        from ....evals.leaderboard import board

        rows = [row for row in board(self._around.workspace) if row.model.partition(":")[0] in kinds]
        return parse_ref(max(rows, key=lambda row: row.value).model) if rows else None

    @staticmethod
    def fill(step: StepDraft, one: FieldWords, value: str) -> None:
        """Have a field hold a reference, and nothing be asked about it."""
        step.arguments[one.name] = [value] if one.is_list else value
        step.missing.pop(one.name, None)

    def complete(self, step: StepDraft) -> None:
        """Fill what earlier steps or the conversation give; ask for what is needed and not there."""
        fields = self._lexicon.fields[step.skill.name]
        names = {other.skill.name.replace("-", "_") for other in self._draft.steps if other is not step}
        for one in fields:
            if one.name in step.arguments or one.name in step.missing:
                continue
            if not one.is_required:
                if one.kinds and one.name in names and (found := self._draft.output(one.kinds, step)):
                    self.fill(step, one, found[0])
                continue
            if one.kinds and self.from_context(step, one):
                continue
            only = self._only(one)
            if only is not None:
                step.arguments[one.name] = only
            elif one.takes_path and (path := self._path_at_hand()):
                step.arguments[one.name] = path
            else:
                step.missing[one.name] = self.question(one)

    def from_context(self, step: StepDraft, one: FieldWords) -> bool:
        """What earlier steps or the conversation give a field; False where they give it nothing."""
        if (found := self._draft.output(one.kinds, step)) is not None:
            self.fill(step, one, found[0])
            return True
        if self.bridged_from_draft(step, one) or self.from_arguments(step, one, one.kinds):
            return True
        return self.from_at_hand(step, one, one.kinds)

    def from_arguments(self, step: StepDraft, one: FieldWords, kinds: tuple[str, ...]) -> bool:
        """What an earlier step of the draft was given."""
        for other in reversed(self._draft.steps[: self._draft.steps.index(step)]):
            for value in other.arguments.values():
                if isinstance(value, str) and value.partition(":")[0] in kinds:
                    self.fill(step, one, value)
                    return True
        return False

    def from_at_hand(self, step: StepDraft, one: FieldWords, kinds: tuple[str, ...]) -> bool:
        """What the conversation made or spoke of last."""
        for thing in self._at_hand:
            if isinstance(thing, Path):
                if self.bridge(step, one, "", thing.as_posix()):
                    return True
            elif thing.kind in kinds:
                self.fill(step, one, str(thing))
                return True
        for thing in self._at_hand:
            if not isinstance(thing, Path) and self.bridge(step, one, thing.kind, str(thing)):
                return True
        return False

    def bridged_from_draft(self, step: StepDraft, one: FieldWords) -> bool:
        """What can be made, in one step, of what an earlier step gives."""
        for other in reversed(self._draft.steps[: self._draft.steps.index(step)]):
            for name, kind in other.outputs():
                if self.bridge(step, one, kind, f"${{{other.id}.{name}}}"):
                    return True
        return False

    def bridge(self, step: StepDraft, one: FieldWords, given: str, value: str) -> bool:
        """Put a step before this one that makes what it needs of a file, or an engine of a model."""
        found = self._maker(given, one.kinds)
        if found is None:
            return False
        skill, source, result = found
        made = self._draft.add(skill)
        self._draft.steps.remove(made)
        self._draft.steps.insert(self._draft.steps.index(step), made)
        made.arguments[source] = value
        self.fill(step, one, f"${{{made.id}.{result}}}")
        return True

    def _maker(self, given: str, kinds: tuple[str, ...]) -> tuple[Skill[Any, Any], str, str] | None:
        """A skill that needs only a file (given: empty) or a model of a kind, and gives such a kind."""
        if given and not (is_model(f"{given}:") and any(is_model(f"{kind}:") for kind in kinds)):
            return None
        for skill in self._lexicon.skills:
            needed = [one for one in self._lexicon.fields[skill.name] if one.is_required]
            if skill.effect is not Effect.WRITES or len(needed) != 1:
                continue
            if not (given in needed[0].kinds if given else needed[0].takes_path and not needed[0].is_suite):
                continue
            for name, kind in StepDraft("", skill).outputs():
                if kind in kinds:
                    return skill, needed[0].name, name
        return None

    def _path_at_hand(self) -> str | None:
        return next((thing.as_posix() for thing in self._at_hand if isinstance(thing, Path)), None)

    def _only(self, one: FieldWords) -> str | None:
        """The value of a field that can have but one."""
        named = self._around.endpoints if one.is_endpoint else self._around.suites if one.is_suite else {}
        told = list(dict.fromkeys(named[key] for key in self.told if key in named))
        if told:
            return told[0] if len(told) == 1 else None
        if one.is_endpoint and len(self._around.endpoints) == 1:
            return next(iter(self._around.endpoints.values()))
        return None

    def question(self, one: FieldWords) -> OpenField:
        """What is asked about a field, and what there is to choose from."""
        what = called(one)
        if one.is_suite:
            choices = self._around.own_suites or list(self._around.suites.values())
            return OpenField("Which suite?", tuple(choices[:8]))
        if one.is_endpoint:
            return OpenField("Which endpoint?", tuple(list(self._around.endpoints.values())[:8]))
        if one.kinds:
            refs = [ref.short for kind in one.kinds for ref in self._around.artifacts(kind)[:4]][:6]
            none = (
                f" There is no {' or '.join(k.replace('-', ' ') for k in one.kinds)} in this workspace yet."
            )
            return OpenField(f"Which {what}?" + ("" if refs else none), tuple(refs))
        if one.takes_path:
            return OpenField("Which file or folder?", tuple(list(self._around.files.values())[:8]))
        return OpenField(f"Which {what}?", one.plain_values[:8])


def called(one: FieldWords) -> str:
    """A field's name as people read it."""
    return one.name.replace("_", " ")
