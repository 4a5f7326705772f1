"""The list of promises is current: each check stands where it says, and the page is made from it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def mutants(load_script: Callable[[Path, str], ModuleType]) -> ModuleType:
    return load_script(ROOT / "tests" / "mutants" / "run.py", "mutants_run")


def test_each_check_stands_once_where_the_list_says(mutants: ModuleType) -> None:
    stale = []
    for one in mutants.read_breaks():
        try:
            one.mutated()
        except ValueError as error:
            stale.append(str(error))
        stale += [f"{one.name}: no {test}" for test in one.tests if not (ROOT / test).is_file()]
    assert stale == []


def test_each_break_is_a_program_still(mutants: ModuleType) -> None:
    """One that does not even compile would show nothing, and end the whole list."""
    wrong = []
    for one in mutants.read_breaks():
        try:
            if one.file.endswith(".py"):
                compile(one.mutated(), one.file, "exec")
        except SyntaxError as error:
            wrong.append(f"{one.name}: {error}")
    assert wrong == []


def test_no_two_breaks_have_one_name(mutants: ModuleType) -> None:
    names = [one.name for one in mutants.read_breaks()]
    assert len(names) == len(set(names)) > 60


def test_the_page_of_promises_is_made_from_the_list(mutants: ModuleType) -> None:
    assert (ROOT / "docs" / "promises.md").read_text(encoding="utf-8") == mutants.promises()
