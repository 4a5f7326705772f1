"""A workspace to talk about, made once for each state that sentences need."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from opswright.agents.planner.evaluation import scoring as scoring_module
from opswright.agents.planner.evaluation.world import World
from opswright.core.registry import Registry
from opswright.skills import load_registry


def _module(name: str) -> ModuleType:
    path = Path(__file__).with_name(f"{name}.py")
    spec = importlib.util.spec_from_file_location(f"planner_{name}", path)
    assert spec is not None and spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = made
    spec.loader.exec_module(made)
    return made


@pytest.fixture(scope="session")
def scoring() -> ModuleType:
    """How replies are compared with what is right."""
    return scoring_module


@pytest.fixture(scope="session")
def playing() -> ModuleType:
    """The server that plays a model, and the parts it plays."""
    return _module("model_server")


@pytest.fixture(scope="session")
def injection() -> ModuleType:
    """Planted instructions, and where they are planted."""
    return _module("injection")


@pytest.fixture(scope="session")
def registry() -> Registry:
    return load_registry()


@pytest.fixture(scope="session")
def _worlds(scoring: ModuleType, registry: Registry) -> Iterator[Callable[[str], Any]]:
    def made(folder: Path, skills: Registry, state: str) -> Any:
        return World(folder, skills, state=state)

    with scoring.worlds(made, registry) as world:
        yield world


@pytest.fixture
def world(_worlds: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """The workspace of a state; the current folder is its project until the test ends."""
    monkeypatch.chdir(Path.cwd())  # is put back afterwards
    return _worlds
