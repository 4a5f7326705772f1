"""Listing and exporting the record."""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from opswright.core.errors import AskError
from opswright.core.workspace import Workspace
from opswright.record import audit
from opswright.record.ledger import Ledger, Phase

GUIDE = Path(__file__).parents[2] / "docs" / "guide" / "record.md"


@pytest.mark.parametrize(
    ("filters", "numbers"),
    [
        ({}, list(range(1, 27))),
        ({"run": "two"}, list(range(16, 27))),
        ({"actor": "ines"}, [2, 17]),
        ({"skill": "gate"}, [9, 10, 24, 25]),
        ({"phase": "proposed"}, [1, 16]),
        ({"run": "one", "step": "data"}, [3, 4]),
        ({"run": "one", "phase": "done", "skill": "deploy"}, [14]),
        ({"run": "nobody"}, []),
    ],
)
def test_records_are_found_by_any_filter(
    shipped: Workspace, filters: dict[str, str], numbers: list[int]
) -> None:
    assert [record.seq for record in audit.list_records(shipped, **filters)] == numbers


def test_records_are_found_by_time(shipped: Workspace) -> None:
    times = {record.seq: record.time for record in Ledger.of(shipped).records()}
    found = audit.list_records(shipped, since=times[5], until=times[9])
    assert [record.seq for record in found] == [5, 6, 7, 8]
    day = datetime.fromisoformat(times[1]).date()
    assert len(list(audit.list_records(shipped, since=day.isoformat()))) == 26
    assert list(audit.list_records(shipped, since=(day + timedelta(days=1)).isoformat())) == []


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        ({"phase": "don"}, "Did you mean 'done'"),
        ({"since": "yesterday"}, "invalid time 'yesterday' for since"),
        ({"until": "2026-13-01"}, "invalid time .* for until"),
    ],
)
def test_a_filter_that_cannot_be_is_refused_at_once(
    workspace: Workspace, filters: dict[str, str], message: str
) -> None:
    with pytest.raises(AskError, match=message):
        audit.list_records(workspace, **filters)


def test_one_record_is_found_by_its_number(shipped: Workspace) -> None:
    assert audit.get_record(shipped, 14).step == "live"
    with pytest.raises(AskError, match="no record 99; the ledger has 26 records"):
        audit.get_record(shipped, 99)


def test_an_export_is_the_ledger_byte_for_byte(shipped: Workspace, tmp_path: Path) -> None:
    to = tmp_path / "new" / "ledger.jsonl"
    assert audit.export(shipped, to) == 26
    assert to.read_bytes() == Ledger.of(shipped).segments()[0].read_bytes()
    assert [path.name for path in to.parent.iterdir()] == ["ledger.jsonl"]
    stream = io.StringIO()
    assert audit.export(shipped, stream, run="two") == 11
    assert {json.loads(line)["run"] for line in stream.getvalue().splitlines()} == {"two"}


def test_an_export_can_be_verified_with_the_guides_own_script(shipped: Workspace, tmp_path: Path) -> None:
    scripts = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    script = next(text for text in scripts if "sha256" in text)

    def check(path: Path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-I", "-c", script, str(path)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    to = tmp_path / "ledger.jsonl"
    audit.export(shipped, to)
    seq, digest = Ledger.of(shipped).head()
    assert check(to).stdout.strip() == f"{seq}:{digest}"
    to.write_bytes(to.read_bytes().replace(b'"rows":40', b'"rows":41', 1))
    assert check(to).returncode != 0 and "record 4" in check(to).stderr


def test_csv_holds_every_record_and_no_formula(workspace: Workspace, scene: Any, tmp_path: Path) -> None:
    scene.ship("one")
    scene.append("=cmd()", Phase.DONE, actor="@mallory", detail={"text": 'a,b\n"c"'})
    to = tmp_path / "ledger.csv"
    assert audit.export(workspace, to, "csv") == 16
    with to.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["seq"]) for row in rows] == list(range(1, 17))
    assert json.loads(rows[3]["artifacts"]).keys() == {"dataset"}
    assert (rows[15]["run"], rows[15]["actor"]) == ("'=cmd()", "'@mallory")
    assert json.loads(rows[15]["detail"])["text"] == 'a,b\n"c"'


def test_an_export_is_refused_into_the_ledger_and_in_an_unknown_format(shipped: Workspace) -> None:
    with pytest.raises(AskError, match="inside the ledger"):
        audit.export(shipped, Ledger.of(shipped).folder / "000002.jsonl")
    with pytest.raises(AskError, match="unknown format 'jsn'"):
        audit.export(shipped, io.StringIO(), "jsn")  # type: ignore[arg-type]
    assert len(Ledger.of(shipped).segments()) == 1
