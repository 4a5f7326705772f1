"""A console on a small workspace, without Gradio and without a browser."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from opswright.core.registry import Registry
from opswright.core.settings import load_settings
from opswright.ui.console.console import Console
from opswright.ui.console.desk import Desk
from opswright.ui.console.people import Person


def _small_skills() -> ModuleType:
    if "small_skills_console" not in sys.modules:
        path = Path(__file__).parents[2] / "agents" / "conftest.py"
        spec = importlib.util.spec_from_file_location("small_skills_console", path)
        if spec is None or spec.loader is None:
            raise RuntimeError(f"no {path}")
        module = importlib.util.module_from_spec(spec)
        sys.modules["small_skills_console"] = module
        spec.loader.exec_module(module)
    return sys.modules["small_skills_console"]


@pytest.fixture
def console(tmp_path: Path) -> Console:
    (tmp_path / "lines.txt").write_text("one\ntwo\nthree\n")
    (tmp_path / "plan.yaml").write_text(_small_skills().PLAN)
    settings = load_settings(home=tmp_path / ".opswright", actor="ada", mlflow={"mirror": "off"})
    return Console(Registry(_small_skills().SKILLS), settings)


@pytest.fixture
def desk(console: Console) -> Desk:
    return Desk(console)


@pytest.fixture
def ada(console: Console) -> Person:
    return Person("ada", console.settings.role)
