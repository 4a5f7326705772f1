"""The watch: a bad canary is withdrawn with nobody there, and that is recorded; a healthy one stays."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from opswright.core.errors import BackendError
from opswright.core.gate import Decision
from opswright.record.endpoint_history import WATCH_SKILL, history_of
from opswright.record.ledger import Ledger
from opswright.record.scan import LedgerScan
from opswright.serving.canary.pair_log import PairLog
from opswright.serving.canary.watch import CanaryWatch
from opswright.serving.releases import CanaryLimits, read_state
from opswright.serving.rollout import Rollout

if TYPE_CHECKING:
    from tests.serving.conftest import House

LIMITS = CanaryLimits()


def watch_of(house: House) -> CanaryWatch:
    return CanaryWatch(house.workspace, house.rollout)


def ship(house: House, percent: int = 50, shadow: int = 0, limits: CanaryLimits | None = LIMITS) -> str:
    done = house.rollout().deploy(
        house.bundle("two"), None, percent, shadow_percent=shadow, limits=limits, key="run-1/live"
    )
    return done.release.id


def ask(house: House, sessions: int, text: str = "hello") -> None:
    for number in range(sessions):
        house.chat(text, {"x-session-id": f"s{number}", "x-request-id": f"r{text}{number}"})


def withdrawn(house: House) -> list[dict[str, object]]:
    found = (one for one in Ledger.of(house.workspace).records() if one.skill == WATCH_SKILL)
    return [dict(one.detail["result"]) for one in found]


def replays(house: House, canary: str) -> int:
    path = PairLog(house.workspace, "support", canary).path
    return len(path.read_text().splitlines()) if path.exists() else 0


def test_a_canary_that_fails_is_withdrawn_with_nobody_there_and_that_is_recorded(served: House) -> None:
    canary = ship(served)
    served.server.ails[2] = "error"
    ask(served, 60)
    failed = sum(
        row.status_code == 500 for row in [served.chat("x", {"x-session-id": f"s{n}"}) for n in range(60)]
    )
    served.wait(lambda: replays(served, canary) >= failed, "what failed was asked of stable")
    assert [row.decision for row in watch_of(served).look("support")] == [Decision.NO_GO]
    state = read_state(served.workspace, "support")
    assert (state.canary, state.limits, state.changes[-1].what) == (None, None, "withdrawn")
    assert served.chat("hello").headers["x-opswright-release"].startswith("v1-")
    (told,) = withdrawn(served)
    assert (told["canary"], told["canary_now"], told["release"]) == (canary, "withdrawn", state.routes()[0])
    assert "errors: " in str(told["reason"])


def test_a_healthy_canary_stays(served: House) -> None:
    ship(served, shadow=100)
    ask(served, 60)
    assert watch_of(served).look("support") == []
    assert read_state(served.workspace, "support").canary is not None and withdrawn(served) == []


def test_requests_that_no_release_can_answer_withdraw_nobody(served: House) -> None:
    """Also when only callers who meet the canary send them."""
    canary = ship(served)
    sessions = [{"x-session-id": f"s{number}", "x-request-id": f"r{number}"} for number in range(80)]
    meet = [one for one in sessions if served.chat("hello", one).headers["x-opswright-route"] == "canary"]
    assert len(meet) > 15
    for one in meet:
        assert served.chat("poison", one).status_code == 503
    served.wait(lambda: replays(served, canary) == len(meet), "each was asked of the other release too")
    watch_of(served).look("support")
    assert read_state(served.workspace, "support").canary is not None


def test_a_canary_that_nobody_should_watch_is_left_alone(served: House) -> None:
    ship(served, limits=None)
    served.server.ails[2] = "error"
    ask(served, 60)
    assert watch_of(served).look("support") == []
    assert read_state(served.workspace, "support").canary is not None


def test_a_shadow_is_asked_what_stable_is_and_users_get_nothing_of_it(served: House) -> None:
    canary = ship(served, percent=0, shadow=100)
    replies = [served.chat(f"question {n}") for n in range(20)]
    assert {reply.headers["x-opswright-release"][:3] for reply in replies} == {"v1-"}
    served.wait(lambda: replays(served, canary) == 20, "each was asked of the canary")
    lines = PairLog(served.workspace, "support", canary).path.read_text().splitlines()
    assert all(json.loads(line)["agrees"] for line in lines)
    assert "question" not in "".join(lines) and "answer" not in "".join(lines)
    figures = served.get("/metrics").text.splitlines()
    of_canary = [line for line in figures if 'route="canary"' in line or 'release="v2-' in line]
    assert [line for line in of_canary if not line.endswith(" 0.0")] == []
    from opswright.serving.gateway.traffic_log import read

    assert len(read(served.workspace, "support")) == 20


def _has_more_lines(path: Path, than: int) -> Callable[[], bool]:
    return lambda: path.exists() and len(path.read_text().splitlines()) > than


def _more_replays(served: House, canary: str, than: int) -> Callable[[], bool]:
    return lambda: replays(served, canary) > than


def test_a_slow_canary_is_found_before_it_has_users_of_its_own(served: House) -> None:
    """Stable is asked beside it, in either order: the user's own request does not say how fast they are."""
    canary = ship(served, percent=0, shadow=100)
    served.server.ails[2] = "slow"
    for number in range(40):
        served.chat(f"question {number}")
        served.wait(_more_replays(served, canary, number), "both were asked again")
    assert "slow answers" in {row.name for row in watch_of(served).look("support")}
    assert read_state(served.workspace, "support").canary is None
    asked = [version for version, messages in served.server.asked if "question" in messages]
    orders = [tuple(asked[at : at + 3]) for at in range(0, len(asked), 3)]
    assert len(orders) == 40 and set(orders) == {(1, 1, 2), (1, 2, 1)}


