"""The page "Approvals": whoever consents there reads what consent lets happen."""

from __future__ import annotations

from pathlib import Path

import pytest

from opswright.agents.planner import Ask
from opswright.ui.console.auth.users import Person
from opswright.ui.console.chat.run_service import RunService
from opswright.ui.console.console import Console
from opswright.ui.console.web.approvals import shown

WAIVED = """\
goal: Put a small model on the board
budget: {minutes: 30}
steps:
  data: {skill: collect, with: {source: lines.txt}}
  model: {skill: train, with: {data: "${data.dataset}"}}
  live: {skill: publish, with: {model: "${model.checkpoint}", board: board.txt}, waive_gate: an <b>outage</b>}
"""


@pytest.fixture
def page(console: Console, run_service: RunService, ada: Person, tmp_path: Path) -> str:
    (tmp_path / "waived.yaml").write_text(WAIVED)
    run_service.start(ada, Ask("plan_file", "waived.yaml"))
    return shown(console, ada)


def test_who_approves_on_the_page_reads_steps_cost_budget_and_waivers(page: str) -> None:
    assert "data (collect), model (train), live (publish)" in page
    assert "gate waived: an &lt;b&gt;outage&lt;/b&gt;" in page and "<b>outage" not in page
    assert "budget: 30 minutes" in page and 'data-do="approve"' in page
