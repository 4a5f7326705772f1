"""The index answers what the ledger says."""

from __future__ import annotations

import shutil
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from opswright.core.files import canonical_json, sha256_json
from opswright.core.principal import Principal
from opswright.core.workspace import Workspace
from opswright.record import audit
from opswright.record.index import Criteria, LedgerIndex, Link
from opswright.record.ledger import GENESIS, Entry, Ledger, Phase, Record

from .indexed import REPORT, WHO, numbers, plain_state


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


def is_looked_for(record: Record, criteria: Criteria) -> bool:
    """What the index is compared with: one record, without any index."""
    time = datetime.fromisoformat(record.time)
    return (
        all(getattr(record, name) == value for name, value in criteria.wanted.items())
        and (criteria.first is None or time >= criteria.first)
        and (criteria.last is None or time < criteria.last)
    )


@pytest.mark.parametrize(
    "filters",
    [{}, {"run": "two"}, {"actor": "ines"}, {"skill": "gate"}, {"phase": "done", "run": "one"}, {"run": "x"},
     {"run": "one", "step": "data"}],
)  # fmt: skip
def test_the_index_finds_what_reading_everything_finds_newest_first(
    shipped: Workspace, filters: dict[str, str]
) -> None:
    index, criteria = LedgerIndex.of(shipped), Criteria.of(**filters)
    plain = [record for record in Ledger.of(shipped).records() if is_looked_for(record, criteria)]
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
    ledger.folder.mkdir(parents=True)
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
    plain = [record for record in ledger.records() if is_looked_for(record, criteria)]
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
