"""What waits for whom: those whose approval would do, and nobody else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from opswright.agents.agent import Agent
from opswright.agents.approvals import waits_for
from opswright.agents.planner import Ask
from opswright.core.principal import Principal


def test_a_plan_waits_for_those_whose_approval_would_let_it_begin(
    agent: Any, plan_file: Path, tmp_path: Path
) -> None:
    (tmp_path / "policy.yaml").write_text("approvals: {expire_hours: 2}\n")
    made: Agent = agent()
    made.acting = Principal("ada", ("operator",), "test")
    waiting = made.start(Ask("plan_file", str(plan_file)))

    def of(role: str) -> list[str]:
        return [row.run for row in waits_for(made.workspace, made.policy, Principal("x", (role,), "test"))]

    assert of("releaser") == [waiting.run] and of("operator") == of("viewer") == []
    assert waiting.plan is not None
    (tmp_path / "ws" / "plans" / f"{waiting.plan.id}.json").write_text("{}")
    assert of("releaser") == [], "what nobody can approve rings no bell, and keeps no page from being shown"
