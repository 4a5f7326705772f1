"""An index that is missing, damaged, of another version or of another ledger is made anew."""

from __future__ import annotations

import json
import os
import random
import sqlite3
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from opswright.core.errors import IntegrityError
from opswright.core.workspace import Workspace
from opswright.record.index import Criteria, LedgerIndex, Link
from opswright.record.ledger import Fault, Ledger, Phase

from .indexed import REPORT, WHO, append_run, database_of, holds_all, numbers, plain_state


def _truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2 + 100])


def _garbage(path: Path) -> None:
    path.write_bytes(random.Random(5).randbytes(path.stat().st_size))


def _garbage_inside(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[4096:-4096] = random.Random(5).randbytes(len(data) - 8192)
    path.write_bytes(data)


def _changed(statement: str, path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute(statement)
    connection.close()


_other_version = partial(_changed, "PRAGMA user_version = 99")
_no_tables = partial(_changed, "DROP TABLE runs")
_lost_lines = partial(_changed, "DELETE FROM lines WHERE number IN (5, 20)")
_moved_lines = partial(_changed, "UPDATE lines SET offset = offset + 7 WHERE number = 20")


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _no_name(path: Path) -> None:
    (path.parent / "current").write_bytes(b"\xff/../x")


@pytest.mark.parametrize(
    "damage",
    [Path.unlink, _truncated, _garbage, _garbage_inside, _other_version, _no_tables, _lost_lines,
     _moved_lines, _empty, _no_name],
)  # fmt: skip
def test_an_index_that_cannot_be_used_is_made_anew(ledger: Ledger, damage: Callable[[Path], None]) -> None:
    first = LedgerIndex(ledger)
    assert holds_all(first, ledger)
    first.close()  # everything is in its one file now
    before = database_of(ledger)
    damage(before)
    index = LedgerIndex(ledger)
    assert index.run_state("two") == plain_state(ledger, "two")
    assert holds_all(index, ledger) and database_of(ledger) != before and not before.exists()


def test_a_ledger_that_was_cut_is_read_again(ledger: Ledger) -> None:
    index, path = LedgerIndex(ledger), ledger.segments()[0]
    assert holds_all(index, ledger)
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:20]))
    assert index.refresh() == 20 and holds_all(index, ledger)
    append_run(ledger, "four")  # longer than it was
    assert holds_all(index, ledger)
    path.unlink()
    assert index.refresh() == 0 and index.rows() == [] and index.run_state("one") is None


def test_a_ledger_that_was_cut_and_grew_beyond_what_was_known_is_read_again(ledger: Ledger) -> None:
    index, path = LedgerIndex(ledger), ledger.segments()[0]
    assert holds_all(index, ledger)
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:20]))
    for name in ("four", "five", "six"):
        append_run(Ledger(ledger.folder), name)
    assert holds_all(index, ledger)


def test_a_ledger_rewritten_with_the_same_length_is_read_again(
    shipped: Workspace, rewrite: Callable[[Workspace, Callable[[dict[str, Any]], object]], None]
) -> None:
    index, path = LedgerIndex.of(shipped), Ledger.of(shipped).segments()[0]
    assert numbers(index, actor="ines") == [17, 2]
    size, times = path.stat().st_size, path.stat()
    rewrite(shipped, lambda body: body.update(actor="olga") if body["actor"] == "ines" else None)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))  # not even the time tells
    assert path.stat().st_size == size
    assert numbers(index, actor="olga") == [17, 2] and numbers(index, actor="ines") == []


def test_what_another_made_anew_is_what_this_one_answers_from(
    shipped: Workspace, rewrite: Callable[[Workspace, Callable[[dict[str, Any]], object]], None]
) -> None:
    mine, others = LedgerIndex(Ledger.of(shipped)), LedgerIndex(Ledger.of(shipped))
    assert mine.run_state("one") == others.run_state("one")
    rewrite(shipped, lambda body: body.update(actor="olga") if body["actor"] == "ines" else None)
    assert numbers(others, actor="olga") == [17, 2]
    assert mine.run_state("one") == plain_state(Ledger.of(shipped), "one")
    Ledger.of(shipped).append(Phase.DENIED, principal=WHO, run="one")
    assert numbers(mine, actor="ada") == [27] and holds_all(others, Ledger.of(shipped))


def test_a_line_altered_in_place_is_read_again(ledger: Ledger) -> None:
    index, path = LedgerIndex(ledger), ledger.segments()[0]
    assert holds_all(index, ledger)
    lines = path.read_bytes().splitlines(keepends=True)
    lines[4] = lines[4].replace(b'"actor":"ada"', b'"actor":"eve"')
    time.sleep(0.02)  # a file's time is as coarse as the kernel's clock
    path.write_bytes(b"".join(lines))
    assert numbers(index, actor="eve") == [5]
    assert ledger.verify() != []  # who altered it is verify's to find


