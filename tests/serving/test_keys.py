"""Keys: kept as hashes, found by their text alone, counted against limits that outlive a gateway."""

from __future__ import annotations

import hmac
import json
import multiprocessing
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from opswright.core.errors import AskError, BackendError
from opswright.core.workspace import Workspace
from opswright.serving.keys.allowance import Allowance, RefusedError
from opswright.serving.keys.store import ApiKey, KeyStore, Limits
from opswright.serving.keys.usage import KeyUsage, LimitReached, Reservation, period_start

START = datetime(2026, 3, 1, 12, tzinfo=UTC).timestamp()


class Clock:
    """A time that tests move."""

    def __init__(self, now: float = START) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def key_of(**limits: object) -> ApiKey:
    made = {"id": "0" * 12, "name": "ada", "hash": "0" * 64, "created": datetime.now(UTC)}
    return ApiKey.model_validate({**made, "limits": limits})


@pytest.fixture
def store(workspace: Workspace) -> KeyStore:
    return KeyStore(workspace)


def test_a_key_is_kept_as_a_hash_that_only_its_owner_may_read(store: KeyStore, workspace: Workspace) -> None:
    made = store.create("webshop")
    path = workspace.root / "keys.json"
    assert store.find(made.text) == made.key
    assert made.text not in path.read_text() and made.text.rpartition("_")[2] not in path.read_text()
    assert path.stat().st_mode & 0o077 == 0


def test_a_hash_is_keyed_so_that_a_copied_hash_tells_nothing_elsewhere(
    store: KeyStore, tmp_path: Path, workspace: Workspace
) -> None:
    made = store.create("webshop")
    document = json.loads((workspace.root / "keys.json").read_text())
    assert (
        made.key.hash == hmac.digest(bytes.fromhex(document["hash_key"]), made.text.encode(), "sha256").hex()
    )
    document["hash_key"] = "ab" * 32
    (workspace.root / "keys.json").write_text(json.dumps(document))
    assert store.find(made.text) is None


@given(text=st.text(max_size=80))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_other_text_is_a_key(store: KeyStore, text: str) -> None:
    if not store.exists:
        store.create("webshop")
    assert store.find(text) is None
    assert store.find(f"ops_{text}") is None


@given(at=st.integers(0, 59), char=st.characters())
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_key_with_one_character_changed_is_none(store: KeyStore, at: int, char: str) -> None:
    made = store.create("webshop")
    changed = made.text[:at] + char + made.text[at + 1 :]
    assert store.find(changed) == (made.key if changed == made.text else None)


