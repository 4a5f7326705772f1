"""What the ledger costs as it grows: to append, to ask about a run, to list runs, to verify, to index.

Ledgers of several lengths are written without flushing each line, in the form the agent writes: runs of
three steps (15 records) with plans, approvals, reservations, requests and results. Each question is
asked as a new process asks it (the index's file is opened anew) and by one that has asked before, of each
ledger in turn; what reading the whole ledger takes for the same answer stands beside it. Appends are flushed
to disk, as in use.

`python benchmarks/ledger.py` measures 1,000, 200,000 and 1,000,000 records: five minutes, 1.3 GB of disk.
`--quick` measures 1,000 and 20,000: half a minute. `--mlflow 20` mirrors that many runs too.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from opswright.agents.runs import count_runs, run_rows
from opswright.core.contract import Effect
from opswright.core.files import canonical_json, sha256_json
from opswright.core.plan import Budget, Plan, StepCall
from opswright.core.principal import Principal
from opswright.core.settings import load_settings
from opswright.core.workspace import Workspace
from opswright.record import audit
from opswright.record.index import Criteria, LedgerIndex
from opswright.record.ledger import GENESIS, Entry, Ledger, Phase
from opswright.record.run_state import RunState

WRITER = """
import sys
from pathlib import Path
from opswright.core.principal import Principal
from opswright.record.ledger import Ledger, Phase
ledger = Ledger(Path(sys.argv[1]))
WHO = Principal("a", ("operator",), "bench")
for number in range(int(sys.argv[2])):
    ledger.append(Phase.DONE, principal=WHO, run="r", step=str(number), result={"n": number})
"""
STEPS = 3
RUN_RECORDS = 4 * STEPS + 3
SEGMENT_BYTES = 64 << 20
PEOPLE = ("ada", "ben", "cleo", "dai", "eve")
WHO = Principal("ada", ("operator",), "bench")
LIMIT_MS = 50.0  # what a question may take, however long the ledger is
LIMIT_RATIO = 2.0  # and how much longer than of the shortest ledger


def plan() -> Plan:
    """Three steps, each standing on the one before."""
    steps = []
    for number in range(STEPS):
        before = f"${{s{number - 1}.value}}" if number else "start"
        arguments = {"source": before, "rate": 0.7, "domains": ["banking", "travel"], "text": "x" * 200}
        steps.append(StepCall(id=f"s{number}", skill="work", effect=Effect.WRITES, arguments=arguments))
    return Plan(goal="Measure the ledger", budget=Budget(), gates={}, inputs={}, steps=tuple(steps))


def bodies(what: Plan, count: int) -> Iterator[dict[str, Any]]:
    """The records of whole runs, about `count` of them, as the agent writes them."""
    steps = [{"id": s.id, "skill": s.skill, "effect": str(s.effect)} for s in what.steps]
    proposed = {"goal": what.goal, "source": "plan.yaml", "gates": {}, "inputs": {}, "steps": steps}
    policy = {"policy": "p" * 64}
    for run in range(count // RUN_RECORDS):
        name = f"run-{run}"
        common = {"run": name, "plan": what.id, "actor": PEOPLE[run % len(PEOPLE)]}
        yield {**common, "phase": Phase.PROPOSED, "effect": "writes", "detail": {**proposed, **policy}}
        yield {**common, "phase": Phase.APPROVED, "detail": {"how": "typed on the terminal", **policy}}
        value = "start"
        for step in what.steps:
            call = {**common, "step": step.id, "skill": step.skill, "effect": "writes"}
            request = {**step.arguments, "source": value}
            key = sha256_json([name, step.id])
            told = {"attempt": 1, "key": key, "idempotency_key": key, "pid": 4711, **policy}
            value = f"value {run} {step.id}"
            done = {"seconds": 1.5, "key": key, "metrics": {}, "result": {"value": value, "n": 1}}
            yield {**call, "phase": Phase.RESERVED, "detail": {"reserved": {"minutes": 1.0}, **policy}}
            yield {**call, "phase": Phase.INTENT, "detail": {**told, "request": request}}
            yield {**call, "phase": Phase.SETTLED, "detail": {"spent": {"minutes": 0.025}, **policy}}
            yield {**call, "phase": Phase.DONE, "detail": {**done, **policy}}
        end = {"status": "done", "verdict": None, "message": "every step is done", "exit_code": 0, **policy}
        yield {**common, "phase": Phase.DONE, "detail": end}


def write_long(workspace: Workspace, count: int) -> tuple[int, int]:
    """Write a long ledger without flushing each line; gives its records and bytes."""
    what = plan()
    (workspace.plans / f"{what.id}.json").write_bytes(what.document())
    prev, seq, size, began = GENESIS, 0, 0, datetime(2026, 11, 1, tzinfo=UTC)
    segment, file = 1, (Ledger.of(workspace).folder / "000001.jsonl").open("wb")
    for seq, part in enumerate(bodies(what, count), 1):
        body = {
            "seq": seq,
            "time": (began + timedelta(seconds=seq)).isoformat(timespec="microseconds"),
            "roles": ["operator"],
            "authenticated_by": "bench",
            "step": None,
            "skill": None,
            "effect": None,
            "artifacts": {},
            "environment": "e" * 64,
            "request": sha256_json(part["detail"]["request"]) if "request" in part["detail"] else None,
            "result": sha256_json(part["detail"]["result"]) if "result" in part["detail"] else None,
            **part,
            "prev": prev,
        }
        prev = sha256_json(body)
        size += file.write(canonical_json({**body, "hash": prev}) + b"\n")
        if file.tell() > SEGMENT_BYTES:
            file.close()
            segment += 1
            file = (Ledger.of(workspace).folder / f"{segment:06d}.jsonl").open("wb")
    file.close()
    return seq, size


def seconds(action: Callable[[], object]) -> float:
    """How long a call takes on the wall."""
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def wall_and_cpu(action: Callable[[], object]) -> dict[str, float]:
    """How long a call takes: on a busy machine the CPU's seconds say more."""
    began = time.process_time()
    wall = seconds(action)
    return {"wall_s": round(wall, 2), "cpu_s": round(time.process_time() - began, 2)}


