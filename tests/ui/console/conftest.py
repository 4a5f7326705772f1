"""A console on a small workspace, without Gradio and without a browser."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from opswright.core.registry import Registry
from opswright.core.settings import Role, load_settings
from opswright.ui.console.auth.users import Person
from opswright.ui.console.chat.run_service import RunService
from opswright.ui.console.console import Console


@pytest.fixture
def console(tmp_path: Path, small_skills: ModuleType) -> Console:
    (tmp_path / "lines.txt").write_text("one\ntwo\nthree\n")
    (tmp_path / "plan.yaml").write_text(small_skills.PLAN)
    settings = load_settings(home=tmp_path / ".opswright", actor="ada", mlflow={"mirror": "off"})
    return Console(Registry(small_skills.SKILLS), settings)


@pytest.fixture
def run_service(console: Console) -> RunService:
    return RunService(console)


@pytest.fixture
def ada(console: Console) -> Person:
    return Person("ada", Role(console.settings.role))