def test_with_users_of_its_own_a_canary_is_timed_by_them_and_not_by_shadows(served: House) -> None:
    canary = ship(served, percent=1, shadow=100)
    for number in range(20):
        served.chat(f"question {number}")
    served.wait(lambda: replays(served, canary) >= 15, "most were asked of the canary")
    lines = PairLog(served.workspace, "support", canary).path.read_text().splitlines()
    assert not any(json.loads(line)["is_timed"] for line in lines)
    assert sum(version == 1 and "question" in messages for version, messages in served.server.asked) <= 20


def test_a_withdrawal_that_a_killed_gateway_did_not_record_is_recorded_later_and_once(served: House) -> None:
    canary = ship(served)
    served.rollout().withdraw(canary, "canary-watch", "errors: 9 of 10")
    assert withdrawn(served) == []
    for _ in range(2):
        watch_of(served).look("support")
    (told,) = withdrawn(served)
    assert (told["canary"], told["reason"]) == (canary, "errors: 9 of 10")


def test_the_history_of_an_endpoint_knows_what_the_watch_withdrew(served: House) -> None:
    canary = ship(served)
    served.rollout().withdraw(canary, "canary-watch", "errors")
    watch_of(served).look("support")
    found = history_of(LedgerScan(Ledger.of(served.workspace)), "support")
    assert (found.canary, found.withdrawn) == (None, {canary})


def test_a_canary_that_took_the_bad_ones_place_is_not_withdrawn_for_it(served: House) -> None:
    canary = ship(served)
    served.rollout().rollback()
    served.rollout().deploy(served.bundle("three"), None, 50, limits=LIMITS)
    assert served.rollout().withdraw(canary, "canary-watch", "errors") is None
    assert read_state(served.workspace, "support").canary is not None


def test_a_bad_canary_right_after_a_bad_one_is_withdrawn_as_soon(served: House) -> None:
    watch = watch_of(served)
    for number in (2, 3):
        done = served.rollout().deploy(served.bundle(f"bad {number}"), None, 50, limits=LIMITS)
        served.server.ails[number] = "error"
        for session in range(60):
            served.chat("hello", {"x-session-id": f"{number} {session}"})
        path = PairLog(served.workspace, "support", done.release.id).path
        served.wait(_has_more_lines(path, 10), "failed ones again")
        assert watch.look("support") != []
        assert read_state(served.workspace, "support").canary is None


def test_a_withdrawal_that_does_not_take_is_not_tried_again_at_once(served: House) -> None:
    canary = ship(served)
    served.server.ails[2] = "error"
    ask(served, 60)
    path = PairLog(served.workspace, "support", canary).path
    served.wait(lambda: path.exists() and replays(served, canary) > 10, "what failed was asked of stable")
    tried: list[str] = []

    def broken(endpoint: str) -> Rollout:
        tried.append(endpoint)
        raise BackendError("stable does not answer either")

    watch = CanaryWatch(served.workspace, broken)
    with pytest.raises(BackendError):
        watch.look("support")
    assert [row.decision for row in watch.look("support")] == [Decision.NO_GO]
    assert tried == ["support"]
