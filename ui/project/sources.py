"""The files a project is made from: which are learned from, which held out, and what their columns hold."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError

from ...core.errors import AskError, did_you_mean
from ...core.files import files_below, sha256_file
from ...data.columns import Columns
from ...data.read import Source
from ...data.sample import Task
from ...serving.releases import ENDPOINT_PATTERN

_HELD_OUT = re.compile(r"(?:^|[^a-z])(?:test|golden|eval|holdout|held[-_ ]?out)(?:[^a-z]|$)", re.IGNORECASE)
SEVERAL = ("tags", "choices", "unused")  # parts of a row that several columns hold
TAG = "tag "


def is_held_out(path: Path) -> bool:
    """Whether a file's name says that its rows are kept to judge models by."""
    return _HELD_OUT.search(path.stem) is not None


def by_name(data: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """The files to learn from and those held out, by their names; a file alone is always learned from."""
    held_out = [path for path in data if is_held_out(path)] if len(data) > 1 else []
    return [path for path in data if path not in held_out], held_out


def sources(
    train: Sequence[Path], held_out: Sequence[Path], columns: Columns | None, task: Task | None
) -> tuple[Source, Source | None]:
    """The training rows and the held-out rows, if any.

    AskError for more than one file of either, and for a file that is both.
    """
    if len(train) != 1 or len(held_out) > 1:
        raise AskError(
            f"{len(train)} files of rows to learn from and {len(held_out)} held out: init takes one of each "
            "at most. Put files of one kind into a folder and name that; a held-out file has `test`, "
            "`golden`, `eval` or `holdout` in its name."
        )
    for path in (*train, *held_out):
        if not path.exists():
            raise AskError(f"no file or folder '{path}' (looked in {Path.cwd()}). Check the path.")
    made = [Source(path, columns=columns, task=task) for path in (*train, *held_out)]
    if len(made) > 1:
        _check_apart(train[0], held_out[0])
    return made[0], made[1] if len(made) > 1 else None


def _check_apart(train: Path, held_out: Path) -> None:
    """AskError when a held-out file is, by its bytes, one that is learned from."""
    learned, kept = ([one for one in _files(path) if one.is_file()] for path in (train, held_out))
    for one, other in product(learned, kept):
        size = one.stat().st_size
        if size and size == other.stat().st_size and sha256_file(one) == sha256_file(other):
            raise AskError(
                f"one file is given to learn from and held out: {one} and {other} hold the same bytes. No "
                "model is judged by rows it learned. Leave the held-out one away: then rows are held out."
            )


def _files(path: Path) -> Iterable[Path]:
    return files_below(path).values() if path.is_dir() else (path,)


def known_task(text: str | None) -> Task | None:
    """A task by its name; None stays None. AskError for an unknown one."""
    known = get_args(Task)
    if text is not None and text not in known:
        raise AskError(f"unknown task '{text}' (there are: {', '.join(known)}).{did_you_mean(text, known)}")
    return text  # type: ignore[return-value]


def columns_of_words(given: Iterable[str]) -> Columns | None:
    """The mapping of words such as `user=utterance`; tags, choices and unused may come several times.

    AskError for a word that is none, or that comes twice.
    """
    pairs: list[tuple[str, str]] = []
    for word in given:
        part, equals, column = word.partition("=")
        if not equals or not column:
            raise AskError(f"--column {word}: expected PART=COLUMN, as --column user=utterance.")
        if (part, column) in pairs:
            raise AskError(f"--column {word} is given twice. Give it once.")
        pairs.append((part, column))
    return columns_of_pairs(pairs)


def columns_of_pairs(pairs: Iterable[tuple[str, str]]) -> Columns | None:
    """The mapping of (part, column), the part as `Columns` names it, or `tag NAME`; None for no pairs."""
    parts = _by_part(pairs)
    try:
        return Columns.model_validate(parts) if parts else None
    except ValidationError as error:
        first = error.errors()[0]
        if first["type"] != "extra_forbidden":
            raise AskError(f"the columns cannot be mapped so: {first['msg']}.") from error
        known = ", ".join(Columns.model_fields)
        raise AskError(f"--column: {first['loc'][0]} is no part of a row (there are: {known}).") from error


def mapping(columns: Mapping[str, str], unused: Iterable[str]) -> dict[str, Any]:
    """Columns and the parts they are taken for as a plan writes them: part -> column, or columns."""
    return _by_part(
        [*((part, name) for name, part in columns.items()), *(("unused", name) for name in unused)]
    )


def _by_part(pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Part -> column, or columns; AskError for two columns of a part that has one."""
    parts: dict[str, Any] = {}
    for part, column in pairs:
        if part == "tags" or part.startswith(TAG):
            name = column if part == "tags" else part.removeprefix(TAG)
            parts.setdefault("tags", {})[name] = column
        elif part == "unused":
            parts.setdefault(part, []).append(column)
        elif part in parts and part in SEVERAL:
            before = parts[part]
            parts[part] = [*([before] if isinstance(before, str) else before), column]
        elif part in parts and parts[part] != column:
            raise AskError(
                f"'{parts[part]}' and '{column}' are both taken for {part}, which is one column. Take one of "
                "them for another part, or for a tag."
            )
        else:
            parts[part] = column
    return parts


def project_name(path: Path) -> str:
    """A name for suite and endpoint, from a file's or folder's."""
    plain = re.sub(r"[^a-z0-9]+", "-", path.resolve().stem.lower()).strip("-")
    return plain[:40].strip("-") or "project"


def check_name(name: str) -> None:
    """AskError for a name that no endpoint can have."""
    if re.fullmatch(ENDPOINT_PATTERN, name) is None or name.endswith("\n"):
        raise AskError(
            f"--name {name!r} is no name for an endpoint: expected 1 to 40 of a-z, 0-9 and hyphens, with no "
            "hyphen at an end, as --name order-desk."
        )


def check_outside(data: Iterable[Path], folder: Path, files: Iterable[str]) -> None:
    """AskError when a file to be written would become part of the source it is made from."""
    for path in (path for path in data if path.is_dir()):
        for file in files:
            if (folder / file).resolve().is_relative_to(path.resolve()):
                raise AskError(
                    f"{file} would lie in the source {path} and be read as rows to learn from. Run init in "
                    "another folder, or keep the source in a folder of its own."
                )


def rights(data: Iterable[Path]) -> int:
    """The mode of files that hold rows of the data: who may not read all of it may not read them."""
    mode = 0o666
    for path in data:
        for file in _files(path):
            mode &= file.stat().st_mode
    return mode | 0o600
