"""What keys use, counted against limits that outlive a gateway: the same in SQLite and in a shared Redis."""

from __future__ import annotations

import asyncio
import multiprocessing
import sqlite3
import uuid
from collections.abc import Callable, Coroutine, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from opswright.core.errors import BackendError
from opswright.core.settings.serving import StoreSettings
from opswright.serving.keys.allowance import Allowance, RefusedError
from opswright.serving.keys.redis_line import RedisLine
from opswright.serving.keys.redis_usage import RedisUsage
from opswright.serving.keys.sqlite_usage import SqliteUsage
from opswright.serving.keys.store import ApiKey
from opswright.serving.keys.usage import KeyUsage, LimitReached, Reservation, Used, period_start

T = TypeVar("T")
START = datetime(2026, 3, 1, 12, tzinfo=UTC).timestamp()


class Clock:
    """A time that tests move."""

    def __init__(self, now: float = START) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def key_of(**limits: object) -> ApiKey:
    made = {"id": uuid.uuid4().hex[:12], "name": "ada", "hash": "0" * 64, "created": datetime.now(UTC)}
    return ApiKey.model_validate({**made, "limits": limits})


@dataclass
class Counts:
    """The counts of one gateway, asked from outside its event loop."""

    usage: KeyUsage
    line: RedisLine | None
    run: Callable[[Coroutine[Any, Any, Any]], Any]

    def reserve(self, key: ApiKey, tokens: int) -> Reservation | LimitReached:
        found: Reservation | LimitReached = self.run(self.usage.reserve(key, tokens))
        return found

    def settle(self, held: Reservation, tokens: int) -> None:
        async def settle() -> None:
            self.usage.settle(held, tokens)
            await self.written()

        self.run(settle())

    async def written(self) -> None:
        """Until what was sent before is done."""
        if self.line is not None:
            await self.line.probe("PING")

    def used(self, key: ApiKey) -> Used:
        self.run(self.written())
        return self.usage.used(key)

    def used_up(self, key: ApiKey, tokens: int) -> int:
        """How many requests of so many tokens are let in, one after the other."""
        count = 0
        while isinstance(held := self.reserve(key, tokens), Reservation):
            self.settle(held, tokens)
            count += 1
        return count


@dataclass
class Place:
    """Where several gateways count together; `gateway` begins one more."""

    kind: str
    path: Path
    url: str
    runner: asyncio.Runner
    prefix: str = field(default_factory=lambda: f"t{uuid.uuid4().hex}")
    begun: list[Counts] = field(default_factory=list)

    def gateway(self, clock: Callable[[], float] | None) -> Counts:
        if self.kind == "sqlite":
            usage = SqliteUsage(self.path) if clock is None else SqliteUsage(self.path, clock)
            self.begun.append(Counts(usage, None, self.runner.run))
        else:
            self.begun.append(self.runner.run(self._redis(clock)))
        return self.begun[-1]

    async def _redis(self, clock: Callable[[], float] | None) -> Counts:
        found = StoreSettings(url=self.url, prefix=self.prefix, timeout_s=20)
        line = RedisLine(found)
        await line.start()
        return Counts(RedisUsage(found, line, clock), line, self.runner.run)

    def close(self) -> None:
        for counts in self.begun:
            if counts.line is not None:
                self.runner.run(counts.line.stop())
            counts.usage.close()


