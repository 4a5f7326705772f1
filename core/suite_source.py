"""How a plan names a suite: by its name, or as a YAML file, whose digest the plan then records."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

from .inputs import InputPath

YAML_ENDINGS = (".yaml", ".yml")


def _is_name(text: str) -> str:
    if is_suite_file(text):
        raise ValueError("a suite's file, not its name")
    return text


def is_suite_file(text: str | Path) -> bool:
    """Whether a suite is named as a file: it has a stroke, or a YAML file's ending."""
    return isinstance(text, Path) or "/" in text or "\\" in text or text.endswith(YAML_ENDINGS)


SuiteSource = Annotated[str, Field(min_length=1), AfterValidator(_is_name)] | InputPath
"""A suite's name (shipped, or of an installed package), or the path of its YAML file."""


def suite_name(suite: str | Path) -> str:
    """The name of a suite however it is given: a file's is that of the file, without its ending."""
    return Path(suite).stem if is_suite_file(suite) else str(suite)


def resolved(suite: str | Path) -> str:
    """A suite for a plan that may run elsewhere: a file by its whole path."""
    return Path(suite).resolve().as_posix() if is_suite_file(suite) else str(suite)
