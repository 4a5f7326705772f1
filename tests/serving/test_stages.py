"""A rollout in stages: a healthy canary comes to everybody, a bad one is withdrawn where it shows."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from opswright.core.errors import OpswrightError
from opswright.core.gate import Decision
from opswright.serving.releases import CanaryLimits, read_state
from opswright.serving.rollout import Rollout
from opswright.serving.rollout.stages import RolledOut, StagedRollout, Stages

if TYPE_CHECKING:
    from tests.serving.conftest import House

STAGES = Stages((0, 20, 60), 3, 0, 10, 100, CanaryLimits())


@contextmanager
def asked(house: House) -> Iterator[None]:
    """A client that keeps asking, each time as another session."""
    stop = threading.Event()

    def keep() -> None:
        number = 0
        while not stop.wait(0.002):
            house.chat(f"question {number % 5}", {"x-session-id": f"s{number}"})
            number += 1

    thread = threading.Thread(target=keep)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def run(
    house: House, stages: Stages = STAGES, promote: bool = True, rollout: Rollout | None = None
) -> RolledOut:
    staged = StagedRollout(rollout or house.rollout(), stages, "run-1")
    return staged.run(house.bundle("two"), None, ("hello",), (lambda: ("hello", "you")) if promote else None)


def shares(house: House) -> list[int]:
    return [
        one.canary_percent for one in read_state(house.workspace, "support").changes if one.what == "canary"
    ]


def test_a_healthy_canary_goes_through_its_stages_to_everybody(served: House) -> None:
    with asked(served):
        done = run(served)
    assert (done.now, done.percent, done.verdict.decision) == ("stable", 100, Decision.GO)
    assert shares(served) == [0, 20, 60]
    assert read_state(served.workspace, "support").changes[-1].what == "promoted"


def test_a_bad_canary_is_withdrawn_at_the_stage_where_it_shows(served: House) -> None:
    served.server.ails[2] = "garbage"
    with asked(served):
        done = run(served, Stages((0, 50), 40, 0, 10, 100, CanaryLimits()))
    assert (done.now, done.verdict.decision) == ("withdrawn", Decision.NO_GO)
    assert shares(served) == [0]  # it answered nobody but the shadow
    assert read_state(served.workspace, "support").changes[-1].what == "withdrawn"


def test_without_promotion_in_the_plan_it_stays_a_canary(served: House) -> None:
    with asked(served):
        done = run(served, promote=False)
    assert (done.now, done.percent, done.verdict.decision) == ("canary", 60, Decision.INCONCLUSIVE)


def test_without_traffic_it_stays_where_it_is_and_says_what_is_missing(served: House) -> None:
    done = run(served, Stages((0, 20), 3, 0, 0.001, 100, CanaryLimits()))
    assert (done.now, done.percent, done.verdict.decision) == ("canary", 0, Decision.INCONCLUSIVE)
    assert done.verdict.rows[-1].message == "3 more requests are needed at 0 %"


def test_one_that_was_stopped_goes_on_at_its_stage(served: House) -> None:
    class Stop(OpswrightError):
        pass

    said: list[str] = []

    def check() -> None:
        if any(line.startswith("stage 20 %") for line in said):
            raise Stop("a person stopped it")

    with asked(served):
        with pytest.raises(Stop):
            run(served, rollout=served.rollout(check=check, say=said.append))
        assert read_state(served.workspace, "support").canary_percent == 20
        done = run(served)
    assert done.now == "stable" and shares(served)[:2] == [0, 20]
    again = run(served)
    assert (again.now, again.canary) == ("stable", done.canary)


def test_one_that_the_watch_withdrew_while_it_was_stopped_is_not_put_back(served: House) -> None:
    stages = Stages((20,), 3, 0, 0.001, 0, CanaryLimits())
    canary = run(served, stages).canary
    served.rollout().withdraw(canary, "canary-watch", "errors: 9 of 10")
    done = run(served, stages)
    assert (done.now, done.verdict.decision) == ("withdrawn", Decision.NO_GO)
    assert done.verdict.rows[0].message == "errors: 9 of 10"
    assert read_state(served.workspace, "support").canary is None
