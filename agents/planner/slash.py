"""Slash commands: `/curate source=raw/ near_duplicate_jaccard=0.8`, exact and typed, with completion."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

from pydantic import BaseModel

from ...core.artifact_refs import REF_TYPES
from ...core.artifacts import ArtifactStore
from ...core.compile import compile_plan
from ...core.contract import Effect, Skill
from ...core.errors import AskError, did_you_mean
from ...core.inputs import annotation_options, types_in
from ...core.pins import with_pins
from ...core.plan_file import single_step
from ...core.registry import Registry
from ...core.strict_yaml import parse_yaml
from .base import Ask, Proposal, Turn
from .values import named_values, path_values, takes_path

if TYPE_CHECKING:
    from ...core.workspace import Workspace


WAIVER = "waive_gate"  # beside a serving skill's own arguments: why no gate need have judged what is served


@dataclass(frozen=True)
class SlashPlanner:
    """One command becomes a plan of one step."""

    registry: Registry
    workspace: Workspace

    @property
    def artifacts(self) -> ArtifactStore:
        """Where references are looked up."""
        return self.workspace.artifacts

    def propose(self, ask: Ask, conversation: Sequence[Turn] = ()) -> Proposal:
        """The plan of the command; AskError names what is wrong with it."""
        skill, arguments = self.parse(ask.text)
        waiver = arguments.pop(WAIVER, None) if skill.effect is Effect.SERVES else None
        skill.parse(arguments)  # for the sharper error; the compiler checks again
        text = single_step(skill.name, arguments, goal=ask.text.strip(), waive_gate=waiver)
        text = with_pins(text, self.registry, self.workspace)
        return Proposal(compile_plan(text, self.registry), ask.text)

    def parse(self, text: str) -> tuple[Skill[Any, Any], dict[str, Any]]:
        """The skill and arguments a command names."""
        try:
            words = shlex.split(text.strip())
        except ValueError as error:
            raise AskError(
                f"cannot read {text.strip()!r}: {error}. Quote values that hold spaces."
            ) from error
        if not words or not words[0].startswith("/") or words[0] == "/":
            raise AskError(f"a command starts with '/' and a skill's name, found {text.strip()[:40]!r}.")
        skill = self.registry.get(words[0][1:])
        arguments: dict[str, Any] = {}
        known = skill.request.model_fields
        for place, word in enumerate(words[1:]):
            name, equals, value = word.partition("=")
            if not equals and place == 0 and known and name not in known:  # /rollback support
                name, equals, value = next(iter(known)), "=", word
            if not equals:
                raise AskError(f"/{skill.name}: '{word}' is not name=value (it takes: {', '.join(known)}).")
            if name == WAIVER and skill.effect is Effect.SERVES and name not in arguments and value.strip():
                arguments[name] = value.strip()
                continue
            if name not in known:
                raise AskError(
                    f"/{skill.name}: unknown argument '{name}' (it takes: {', '.join(known)})."
                    + did_you_mean(name, known)
                )
            if name in arguments:
                raise AskError(f"/{skill.name}: '{name}' is given twice.")
            if not value.strip():
                raise AskError(f"/{skill.name}: '{name}' is empty. Give it a value, or leave it out.")
            arguments[name] = parse_value(skill.request, name, value, self.artifacts)
        return skill, arguments

    def complete(self, text: str) -> list[str]:
        """What could stand where the command ends: skills, then argument names, then values."""
        head, _, last = text.rpartition(" ")
        if not head:
            return sorted(f"/{skill.name}" for skill in self.registry if f"/{skill.name}".startswith(last))
        name = head.split()[0].lstrip("/")
        if name not in self.registry:
            return []
        fields = self.registry.get(name).request.model_fields
        argument, equals, start = last.partition("=")
        if not equals:
            used = {word.partition("=")[0] for word in head.split()[1:]}
            return [f"{field}=" for field in fields if field.startswith(argument) and field not in used]
        if argument not in fields:
            return []
        annotation = fields[argument].annotation
        values = value_choices(annotation, self.artifacts) or named_values(self.workspace, argument)
        if takes_path(list(annotation_options(annotation))):
            values = [*values, *(path for path in path_values(start) if path not in values)]
        return [f"{argument}={value}" for value in values if value.startswith(start)]


def parse_value(request: type[BaseModel], name: str, text: str, artifacts: ArtifactStore) -> Any:
    """What a command's text means for a request's field: YAML, a comma list or a shortened reference."""
    options = list(annotation_options(request.model_fields[name].annotation))
    kind = text.partition(":")[0]
    if kind in REF_TYPES and any(getattr(option, "kind", None) == kind for option in options):
        return artifacts.resolve(text)
    if str in options or takes_path(options):
        return text
    if any(get_origin(option) in (tuple, list) for option in options) and not text.startswith("["):
        kinds = {getattr(one, "kind", None) for one in types_in(request.model_fields[name].annotation)}
        parts = [part.strip() for part in text.split(",") if part.strip()]
        return [artifacts.resolve(part) if part.partition(":")[0] in kinds else part for part in parts]
    if any(get_origin(option) is Literal for option in options) and text in value_choices(
        request.model_fields[name].annotation, artifacts
    ):
        return text
    return parse_yaml(text, f"the value of '{name}'").data


def value_choices(annotation: Any, artifacts: ArtifactStore) -> list[str]:
    """Values that would fit an annotation: literals, true and false, artifacts of the kind."""
    choices: list[str] = []
    for option in annotation_options(annotation):
        if get_origin(option) is Literal:
            choices += [str(value) for value in get_args(option)]
        elif option is bool:
            choices += ["true", "false"]
        elif getattr(option, "kind", None) in REF_TYPES:
            choices += [ref.short for ref, _ in artifacts.list(option.kind)]
    return choices
