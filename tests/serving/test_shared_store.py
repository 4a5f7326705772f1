"""Gateways of several hosts that share a store: keys, limits and budgets are the same at each of them."""

from __future__ import annotations

import asyncio
import signal
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from opswright.core.errors import AskError, BackendError, NeedsError
from opswright.core.settings import load_settings
from opswright.core.settings.serving import ServingSettings, StoreSettings
from opswright.core.workspace import Workspace
from opswright.serving.keys.allowance import Allowance
from opswright.serving.keys.redis_client import blocking_client, keys_name, usage_name
from opswright.serving.keys.redis_keys import SharedKeyStore
from opswright.serving.keys.redis_line import RedisLine
from opswright.serving.keys.redis_usage import RedisUsage
from opswright.serving.keys.store import Limits, new_key
from opswright.serving.keys.usage import Reservation

if TYPE_CHECKING:
    from tests.conftest import RedisServer
    from tests.serving.conftest import House

AOF = ("--appendonly", "yes", "--appendfsync", "always")


def bearer(text: str) -> dict[str, str]:
    return {"authorization": f"Bearer {text}"}


def knows(house: House, text: str) -> None:
    """Wait until a gateway has met a key."""
    house.wait(lambda: house.get("/v1/models", bearer(text)).status_code == 200, "the key is not known")


def code_of(reply: httpx.Response) -> tuple[int, str]:
    return reply.status_code, reply.json()["error"]["code"]


@pytest.fixture
def shared(redis_url: str) -> StoreSettings:
    return StoreSettings(url=redis_url, prefix=f"t{uuid.uuid4().hex}", timeout_s=5)


@pytest.fixture
def gateway(
    tmp_path: Path, loop: asyncio.AbstractEventLoop, house: House
) -> Iterator[Callable[[StoreSettings], House]]:
    """Opens one more gateway, of a host of its own, that serves the endpoint `support`."""
    opened: list[House] = []

    def make(store: StoreSettings) -> House:
        serving = ServingSettings(store=store)
        home = tmp_path / f"host-{len(opened)}"
        found = type(house)(Workspace(load_settings(home=home, actor="tester", serving=serving)), loop)
        found.open()
        opened.append(found)
        found.rollout().deploy(found.bundle("one"), None, 100)
        return found

    yield make
    for one in opened:
        one.close()


def test_a_limit_holds_over_all_gateways_together(
    gateway: Callable[[StoreSettings], House], shared: StoreSettings
) -> None:
    one, two = gateway(shared), gateway(shared)
    text = SharedKeyStore(shared).create("ada", limits=Limits(requests_per_minute=3)).text
    for house in (one, two):
        knows(house, text)
    assert [house.chat("hello", bearer(text)).status_code for house in (one, two, one)] == [200] * 3
    for house in (one, two):
        refused = house.chat("hello", bearer(text))
        assert code_of(refused) == (429, "rate_limit_exceeded")
        assert 1 <= int(refused.headers["retry-after"]) <= 60


def test_a_budget_is_reserved_over_all_gateways_and_settled_by_what_was_used(
    gateway: Callable[[StoreSettings], House], shared: StoreSettings
) -> None:
    one, two = gateway(shared), gateway(shared)
    made = SharedKeyStore(shared).create("ada", limits=Limits(budget_tokens=60))
    for house in (one, two):
        knows(house, made.text)
        assert house.chat("hi", bearer(made.text), max_tokens=20).status_code == 200
    one.wait(lambda: one.usage.used(made.key).tokens == 14, "7 tokens each, as the engine says")
    one.server.gate = asyncio.Event()
    running = one.begin(one.call("POST", "/v1/chat/completions", bearer(made.text), body=asked(30)))
    one.wait(lambda: one.usage.used(made.key).tokens > 40, "it is held")
    assert code_of(two.chat("hello", bearer(made.text), max_tokens=30)) == (429, "insufficient_quota")
    one.loop.call_soon_threadsafe(one.server.gate.set)
    assert running.result(timeout=60).status_code == 200
    one.wait(lambda: one.usage.used(made.key).tokens == 21, "settled")
    assert two.chat("hello", bearer(made.text), max_tokens=20).status_code == 200


def asked(tokens: int) -> dict[str, Any]:
    messages = [{"role": "user", "content": "hello"}]
    return {"model": "support", "messages": messages, "max_tokens": tokens}


def test_a_key_that_is_taken_back_is_refused_everywhere_within_a_second(
    gateway: Callable[[StoreSettings], House], shared: StoreSettings
) -> None:
    houses = [gateway(shared), gateway(shared)]
    store = SharedKeyStore(shared)
    text = store.create("ada").text
    for house in houses:
        knows(house, text)
    store.revoke("ada")
    for house in houses:
        house.wait(lambda at=house: at.chat("hi", bearer(text)).status_code == 401, "still let in")  # type: ignore[misc]
    with pytest.raises(AskError, match="no valid key"):
        store.revoke("ada")


