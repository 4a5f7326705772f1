"""The index answers what the ledger says, however it is damaged, shared, or left behind."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from opswright.core.errors import IntegrityError
from opswright.core.files import canonical_json, sha256_json
from opswright.core.principal import Principal
from opswright.core.settings import load_settings
from opswright.core.workspace import Workspace
from opswright.record import audit
from opswright.record.index import Criteria, LedgerIndex, Link
from opswright.record.index.database import IndexDatabase
from opswright.record.ledger import GENESIS, Entry, Fault, Ledger, Phase, Record
from opswright.record.run_state import RunState

WHO = Principal("ada", ("operator",), "test")
REPORT = "eval-report:" + "a" * 64


def plain_state(ledger: Ledger, run: str) -> RunState:
    return RunState.of(run, (record for record in ledger.records() if record.run == run))


def holds_all(index: LedgerIndex, ledger: Ledger) -> bool:
    """Whether the index gives every record and every run's state as reading everything does."""
    records = list(ledger.records())
    runs = dict.fromkeys(record.run for record in records if record.run)
    return (
        index.refresh() == len(records)
        and index.page(Criteria.of(), len(records) + 1) == records[::-1]
        and all(index.run_state(run) == plain_state(ledger, run) for run in runs)
        and [row.run for row in index.rows()] == list(runs)[::-1]
    )


def numbers(index: LedgerIndex, **filters: str) -> list[int]:
    return [record.seq for record in index.page(Criteria.of(**filters), 1000)]


def database_of(ledger: Ledger) -> Path:
    folder = ledger.folder.parent / "index"
    return folder / (folder / "current").read_text()


def append_run(ledger: Ledger, run: str, steps: int = 3) -> None:
    """A run as the agent records it."""
    plan = [{"id": f"s{n}", "skill": "work", "effect": "writes"} for n in range(steps)]
    entries = [
        Entry(Phase.PROPOSED, run, plan="p" * 64, effect="writes", detail={"goal": run, "steps": plan}),
        Entry(Phase.APPROVED, run, plan="p" * 64, detail={"how": "test"}),
    ]
    for step in plan:
        call = {"run": run, "step": step["id"], "skill": "work", "effect": "writes"}
        entries += [
            Entry(Phase.RESERVED, **call, detail={"reserved": {"minutes": 1.0}}),
            Entry(
                Phase.INTENT,
                **call,
                request={"text": "x" * 100},
                detail={"idempotency_key": run + step["id"]},
            ),
            Entry(Phase.SETTLED, **call, detail={"spent": {"minutes": 0.5}}),
            Entry(Phase.DONE, **call, result={"n": 1}, detail={"seconds": 1.0}),
        ]
    entries.append(Entry(Phase.DONE, run, detail={"status": "done", "message": "every step is done"}))
    ledger.append_all(entries, WHO)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    made = Ledger(tmp_path / "ledger")
    for name in ("one", "two", "three"):
        append_run(made, name)
    return made


@pytest.fixture
def shipped(workspace: Workspace, scene: Any) -> Workspace:
    scene.ship("one")
    scene.ship("two", scene.plan("Another", 0.9), decision="NO_GO")
    return workspace


# -- what it answers


def test_a_run_is_folded_from_its_own_records(workspace: Workspace, scene: Any) -> None:
    scene.ship("one")
    scene.propose("two", scene.plan("Another"))
    index = LedgerIndex.of(workspace)
    assert index is LedgerIndex.of(workspace)
    assert index.run_state("one") == plain_state(Ledger.of(workspace), "one")
    assert index.run_state("two") == plain_state(Ledger.of(workspace), "two")
    assert index.run_state("three") is None and index.records_of("three") == []
    assert [(row.run, row.status, row.goal) for row in index.rows()] == [
        ("two", "waiting", "Another"),
        ("one", "done", "Ship an intent router"),
    ]


def test_a_state_that_was_handed_out_is_the_callers_own(ledger: Ledger) -> None:
    index = LedgerIndex(ledger)
    state = index.run_state("one")
    assert state is not None
    state.apply(ledger.append(Phase.DENIED, principal=WHO, run="one"))
    assert index.run_state("one") == state == plain_state(ledger, "one")


