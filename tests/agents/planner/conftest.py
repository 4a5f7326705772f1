"""A workspace to talk about, made once for each state that sentences need."""

from __future__ import annotations

import importlib.util
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from opswright.agents.agent import Agent
from opswright.agents.planner import (
    PLAIN_LANGUAGE,
    Ask,
    PlannerReply,
    PlanningEvent,
    Proposal,
    Question,
    Turn,
    propose,
)
from opswright.agents.planner.evaluation import scoring as scoring_module
from opswright.agents.planner.evaluation.world import World
from opswright.core.principal import Principal
from opswright.core.registry import Registry
from opswright.core.settings import load_settings
from opswright.core.workspace import Workspace
from opswright.skills import load_registry


def _module(name: str) -> ModuleType:
    beside = Path(__file__).with_name(name)
    path = beside / "__init__.py" if beside.is_dir() else beside.with_suffix(".py")
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
    """Planted instructions, and what each wants."""
    return _module("injection")


@pytest.fixture(scope="session")
def carriers() -> ModuleType:
    """The places that planted instructions are written to."""
    return _module("carriers")


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


@pytest.fixture
def ask(world: Callable[[str], Any]) -> Callable[..., PlannerReply]:
    """What the phrases planner makes of a message in the rich workspace, after messages before it."""
    rich = world("rich")

    def asked(text: str, *before: str) -> PlannerReply:
        agent, turns = Agent(rich.workspace, rich.registry), list[Turn]()
        for said in before:
            reply = agent.propose(Ask("phrases", rich.spoken(said)), turns)
            draft = reply.draft if isinstance(reply, Proposal | Question) else None
            turns += [Turn("user", said), Turn("agent", "", draft)]
        return agent.propose(Ask("phrases", rich.spoken(text)), turns)

    return asked


class Planning:
    """One person's messages to the planner with a model."""

    def __init__(self, world: Any, server: Any) -> None:
        self.world, self.server = world, server
        self.events: list[PlanningEvent] = []
        self.cancelled = threading.Event()
        self.role = "releaser"
        limits = {"retries": 0, "max_seconds": 10, "model": "tester"}
        self.settings: dict[str, Any] = {"kind": "llm", "base_url": server.url, **limits}

    def workspace(self) -> Workspace:
        home = self.world.folder / ".opswright"
        return Workspace(load_settings(home=home, mlflow={"mirror": "off"}, planner=self.settings))

    def __call__(self, text: str, conversation: Sequence[Turn] = ()) -> PlannerReply:
        return propose(
            Ask(PLAIN_LANGUAGE, text),
            self.world.registry,
            self.workspace(),
            conversation,
            principal=Principal("ada", (self.role,), "test"),
            events=self.events.append,
            cancelled=self.cancelled,
        )

    def without_model(self, reply: PlannerReply) -> str:
        """Why the phrases planner took over."""
        assert reply.planned_by is not None and reply.planned_by.kind == "phrases", reply
        return reply.planned_by.instead_of


@pytest.fixture(scope="module")
def play(playing: ModuleType) -> ModuleType:
    """The parts that the server plays."""
    return playing


@pytest.fixture
def plan(world: Callable[[str], Any], playing: ModuleType) -> Iterator[Planning]:
    """What a person says to the planner with a model, whose server is `plan.server`."""
    with playing.model_server() as server:
        yield Planning(world("rich"), server)