def test_secrets_are_compared_in_constant_time_also_for_an_id_nobody_has(
    store: KeyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, compared = store.create("webshop"), []
    real = hmac.compare_digest
    monkeypatch.setattr(hmac, "compare_digest", lambda a, b: compared.append((a, b)) or real(a, b))
    for text in (made.text, made.text[:-1] + "!", "ops_" + "0" * 12 + "_" + "x" * 43, ""):
        store.find(text)
    assert [len(a) == len(b) == 64 for a, b in compared] == [True] * 4


def test_a_revoked_key_and_an_ended_one_are_none(store: KeyStore, workspace: Workspace) -> None:
    gone, ends = store.create("a"), store.create("b", valid_days=1)
    reader = KeyStore(workspace)  # as a gateway has it
    assert reader.find(gone.text) and reader.find(ends.text)
    store.revoke("a")
    assert reader.find(gone.text) is None
    assert reader.find(ends.text, datetime.now(UTC) + timedelta(days=2)) is None
    assert reader.exists  # and so a key is still asked for


def test_of_several_keys_of_a_name_one_is_revoked_by_its_id(store: KeyStore) -> None:
    old, new = store.create("webshop"), store.create("webshop")
    with pytest.raises(AskError, match="2 valid keys"):
        store.revoke("webshop")
    store.revoke(old.key.id)
    assert store.find(new.text) is not None
    assert store.revoke("webshop").id == new.key.id
    with pytest.raises(AskError, match="no valid key"):
        store.revoke("webshop")


@pytest.mark.parametrize("damage", [b"{", b"[]", b'{"hash_key": "00", "keys": {}}'])
def test_a_damaged_file_lets_nobody_in(store: KeyStore, workspace: Workspace, damage: bytes) -> None:
    made = store.create("webshop")
    assert store.find(made.text)
    (workspace.root / "keys.json").write_bytes(damage)
    with pytest.raises(AskError, match="keys file"):
        store.find(made.text)


def test_a_file_open_to_others_lets_nobody_in(store: KeyStore, workspace: Workspace) -> None:
    made = store.create("webshop")
    assert store.find(made.text)
    (workspace.root / "keys.json").chmod(0o644)
    with pytest.raises(AskError, match="chmod 600"):
        store.find(made.text)


def used_up(usage: KeyUsage, key: ApiKey, tokens: int) -> int:
    """How many requests of so many tokens are let in, one after the other."""
    count = 0
    while isinstance(held := usage.reserve(key, tokens), Reservation):
        usage.settle(held, tokens)
        count += 1
    return count


@pytest.fixture
def open_usage(tmp_path: Path) -> Callable[[Clock], KeyUsage]:
    return lambda clock: KeyUsage(tmp_path / "used.sqlite", clock)


def test_a_budget_holds_across_a_restart_and_begins_anew_with_its_period(
    open_usage: Callable[[Clock], KeyUsage],
) -> None:
    clock, key = Clock(), key_of(budget_tokens=1000, budget_period="day")
    first = open_usage(clock)
    held = first.reserve(key, 300)
    assert isinstance(held, Reservation)
    first.settle(held, 200)
    first.reserve(key, 300)  # and the gateway is killed: what it held stays counted
    again = open_usage(clock)
    assert used_up(again, key, 100) == 5
    refused = again.reserve(key, 1)
    assert isinstance(refused, LimitReached) and (refused.limit, refused.retry_s) == ("budget", None)
    clock.now += 86_400
    assert used_up(again, key, 100) == 10


def test_counts_that_cannot_be_written_let_nobody_in_and_are_written_again_when_they_can(
    tmp_path: Path, open_usage: Callable[[Clock], KeyUsage], store: KeyStore
) -> None:
    usage = open_usage(Clock())
    key = store.create("ada", limits=Limits(budget_tokens=100)).key
    allowance = Allowance(key, usage)
    allowance.admit("support", 60)
    usage._db.execute("PRAGMA busy_timeout = 0")
    other = sqlite3.connect(tmp_path / "used.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    allowance.settle(10)  # the answer was made: it is no fault of its caller's
    with pytest.raises(RefusedError) as refused:
        Allowance(key, usage).admit("support", 1)
    assert refused.value.status == 503
    other.execute("ROLLBACK")
    other.close()
    assert usage.used(key).tokens == 60  # what was held stays counted
    Allowance(key, usage).admit("support", 40)


def test_a_full_disk_breaks_off_no_later_count(
    open_usage: Callable[[Clock], KeyUsage], store: KeyStore
) -> None:
    usage = open_usage(Clock())
    key = store.create("ada").key
    held = usage.reserve(key, 60)
    assert isinstance(held, Reservation)
    usage._db.execute("CREATE TEMP TRIGGER full BEFORE INSERT ON used BEGIN SELECT RAISE(ABORT, 'full'); END")
    for _ in range(2):
        with pytest.raises(BackendError, match="cannot be counted now: full"):
            usage.settle(held, 10)
    usage._db.execute("DROP TRIGGER full")
    usage.settle(held, 10)
    assert usage.used(key).tokens == 10


def test_a_damaged_file_of_counts_is_said_with_what_to_do(
    tmp_path: Path, open_usage: Callable[[Clock], KeyUsage]
) -> None:
    (tmp_path / "used.sqlite").write_bytes(b"no database" * 100)
    with pytest.raises(BackendError, match=r"used\.sqlite.* file is not a database.* remove it"):
        open_usage(Clock())


def test_who_reaches_a_rate_is_told_when_to_come_again(open_usage: Callable[[Clock], KeyUsage]) -> None:
    clock, key = Clock(START + 20), key_of(requests_per_minute=3)
    usage = open_usage(clock)
    assert used_up(usage, key, 1) == 3
    refused = usage.reserve(key, 1)
    assert isinstance(refused, LimitReached)
    assert (refused.limit, refused.retry_s) == ("requests_per_minute", 40)
    clock.now += 40 + 60
    assert used_up(usage, key, 1) == 3


Asks = st.lists(st.tuples(st.floats(0, 40), st.integers(1, 400), st.floats(0, 1)), max_size=60)


@settings(max_examples=60, deadline=None)
@given(asks=Asks, requests=st.integers(1, 20), tokens=st.integers(1, 2000), budget=st.integers(1, 5000))
def test_no_sequence_of_requests_passes_a_limit(
    tmp_path_factory: pytest.TempPathFactory,
    asks: list[tuple[float, int, float]],
    requests: int,
    tokens: int,
    budget: int,
) -> None:
    """In any calendar minute no more than the rate; in all, and with what runs at once, within the budget."""
    clock = Clock()
    usage = KeyUsage(tmp_path_factory.mktemp("usage") / "used.sqlite", clock)
    limits = {"requests_per_minute": requests, "tokens_per_minute": tokens, "budget_tokens": budget}
    key = key_of(**limits, budget_period="forever")
    admitted: list[tuple[float, int]] = []
    running: list[tuple[Reservation, int]] = []
    for wait_s, most, share in asks:
        clock.now += wait_s
        held = usage.reserve(key, most)
        if isinstance(held, Reservation):
            really = int(most * share)
            admitted.append((clock.now, really))
            running.append((held, really))
        if len(running) > 3:
            usage.settle(*running.pop(0))
    for minute in {int(at) // 60 for at, _ in admitted}:
        of_minute = [used for at, used in admitted if int(at) // 60 == minute]
        assert len(of_minute) <= requests
        assert sum(of_minute) <= tokens
    assert sum(used for _, used in admitted) <= budget
    for one in running:
        usage.settle(*one)
    assert usage.used(key).tokens == sum(used for _, used in admitted)
    assert usage.used(key).requests == len(admitted)
    usage.close()


def _use_up(path: Path, sent: multiprocessing.queues.Queue[int]) -> None:
    usage = KeyUsage(path, Clock())
    sent.put(used_up(usage, key_of(budget_tokens=500), 1))
    usage.close()


def test_several_gateways_share_one_budget(tmp_path: Path) -> None:
    path = tmp_path / "used.sqlite"
    KeyUsage(path, Clock()).close()
    context = multiprocessing.get_context("spawn")
    sent = context.Queue()
    workers = [context.Process(target=_use_up, args=(path, sent)) for _ in range(2)]
    for worker in workers:
        worker.start()
    counts = [sent.get(timeout=120) for _ in workers]
    for worker in workers:
        worker.join(timeout=120)
    assert sum(counts) == 500


def test_periods_begin_at_midnight_and_on_the_first_in_utc() -> None:
    at = datetime(2026, 3, 14, 23, 59, tzinfo=UTC).timestamp()
    assert datetime.fromtimestamp(period_start("day", at), UTC) == datetime(2026, 3, 14, tzinfo=UTC)
    assert datetime.fromtimestamp(period_start("month", at), UTC) == datetime(2026, 3, 1, tzinfo=UTC)
    assert period_start("forever", at) == 0


def test_limits_below_one_are_refused() -> None:
    with pytest.raises(ValueError, match="greater than or equal to 1"):
        Limits(budget_tokens=0)


_REVOKE = """
import resource, signal, sys
from pathlib import Path
from opswright.core.settings import load_settings
from opswright.core.workspace import Workspace
from opswright.serving.keys.store import KeyStore
workspace = Workspace(load_settings(home=Path(sys.argv[1])))
size = (workspace.root / "keys.json").stat().st_size
resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))  # no file may grow further: there is no room
for key in sys.argv[2:]:
    KeyStore(workspace).revoke(key)
"""


def test_keys_are_revoked_where_no_room_is_left(workspace: Workspace) -> None:
    store = KeyStore(workspace)
    made = [store.create(f"shop{number}") for number in range(3)]
    running = KeyStore(workspace)  # a gateway's
    assert all(running.find(one.text) for one in made)
    ids = [one.key.id for one in made[:2]]
    subprocess.run([sys.executable, "-c", _REVOKE, str(workspace.root), *ids], check=True)
    assert [running.find(one.text) is not None for one in made] == [False, False, True]
    assert (workspace.root / "keys.json").stat().st_mode & 0o077 == 0
    store.create("later")  # with room again
    assert running.find(made[0].text) is None
