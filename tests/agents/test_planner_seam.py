"""A planner of one's own: found by entry point, called once for an ask, may ask back, may cost something."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from opswright.agents import planner
from opswright.agents.agent import Agent
from opswright.agents.approvals import Consent
from opswright.agents.planner import Ask, PlannerSetup, Proposal, Question, Turn
from opswright.core import files
from opswright.core.compile import compile_plan
from opswright.core.contract import Cost
from opswright.core.errors import AskError, BackendError
from opswright.core.plan_file import single_step
from opswright.record.ledger import Ledger


@dataclass
class Dreamer:
    """Proposes another plan each time it is asked, as a model may."""

    asks: list[Ask] = field(default_factory=list)
    heard: list[Sequence[Turn]] = field(default_factory=list)
    setup: PlannerSetup | None = None

    def propose(self, ask: Ask, conversation: Sequence[Turn]) -> Proposal | Question:
        assert self.setup is not None
        self.asks.append(ask)
        self.heard.append(conversation)
        if ask.text == "something":
            return Question("Collect what?", ("lines.txt", "other.txt"))
        arguments = {"source": "lines.txt", "least_rows": len(self.asks)}
        text = single_step("collect", arguments, goal=f"dream {len(self.asks)}")
        plan = compile_plan(text, self.setup.registry)
        return Proposal(plan, ask.text, cost=Cost(usd=0.02, tokens=1200))


@pytest.fixture
def dreamer(monkeypatch: pytest.MonkeyPatch) -> Dreamer:
    found = Dreamer()

    class Point(EntryPoint):
        def load(self) -> Any:
            def make(setup: PlannerSetup) -> Dreamer:
                found.setup = setup
                return found

            return make

    point = Point("dream", "dreams:make", "opswright.planners")
    monkeypatch.setattr(planner, "entry_points_of", lambda group: [point] if "planners" in group else [])
    return found


def test_a_planner_is_called_once_and_its_plan_travels_on(
    agent: Any, plan_file: Path, dreamer: Dreamer
) -> None:
    one: Agent = agent()
    proposal = one.plan_for(Ask("dream", "collect the lines"))
    done = one.start(proposal, Consent(proposal.plan.id, "test"))
    assert done.status == "done" and len(dreamer.asks) == 1
    assert done.plan is not None and done.plan.id == proposal.plan.id
    waiting = one.start(Ask("dream", "again"))
    assert waiting.status == "waiting" and len(dreamer.asks) == 2
    one.resume(waiting.run, Consent(waiting.plan.id, "test"))  # type: ignore[union-attr]
    assert len(dreamer.asks) == 2
    proposed = [r for r in Ledger.of(one.workspace).records() if r.phase == "proposed"]
    assert [r.detail["planning"]["usd"] for r in proposed] == [0.02, 0.02]


def test_a_planner_may_ask_back_and_nothing_is_recorded(
    agent: Any, plan_file: Path, dreamer: Dreamer
) -> None:
    one: Agent = agent()
    before = [Turn("user", "I have some lines"), Turn("agent", "Good.")]
    question = one.propose(Ask("dream", "something"), before)
    assert isinstance(question, Question) and question.choices == ("lines.txt", "other.txt")
    assert dreamer.heard == [before]
    with pytest.raises(AskError, match=r"Collect what\? \(lines.txt, other.txt\)"):
        one.start(Ask("dream", "something"))
    assert list(Ledger.of(one.workspace).records()) == []


def test_an_ask_that_nobody_plans_names_who_does(agent: Any, plan_file: Path) -> None:
    with pytest.raises(AskError, match=r"kind 'plan_fil' .*Did you mean 'plan_file'"):
        agent().start(Ask("plan_fil", "x"))


def test_two_planners_of_one_kind_are_refused(agent: Any, plan_file: Path, monkeypatch: Any) -> None:
    point = EntryPoint("slash", "x:y", "opswright.planners")
    monkeypatch.setattr(planner, "entry_points_of", lambda group: [point])
    with pytest.raises(BackendError, match="two planners"):
        agent().start(Ask("slash", "/collect lines.txt"))


def test_an_input_is_hashed_once_before_a_run_waits(
    agent: Any, plan_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one: Agent = agent()
    hashed: list[str] = []
    honest = files.sha256_file

    def counted(path: Path) -> str:
        hashed.append(path.name)
        return honest(path)

    monkeypatch.setattr(files, "sha256_file", counted)
    waiting = one.start(one.plan_for(Ask("plan_file", str(plan_file))))
    assert waiting.status == "waiting" and hashed.count("lines.txt") == 1
