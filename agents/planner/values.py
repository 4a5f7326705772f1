"""Values that would fit a command's argument: what completion offers behind the equals sign."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ...core.workspace import Workspace

_FILES = 200


def named_values(workspace: Workspace, name: str) -> list[str]:
    """Values of arguments that name a thing which is no artifact: suites and endpoints."""
    if name == "suite" or name.endswith("_suite"):
        from ...evals.suites import suite_files, suite_names

        return [*sorted(suite_names()), *(path.as_posix() for path in suite_files(Path()))]
    if name == "endpoint":
        from ...serving.releases import endpoint_names

        return endpoint_names(workspace)
    return []


def check_named(name: str, value: object) -> None:
    """AskError for a suite there is not, with the nearest one; an endpoint may be one to come."""
    if isinstance(value, str) and (name == "suite" or name.endswith("_suite")):
        from ...evals.suites import load_suite

        load_suite(value)


def path_values(start: str, *, endings: tuple[str, ...] = ()) -> list[str]:
    """Files and folders that continue a path, as a shell does: a folder ends with a stroke.

    With `endings`, only files that end so, and folders. Hidden ones are left out unless asked for.
    """
    folder, _, name = start.rpartition("/")
    where = Path(f"{folder}/" if folder or start.startswith("/") else ".")
    return sorted(_continued(where, folder, name, endings, start.startswith("/")))[:_FILES]


def _continued(
    where: Path, folder: str, name: str, endings: tuple[str, ...], is_absolute: bool
) -> Iterator[str]:
    head = f"{folder}/" if folder or is_absolute else ""
    try:
        found = list(where.iterdir())
    except OSError:
        return
    for path in found:
        if not path.name.startswith(name) or (path.name.startswith(".") and not name):
            continue
        if path.is_dir():
            yield f"{head}{path.name}/"
        elif not endings or path.suffix in endings:
            yield f"{head}{path.name}"


def takes_path(options: list[Any]) -> bool:
    """Whether one of an annotation's options is a path."""
    return any(isinstance(option, type) and issubclass(option, Path) for option in options)