def test_rows_are_counted_and_narrowed_and_give_what_the_state_tells(ledger: Ledger) -> None:
    ledger.append(
        Phase.PROPOSED, principal=WHO, run="four", plan="q" * 64, effect="writes", detail={"source": "p.yaml"}
    )
    ledger.append(Phase.DONE, principal=WHO, run="never proposed", step="s", skill="work")
    index = LedgerIndex(ledger)
    assert index.run_count() == 4 and index.run_count(["waiting"]) == 1
    assert [row.run for row in index.rows(limit=2)] == ["four", "three"]
    assert [row.run for row in index.rows(limit=2, offset=2)] == ["two", "one"]
    assert [row.run for row in index.rows(statuses=["waiting", "failed"])] == ["four"]
    assert index.row("never proposed") is None and index.run_state("never proposed") is not None
    row, state = index.row("four"), index.run_state("four")
    assert row is not None and state is not None and state.proposed is not None
    assert (row.status, row.goal, row.plan, row.source) == ("waiting", state.goal, "q" * 64, "p.yaml")
    assert (row.by, row.started, row.last_seq, row.records) == ("ada", state.proposed.time, 46, 1)
    assert (row.verdict, row.message) == (state.verdict, state.message)
    ledger.append(Phase.APPROVED, principal=WHO, run="four", plan="q" * 64)
    assert [row.status for row in index.rows(limit=1)] == ["approved"]


@pytest.mark.parametrize(
    "filters",
    [{}, {"run": "two"}, {"actor": "ines"}, {"skill": "gate"}, {"phase": "done", "run": "one"}, {"run": "x"},
     {"run": "one", "step": "data"}],
)  # fmt: skip
def test_the_index_finds_what_reading_everything_finds_newest_first(
    shipped: Workspace, filters: dict[str, str]
) -> None:
    index, criteria = LedgerIndex.of(shipped), Criteria.of(**filters)
    plain = [record for record in Ledger.of(shipped).records() if criteria.are_met_by(record)]
    assert index.page(criteria, 100) == plain[::-1] and index.count(criteria) == len(plain)
    assert list(index.scan(criteria)) == plain == list(audit.list_records(shipped, **filters))


def test_the_index_finds_by_time(shipped: Workspace) -> None:
    times = {record.seq: record.time for record in Ledger.of(shipped).records()}
    assert numbers(LedgerIndex.of(shipped), since=times[5], until=times[9]) == [8, 7, 6, 5]


def test_a_record_is_found_by_its_number_and_values_by_their_field(ledger: Ledger) -> None:
    index = LedgerIndex(ledger)
    for seq in (1, 17, 45):
        assert index.get(seq) == ledger.get(seq)
    assert index.get(0) is None and index.get(46) is None and index.get(1 << 70) is None
    ledger.append(Phase.DENIED, principal=Principal("eve", ("viewer",), "test"), run="four")
    assert index.values("actor") == ["eve", "ada"]
    assert index.values("run", most=2) == ["four", "three"] and index.values("skill") == ["work"]


_ROWS = st.lists(
    st.tuples(
        st.sampled_from(["ada", "ben", "é"]),
        st.sampled_from(list(Phase)),
        st.sampled_from([None, "r1", "r2"]),
        st.sampled_from([None, "s1", "s2"]),
        st.sampled_from(["curate", "gate"]),
        st.integers(0, 5),
    ),
    max_size=40,
)