def test_records_are_never_those_the_index_says_but_those_of_the_ledger(ledger: Ledger) -> None:
    first = LedgerIndex(ledger)
    assert holds_all(first, ledger)
    first.close()
    database = database_of(ledger)
    _changed("UPDATE lines SET run = (SELECT run FROM lines WHERE number = 20) WHERE number = 2", database)
    _changed("UPDATE runs SET records = records + 1 WHERE run = 'two'", database)
    assert LedgerIndex(ledger).run_state("two") == plain_state(ledger, "two")


def test_what_a_record_is_linked_with_is_read_from_the_record(workspace: Workspace, scene: Any) -> None:
    scene.ship("one")
    ledger, report = Ledger.of(workspace), scene.results["one"]["eval"]["report"]
    first = LedgerIndex(ledger)
    found = {link: first.linked([report], link) for link in Link}
    first.close()
    _changed("UPDATE links SET line = line - 1", database_of(ledger))
    assert {link: LedgerIndex(ledger).linked([report], link) for link in Link} == found


def test_several_segments_are_one_record(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger", segment_bytes=3_000)
    index = LedgerIndex(ledger)
    assert index.refresh() == 0
    for number in range(6):
        append_run(ledger, f"run-{number}")
        assert holds_all(index, ledger)
    assert len(ledger.segments()) > 4 and holds_all(LedgerIndex(ledger), ledger)
    first = ledger.segments()[1]
    first.write_bytes(first.read_bytes().replace(b'"actor":"ada"', b'"actor":"eve"'))
    os.utime(first, ns=(1, 1))
    assert "eve" in index.values("actor")
    ledger.segments()[0].rename(ledger.folder / "000001.bak")
    ledger.segments()[-1].unlink()
    assert index.refresh() == sum(len(path.read_bytes().splitlines()) for path in ledger.segments())


def test_a_line_being_written_waits_for_its_end(ledger: Ledger) -> None:
    path = ledger.segments()[0]
    whole = path.read_bytes()
    path.write_bytes(whole[:-10])
    index = LedgerIndex(ledger)
    assert index.refresh() == 44 and index.refresh() == 44
    with path.open("ab") as file:
        file.write(whole[-10:])
    assert index.refresh() == 45 and holds_all(index, ledger)


def test_a_torn_line_that_an_append_sets_aside_is_never_seen(ledger: Ledger) -> None:
    index = LedgerIndex(ledger)
    with ledger.segments()[0].open("ab") as file:
        file.write(b'{"seq": 46, "torn')
    assert index.refresh() == 45
    append_run(Ledger(ledger.folder), "four")
    assert holds_all(index, ledger)


def test_a_line_that_is_no_record_keeps_its_place_and_a_run_is_not_told_without_it(ledger: Ledger) -> None:
    path = ledger.segments()[0]
    lines = path.read_bytes().splitlines(keepends=True)
    lines[9] = b'{"seq": 10, "broken\n'
    path.write_bytes(b"".join(lines))
    index = LedgerIndex(ledger)
    assert numbers(index) == list(range(45, 0, -1)) and 10 not in numbers(index, run="one")
    found = index.get(10)
    assert isinstance(found, Fault) and found.seq == 10 and "damaged" in found.message
    assert [row.run for row in index.rows()] == ["three", "two", "one"]  # a list still shows what there is
    for ask in (lambda: index.run_state("one"), lambda: list(index.scan(Criteria.of(run="two"))),
                lambda: index.linked([REPORT], Link.MADE)):  # fmt: skip
        with pytest.raises(IntegrityError, match="the ledger is damaged at 000001"):
            ask()


def test_lines_that_no_program_of_ours_wrote_do_not_stop_the_others(ledger: Ledger) -> None:
    last = json.loads(ledger.segments()[0].read_bytes().splitlines()[-1])
    strange: list[dict[str, Any]] = [
        {"seq": 46, "run": "odd", "step": "s", "phase": "submitted", "detail": {}},
        {"seq": 47, "run": ["not", "text"], "phase": 5},
        {"seq": 48, "run": "odd", "time": "yesterday", "skill": "\ud800"},
        {"seq": 1 << 80, "run": "odd"},
        {"seq": 3, "run": "three", "artifacts": {"a": 7}},
    ]
    with ledger.segments()[0].open("ab") as file:
        for one in strange:
            file.write(json.dumps({**last, **one}).encode() + b"\n")
    index = LedgerIndex(ledger)
    assert index.refresh() == 50
    assert [row.run for row in index.rows()][:2] == ["odd", "three"] and index.rows()[
        0
    ].status == "unreadable"
    assert index.row("one") is not None