def questions(run: str) -> dict[str, Callable[[Workspace], object]]:
    """What commands ask, each of a workspace that is opened anew or was asked before."""
    approved = Entry(Phase.APPROVED, run, plan="p" * 64, detail={"how": "bench"})

    def approve(workspace: Workspace) -> None:
        LedgerIndex.of(workspace).run_state(run)
        Ledger.of(workspace).append_all([approved], WHO)

    return {
        "resume": lambda workspace: LedgerIndex.of(workspace).run_state(run),
        "status": lambda workspace: (run_rows(workspace, limit=50), count_runs(workspace)),
        "runs": lambda workspace: run_rows(workspace, limit=50),
        "approve": approve,
    }


def by_reading_everything(workspace: Workspace, run: str) -> dict[str, Callable[[], object]]:
    """The same answers without an index."""
    ledger = Ledger.of(workspace)

    def runs() -> object:
        states: dict[str, RunState] = {}
        for record in ledger.records():
            if record.run is not None:
                states.setdefault(record.run, RunState(record.run)).apply(record)
        return [state.status for state in states.values()][-50:]

    return {
        "resume": lambda: RunState.of(run, (record for record in ledger.records() if record.run == run)),
        "status": runs,
    }


@dataclass
class Measured:
    """One ledger and what was found of it."""

    workspace: Workspace
    run: str
    figures: dict[str, Any]


def prepare(home: Path, records: int) -> Measured:
    """A ledger of that length with its index: what is measured once."""
    workspace = Workspace(load_settings(home=home))
    written, size = write_long(workspace, records)
    ledger, index = Ledger.of(workspace), LedgerIndex.of(workspace)
    faults: list[Any] = []
    figures: dict[str, Any] = {"records": written, "megabytes": round(size / 1e6, 1)}
    figures["verify_chain"] = wall_and_cpu(lambda: faults.extend(ledger.verify()))
    figures["audit"] = wall_and_cpu(lambda: faults.extend(audit.verify(workspace, mlflow=False).faults))
    if faults:
        raise SystemExit(f"the ledger that was measured is not in order: {faults[:3]}")
    figures["build_index"] = wall_and_cpu(index.refresh)
    index.close()
    files = (home / "index").glob("*.sqlite*")
    figures["index_megabytes"] = round(sum(path.stat().st_size for path in files) / 1e6, 1)
    run = f"run-{random.Random(3).randrange(written // RUN_RECORDS)}"
    told = by_reading_everything(workspace, run)
    figures["before_ms"] = {name: round(seconds(ask) * 1000, 2) for name, ask in told.items()}
    return Measured(workspace, run, figures)


def compare(measured: list[Measured], times: int = 40) -> None:
    """What is measured of every ledger in turn, again and again: a busy disk is then busy for all of them."""
    found: dict[tuple[int, str, str], list[float]] = {}

    def clock(place: int, group: str, name: str, action: Callable[[], object]) -> None:
        found.setdefault((place, group, name), []).append(seconds(action) * 1000)

    for number in range(times):
        for place, one in enumerate(measured):
            workspace = one.workspace
            for name, ask in questions(one.run).items():
                clock(place, "warm_ms", name, lambda: ask(workspace))  # noqa: B023
                clock(place, "cold_ms", name, lambda: ask(Workspace(workspace.settings)))  # noqa: B023
            ledger, index = Ledger.of(workspace), LedgerIndex.of(workspace)
            entry = Entry(Phase.DONE, f"new-{number}", "s", "work", result={"n": 1})
            clock(place, "ms", "append", lambda: ledger.append_all([entry], WHO))  # noqa: B023
            clock(place, "ms", "index: one new record", index.refresh)
            clock(place, "ms", "append of two", lambda: ledger.append_all([entry] * 2, WHO))  # noqa: B023
            index.refresh()
            clock(place, "ms", "index: nothing new", index.refresh)
            criteria = Criteria.of(actor="ben", phase="done")
            last = index.count(criteria) - 50
            clock(place, "ms", "ledger page, newest", lambda: (index.count(criteria), index.page(criteria)))  # noqa: B023
            clock(place, "ms", "ledger page, oldest", lambda: index.page(criteria, 50, last))  # noqa: B023
    for (place, group, name), values in found.items():
        measured[place].figures.setdefault(group, {})[name] = round(statistics.median(values), 3)
        quarter = statistics.quantiles(values)[0]
        measured[place].figures.setdefault(f"{group}_p25", {})[name] = round(quarter, 3)


