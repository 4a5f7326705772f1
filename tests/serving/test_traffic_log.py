from __future__ import annotations

import os

import pytest

from opswright.core.errors import AskError
from opswright.core.workspace import Workspace
from opswright.serving.gateway.traffic_log import TrafficLog, TrafficRow, read


def row(number: int, second: int | None = None) -> TrafficRow:
    return TrafficRow(
        time=f"2026-01-01T00:00:{(number if second is None else second) % 60:02d}.000Z",
        id=f"r{number}",
        release="v1-abc",
        route="stable",
        text=f"question {number} ünïcode ✓",
        output="answer",
        status="ok",
        rail=None,
        latency_ms=1.5,
        model_version=1,
        finish="stop",
    )


def test_what_is_written_is_read_in_order(workspace: Workspace) -> None:
    log = TrafficLog(workspace.endpoints / "support")
    rows = [row(n) for n in range(30)]
    assert all(log.append(one) for one in rows)
    assert read(workspace, "support") == rows
    assert read(workspace, "support", last=7) == rows[-7:]
    assert read(workspace, "support", last=100) == rows
    assert read(workspace, "support", last=0) == []
    assert read(workspace, "nobody") == []
    log.close()


def test_only_what_came_after_a_time_is_read_whatever_its_zone(workspace: Workspace) -> None:
    log = TrafficLog(workspace.endpoints / "support")
    for n in range(30):
        log.append(row(n))
    assert read(workspace, "support", after="2026-01-01T01:00:19+01:00") == [row(n) for n in range(20, 30)]
    assert read(workspace, "support", after="2026-01-01T00:00:19") == [row(n) for n in range(20, 30)]
    with pytest.raises(AskError, match="ISO 8601"):
        read(workspace, "support", after="yesterday")
    log.close()


def test_a_log_goes_on_in_new_segments_and_is_read_over_all_of_them(workspace: Workspace) -> None:
    log = TrafficLog(workspace.endpoints / "support", segment_bytes=1000)
    rows = [row(n) for n in range(50)]
    for one in rows:
        log.append(one)
    log.close()
    again = TrafficLog(workspace.endpoints / "support", segment_bytes=1000)
    again.append(row(50))
    again.close()
    assert len(list((workspace.endpoints / "support").glob("traffic-*.jsonl"))) > 5
    assert read(workspace, "support") == [*rows, row(50)]


def test_many_rows_are_read_from_the_end(workspace: Workspace) -> None:
    log = TrafficLog(workspace.endpoints / "support")
    rows = [row(n, second=0) for n in range(3000)]
    for one in rows:
        log.append(one)
    log.close()
    assert read(workspace, "support", last=1000) == rows[-1000:]


def test_a_line_cut_by_a_crash_costs_only_itself(workspace: Workspace) -> None:
    log = TrafficLog(workspace.endpoints / "support")
    log.append(row(1))
    log.close()
    path = next((workspace.endpoints / "support").glob("traffic-*.jsonl"))
    with path.open("ab") as file:
        file.write(b'{"time": "2026-01-01T00:00:02')
    assert read(workspace, "support") == [row(1)]
    again = TrafficLog(workspace.endpoints / "support")
    again.append(row(3))
    again.close()
    assert read(workspace, "support") == [row(1), row(3)]


def test_a_full_disk_loses_rows_but_counts_them_and_goes_on_when_there_is_room(workspace: Workspace) -> None:
    folder = workspace.endpoints / "support"
    folder.mkdir(parents=True)
    full = folder / "traffic-000001.jsonl"
    full.symlink_to("/dev/full")
    log = TrafficLog(folder)
    assert not log.append(row(1))
    assert not log.append(row(2))
    assert log.lost == 2
    full.unlink()
    assert log.append(row(3))
    log.close()
    assert read(workspace, "support") == [row(3)]


def test_a_row_is_on_its_way_to_disk_before_append_returns(workspace: Workspace) -> None:
    log = TrafficLog(workspace.endpoints / "support")
    log.append(row(1))  # neither synced nor closed: what a killed gateway leaves
    assert read(workspace, "support") == [row(1)]
    log.close()


def test_only_the_owner_may_read_what_users_wrote(workspace: Workspace) -> None:
    log = TrafficLog(workspace.endpoints / "support")
    log.append(row(1))
    log.close()
    path = next((workspace.endpoints / "support").glob("traffic-*.jsonl"))
    assert os.stat(path).st_mode & 0o077 == 0
