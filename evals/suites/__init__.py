"""Suites: what a model is asked and what it should answer.

A suite is shipped, comes from an installed package by the entry point `opswright.suites`, or is a YAML file
beside the data.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from ...core.entry_points import entry_points_of
from ...core.errors import AskError, BackendError, did_you_mean
from ...core.suite_source import YAML_ENDINGS, is_suite_file
from . import banking77, clinc150, guards, ragas_samples, snips
from .base import SliceRule, SliceValues, Suite, in_slice
from .suite_file import read_suite

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

__all__ = ["SHIPPED", "SliceRule", "SliceValues", "Suite", "in_slice", "load_suite", "suite_names"]

GROUP = "opswright.suites"
SHIPPED: dict[str, Callable[[], Suite]] = {
    "clinc150": clinc150.suite,
    "clinc150_oos": clinc150.with_out_of_scope,
    "banking77": banking77.suite,
    "snips": snips.suite,
    **guards.SUITES,
    "ragas_questions": ragas_samples.questions,
    "ragas_tickets": ragas_samples.tickets,
}


def load_suite(source: str | Path, group: Iterable[EntryPoint] | None = None) -> Suite:
    """The suite of a name, or of a YAML file; no code of the file's folder is run.

    Raises AskError for an unknown name with the nearest one, and for a faulty file with the line.
    """
    if is_suite_file(source):
        if Path(source).suffix not in YAML_ENDINGS:  # of another file a plan's id does not hold what it names
            raise AskError(f"{source} is no suite file: its name must end with {' or '.join(YAML_ENDINGS)}.")
        return read_suite(Path(source), load_suite)
    name = str(source)
    if name in SHIPPED:
        return _shipped(name)
    installed = _installed(group)
    if name in installed:
        return _of_package(installed[name])
    beside = next((path for path in suite_files(Path()) if path.stem == name), None)
    hint = f" Did you mean the file {beside}?" if beside else did_you_mean(name, suite_names(group))
    known = ", ".join(suite_names(group))
    raise AskError(f"unknown suite '{name}' (there are: {known}; or name a YAML file).{hint}")


def suite_names(group: Iterable[EntryPoint] | None = None) -> list[str]:
    """Every suite that has a name: the shipped ones, then those of installed packages."""
    return [*SHIPPED, *sorted(_installed(group))]


def suite_files(folder: Path) -> list[Path]:
    """The suite files of a project's folder: the YAML files in its `suites/`."""
    return sorted(path for path in (folder / "suites").glob("*.y*ml") if path.suffix in (".yaml", ".yml"))


@cache
def _shipped(name: str) -> Suite:
    return SHIPPED[name]()


def _of_package(point: EntryPoint) -> Suite:
    """A package's suite: a Suite, a function that gives one, or the path of a YAML file."""
    try:
        found = point.load()
        found = found() if callable(found) else found
    except Exception as error:  # another package's code
        raise BackendError(f"suite '{point.name}' of {point.value} does not load: {error}") from error
    if isinstance(found, Path):
        found = read_suite(found, load_suite)
    if not isinstance(found, Suite) or found.name != point.name:
        raise BackendError(
            f"{point.value} is not the Suite '{point.name}'. Declare it so, or remove its entry point in "
            f"{GROUP}."
        )
    return found


def _installed(group: Iterable[EntryPoint] | None) -> dict[str, EntryPoint]:
    points = entry_points_of(GROUP) if group is None else group
    return {point.name: point for point in points if point.name not in SHIPPED}
