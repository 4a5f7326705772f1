"""Pages of the ledger from an index in memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from opswright.core.principal import Principal
from opswright.core.workspace import Workspace
from opswright.record import audit
from opswright.record.audit.index import RecordIndex
from opswright.record.audit.listing import Criteria
from opswright.record.ledger import Fault, Ledger, Phase, Record


@pytest.fixture
def shipped(workspace: Workspace, scene: Any) -> Workspace:
    scene.ship("one")
    scene.ship("two", scene.plan("Another", 0.9), decision="NO_GO")
    return workspace


def numbers(index: RecordIndex, **filters: str) -> list[int]:
    return [entry.seq for entry in index.find(Criteria.of(**filters))]


@pytest.mark.parametrize(
    "filters",
    [{}, {"run": "two"}, {"actor": "ines"}, {"skill": "gate"}, {"phase": "done", "run": "one"}, {"run": "x"}],
)
def test_the_index_finds_what_reading_everything_finds_newest_first(
    shipped: Workspace, filters: dict[str, str]
) -> None:
    index = RecordIndex(Ledger.of(shipped))
    assert index.refresh() == 26
    assert numbers(index, **filters) == [r.seq for r in audit.list_records(shipped, **filters)][::-1]
    whole = {record.seq: record for record in Ledger.of(shipped).records()}
    assert all(index.read(entry) == whole[entry.seq] for entry in index.find(Criteria.of(**filters)))


def test_the_index_finds_by_time(shipped: Workspace) -> None:
    times = {record.seq: record.time for record in Ledger.of(shipped).records()}
    index = RecordIndex(Ledger.of(shipped))
    index.refresh()
    assert numbers(index, since=times[5], until=times[9]) == [8, 7, 6, 5]


def test_what_is_appended_later_is_found_without_reading_the_rest_again(
    shipped: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = RecordIndex(Ledger.of(shipped))
    index.refresh()
    before = index.find(Criteria.of())
    Ledger.of(shipped).append(Phase.DENIED, principal=Principal("eve", ("viewer",), "test"), run="three")
    assert index.refresh() == 27 and numbers(index, actor="eve") == [27]
    assert index.find(Criteria.of())[1:] == before
    assert index.values("actor")[0] == "eve" and index.values("run") == ["three", "two", "one"]
    assert index.values("run", most=1) == ["three"]


def test_several_segments_are_one_record(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, segment_bytes=2000)
    index = RecordIndex(ledger)
    assert index.refresh() == 0
    for number in range(12):
        ledger.append(
            Phase.DONE,
            principal=Principal("a", ("viewer",), "test"),
            detail={"number": number, "text": "x" * 300},
        )
        index.refresh()
    assert len(ledger.segments()) > 2 and numbers(index) == list(range(12, 0, -1))
    found = index.at(7)
    assert found is not None
    record = index.read(found)
    assert isinstance(record, Record) and record.detail["number"] == 6
    assert index.at(13) is None and index.at(0) is None


def test_a_line_that_is_no_record_has_its_place_and_the_others_stay(shipped: Workspace) -> None:
    path = Ledger.of(shipped).segments()[0]
    lines = path.read_bytes().splitlines(keepends=True)
    lines[9] = b'{"seq": 10, "broken\n'
    path.write_bytes(b"".join(lines))
    index = RecordIndex(Ledger.of(shipped))
    index.refresh()
    assert numbers(index) == list(range(26, 0, -1)) and numbers(index, run="one")[-5:] == [5, 4, 3, 2, 1]
    found = index.at(10)
    assert found is not None
    fault = index.read(found)
    assert isinstance(fault, Fault) and fault.seq == 10 and "damaged" in fault.message


def test_a_ledger_that_was_cut_or_replaced_is_read_again(shipped: Workspace) -> None:
    index = RecordIndex(Ledger.of(shipped))
    index.refresh()
    path = Ledger.of(shipped).segments()[0]
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:4]))
    assert index.refresh() == 4 and numbers(index) == [4, 3, 2, 1]
    path.unlink()
    assert index.refresh() == 0 and numbers(index) == []


def test_a_line_being_written_waits_for_its_end(shipped: Workspace) -> None:
    path = Ledger.of(shipped).segments()[0]
    whole = path.read_bytes()
    path.write_bytes(whole[:-10])
    index = RecordIndex(Ledger.of(shipped))
    assert index.refresh() == 25
    path.write_bytes(whole)
    assert index.refresh() == 26
