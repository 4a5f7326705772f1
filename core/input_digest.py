"""The digest of an outside input: of a YAML file, with the files that it rests on.

A YAML input names such a file by the key `file`, relative to itself, as a suite names its samples. They
count as part of it, so that a plan notices when one of them changes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .errors import AskError
from .files import sha256_file, sha256_json, sha256_path
from .strict_yaml import read_yaml
from .suite_source import YAML_ENDINGS

_KEY = "file"


def sha256_input(path: Path) -> str:
    """The digest of an input; AskError when it, or a file that it names, is not there."""
    if path.suffix not in YAML_ENDINGS or not path.is_file():
        return sha256_path(path)
    named = sorted(set(files_named(path)))
    if not named:
        return sha256_file(path)
    try:
        return sha256_json(
            {"": sha256_file(path), **{name: sha256_path(path.parent / name) for name in named}}
        )
    except AskError as error:
        raise AskError(f"{path} names a file that is not there: {error}") from error


def files_named(path: Path) -> Iterator[str]:
    """What a YAML file names by the key `file`, however deep; nothing for text that is not strict YAML."""
    try:
        data = read_yaml(path, "input").data
    except AskError:
        return  # said with its line by whoever reads it
    yield from _named(data)


def _named(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if key == _KEY and isinstance(inner, str):
                yield inner
            else:
                yield from _named(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _named(inner)