@settings(
    max_examples=40,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(rows=_ROWS, data=st.data())
def test_any_filters_find_what_a_plain_scan_finds(
    rows: list[tuple[str, Phase, str | None, str | None, str, int]], data: st.DataObject, tmp_path: Path
) -> None:
    folder = tmp_path / "any"
    shutil.rmtree(folder, ignore_errors=True)
    ledger, prev = Ledger(folder / "ledger"), GENESIS
    with (ledger.folder / "000001.jsonl").open("wb") as file:
        for seq, (actor, phase, run, step, skill, minute) in enumerate(rows, 1):
            entry = Entry(
                phase, run, step, skill if step else None, detail={"job": {"backend": "local", "id": "1"}}
            )
            body = entry.body(seq, prev, Principal(actor, (), "test"))
            body["time"] = f"2026-11-20T18:0{minute}:00.000000+00:00"
            prev = sha256_json(body)
            file.write(canonical_json({**body, "hash": prev}) + b"\n")
    time = st.sampled_from([None, *(f"2026-11-20T18:0{minute}" for minute in range(6))])
    criteria = Criteria.of(
        run=data.draw(st.sampled_from([None, "r1", "r3"])),
        step=data.draw(st.sampled_from([None, "s1"])),
        actor=data.draw(st.sampled_from([None, "ada", "é"])),
        skill=data.draw(st.sampled_from([None, "gate"])),
        phase=data.draw(st.sampled_from([None, "done", "intent"])),
        since=data.draw(time),
        until=data.draw(time),
    )
    plain = [record for record in ledger.records() if criteria.are_met_by(record)]
    index = LedgerIndex(ledger)
    assert index.page(criteria, 3, 2) == plain[::-1][2:5] and index.count(criteria) == len(plain)
    assert list(index.scan(criteria)) == plain


def test_a_report_leads_to_what_made_used_and_judged_it(workspace: Workspace, scene: Any) -> None:
    scene.ship("one")
    scene.ship("two")  # makes the same artifacts again
    report = scene.results["one"]["eval"]["report"]
    index, ledger = LedgerIndex.of(workspace), Ledger.of(workspace)

    def found(link: Link) -> list[tuple[str | None, str | None, str]]:
        return [(r.run, r.step, r.phase) for r in index.linked([report], link).get(report, [])]

    made = [r for r in ledger.records() if report in r.artifacts.values()]
    assert index.linked([report], Link.MADE) == {report: made}
    assert found(Link.USED)[0] == ("one", "eval.gate", "intent")
    assert found(Link.JUDGED)[0] == ("one", "eval.gate", "done")
    assert found(Link.REUSED) == [] and index.linked([REPORT], Link.MADE) == {}
    ledger.append(Phase.REUSED, principal=WHO, run="three", step="eval", artifacts={"report": report})
    assert found(Link.REUSED) == [("three", "eval", "reused")]


def test_a_verdict_on_a_report_is_found_by_the_model_that_was_evaluated(
    workspace: Workspace, scene: Any
) -> None:
    scene.ship("one")
    scene.propose("two", scene.plan("Another"))
    index, model = LedgerIndex.of(workspace), scene.results["one"]["model"]["checkpoint"]
    assert [state.run for state in index.runs_that_judged([model])] == ["one"]
    assert index.runs_that_judged([scene.results["one"]["engine"]["bundle"], REPORT]) == []


def test_a_change_of_an_endpoint_is_found_by_its_first_attempts_key(workspace: Workspace) -> None:
    ledger, call = Ledger.of(workspace), {"run": "r", "step": "live", "skill": "deploy", "effect": "serves"}
    for attempt in (1, 2):
        detail = {"idempotency_key": "the key", "attempt": attempt}
        ledger.append(Phase.INTENT, principal=WHO, **call, request={}, detail=detail)
    done = ledger.append(Phase.DONE, principal=WHO, **call, result={"endpoint": "support"})
    assert LedgerIndex.of(workspace).changes(["the key", "another"]) == {"the key": done}


# -- where it lies: missing, damaged, of another version, of another ledger


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


# -- who uses it: several processes, threads, a process that is killed, a folder that is only read

REFRESH = """
import sys
from pathlib import Path
from opswright.record.index import LedgerIndex
from opswright.record.ledger import Ledger
index = LedgerIndex(Ledger(Path(sys.argv[1])))
print("ready", flush=True)
sys.stdin.readline()
for _ in range(int(sys.argv[2])):
    index.run_state("run-7")
    index.rows(limit=20)
print(index.refresh(), index.run_count(), len(index.run_state("run-7").records), flush=True)
"""


def begin(ledger: Ledger, times: int = 1) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", REFRESH, str(ledger.folder), str(times)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_processes_that_refresh_at_once_share_one_index(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger")
    for number in range(8):
        append_run(ledger, f"run-{number}")
    LedgerIndex(ledger).refresh()
    made = database_of(ledger)
    ledger.append_all([Entry(Phase.DONE, f"run-{n % 90}", step=str(n)) for n in range(9_000)], WHO)
    readers = [begin(ledger, times=20) for _ in range(3)]
    for reader in readers:
        assert reader.stdout is not None and reader.stdout.readline() == "ready\n"
    for reader in readers:
        assert reader.stdin is not None
        reader.stdin.write("go\n")
        reader.stdin.flush()
    for number in range(20):
        append_run(ledger, f"late-{number}")
        ledger.append(Phase.DENIED, principal=WHO, run="run-7")
    told = [reader.communicate(timeout=240)[0].split() for reader in readers]
    assert all(9_120 <= int(one[0]) <= ledger.head()[0] and 8 <= int(one[1]) <= 28 for one in told)
    assert all(115 <= int(one[2]) <= 135 for one in told)
    index = LedgerIndex(ledger)
    assert index.refresh() == ledger.head()[0] and index.run_state("run-7") == plain_state(ledger, "run-7")
    assert database_of(ledger) == made and len(list((tmp_path / "index").glob("*.sqlite"))) == 1


