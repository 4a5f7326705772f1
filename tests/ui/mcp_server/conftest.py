"""A workspace with small skills for MCP servers."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from opswright.core.registry import Registry
from opswright.core.settings import load_settings
from opswright.core.workspace import Workspace

from .bench import McpBench


@pytest.fixture
def bench(tmp_path: Path, small_skills: ModuleType) -> McpBench:
    (tmp_path / "lines.txt").write_text("one\ntwo\nthree\n")
    settings = load_settings(home=tmp_path / "workspace", actor="tester", mlflow={"mirror": "off"})
    return McpBench(Workspace(settings), Registry(small_skills.SKILLS))
