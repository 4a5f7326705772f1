"""Secrets by name: requests, plans and records hold where a secret is, never what it is."""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

from pydantic import BaseModel, GetCoreSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from .errors import NeedsError

_FORM = re.compile(r"secret:(env:[A-Za-z_][A-Za-z0-9_]*|file:.+)")
_LEAST_CHARACTERS = 8  # a shorter value would blot out half of every text, or be found by trying
_NESTED = 2  # how often a value is escaped: a response quoted in an error that is quoted in a log
HIDDEN = "[secret]"


class SecretName(str):
    """`secret:env:NAME` or `secret:file:PATH`: resolved in the step that needs it, and never recorded."""

    @classmethod
    def _check(cls, value: Any) -> SecretName:
        if not isinstance(value, str) or not _FORM.fullmatch(value):
            raise PydanticCustomError(
                "secret_name",
                "expected a secret's name (secret:env:NAME or secret:file:PATH), not the secret itself",
            )
        return cls(value)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        checked = core_schema.no_info_before_validator_function(cls._check, core_schema.str_schema())
        return core_schema.no_info_after_validator_function(
            cls, checked, serialization=core_schema.to_string_ser_schema()
        )

    def resolve(self) -> str:
        """The secret; NeedsError when it is not there, empty, or too short to be hidden afterwards."""
        _, kind, name = self.split(":", 2)
        where = f"the environment variable {name}" if kind == "env" else f"the secret's file {name}"
        value = os.environ.get(name, "") if kind == "env" else _file_text(name)
        if not value.strip():
            how = f"not set: export {name}=... first" if kind == "env" else "empty"
            raise NeedsError(f"{where} is {how}.")
        if len(value.strip()) < _LEAST_CHARACTERS:
            raise NeedsError(
                f"{where} holds fewer than {_LEAST_CHARACTERS} characters, too few to be hidden in records. "
                "Use a longer secret."
            )
        return value


def _file_text(name: str) -> str:
    try:
        return Path(name).expanduser().read_text(encoding="utf-8").strip()
    except UnicodeDecodeError as error:
        raise NeedsError(f"the secret's file {name} is not UTF-8 text.") from error
    except (OSError, ValueError, RuntimeError) as error:  # not there; a path that can be none
        why = error.strerror if isinstance(error, OSError) else error
        raise NeedsError(f"cannot read the secret's file {name}: {why}.") from error


def secret_names(value: object) -> list[SecretName]:
    """Every secret that settings name, however deep."""
    if isinstance(value, SecretName):
        return [value]
    if isinstance(value, BaseModel):
        return secret_names([getattr(value, name) for name in type(value).model_fields])
    if isinstance(value, Mapping):
        return secret_names(list(value.values()))
    return [one for inner in value for one in secret_names(inner)] if isinstance(value, list | tuple) else []


class Redactor:
    """Takes the secrets that a step resolved out of everything it leaves behind."""

    def __init__(self) -> None:
        self._forms: set[str] = set()
        self._pattern: re.Pattern[str] | None = None

    @property
    def knows_secrets(self) -> bool:
        """Whether anything was resolved yet."""
        return self._pattern is not None

    def resolve(self, name: SecretName) -> str:
        """The secret; from now on it is hidden in what passes through here, however it is written."""
        value = name.resolve()
        lines = {line.strip() for line in value.splitlines()}
        for part in {value, value.strip()} | {line for line in lines if len(line) >= _LEAST_CHARACTERS}:
            self._forms.update(_forms_of(part))
        longest_first = sorted(self._forms, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest_first)), re.IGNORECASE)
        return value

    def text(self, text: str) -> str:
        """A text without the secrets."""
        return text if self._pattern is None else self._pattern.sub(HIDDEN, text)

    def text_so_far(self, text: str) -> str:
        """A text that is still being written: without the secrets, and without an end that may begin one."""
        shown = self.text(text)
        small = shown[-max(map(len, self._forms), default=0) :].lower()
        begun = max((_begun(small, form.lower()) for form in self._forms), default=0)
        return shown[: len(shown) - begun]

    def plain(self, value: Any) -> Any:
        """A JSON value without the secrets, in keys and in numbers too."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {self.text(str(key)): self.plain(inner) for key, inner in value.items()}
        if isinstance(value, list | tuple):
            return [self.plain(inner) for inner in value]
        if isinstance(value, int | float) and self.text(str(value)) != str(value):
            return HIDDEN
        return value


def _forms_of(value: str) -> Iterator[str]:
    """A secret as it is, and as programs write it into texts: escaped, in a URL, in base64."""
    data = value.encode(errors="surrogateescape")
    forms = {value}
    for _ in range(_NESTED):
        forms |= {form for one in forms for form in _escapes_of(one)}
    yield from forms
    yield repr(data)[2:-1]
    yield from (quote(data), quote(data, safe=""), quote_plus(data))
    for before in range(3):  # base64 of the secret within a longer text, such as user:secret
        coded = base64.b64encode(bytes(before) + data).decode()
        whole = coded[-(-before * 8 // 6) : (before + len(data)) * 8 // 6]
        yield from (whole, whole.replace("+", "-").replace("/", "_"))


def _begun(text: str, form: str) -> int:
    """How many characters of a form a text ends with, without holding all of it."""
    return next((n for n in range(min(len(form) - 1, len(text)), 0, -1) if text.endswith(form[:n])), 0)


def _escapes_of(text: str) -> Iterator[str]:
    yield repr(text)[1:-1]
    yield repr(text + "\"'")[1:-4]  # as repr writes it where both quotes occur
    yield json.dumps(text)[1:-1]
    yield json.dumps(text, ensure_ascii=False)[1:-1]
