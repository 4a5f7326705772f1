"""Secrets by name: requests, plans and records hold where a secret is, never what it is."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from .errors import NeedsError

_FORM = re.compile(r"^secret:(env:[A-Za-z_][A-Za-z0-9_]*|file:.+)$")
_LEAST_CHARACTERS = 4  # a shorter value would blot out half of every text
HIDDEN = "[secret]"


class SecretName(str):
    """`secret:env:NAME` or `secret:file:PATH`: resolved in the step that needs it, and never recorded."""

    @classmethod
    def _check(cls, value: str) -> SecretName:
        if not _FORM.match(value):
            raise ValueError(
                "expected a secret's name (secret:env:NAME or secret:file:PATH), not the secret itself"
            )
        return cls(value)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(
            cls._check, core_schema.str_schema(), serialization=core_schema.to_string_ser_schema()
        )

    def resolve(self) -> str:
        """The secret; NeedsError when the variable is not set, or the file is not there or empty."""
        _, kind, name = self.split(":", 2)
        if kind == "env":
            value = os.environ.get(name, "")
            if not value:
                raise NeedsError(f"the environment variable {name} is not set: export {name}=... first.")
            return value
        try:
            value = Path(name).expanduser().read_text(encoding="utf-8").strip()
        except OSError as error:
            raise NeedsError(f"cannot read the secret's file {name}: {error.strerror}.") from error
        if not value:
            raise NeedsError(f"the secret's file {name} is empty.")
        return value


class Redactor:
    """Takes the secrets that a step resolved out of everything it leaves behind."""

    def __init__(self) -> None:
        self._values: set[str] = set()

    def resolve(self, name: SecretName) -> str:
        """The secret; from now on it is hidden in what passes through here."""
        value = name.resolve()
        if len(value) >= _LEAST_CHARACTERS:
            self._values.add(value)
        return value

    def text(self, text: str) -> str:
        """A text without the secrets."""
        for value in sorted(self._values, key=len, reverse=True):
            text = text.replace(value, HIDDEN)
        return text

    def plain(self, value: Any) -> Any:
        """A JSON value without the secrets, in keys too."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {self.text(str(key)): self.plain(inner) for key, inner in value.items()}
        if isinstance(value, list | tuple):
            return [self.plain(inner) for inner in value]
        return value