def test_who_shares_keys_asks_for_one_even_before_there_is_one(
    gateway: Callable[[StoreSettings], House], shared: StoreSettings
) -> None:
    house = gateway(shared)
    assert house.chat("hello").status_code == 503
    ready = house.get("/readyz")
    assert ready.status_code == 503 and ready.json() == {"ready": False, "serves": ""}
    text = SharedKeyStore(shared).create("ada").text
    house.wait(lambda: house.chat("hello").status_code == 401, "a key is asked for")
    assert house.chat("hello", bearer(text)).status_code == 200
    house.wait(lambda: house.get("/readyz").status_code == 200, "not ready")


def test_keys_of_another_prefix_or_workspace_open_nothing(
    gateway: Callable[[StoreSettings], House], shared: StoreSettings, house: House
) -> None:
    here = gateway(shared)
    SharedKeyStore(shared).create("ada")
    other = SharedKeyStore(shared.model_copy(update={"prefix": f"{shared.prefix}x"})).create("ada")
    local = house.keys.create("ada")
    here.wait(lambda: here.chat("hello").status_code == 401, "keys were read")
    assert here.chat("hello", bearer(other.text)).status_code == 401
    assert here.chat("hello", bearer(local.text)).status_code == 401


@pytest.mark.parametrize("command", [("HSET", "x", "y", "z"), ("SET", "x")])
def test_counts_that_somebody_else_wrote_over_let_nobody_pass_a_limit(
    gateway: Callable[[StoreSettings], House], shared: StoreSettings, command: tuple[str, ...]
) -> None:
    house = gateway(shared)
    made = SharedKeyStore(shared).create("ada", limits=Limits(requests_per_minute=2))
    knows(house, made.text)
    client = blocking_client(shared)
    name = usage_name(shared, made.key.id)
    if command[0] == "SET":
        client.set(name, "x")
    else:
        client.hset(name, mapping={"minute": "x", "requests": "nan"})
    codes = [house.chat("hi", bearer(made.text)).status_code for _ in range(5)]
    assert codes.count(200) <= 2 and set(codes) <= {200, 429, 503}
    client.close()


def test_bytes_that_are_no_text_stop_neither_the_gateway_nor_the_line(
    gateway: Callable[[StoreSettings], House], shared: StoreSettings
) -> None:
    house, store = gateway(shared), SharedKeyStore(shared)
    free, limited = store.create("free"), store.create("limited", limits=Limits(budget_tokens=1000))
    for made in (free, limited):
        knows(house, made.text)
    client = blocking_client(shared)
    client.hset(keys_name(shared), mapping={"key:x": b"\xff\xfe", "version": "bytes"})
    with pytest.raises(AskError, match="damaged"):
        store.keys()
    client.hdel(keys_name(shared), "key:x")
    house.wait(lambda: house.chat("hi", bearer(limited.text)).status_code == 200, "the line is dead")
    client.close()


def test_a_clock_that_goes_back_gives_nobody_more(
    shared: StoreSettings, loop: asyncio.AbstractEventLoop
) -> None:
    now = [1_800_000_000.0]

    async def count() -> list[bool]:
        line = RedisLine(shared)
        await line.start()
        usage, key = (
            RedisUsage(shared, line, lambda: now[0]),
            new_key("00", "ada", limits=Limits(requests_per_minute=2)).key,
        )
        let_in = []
        for later in (0, 0, 0, -3600, 0, 3720):
            now[0] += later
            let_in.append(isinstance(await usage.reserve(key, 1), Reservation))
        await line.stop()
        return let_in

    counted = asyncio.run_coroutine_threadsafe(count(), loop).result(timeout=60)
    assert counted == [True, True, False, False, False, True]


@pytest.mark.parametrize("damage", ["{", '{"id": "000000000000"}', ""])
def test_keys_that_are_damaged_let_nobody_in_until_they_are_mended(
    gateway: Callable[[StoreSettings], House], shared: StoreSettings, damage: str
) -> None:
    house, store = gateway(shared), SharedKeyStore(shared)
    made = store.create("ada")
    knows(house, made.text)
    client = blocking_client(shared)
    field = f"key:{made.key.id}"
    client.hset(keys_name(shared), mapping={field: damage, "version": "damaged"})
    house.wait(lambda: house.chat("hi", bearer(made.text)).status_code == 503, "let in")
    with pytest.raises(AskError, match="damaged"):
        store.keys()
    client.hset(keys_name(shared), mapping={field: made.key.model_dump_json(), "version": "mended"})
    house.wait(lambda: house.chat("hi", bearer(made.text)).status_code == 200, "not mended")
    client.delete(keys_name(shared))  # all of it gone, as after a restart without a disk
    house.wait(lambda: house.chat("hi", bearer(made.text)).status_code == 503, "let in")
    client.close()


