"""The notebook of the documentation: what it shows came out of running it, and it still runs."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import nbformat
import pytest

import opswright

ROOT = Path(opswright.__file__).parent
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))


@pytest.fixture
def runner(load_script: Callable[[Path, str], ModuleType]) -> ModuleType:
    return load_script(ROOT / "docs" / "notebooks" / "execute.py", "execute_notebooks")


def shown(cell: Any) -> str:
    """What a code cell shows, its figures left out: they differ from run to run."""
    texts = [one.get("text") or one.get("data", {}).get("text/plain", "") for one in cell.outputs]
    return " ".join(re.sub(r"[^a-zA-Z ]", " ", " ".join(texts)).split())


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: str(path.stem))
def test_a_notebook_as_it_is_kept_was_run_from_top_to_bottom(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert not any(one.output_type == "error" for cell in code for one in cell.outputs)
    assert not re.search(r"/(tmp|home|root|work)/", path.read_text(encoding="utf-8"))


@pytest.mark.e2e
@pytest.mark.timeout(900)
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: str(path.stem))
def test_a_notebook_runs_in_an_empty_folder_and_shows_what_is_kept(
    path: Path, runner: ModuleType, tmp_path: Path
) -> None:
    notebook = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    kept = [cell for cell in notebook.cells if cell.cell_type == "code"]
    ran = [cell for cell in runner.execute(path, tmp_path).cells if cell.cell_type == "code"]
    said = " ".join(map(shown, ran))
    for promise in ("B is better", "HeldError plan", "nothing was run", "records intact head", "denied"):
        assert promise in said
    assert [bool(cell.outputs) for cell in ran] == [bool(cell.outputs) for cell in kept]
