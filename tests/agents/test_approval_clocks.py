"""Consent that expires, by clocks that are ahead, behind, or set while a run goes on."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any

import pytest

from opswright.agents.agent import Agent
from opswright.agents.approvals import Consent
from opswright.agents.planner import Ask
from opswright.core.errors import HeldError

SetClock = Callable[[float], None]


@pytest.fixture
def set_clock(monkeypatch: pytest.MonkeyPatch) -> SetClock:
    """Sets the clock of this machine so many hours ahead, as far as consent and records ask it."""
    ahead = [timedelta(0)]

    class Clock(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Any:
            return datetime.now(tz or UTC) + ahead[0]

    for module in ("record.records", "agents.steps", "agents.approvals"):
        monkeypatch.setattr(f"opswright.{module}.datetime", Clock)

    def put(hours: float) -> None:
        ahead[0] = timedelta(hours=hours)

    return put


@pytest.fixture
def waiting(agent: Any, plan_file: Path, tmp_path: Path) -> Any:
    (tmp_path / "policy.yaml").write_text("approvals: {expire_hours: 2}\n")
    made: Agent = agent()
    return made.start(Ask("plan_file", str(plan_file)))


def approved(agent: Any, waiting: Any) -> None:
    agent().answer(waiting.run, Consent(waiting.plan.id, "test"))


def test_consent_that_lapsed_does_not_count_again_because_a_clock_is_set_back(
    agent: Any, waiting: Any, set_clock: SetClock, faults: Any
) -> None:
    approved(agent, waiting)
    set_clock(3)
    assert "lapsed after 2 hours" in agent().resume(waiting.run).message
    set_clock(0)
    held = agent().resume(waiting.run)
    assert held.exit_code == 5 and "lapsed after 2 hours" in held.message
    assert agent().approvals(waiting.run)[0].has_lapsed and faults(agent()) == []
    approved(agent, waiting)
    assert agent().resume(waiting.run).status == "done", "and may be given anew"
    assert faults(agent()) == []


def test_consent_by_a_clock_that_was_ahead_lasts_no_longer(
    agent: Any, waiting: Any, set_clock: SetClock, faults: Any
) -> None:
    set_clock(24 * 365)
    approved(agent, waiting)
    set_clock(0)
    Path("lines.txt").rename("away.txt")
    assert agent().resume(waiting.run).exit_code == 7  # the first record since then tells the time
    Path("away.txt").rename("lines.txt")
    set_clock(3)
    assert agent().resume(waiting.run).exit_code == 5
    assert faults(agent()) == []


def test_consent_still_counts_once_where_clocks_differ_a_little(
    agent: Any, waiting: Any, set_clock: SetClock, faults: Any
) -> None:
    set_clock(0.5)
    approved(agent, waiting)
    with pytest.raises(HeldError, match="already"):
        approved(agent, waiting)
    set_clock(-0.5)
    assert agent().resume(waiting.run).status == "done" and faults(agent()) == []