def test_without_the_store_keys_with_limits_wait_for_it_and_others_go_on(
    gateway: Callable[[StoreSettings], House], redis_server: Callable[..., RedisServer]
) -> None:
    """A store that hangs is the worst: connections open, and nothing answers."""
    server = redis_server()
    settings = StoreSettings(url=server.url, timeout_s=1)
    house, store = gateway(settings), SharedKeyStore(settings.model_copy(update={"timeout_s": 20}))
    free = store.create("free").text
    limited = store.create("limited", limits=Limits(budget_tokens=10_000)).text
    knows(house, limited)
    server.kill(signal.SIGSTOP)
    house.wait(lambda: code_of_any(house.chat("hi", bearer(limited))) == (503, "unavailable"), "let in")
    for _ in range(5):
        assert house.chat("hi", bearer(free)).status_code == 200
        assert house.chat("hi", bearer(limited)).status_code == 503
    assert house.get("/readyz").status_code == 200  # others are still served
    server.go_on()
    house.wait(lambda: house.chat("hi", bearer(limited)).status_code == 200, "not again")


def code_of_any(reply: httpx.Response) -> tuple[int, str]:
    return code_of(reply) if reply.status_code != 200 else (200, "")


def test_the_event_loop_never_waits_for_a_store_that_hangs(
    gateway: Callable[[StoreSettings], House], redis_server: Callable[..., RedisServer]
) -> None:
    server = redis_server()
    settings = StoreSettings(url=server.url, timeout_s=30)
    house, store = gateway(settings), SharedKeyStore(settings)
    text, free = store.create("limited", limits=Limits(budget_tokens=10_000)).text, store.create("free").text
    for one in (text, free):
        knows(house, one)
    server.kill(signal.SIGSTOP)
    waiting = [
        house.begin(house.call("POST", "/v1/chat/completions", bearer(text), body=asked(5))) for _ in range(4)
    ]
    for _ in range(3):  # all this is answered while they wait
        assert house.get("/healthz").status_code == 200
        assert house.chat("hi", bearer(free)).status_code == 200
    assert not any(one.done() for one in waiting)
    server.go_on()
    assert {one.result(timeout=60).status_code for one in waiting} == {200}


def test_without_the_store_for_too_long_nobody_is_let_in(
    gateway: Callable[[StoreSettings], House], redis_server: Callable[..., RedisServer]
) -> None:
    server = redis_server()
    settings = StoreSettings(url=server.url, timeout_s=1, offline_s=0)
    house = gateway(settings)
    text = SharedKeyStore(settings.model_copy(update={"timeout_s": 20})).create("free").text
    knows(house, text)
    server.kill()
    house.wait(lambda: code_of_any(house.chat("hi", bearer(text))) == (503, "unavailable"), "let in")
    assert house.chat("hi", bearer(text)).status_code == 503


def test_budgets_and_keys_outlive_a_store_that_is_killed_and_writes_changes_down(
    gateway: Callable[[StoreSettings], House], redis_server: Callable[..., RedisServer]
) -> None:
    server = redis_server(*AOF)
    settings = StoreSettings(url=server.url, timeout_s=5)
    house, store = gateway(settings), SharedKeyStore(settings)
    made = store.create("ada", limits=Limits(budget_tokens=60))
    knows(house, made.text)
    assert house.chat("hi", bearer(made.text), max_tokens=40).status_code == 200
    house.wait(lambda: house.usage.used(made.key).tokens == 7, "settled")
    server.kill()
    server.start()
    house.wait(lambda: house.chat("hi", bearer(made.text), max_tokens=40).status_code == 200, "not back")
    house.wait(lambda: house.usage.used(made.key).tokens == 14, "what was used before is forgotten")
    assert code_of(house.chat("hi", bearer(made.text), max_tokens=50)) == (429, "insufficient_quota")


def test_a_caller_that_leaves_while_it_waits_for_the_store_holds_nothing(
    gateway: Callable[[StoreSettings], House], shared: StoreSettings
) -> None:
    house = gateway(shared)
    key = SharedKeyStore(shared).create("ada", limits=Limits(budget_tokens=100)).key

    async def leave() -> None:
        assert house.store is not None
        asking = asyncio.ensure_future(Allowance(key, house.store.usage).admit("support", 90))
        await asyncio.sleep(0)  # it is sent, and not yet answered
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking

    house.run(leave())
    house.wait(lambda: house.usage.used(key).requests == 1, "it was let in")
    house.wait(lambda: house.usage.used(key).tokens == 0, "what it held is held for ever")


def test_a_password_is_named_and_resolved_and_a_wrong_one_lets_nobody_in(
    gateway: Callable[[StoreSettings], House],
    redis_server: Callable[..., RedisServer],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = redis_server("--requirepass", "correct-horse-battery")
    settings = StoreSettings.model_validate({"url": server.url, "password": "secret:env:STORE_PASSWORD"})
    with pytest.raises(NeedsError, match="STORE_PASSWORD is not set"):
        SharedKeyStore(settings).keys()
    monkeypatch.setenv("STORE_PASSWORD", "correct-horse-battery")
    text = SharedKeyStore(settings).create("ada").text
    house = gateway(settings)
    assert house.chat("hi", bearer(text)).status_code == 200
    monkeypatch.setenv("STORE_PASSWORD", "wrong-horse-battery")
    with pytest.raises(BackendError, match="does not serve") as wrong:
        SharedKeyStore(settings).keys()
    assert "horse" not in str(wrong.value)
    shut = gateway(settings)
    assert shut.chat("hi", bearer(text)).status_code == 503 and shut.get("/readyz").status_code == 503
