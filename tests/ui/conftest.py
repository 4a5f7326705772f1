"""The small skills of the agent's tests, for the tests of what people use."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def small_skills() -> ModuleType:
    """The module with SKILLS and PLAN, importable as `small_skills_ui`; tests are no package."""
    path = Path(__file__).parent.parent / "agents" / "conftest.py"
    spec = importlib.util.spec_from_file_location("small_skills_ui", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
