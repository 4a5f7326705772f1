"""A plan is changed on its card: as YAML, compiled again, a plan of its own that no old consent reaches."""

from __future__ import annotations

from pathlib import Path

import pytest

from opswright.agents.planner import Ask
from opswright.core.compile import compile_plan
from opswright.core.errors import AskError, HeldError
from opswright.core.plan_file import parse_plan, read_plan_file
from opswright.core.plan_yaml import plan_yaml
from opswright.core.settings import Role
from opswright.ui.console.auth.users import Person
from opswright.ui.console.chat.chat_service import ChatService
from opswright.ui.console.chat.plan_edits import PlanEdits
from opswright.ui.console.chat.run_service import RunService
from opswright.ui.console.console import Console


@pytest.fixture
def edits(console: Console, run_service: RunService) -> PlanEdits:
    return PlanEdits(console, run_service)


@pytest.fixture
def run(ada: Person, run_service: RunService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A run that waits for approval of the small plan."""
    monkeypatch.chdir(tmp_path)
    return run_service.start(ada, Ask("plan_file", "plan.yaml")).run


def test_a_plan_as_yaml_compiles_to_the_same_plan(console: Console, tmp_path: Path, run: str) -> None:
    text = read_plan_file(tmp_path / "plan.yaml")
    plan = compile_plan(text, console.registry, console.workspace.artifacts.resolve)
    again = compile_plan(parse_plan(plan_yaml(plan, console.registry), "again"), console.registry)
    assert again.id == plan.id


def test_a_changed_plan_is_a_new_one_and_the_old_one_is_refused(
    edits: PlanEdits, ada: Person, run: str, console: Console
) -> None:
    agent = console.agent(ada)
    old = agent.outcome(run).plan
    text = edits.text(run).replace(f"goal: {old.goal}", "goal: Something else")  # type: ignore[union-attr]
    made = edits.propose(ada, run, text)
    fresh = agent.outcome(made)
    assert fresh.plan is not None and old is not None
    assert fresh.plan.id == edits.check(run, text).id != old.id
    assert (fresh.status, fresh.plan.goal) == ("waiting", "Something else")
    assert agent.outcome(run).status == "denied"
    assert agent.approval(made).approved_by == ()


def test_who_may_propose_nothing_learns_nothing_of_files_by_editing_a_plan(
    console: Console, run: str, tmp_path: Path
) -> None:
    """A plan's id holds the digests of the files that it names."""
    service, vic = ChatService(console), Person("vic", Role.VIEWER)
    (tmp_path / "secret.txt").write_text("sk-live-0123456789")
    text = service.plan_text(run)["text"].replace("lines.txt", "secret.txt")
    for ask in (
        lambda: service.check_plan(vic, run, text),
        lambda: service.change_plan(vic, service.new(), run, text),
    ):
        with pytest.raises(HeldError, match="role 'viewer' may not change a plan"):
            ask()
    service.close()


def test_consent_to_the_old_plan_does_not_count_for_the_changed_one(
    edits: PlanEdits, ada: Person, run: str, run_service: RunService, console: Console
) -> None:
    old = console.agent(ada).outcome(run).plan
    assert old is not None
    made = edits.propose(ada, run, edits.text(run).replace(old.goal, "Something else"))
    with pytest.raises(HeldError, match="waiting for approval of plan"):
        run_service.answer(ada, made, old.id, approved=True)
    assert console.agent(ada).outcome(made).status == "waiting"


def test_what_is_wrong_is_said_with_its_line_and_proposes_nothing(
    edits: PlanEdits, ada: Person, run: str, console: Console
) -> None:
    agent, text = console.agent(ada), edits.text(run)
    before = run_count(console)
    lines = text.splitlines()
    at = next(number for number, line in enumerate(lines, 1) if "skill:" in line)
    wrong = "\n".join([*lines[: at - 1], lines[at - 1].replace("skill: ", "skill: x"), *lines[at:]])
    for change, message in (
        (wrong, rf"the edited plan, line {at}: unknown skill"),
        ("goal: [", "line 1"),
        ("", "a plan"),
        (text, "nothing was changed"),
        ("a" * 200_001, "too long"),
    ):
        with pytest.raises(AskError, match=message):
            edits.propose(ada, run, change)
    assert run_count(console) == before and agent.outcome(run).status == "waiting"
    with pytest.raises(AskError, match="unknown run"):
        edits.text("20200101-000000-abcdef")


def test_the_changed_plan_is_shown_in_the_conversation(
    ada: Person, run: str, console: Console, edits: PlanEdits
) -> None:
    service = ChatService(console)
    name = service.new()
    service.change_plan(
        ada,
        name,
        run,
        edits.text(run).replace("goal: ", "goal: Changed ", 1),
    )
    shown = service.look(name, 0, {})["entries"]
    assert f"edited the plan of run {run}" in shown[0]["html"]
    assert shown[1]["run"] != run and "Changed" in shown[1]["html"] and "approve" in shown[1]["html"]
    service.close()


def run_count(console: Console) -> int:
    from opswright.agents.runs import count_runs

    return count_runs(console.workspace)
