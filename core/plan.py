"""Plans: skill calls with bound arguments, their order, gates and budget, as canonical JSON.

A plan's id is the SHA-256 of that JSON. How a plan file becomes one is in `core.compile`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError

from .contract import Effect
from .errors import AskError, IntegrityError
from .explain import explain
from .files import canonical_json, sha256_json
from .gate import GateSpec
from .input_digest import sha256_input
from .strict_yaml import MAX_DEPTH
from .text import unseen_in

FORMAT = 2
GATE_SKILL = "gate"
GATE_SUFFIX = ".gate"  # of the step that judges another one by a gate of the plan
STEP_ID = r"^[A-Za-z][A-Za-z0-9_-]{0,63}(\.gate)?$"  # the ending: GATE_SUFFIX
_AROUND = 4  # levels of a compiled plan around what a plan file holds
_REFERENCE = re.compile(r"^\$\{([A-Za-z][\w-]*)\.([A-Za-z_]\w*)\}$")


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


class Budget(_Frozen):
    """What a run may take; None is no limit, and an unknown estimate breaks any limit."""

    minutes: FiniteFloat | None = Field(None, ge=0, description="Wall minutes of the whole run.")
    gpu_hours: FiniteFloat | None = Field(None, ge=0, description="GPU hours.")
    usd: FiniteFloat | None = Field(None, ge=0, description="US dollars.")
    tokens: FiniteFloat | None = Field(None, ge=0, description="Tokens of paid models, in and out.")

    @property
    def limits(self) -> dict[str, float]:
        """The limits that are set, by amount."""
        return {name: value for name, value in self.model_dump().items() if value is not None}


class StepCall(_Frozen):
    """One skill call: `arguments` with every default, references left as `${step.field}`.

    waive_gate: why the step may serve what no gate judged GO; None: it may not.
    """

    id: str = Field(pattern=STEP_ID)
    skill: str
    effect: Effect
    arguments: dict[str, Any]
    inputs: tuple[str, ...] = ()  # the outside paths among the arguments
    waive_gate: str | None = None


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

    def model_post_init(self, context: Any) -> None:
        """Have its id made of what it is now: what is altered later has another."""
        _ = self.id

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """The plan with other fields, and the id of what that is."""
        copied = super().model_copy(update=update, deep=deep)
        copied.__dict__.pop("id", None)
        _ = copied.id
        return copied

    def check_unaltered(self) -> None:
        """IntegrityError for a plan whose arguments or inputs were set anew since it was made."""
        if sha256_json(self.model_dump(mode="json")) != self.id:
            raise IntegrityError(
                f"plan {self.id[:12]} was altered after it was made, and nothing was run. Make another plan "
                "with what is wanted: consent is to what a plan said when it got its id."
            )

    @property
    def effect(self) -> Effect:
        """The strongest effect of its steps."""
        effects = {step.effect for step in self.steps}
        return next((e for e in (Effect.SERVES, Effect.WRITES) if e in effects), Effect.READS)

    @property
    def waivers(self) -> dict[str, str]:
        """Why steps may serve what no gate judged, by step id."""
        return {step.id: step.waive_gate for step in self.steps if step.waive_gate is not None}

    def step(self, step_id: str) -> StepCall | None:
        """The step of that id."""
        return next((step for step in self.steps if step.id == step_id), None)

    def document(self, folder: Path | None = None) -> bytes:
        """The file form: the plan beside its id, canonical JSON and a newline.

        folder: where its relative inputs lie; beside the plan and not in it: the id is the same anywhere.
        """
        body: dict[str, Any] = {"id": self.id, "plan": self.model_dump(mode="json")}
        if folder is not None:
            body["folder"] = folder.as_posix()
        return canonical_json(body) + b"\n"

    @classmethod
    def from_document(cls, document: Any) -> Plan:
        """The plan of a parsed file; IntegrityError when it no longer hashes to the id beside it."""
        if not isinstance(document, dict) or set(document) - {"folder"} != {"id", "plan"}:
            raise AskError(
                "not a compiled plan (expected 'id' and 'plan'). "
                "Make one with `opswright plan FILE -o plan.json`."
            )
        _check_document(document)
        body = document["plan"]
        if isinstance(body, dict) and body.get("format") != FORMAT:
            raise AskError(
                f"the compiled plan has format {body.get('format')}, this Opswright reads {FORMAT}. "
                "Compile it again with `opswright plan FILE -o plan.json`."
            )
        try:
            plan = cls.model_validate(body)
        except ValidationError as error:
            raise AskError(f"the compiled plan is damaged: {'; '.join(explain(error, cls))}") from error
        if (found := sha256_json(body)) != document["id"]:
            raise IntegrityError(
                f"the plan was changed after it was made: it says id {str(document['id'])[:12]}, its content "
                f"is {found[:12]}. Compile it again with `opswright plan FILE` and have it approved."
            )
        if plan.id != found:
            raise AskError(
                f"plan {found[:12]} was made by another version of Opswright, whose plans say less. Compile "
                "it again with `opswright plan FILE` and have it approved."
            )
        return plan

    @classmethod
    def recorded(cls, body: Mapping[str, Any]) -> Self:
        """The plan of a body that was recorded, to look at and not to run.

        Its id is the body's own: fields that came with a later version have no part in it.
        """
        plan = cls.model_validate(body)
        plan.__dict__["id"] = sha256_json(body)  # where `cached_property` keeps it
        return plan

    def changed_inputs(
        self, step: StepCall, folder: Path, when: str = "since the plan was made"
    ) -> list[str]:
        """Sentences for those of a step's outside inputs that are no longer what the plan was made from.

        folder: where relative inputs lie. when: since when, in the sentence.
        """
        found = []
        for name in step.inputs:
            path = folder / name
            now = _digest_now(path)
            if now != self.inputs[name]:
                found.append(f"{path} changed {when} ({self.inputs[name][:12]} -> {now[:12]})")
        return found


def _digest_now(path: Path) -> str:
    """The digest of an outside input; `missing` when it, or a file it rests on, is not there."""
    try:
        return sha256_input(path)
    except AskError:
        return "missing"


def _check_document(document: dict[str, Any]) -> None:
    """AskError for a document whose folder is no path, or which nests deeper than any plan file does."""
    folder = document.get("folder", ".")
    if not isinstance(folder, str) or (unseen := unseen_in(folder)):
        found = "not text" if not isinstance(folder, str) else f"holding {unseen}"
        raise AskError(f"the compiled plan is damaged: 'folder' must be a path, found {found}.")
    depth = 0
    level: list[Any] = [document]
    while level:
        depth += 1
        if depth > MAX_DEPTH + _AROUND:
            raise AskError(f"the compiled plan is nested deeper than {MAX_DEPTH} levels.")
        inner = (one.values() if isinstance(one, dict) else one for one in level)
        level = [value for values in inner for value in values if isinstance(value, dict | list)]


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
    bound: Any = thaw(arguments)
    for path, step, field in references(arguments):
        bound = put(bound, path, results[step][field])
    return dict(bound)


def thaw(value: Any) -> Any:
    """A deep copy of nested arguments as plain dictionaries and lists."""
    if isinstance(value, Mapping):
        return {key: thaw(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [thaw(inner) for inner in value]
    return value


def put(container: Any, path: Sequence[str | int], value: Any) -> Any:
    """The container with the value at a path, changed in place."""
    if not path:
        return value
    inner = container
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return container