def test_a_question_is_answered_from_one_state_of_the_index(ledger: Ledger) -> None:
    index, count = LedgerIndex(ledger), "SELECT count(*) FROM lines"
    index.refresh()
    with IndexDatabase(ledger.folder.parent / "index").reading() as database:
        assert database.execute(count).fetchone() == (45,)
        append_run(ledger, "four")
        assert index.refresh() == 60
        assert database.execute(count).fetchone() == (45,)


def test_threads_share_one_index(ledger: Ledger) -> None:
    index, failed = LedgerIndex(ledger), []

    def use(name: str) -> None:
        try:
            for number in range(20):
                append_run(ledger, f"{name}-{number}", steps=1)
                assert index.run_state(f"{name}-{number}") is not None
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=use, args=(name,)) for name in ("a", "b", "c")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == [] and index.run_count() == 63
    assert index.run_state("b-19") == plain_state(ledger, "b-19")


def test_a_process_killed_in_mid_refresh_loses_nothing(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger")
    ledger.append_all([Entry(Phase.DONE, f"run-{n % 900}", step=str(n)) for n in range(15_000)], WHO)
    killed = 0
    for number in range(8):  # the first is killed at once, before it can have read it all
        append_run(ledger, f"run-{number}")
        child = os.fork()
        if child == 0:
            try:
                LedgerIndex(ledger).refresh()
            finally:
                os._exit(0)
        time.sleep(0.005 + 0.05 * number)
        os.kill(child, signal.SIGKILL)
        killed += os.waitpid(child, 0)[1] == signal.SIGKILL
    index = LedgerIndex(ledger)
    assert killed > 0 and index.refresh() == ledger.head()[0]
    for name in ("run-0", "run-7", "run-899"):
        assert index.run_state(name) == plain_state(ledger, name)


def test_a_child_process_opens_the_index_for_itself(ledger: Ledger) -> None:
    index = LedgerIndex(ledger)
    assert holds_all(index, ledger)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            append_run(ledger, "four")
            code = 0 if index.row("four") is not None else 2
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    assert holds_all(index, ledger)


def test_where_the_folder_cannot_be_made_the_index_is_the_process_own(ledger: Ledger) -> None:
    (ledger.folder.parent / "index").write_text("a file is in the way")
    index = LedgerIndex(ledger)
    assert holds_all(index, ledger)
    append_run(ledger, "four")
    assert holds_all(index, ledger)
    assert (ledger.folder.parent / "index").read_text() == "a file is in the way"


def test_an_index_that_is_only_read_is_copied_and_brought_up_to_date(ledger: Ledger) -> None:
    first = LedgerIndex(ledger)
    assert holds_all(first, ledger)
    first.close()
    append_run(ledger, "four")
    folder = ledger.folder.parent / "index"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    (folder / "lock").unlink()
    (folder / "lock").mkdir()  # opening it for writing fails, as in a folder that is only read
    index = LedgerIndex(ledger)
    assert holds_all(index, ledger)
    (folder / "lock").rmdir()
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix == ".sqlite"} == {
        name: data for name, data in before.items() if name.endswith(".sqlite")
    }


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_workspace_that_may_not_be_written_can_be_read(ledger: Ledger) -> None:
    assert holds_all(LedgerIndex(ledger), ledger)
    append_run(ledger, "four")
    for path in (ledger.folder.parent, ledger.folder.parent / "index"):
        path.chmod(0o555)
    try:
        assert holds_all(LedgerIndex(ledger), ledger)
    finally:
        for path in (ledger.folder.parent, ledger.folder.parent / "index"):
            path.chmod(0o755)


def test_a_workspace_keeps_one_index_for_all_who_ask(tmp_path: Path) -> None:
    workspace = Workspace(load_settings(home=tmp_path / "workspace"))
    append_run(Ledger.of(workspace), "one")
    assert LedgerIndex.of(workspace).rows() == LedgerIndex.of(Workspace(workspace.settings)).rows()
    assert isinstance(LedgerIndex.of(workspace).get(1), Record)
