"""Callers who want a canary gone, or kept: what they choose themselves says nothing of a release."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from opswright.serving.canary.answers import agree, is_invalid
from opswright.serving.canary.evidence import CanaryEvidence, ReleaseReply
from opswright.serving.canary.judgement import Bars, faults
from opswright.serving.canary.pair_log import PairLog
from opswright.serving.canary.reader import CanaryReader
from opswright.serving.gateway.privacy import Privacy
from opswright.serving.gateway.traffic_log import read
from opswright.serving.releases import CanaryLimits, read_state
from tests.serving.test_canary_watch import replays, ship, watch_of
from tests.serving.test_comparison import CANARY, STABLE, rows

if TYPE_CHECKING:
    from tests.serving.conftest import House


def meeting(house: House, route: str, header: str = "x-session-id", most: int = 80) -> list[dict[str, str]]:
    """The headers, of so many that a caller tried, that lead to a release of that route."""
    tried = [{header: f"mine{number}"} for number in range(most)]
    return [one for one in tried if house.chat("hello", one).headers["x-opswright-route"] == route]


def has_canary(house: House) -> bool:
    return read_state(house.workspace, "support").canary is not None


def evidence_of(house: House) -> CanaryEvidence:
    state = read_state(house.workspace, "support")
    return CanaryReader(house.workspace, state, CanaryLimits().max_slower).update()


def test_who_repeats_one_request_under_its_id_counts_once(served: House) -> None:
    """A retry has the same id, so it meets the same release again."""
    canary = ship(served)
    mine = meeting(served, "canary", "x-request-id")[0]
    served.server.ails[2] = "error"
    for _ in range(30):
        assert served.chat("x", mine).status_code == 500
    served.wait(lambda: replays(served, canary) == 30, "each was asked of stable too")
    assert evidence_of(served).met("errors")[0][0] == 1
    assert watch_of(served).look("support") == []


def test_who_will_wait_for_nothing_says_nothing_of_the_canary(served: House) -> None:
    ship(served)
    meet = meeting(served, "canary")
    gate = asyncio.Event()
    served.server.gate = gate
    for session in meet:
        assert served.chat("hello", {**session, "x-request-timeout": "0.001"}).status_code == 504
    served.loop.call_soon_threadsafe(gate.set)
    assert len(meet) > 20
    assert {row.status for row in read(served.workspace, "support", last=len(meet))} == {"cancelled"}
    assert watch_of(served).look("support") == [] and has_canary(served)


def test_a_canary_that_hangs_until_its_callers_leave_is_slow() -> None:
    left = rows(CANARY, 60, latency_ms=5000, failed=60, status="cancelled", finish="cancelled")
    found = CanaryEvidence.starting(CANARY, STABLE, rows(STABLE, 200))
    for row in (*left, *rows(STABLE, 400)):
        found.add(row)
    assert [row.name for row in faults(found, Bars())] == ["slow answers"]


def test_callers_who_leave_at_once_show_no_slow_answer() -> None:
    left = rows(CANARY, 60, latency_ms=1, failed=60, status="cancelled", finish="cancelled")
    found = CanaryEvidence.starting(CANARY, STABLE, rows(STABLE, 200))
    for row in (*left, *rows(STABLE, 400)):
        found.add(row)
    assert (found.met("slow answers")[0], faults(found, Bars())) == ((0, 0), [])


def test_texts_that_both_releases_block_are_the_callers(house: House) -> None:
    rails = house.guardrails()
    house.rollout().deploy(house.bundle("one"), rails, 100)
    limits = CanaryLimits()
    done = house.rollout().deploy(house.bundle("two"), rails, 50, shadow_percent=0, limits=limits)
    meet = meeting(house, "canary")
    for session in meet:
        assert house.chat("bomb", session).headers["x-opswright-rail"] == "topics"
    house.wait(lambda: replays(house, done.release.id) == len(meet), "each was asked of stable too")
    assert watch_of(house).look("support") == [] and has_canary(house)


def test_a_canary_that_blocks_what_stable_answers_is_withdrawn(house: House) -> None:
    house.rollout().deploy(house.bundle("one"), None, 100)
    done = house.rollout().deploy(
        house.bundle("two"), house.guardrails(), 50, shadow_percent=0, limits=CanaryLimits()
    )
    meet = meeting(house, "canary")
    for session in meet:
        house.chat("bomb", session)
    house.wait(lambda: replays(house, done.release.id) == len(meet), "each was asked of stable too")
    assert [row.name for row in watch_of(house).look("support")] == ["blocks"]


def test_requests_that_make_any_release_answer_garbage_are_the_callers(served: House) -> None:
    canary = ship(served)
    meet = meeting(served, "canary")
    served.server.says = "\ufffd\ufffd"
    for session in meet:
        served.chat("garble this", session)
    served.wait(lambda: replays(served, canary) == len(meet), "each was asked of stable too")
    assert watch_of(served).look("support") == [] and has_canary(served)


def test_of_shadowed_requests_those_that_stable_failed_count_too(served: House) -> None:
    """Else a release that fails as seldom as stable looks worse than it."""
    canary = ship(served, percent=1, shadow=100)
    served.server.fails_on = {1: "tails", 2: "heads"}
    for number in range(40):
        served.chat("heads" if number % 2 else "tails", {"x-request-id": f"r{number}"})
    asked = [row for row in read(served.workspace, "support") if row.route == "stable"]
    served.wait(lambda: replays(served, canary) >= len(asked), "each was asked of the canary")
    found = evidence_of(served)
    alone = found.pair_differences["errors"]
    assert min(alone.count(1), alone.count(-1)) > 15
    assert faults(found, Bars(max_disagreement=1)) == []


def test_an_id_with_personal_data_is_masked_in_the_pairs_and_finds_its_request(served: House) -> None:
    canary = ship(served)
    meet = meeting(served, "canary")
    for number, session in enumerate(meet):
        sent = {**session, "x-request-id": f"ada{number}@example.com"}
        assert served.chat("poison", sent).status_code == 503
    served.wait(lambda: replays(served, canary) == len(meet), "each was asked of stable too")
    assert "@" not in PairLog(served.workspace, "support", canary).path.read_text()
    assert evidence_of(served).met("errors")[0][0] == 0


def test_an_answer_that_calls_a_tool_is_one_and_is_told_from_another(served: House) -> None:
    canary = ship(served, percent=0, shadow=100)
    tools = [{"type": "function", "function": {"name": "refund"}}]
    said = '{"name": "refund", "arguments": {"sum": 5}}'
    served.server.says = said
    assert served.chat("hello", tools=tools).json()["choices"][0]["message"]["tool_calls"]
    served.wait(lambda: replays(served, canary) == 1, "it was asked of the canary")
    (row,) = read(served.workspace, "support")
    assert row.output == said
    assert not ReleaseReply.of(row).is_invalid
    (line,) = PairLog(served.workspace, "support", canary).path.read_text().splitlines()
    assert json.loads(line)["agrees"] is True and json.loads(line)["stable"]["is_invalid"] is False


@pytest.mark.parametrize(
    "text",
    [
        ", ".join(f"user{number}@example.com" for number in range(20)),  # as the log masks it
        "a face that shakes \U0001fae8, of Unicode 15",
        "a rare name \U00031350",
    ],
)
def test_answers_of_other_tasks_are_answers(text: str) -> None:
    assert not is_invalid(Privacy(masks=True).text(text))


def test_texts_in_scripts_without_spaces_agree_by_their_characters() -> None:
    told = "您的退款已经批准,将在三个工作日内退回到您的账户。"
    assert agree(told, told.replace("三", "五"))
    assert not agree(told, "抱歉,我们今天无法处理这个请求,请稍后再试。")
    assert is_invalid("哈" * 40)
    assert not is_invalid(told)


def test_who_changes_their_mind_all_the_time_is_counted_anew_once() -> None:
    found = CanaryEvidence.starting(CANARY, STABLE, rows(STABLE, 200))
    said = [replace(row, id=f"r{number}") for number, row in enumerate(rows(CANARY, 20))]
    for is_right in (False, True, False, True):
        for row in said:
            found.rate(row, is_right)
    counted: list[object] = []
    count = found.ratings._count

    def noted(rating: Any) -> Any:
        counted.append(rating)
        return count(rating)

    found.ratings._count = noted  # type: ignore[method-assign]
    assert found.met("complaints") == ((0, 20), (0, 0))
    assert len(counted) == 20
