"""An endpoint's queue: who waits, whose turn comes next, who is sent away and when they may come again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from typing import TYPE_CHECKING

import httpx
import pytest

from opswright.core.settings.serving import QueueSettings, ServingSettings
from opswright.serving.gateway.request_queue import Place, RequestQueue, UnavailableError
from opswright.serving.gateway.traffic_log import read
from opswright.serving.keys.allowance import RefusedError
from opswright.serving.workers import GatewayWorker

if TYPE_CHECKING:
    from tests.serving.conftest import House


def queue(at_once: int = 1, waiting: int = 4, share: float = 1.0) -> RequestQueue:
    return RequestQueue(QueueSettings(at_once=at_once, waiting=waiting, caller_share=share))


async def begun(*places: Place) -> list[bool]:
    """Which of the places has had its turn, once all asked for it."""
    for _ in range(5):
        await asyncio.sleep(0)
    return [place.began is not None for place in places]


def test_so_many_are_asked_at_once_and_the_others_in_their_order() -> None:
    async def story() -> None:
        line = queue(at_once=2)
        places = [line.enter("") for _ in range(4)]
        turns = [asyncio.create_task(place.turn()) for place in places]
        assert (await begun(*places), line.depth) == ([True, True, False, False], 2)
        places[1].leave()
        assert (await begun(*places), line.depth) == ([True, True, True, False], 1)
        places[0].leave()
        await asyncio.gather(*turns)
        assert line.depth == 0

    asyncio.run(story())


def test_who_asks_much_waits_behind_their_own_requests() -> None:
    async def story() -> None:
        line = queue()
        first = line.enter("busy")
        await first.turn()
        busy, calm = [line.enter("busy") for _ in range(3)], line.enter("calm")
        turns = [asyncio.create_task(place.turn()) for place in (*busy, calm)]
        await begun()
        first.leave()
        assert await begun(*busy, calm) == [True, False, False, False]
        busy[0].leave()
        assert await begun(*busy, calm) == [True, False, False, True]
        for turn in turns:
            turn.cancel()

    asyncio.run(story())


def test_a_full_queue_sends_away_and_says_when_to_come_again() -> None:
    moments = iter([0.0, 40.0, 40.0])
    line = RequestQueue(QueueSettings(at_once=1, waiting=1, caller_share=1.0), lambda: next(moments))

    async def story() -> None:
        done = line.enter("")
        await done.turn()
        done.leave()  # it took 40 seconds
        await line.enter("").turn()
        line.enter("")
        with pytest.raises(UnavailableError) as full:
            line.enter("")
        assert (full.value.code, full.value.retry_s) == ("queue_full", 30)

    asyncio.run(story())


def test_the_shares_of_several_workers_are_one_share_together() -> None:
    settings = QueueSettings(at_once=3, waiting=5, caller_share=0.5)
    let_in = 0
    for number in range(3):
        line = RequestQueue(settings, worker=GatewayWorker(number, 3))
        with suppress(RefusedError):
            while line.enter("busy"):
                let_in += 1
    assert let_in == 4


def test_settings_give_one_key_a_place_at_every_worker() -> None:
    ServingSettings(workers=3, queue=QueueSettings(at_once=3, waiting=3))
    with pytest.raises(ValueError, match=r"3 workers share .*gives one key, which are 2"):
        ServingSettings(workers=3, queue=QueueSettings(at_once=3, waiting=2))


def test_one_key_gets_its_share_of_the_places_and_no_more() -> None:
    line = queue(at_once=2, waiting=4, share=0.5)
    for _ in range(3):
        line.enter("busy")
    with pytest.raises(RefusedError) as refused:
        line.enter("busy")
    assert (refused.value.status, refused.value.code) == (429, "queue_share_exceeded")
    line.enter("calm")


def test_without_keys_nobody_has_a_share() -> None:
    line = queue(at_once=2, waiting=4, share=0.5)
    for _ in range(6):
        line.enter("")
    with pytest.raises(UnavailableError) as full:
        line.enter("")
    assert full.value.code == "queue_full"


def test_who_leaves_while_waiting_gives_the_place_back() -> None:
    async def story() -> None:
        line = queue(waiting=1)
        first, second = line.enter(""), line.enter("")
        await first.turn()
        turn = asyncio.create_task(second.turn())
        await begun()
        turn.cancel()
        await asyncio.gather(turn, return_exceptions=True)
        second.leave()
        assert line.depth == 0
        third = line.enter("")
        first.leave()
        await third.turn()

    asyncio.run(story())


def test_who_leaves_in_the_moment_of_their_turn_does_not_keep_it() -> None:
    async def story() -> None:
        line = queue(waiting=2)
        places = [line.enter("") for _ in range(3)]
        await places[0].turn()
        turns = [asyncio.create_task(place.turn()) for place in places[1:]]
        await begun()
        places[0].leave()  # the second one's turn has come
        turns[0].cancel()
        await asyncio.gather(turns[0], return_exceptions=True)
        places[1].leave()
        places[1].leave()
        await turns[1]
        places[2].leave()
        last = line.enter("")
        await last.turn()
        assert line.depth == 0 and last.began is not None

    asyncio.run(story())


@pytest.fixture
def narrow(house: House, reopened: Callable[..., None]) -> Iterator[House]:
    """A house whose engine is asked one request at a time, one more may wait; it answers nobody yet."""
    reopened(queue={"at_once": 1, "waiting": 1, "caller_share": 1.0})
    house.rollout().deploy(house.bundle("one"), None, 100)
    house.server.gate = gate = asyncio.Event()
    house.server.asked.clear()
    yield house
    house.loop.call_soon_threadsafe(gate.set)


def asked_of(house: House, text: str, headers: dict[str, str] | None = None) -> Future[httpx.Response]:
    body = {"model": "support", "messages": [{"role": "user", "content": text}]}
    return house.begin(house.call("POST", "/v1/chat/completions", headers, body=body))


def depth(house: House) -> float | None:
    return house.controller.metrics.registry.get_sample_value(
        "opswright_queue_depth", {"endpoint": "support"}
    )


def test_requests_wait_for_each_other_and_one_too_many_gets_503(narrow: House) -> None:
    first = asked_of(narrow, "first")
    narrow.wait(lambda: len(narrow.server.asked) == 1, "the engine is asked")
    second = asked_of(narrow, "second")
    narrow.wait(lambda: depth(narrow) == 1, "one waits")
    full = narrow.chat("third")
    assert (full.status_code, full.json()["error"]["code"]) == (503, "queue_full")
    assert int(full.headers["retry-after"]) >= 1
    narrow.loop.call_soon_threadsafe(narrow.server.gate.set)  # type: ignore[union-attr]  # the fixture's
    assert [one.result(timeout=240).status_code for one in (first, second)] == [200, 200]
    assert [text for _, text in narrow.server.asked if "second" in text]
    rows = read(narrow.workspace, "support")
    assert [row.text for row in rows] == ["first", "second"]
    assert rows[1].queue_ms is not None and rows[0].queue_ms is not None
    assert rows[1].queue_ms > rows[0].queue_ms
    assert depth(narrow) == 0


def test_a_deadline_counts_the_waiting(narrow: House) -> None:
    asked_of(narrow, "first")
    narrow.wait(lambda: len(narrow.server.asked) == 1, "the engine is asked")
    late = narrow.chat("second", {"x-request-timeout": "0.05"})
    assert (late.status_code, late.json()["error"]["code"]) == (504, "deadline")
    assert (depth(narrow), len(narrow.server.asked)) == (0, 1)
    (row,) = read(narrow.workspace, "support")
    assert (row.finish, row.queue_ms) == ("cancelled", None)


def test_a_key_over_its_share_gets_429_and_loses_nothing_of_its_budget(
    house: House, reopened: Callable[..., None]
) -> None:
    reopened(queue={"at_once": 1, "waiting": 3, "caller_share": 0.25})
    house.rollout().deploy(house.bundle("one"), None, 100)
    made = {name: house.keys.create(name) for name in ("busy", "calm")}
    keys = {name: {"authorization": f"Bearer {key.text}"} for name, key in made.items()}
    house.server.gate = gate = asyncio.Event()
    house.server.asked.clear()
    first = asked_of(house, "first", keys["busy"])
    house.wait(lambda: len(house.server.asked) == 1, "the engine is asked")
    held = house.usage.used(made["busy"].key)
    refused = house.chat("second", keys["busy"])
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "queue_share_exceeded")
    assert int(refused.headers["retry-after"]) >= 1
    assert house.usage.used(made["busy"].key) == held
    calm = asked_of(house, "third", keys["calm"])
    house.wait(lambda: depth(house) == 1, "the other key's request waits")
    house.loop.call_soon_threadsafe(gate.set)
    assert [one.result(timeout=240).status_code for one in (first, calm)] == [200, 200]


def test_a_full_queue_does_not_keep_the_workspace_from_proving_a_release(narrow: House) -> None:
    waiting = [asked_of(narrow, "first"), asked_of(narrow, "second")]
    narrow.wait(lambda: depth(narrow) == 1, "all places are taken")
    control = {"x-opswright-control": "control-token"}
    probe = asked_of(narrow, "a probe", control)
    narrow.wait(lambda: any("a probe" in text for _, text in narrow.server.asked), "the probe is asked")
    narrow.loop.call_soon_threadsafe(narrow.server.gate.set)  # type: ignore[union-attr]  # the fixture's
    assert [one.result(timeout=240).status_code for one in (*waiting, probe)] == [200, 200, 200]