@pytest.fixture(params=["sqlite", "redis"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    url = request.getfixturevalue("redis_url") if request.param == "redis" else ""
    with asyncio.Runner() as runner:
        found = Place(request.param, tmp_path / "used.sqlite", url, runner)
        yield found
        found.close()


def test_a_budget_holds_across_a_restart_and_begins_anew_with_its_period(place: Place) -> None:
    clock, key = Clock(), key_of(budget_tokens=1000, budget_period="day")
    first = place.gateway(clock)
    held = first.reserve(key, 300)
    assert isinstance(held, Reservation)
    first.settle(held, 200)
    first.reserve(key, 300)  # and the gateway is killed: what it held stays counted
    again = place.gateway(clock)
    assert again.used_up(key, 100) == 5
    refused = again.reserve(key, 1)
    assert isinstance(refused, LimitReached) and (refused.limit, refused.retry_s) == ("budget", None)
    assert refused.message == (
        "key ada may use 1,000 tokens a day, and this request may need 1; 1,000 are used"
    )
    clock.now += 86_400
    assert again.used_up(key, 100) == 10


def test_who_reaches_a_rate_is_told_when_to_come_again(place: Place) -> None:
    clock, key = Clock(START + 20), key_of(requests_per_minute=3)
    counts = place.gateway(clock)
    assert counts.used_up(key, 1) == 3
    refused = counts.reserve(key, 1)
    assert isinstance(refused, LimitReached)
    assert (refused.limit, refused.retry_s) == ("requests_per_minute", 40)
    clock.now += 40 + 60
    assert counts.used_up(key, 1) == 3


def test_a_minute_slides(place: Place) -> None:
    clock, key = Clock(START), key_of(tokens_per_minute=600)
    counts = place.gateway(clock)
    assert counts.used_up(key, 100) == 6
    clock.now = START + 60 + 20  # a third of the minute before has left
    assert counts.used_up(key, 100) == 2
    clock.now = START + 60 + 59.9
    assert counts.used_up(key, 100) == 3  # those two count in full


def test_what_ends_in_a_later_minute_or_period_is_counted_where_it_began(place: Place) -> None:
    clock = Clock(datetime(2026, 3, 31, 23, 59, 50, tzinfo=UTC).timestamp())
    key = key_of(budget_tokens=1000, tokens_per_minute=1000)
    counts = place.gateway(clock)
    held = counts.reserve(key, 900)
    assert isinstance(held, Reservation)
    clock.now += 15  # another minute, day and month
    assert isinstance(counts.reserve(key, 300), LimitReached)  # 900 of the minute before, 55 seconds of it
    counts.settle(held, 100)
    assert isinstance(counts.reserve(key, 300), Reservation)
    assert counts.used(key).tokens == 300


def test_a_clock_that_goes_back_gives_nobody_more(place: Place) -> None:
    clock, key = Clock(START), key_of(requests_per_minute=3)
    counts = place.gateway(clock)
    assert counts.used_up(key, 1) == 3
    for back_s in (1, 60, 3600):
        clock.now = START - back_s
        assert counts.used_up(key, 1) == 0
    clock.now += 120
    assert counts.used_up(key, 1) == 3


def test_a_clock_that_jumped_ahead_once_keeps_nobody_out(place: Place) -> None:
    clock = Clock(START)
    key = key_of(requests_per_minute=3, tokens_per_minute=600, budget_tokens=600, budget_period="day")
    counts = place.gateway(clock)
    clock.now += 400 * 86_400
    assert counts.used_up(key, 100) == 3
    clock.now = START
    assert counts.used_up(key, 100) == 0  # what was used a moment ago
    clock.now += 120
    assert counts.used_up(key, 100) == 3
    clock.now += 86_400
    assert counts.used_up(key, 200) == 3


def test_a_key_without_limits_is_counted_too(place: Place) -> None:
    counts, key = place.gateway(Clock()), key_of(budget_period="forever")
    held = counts.reserve(key, 50)
    assert isinstance(held, Reservation)
    assert counts.used(key) == Used(1, 50)
    counts.settle(held, 20)
    assert counts.used(key) == Used(1, 20)


def test_the_clock_of_the_place_is_its_own(place: Place) -> None:
    """Without a clock of the test's: the machine's, or the server's."""
    counts, key = place.gateway(None), key_of(requests_per_minute=2, budget_tokens=100)
    assert counts.used_up(key, 1) == 2
    refused = counts.reserve(key, 1)
    assert isinstance(refused, LimitReached) and refused.retry_s is not None and 1 <= refused.retry_s <= 60


@pytest.mark.parametrize("period", ["day", "month", "forever"])
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(now=st.integers(0, 4_102_444_800))
def test_periods_begin_where_the_calendar_says(place: Place, period: str, now: int) -> None:
    key = key_of(budget_tokens=10, budget_period=period)
    held = place.begun[0] if place.begun else place.gateway(lambda: now_is[0])
    now_is[0] = float(now)
    found = held.reserve(key, 1)
    assert isinstance(found, Reservation)
    assert found.period_start == period_start(key.limits.budget_period, now)
    assert found.minute == now // 60 * 60


now_is = [0.0]


@dataclass
class Model:
    """What a limit means, counted from a list of everything: slow and plain."""

    key: ApiKey
    counted: list[list[float]] = field(default_factory=list)  # time, tokens as they are known

    def lets_in(self, now: float, tokens: int) -> bool:
        limits = self.key.limits
        minute = now // 60 * 60
        share = 1 - (now - minute) / 60
        this = [used for at, used in self.counted if at // 60 * 60 == minute]
        before = [used for at, used in self.counted if at // 60 * 60 == minute - 60]
        of_day = sum(used for at, used in self.counted if at // 86_400 == now // 86_400)
        return (
            len(this) + len(before) * share + 1 <= (limits.requests_per_minute or 0)
            and sum(this) + sum(before) * share + tokens <= (limits.tokens_per_minute or 0)
            and of_day + tokens <= (limits.budget_tokens or 0)
        )


Steps = st.lists(
    st.tuples(st.sampled_from([0, 0, 1, 7.5, 30, 61, 5000]), st.integers(0, 400), st.integers(0, 500)),
    max_size=40,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=Steps, rate=st.integers(1, 12), tokens=st.integers(1, 2000), budget=st.integers(1, 5000))
def test_any_sequence_is_counted_as_a_plain_list_would(
    place: Place, steps: list[tuple[float, int, int]], rate: int, tokens: int, budget: int
) -> None:
    """Over two gateways in turn; some requests end late, and some use more than was held for them."""
    limits = {"requests_per_minute": rate, "tokens_per_minute": tokens, "budget_tokens": budget}
    key = key_of(**limits, budget_period="day")
    model, running = Model(key), []
    gateways = place.begun or [place.gateway(lambda: now_is[0]), place.gateway(lambda: now_is[0])]
    now_is[0] = START
    for number, (wait_s, most, really) in enumerate(steps):
        now_is[0] += wait_s
        gateway = gateways[number % 2]
        held = gateway.reserve(key, most)
        assert isinstance(held, Reservation) == model.lets_in(now_is[0], most)
        if isinstance(held, Reservation):
            model.counted.append([now_is[0], most])
            running.append((gateway, held, model.counted[-1], really))
        if len(running) > 3:
            ended, one, row, used = running.pop(0)
            ended.settle(one, used)
            row[1] = used
    today = [used for at, used in model.counted if at // 86_400 == now_is[0] // 86_400]
    assert gateways[0].used(key) == Used(len(today), sum(today))


Asks = st.lists(st.tuples(st.floats(0, 40), st.integers(1, 400), st.floats(0, 1)), max_size=60)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(asks=Asks, requests=st.integers(1, 20), tokens=st.integers(1, 2000), budget=st.integers(1, 5000))
def test_no_sequence_of_requests_passes_a_limit(
    place: Place, asks: list[tuple[float, int, float]], requests: int, tokens: int, budget: int
) -> None:
    """In any calendar minute no more than the rate; in all, and with what runs at once, within the budget."""
    counts = place.begun[0] if place.begun else place.gateway(lambda: now_is[0])
    now_is[0] = START
    limits = {"requests_per_minute": requests, "tokens_per_minute": tokens, "budget_tokens": budget}
    key = key_of(**limits, budget_period="forever")
    admitted: list[tuple[float, int]] = []
    running: list[tuple[Reservation, int]] = []
    for wait_s, most, share in asks:
        now_is[0] += wait_s
        held = counts.reserve(key, most)
        if isinstance(held, Reservation):
            really = int(most * share)
            admitted.append((now_is[0], really))
            running.append((held, really))
        if len(running) > 3:
            counts.settle(*running.pop(0))
    for minute in {int(at) // 60 for at, _ in admitted}:
        of_minute = [used for at, used in admitted if int(at) // 60 == minute]
        assert len(of_minute) <= requests
        assert sum(of_minute) <= tokens
    assert sum(used for _, used in admitted) <= budget
    for one in running:
        counts.settle(*one)
    assert counts.used(key) == Used(len(admitted), sum(used for _, used in admitted))


def _use_up(kind: str, path: Path, url: str, prefix: str, key: ApiKey, sent: Any) -> None:
    with asyncio.Runner() as runner, closing(Place(kind, path, url, runner, prefix)) as place:
        sent.put(place.gateway(Clock()).used_up(key, 1))


def test_several_gateways_share_one_budget(place: Place) -> None:
    place.gateway(Clock())
    key = key_of(budget_tokens=500)
    context = multiprocessing.get_context("spawn")
    sent = context.Queue()
    where = (place.kind, place.path, place.url, place.prefix, key, sent)
    workers = [context.Process(target=_use_up, args=where) for _ in range(2)]
    for worker in workers:
        worker.start()
    counts = [sent.get(timeout=120) for _ in workers]
    for worker in workers:
        worker.join(timeout=120)
    assert sum(counts) == 500


@pytest.fixture
def sqlite_counts(tmp_path: Path) -> Iterator[Callable[[Clock], Counts]]:
    with asyncio.Runner() as runner, closing(Place("sqlite", tmp_path / "used.sqlite", "", runner)) as place:
        yield place.gateway


def test_counts_that_cannot_be_written_let_nobody_in_and_are_written_again_when_they_can(
    tmp_path: Path, sqlite_counts: Callable[[Clock], Counts]
) -> None:
    counts = sqlite_counts(Clock())
    usage, key = counts.usage, key_of(budget_tokens=100)
    assert isinstance(usage, SqliteUsage)
    allowance = Allowance(key, usage)
    counts.run(allowance.admit("support", 60))
    usage._db.execute("PRAGMA busy_timeout = 0")
    other = sqlite3.connect(tmp_path / "used.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    allowance.settle(10)  # the answer was made: it is no fault of its caller's
    with pytest.raises(RefusedError) as refused:
        counts.run(Allowance(key, usage).admit("support", 1))
    assert refused.value.status == 503
    other.execute("ROLLBACK")
    other.close()
    assert usage.used(key).tokens == 60  # what was held stays counted
    counts.run(Allowance(key, usage).admit("support", 40))


def test_a_full_disk_breaks_off_no_later_count(sqlite_counts: Callable[[Clock], Counts]) -> None:
    counts = sqlite_counts(Clock())
    usage, key = counts.usage, key_of()
    assert isinstance(usage, SqliteUsage)
    held = counts.reserve(key, 60)
    assert isinstance(held, Reservation)
    usage._db.execute("CREATE TEMP TRIGGER full BEFORE INSERT ON used BEGIN SELECT RAISE(ABORT, 'full'); END")
    for _ in range(2):
        with pytest.raises(BackendError, match="cannot be counted now: full"):
            usage.settle(held, 10)
    usage._db.execute("DROP TRIGGER full")
    usage.settle(held, 10)
    assert usage.used(key).tokens == 10


def test_a_damaged_file_of_counts_is_said_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "used.sqlite").write_bytes(b"no database" * 100)
    with pytest.raises(BackendError, match=r"used\.sqlite.* file is not a database.* remove it"):
        SqliteUsage(tmp_path / "used.sqlite", Clock())


def test_periods_begin_at_midnight_and_on_the_first_in_utc() -> None:
    at = datetime(2026, 3, 14, 23, 59, tzinfo=UTC).timestamp()
    assert datetime.fromtimestamp(period_start("day", at), UTC) == datetime(2026, 3, 14, tzinfo=UTC)
    assert datetime.fromtimestamp(period_start("month", at), UTC) == datetime(2026, 3, 1, tzinfo=UTC)
    assert period_start("forever", at) == 0
