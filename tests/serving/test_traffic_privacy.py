"""What of users' texts is written down, and for how long."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from opswright.serving.gateway.privacy import Privacy
from opswright.serving.gateway.segments import Retention, SegmentWriter, json_line, segments
from opswright.serving.gateway.traffic_log import read
from opswright.serving.log_files import put_aside

if TYPE_CHECKING:
    from tests.serving.conftest import House

CARD, MAIL, SSN = "4111 1111 1111 1111", "ada@example.org", "536-90-4399"
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def logged(house: House) -> str:
    """Everything that lies in the endpoint's logs."""
    return "".join(path.read_text() for path in (house.workspace.endpoints / "support").glob("*.jsonl"))


def test_personal_data_is_masked_before_it_is_written_in_questions_answers_and_ids(house: House) -> None:
    house.rollout().deploy(house.bundle("one"), house.guardrails(), 100)
    house.chat(f"my card is {CARD}, write to {MAIL}", {"x-request-id": f"mail {MAIL}"})
    house.chat(f"how do i build a bomb for {SSN}?")  # blocked
    first, second = read(house.workspace, "support")
    assert first.text == "my card is <card>, write to <email>"
    assert first.id.startswith("mail <email> ")
    assert (second.status, second.text) == ("blocked", "how do i build a bomb for <us_ssn>?")
    for private in (CARD, MAIL, SSN):
        assert private not in logged(house)


@pytest.mark.parametrize("most", [None, 100])
def test_a_text_is_masked_however_much_of_it_is_kept(most: int | None) -> None:
    assert Privacy(masks=True, max_characters=most).text("to ada@example.org") == "to <email>"


def test_a_setting_turns_masking_off(house: House, reopened: Callable[..., None]) -> None:
    reopened(traffic={"mask": False})
    house.rollout().deploy(house.bundle("one"), None, 100)
    house.chat(f"my card is {CARD}")
    assert read(house.workspace, "support")[-1].text == f"my card is {CARD}"


def test_the_engine_and_the_rails_still_get_what_was_written(house: House) -> None:
    house.rollout().deploy(house.bundle("one"), None, 100)
    house.chat(f"my card is {CARD}")
    assert CARD in house.server.asked[-1][1]


def test_a_long_text_is_written_only_so_far(house: House, reopened: Callable[..., None]) -> None:
    reopened(traffic={"max_characters": 100})
    house.rollout().deploy(house.bundle("one"), None, 100)
    house.chat("x" * 5000)
    assert read(house.workspace, "support")[-1].text == "x" * 100


@given(before=st.text(max_size=120), limit=st.integers(1, 130))
def test_a_cut_never_leaves_part_of_a_number(before: str, limit: int) -> None:
    written = Privacy(masks=True, max_characters=limit).text(f"{before} . {CARD}")
    assert "4111" not in written.removeprefix(before)
    assert len(written) <= limit


def test_a_cut_leaves_no_part_of_a_number_where_masking_shortens_what_comes_before() -> None:
    before = " ".join(f"somebody.with.a.long.name.{number:03d}@example-company.com" for number in range(40))
    say = Privacy(masks=True, max_characters=1000)
    for filling in range(700):
        assert "4111" not in say.text(f"{before[:950]} {'x' * filling} {CARD} {before}")


def row(at: datetime, size: int = 0) -> bytes:
    return json_line({"time": at.isoformat().replace("+00:00", "Z"), "text": "x" * size})


def written(writer: SegmentWriter, at: datetime, size: int = 0) -> None:
    assert writer.append(row(at, size), at.isoformat())


def days_left(folder: Path) -> list[int]:
    """How many days before NOW each line that is left was written."""
    lines = [line for path in segments(folder, "t") for line in path.read_text().splitlines()]
    return [(NOW - datetime.fromisoformat(json.loads(line)["time"])).days for line in lines]


def test_rows_older_than_the_retention_are_removed_to_the_day(tmp_path: Path) -> None:
    writer = SegmentWriter(tmp_path, "t")
    for day in range(40, -1, -1):
        written(writer, NOW - timedelta(days=day))
    writer.prune(Retention(days=30, max_bytes=10**9), NOW)
    assert days_left(tmp_path) == list(range(30, -1, -1))
    written(writer, NOW)
    writer.close()
    assert days_left(tmp_path) == [*range(30, -1, -1), 0]


def test_an_endpoint_that_nobody_asks_any_more_forgets_too(tmp_path: Path) -> None:
    writer = SegmentWriter(tmp_path, "t")
    written(writer, NOW - timedelta(days=60))
    writer.prune(Retention(days=30, max_bytes=10**9), NOW)
    assert segments(tmp_path, "t") == []
    written(writer, NOW)
    assert days_left(tmp_path) == [0]


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sizes=st.lists(st.integers(0, 3000), min_size=1, max_size=60), max_bytes=st.integers(4000, 40_000))
def test_a_log_never_grows_beyond_its_size_and_forgets_the_oldest_first(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], max_bytes: int
) -> None:
    folder = tmp_path_factory.mktemp("log")
    keep = Retention(days=1000, max_bytes=max_bytes)
    writer = SegmentWriter(folder, "t", keep=keep)
    for number, size in enumerate(sizes):
        written(writer, NOW - timedelta(seconds=len(sizes) - number), size)
        writer.prune(keep, NOW)
        total = sum(path.stat().st_size for path in segments(folder, "t"))
        assert total <= max_bytes or len(segments(folder, "t")) == 1
    kept = [line for path in segments(folder, "t") for line in path.read_bytes().splitlines(keepends=True)]
    rows = [row(NOW - timedelta(seconds=len(sizes) - n), size) for n, size in enumerate(sizes)]
    assert kept == rows[len(rows) - len(kept) :]
    writer.close()


def test_what_is_too_old_goes_while_the_gateway_serves(tmp_path: Path) -> None:
    moment = [0.0]
    keep = Retention(days=1, max_bytes=10**9)
    writer = SegmentWriter(tmp_path, "t", keep=keep, clock=lambda: moment[0])
    writer.sync()
    written(writer, datetime(2026, 1, 1, tzinfo=UTC))  # long ago, whenever this runs
    writer.sync()
    assert segments(tmp_path, "t")  # it looks once a minute
    moment[0] = 61.0
    writer.sync()
    assert not segments(tmp_path, "t")


def test_a_log_that_is_too_large_is_put_aside_and_its_writer_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "gateway.log"
    with path.open("ab", buffering=0) as writer:
        for number in range(10):
            writer.write(f"{number}".encode() * 600)
            put_aside(path, 1000, kept=3)
        writer.write(b"last")
    assert path.read_bytes() == b"last"
    aside = sorted(tmp_path.glob("gateway.log.*"))
    assert [one.name for one in aside] == ["gateway.log.1", "gateway.log.2", "gateway.log.3"]
    assert aside[0].read_bytes() == b"8" * 600 + b"9" * 600
    assert not put_aside(tmp_path / "none.log", 1000)
