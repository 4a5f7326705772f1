"""The small skills of the agent's tests, for the tests of what people use."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def small_skills(load_script: Callable[[Path, str], ModuleType]) -> ModuleType:
    """The module with SKILLS and PLAN, importable as `small_skills_ui`; tests are no package."""
    return load_script(Path(__file__).parent.parent / "agents" / "conftest.py", "small_skills_ui")
