"""A project skill's inputs: declared in its plan file, typed, and put where `${inputs.NAME}` stands."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ...core.errors import AskError, did_you_mean
from ...core.explain import explain

_INPUT = re.compile(r"\$\{inputs\.([A-Za-z_]\w*)\}")
_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
_TYPES: dict[str, type | tuple[type, ...]] = {
    "text": str,
    "path": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
}
_SCHEMA = {"text": "string", "path": "string", "integer": "integer", "number": "number", "boolean": "boolean"}
_TRUTH = {"true": True, "yes": True, "false": False, "no": False}
_MOST_TEXT = 4_000

Value = str | int | float | bool


class SkillInput(BaseModel):
    """One input: its type, what it is for, and what stands there when it is not given."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: Literal["text", "path", "integer", "number", "boolean"] = "text"
    description: str = Field("", max_length=500)
    default: Value | None = None
    choices: tuple[Value, ...] = ()

    def read(self, name: str, value: Any) -> Value:
        """A value as the input takes it, from JSON or as a slash command's text."""
        is_typed = self.type not in ("text", "path")
        found = self._from_text(value) if is_typed and isinstance(value, str) else value
        is_truth = isinstance(found, bool)
        is_right = isinstance(found, _TYPES[self.type]) and is_truth == (self.type == "boolean")
        if not is_right:
            raise AskError(f"input '{name}' must be {self.type}, found {str(value)[:80]!r}.")
        if isinstance(found, str) and ("${" in found or "\0" in found or len(found) > _MOST_TEXT):
            raise AskError(f"input '{name}' may not hold '${{', NUL or more than {_MOST_TEXT:,} characters.")
        if self.choices and found not in self.choices:
            raise AskError(
                f"input '{name}' must be one of {', '.join(map(str, self.choices))}, found {found!r}."
            )
        return found  # type: ignore[no-any-return]  # checked against _TYPES above

    def _from_text(self, text: str) -> Any:
        if self.type == "boolean":
            return _TRUTH.get(text.lower(), text)
        try:
            return int(text) if self.type == "integer" else float(text)
        except ValueError:
            return text

    def json_schema(self) -> dict[str, Any]:
        """Its JSON schema."""
        made: dict[str, Any] = {"type": _SCHEMA[self.type], "description": self.description}
        if self.default is not None:
            made["default"] = self.default
        if self.choices:
            made["enum"] = list(self.choices)
        return made


def read_inputs(declared: Any, where: str) -> dict[str, SkillInput]:
    """The inputs that a plan file declares; AskError for what is wrong with one."""
    if declared is None:
        return {}
    if not isinstance(declared, dict):
        raise AskError(f"{where}: `inputs` must be a mapping of names to their types.")
    inputs: dict[str, SkillInput] = {}
    for name, body in declared.items():
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise AskError(
                f"{where}: invalid input name {name!r}: expected lower-case letters, digits and _."
            )
        try:
            inputs[name] = SkillInput.model_validate(body or {})
        except ValidationError as error:
            raise AskError(f"{where}: input '{name}': {'; '.join(explain(error, SkillInput))}") from error
        default = inputs[name].default
        if default is not None:
            inputs[name].read(name, default)
    return inputs


def bound_inputs(inputs: Mapping[str, SkillInput], given: Mapping[str, Any], skill: str) -> dict[str, Value]:
    """Each input's value: given, or its default; AskError for one that is unknown, missing or wrong."""
    for name in given:
        if name not in inputs:
            known = ", ".join(inputs) or "none"
            raise AskError(
                f"{skill}: unknown input '{name}' (it takes: {known}).{did_you_mean(name, inputs)}"
            )
    values: dict[str, Value] = {}
    for name, one in inputs.items():
        if given.get(name) is not None:
            values[name] = one.read(name, given[name])
        elif one.default is not None:
            values[name] = one.default
        else:
            raise AskError(f"{skill}: input '{name}' ({one.type}) is missing. {one.description}".rstrip())
    return values


def with_values(node: Any, values: Mapping[str, Value]) -> Any:
    """A plan's YAML with each `${inputs.NAME}` replaced: by the value itself where it stands alone."""
    if isinstance(node, Mapping):
        return {key: with_values(one, values) for key, one in node.items()}
    if isinstance(node, list):
        return [with_values(one, values) for one in node]
    if not isinstance(node, str):
        return node
    if alone := _INPUT.fullmatch(node):
        return _value(alone[1], values)
    return _INPUT.sub(lambda found: str(_value(found[1], values)), node)


def _value(name: str, values: Mapping[str, Value]) -> Value:
    if name not in values:
        raise AskError(
            f"the plan uses ${{inputs.{name}}}, which it does not declare.{did_you_mean(name, values)}"
        )
    return values[name]