def together(folder: Path) -> float:
    """Records a second of four processes that append at once."""
    command = [sys.executable, "-c", WRITER, str(folder / "shared"), "200"]
    wall = seconds(lambda: [one.wait() for one in [subprocess.Popen(command) for _ in range(4)]])
    return round(800 / wall, 1)


def mirror(folder: Path, runs: int) -> dict[str, Any]:
    """What MLflow costs beside a run, in its own process: a fresh database, then four MLflow runs a run."""
    from opswright.record.mirror import sync

    workspace = Workspace(load_settings(home=folder / "mirrored"))
    sync(workspace)
    write_long(workspace, runs * RUN_RECORDS)
    written = wall_and_cpu(lambda: sync(workspace))
    compared = wall_and_cpu(lambda: audit.verify(workspace, mlflow=True))
    return {"runs": runs, "mlflow_runs": runs * (STEPS + 1), "sync": written, "audit": compared}


def table(measured: list[dict[str, Any]]) -> Iterator[str]:
    """The figures beside each other, and whether they are within what is promised."""
    yield f"{'':36}" + "".join(f"{one['records']:>14,}" for one in measured)
    rows: dict[str, Callable[[dict[str, Any]], float]] = {}
    for name in ("resume", "status"):
        rows[f"{name}, reading everything (ms)"] = lambda one, name=name: one["before_ms"][name]  # type: ignore[misc]
    for how in ("cold", "warm"):
        for name in measured[0][f"{how}_ms"]:
            title = f"{name}, {'new process' if how == 'cold' else 'asked before'} (ms)"
            rows[title] = lambda one, how=how, name=name: one[f"{how}_ms"][name]  # type: ignore[misc]
    for name in measured[0]["ms"]:
        rows[f"{name} (ms)"] = lambda one, name=name: one["ms"][name]  # type: ignore[misc]
    for name, title in (("verify_chain", "verify the chain"), ("audit", "audit, all of it")):
        for clock in ("wall", "cpu"):
            rows[f"{title} (records/s, {clock})"] = (  # type: ignore[misc]
                lambda one, name=name, clock=clock: one["records"] / max(one[name][f"{clock}_s"], 0.01)
            )
    rows |= {
        "index: making it (s)": lambda one: one["build_index"]["wall_s"],
        "index: size (MB)": lambda one: one["index_megabytes"],
        "ledger: size (MB)": lambda one: one["megabytes"],
    }
    for title, value in rows.items():
        yield f"{title:36}" + "".join(f"{value(one):>14,.2f}" for one in measured)
    first, last = measured[0], measured[-1]
    for name in last["cold_ms"]:
        for how in ("cold", "warm"):
            small, large = first[f"{how}_ms_p25"][name], last[f"{how}_ms_p25"][name]
            fits = last[f"{how}_ms"][name] < LIMIT_MS and large < LIMIT_RATIO * small
            told = "within limits" if fits else "NOT WITHIN LIMITS"
            yield f"{name} ({how}): {large:.2f} ms, {large / small:.2f} x the shortest's (p25), {told}"
    for name, old in last["before_ms"].items():
        yield f"{name}: {old / last['cold_ms'][name]:,.0f} x faster than reading everything"


def main() -> None:
    """Print a table, or with --json the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--records", type=int, nargs="+", default=[1_000, 200_000, 1_000_000])
    parser.add_argument("--quick", action="store_true", help="1,000 and 20,000 records")
    parser.add_argument("--mlflow", type=int, default=0, metavar="RUNS", help="mirror that many runs too")
    parser.add_argument("--json", action="store_true", help="print JSON")
    ask = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="opswright-ledger-") as folder:
        counts = [1_000, 20_000] if ask.quick else ask.records
        ledgers = [prepare(Path(folder) / str(count), count) for count in counts]
        compare(ledgers)
        measured = [one.figures for one in ledgers]
        more = {"four_writers_records_per_s": together(Path(folder))}
        if ask.mlflow:
            more["mirror"] = mirror(Path(folder), ask.mlflow)  # type: ignore[assignment]
    print(json.dumps({"ledgers": measured, **more}, indent=1) if ask.json else "\n".join(table(measured)))
    if not ask.json:
        print(json.dumps(more))


if __name__ == "__main__":
    main()
