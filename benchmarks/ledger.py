"""What the ledger costs: to append (alone and beside others), to find a record, to verify, to audit.

Appends are flushed to disk one by one, as they are in use. The long ledger is written without that, in the
form the agent writes: runs of six steps with plans, approvals, requests and results.

Runs on any machine in about a minute: `python benchmarks/ledger.py [--records 100000] [--mlflow 20]`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from opswright.core.contract import Effect
from opswright.core.files import canonical_json, sha256_json
from opswright.core.plan import Budget, Plan, StepCall
from opswright.core.principal import Principal
from opswright.core.settings import load_settings
from opswright.core.workspace import Workspace
from opswright.record import audit
from opswright.record.ledger import GENESIS, Ledger, Phase

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
STEPS = 6


def plan() -> Plan:
    """Six steps, each standing on the one before."""
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
    for run in range(count // (2 * STEPS + 3)):
        common = {"run": f"run-{run}", "plan": what.id}
        yield {**common, "phase": Phase.PROPOSED, "effect": "writes", "detail": proposed}
        yield {**common, "phase": Phase.APPROVED, "detail": {"how": "typed on the terminal"}}
        value = "start"
        for step in what.steps:
            call = {**common, "step": step.id, "skill": step.skill, "effect": "writes"}
            request = {**step.arguments, "source": value}
            yield {**call, "phase": Phase.INTENT, "detail": {"attempt": 1, "request": request}}
            value = f"value {run} {step.id}"
            yield {
                **call,
                "phase": Phase.DONE,
                "detail": {"seconds": 1.5, "result": {"value": value, "n": 1}},
            }
        yield {**common, "phase": Phase.DONE, "detail": {"status": "done", "verdict": None, "exit_code": 0}}


def write_long(workspace: Workspace, count: int) -> tuple[int, int]:
    """Write a long ledger without flushing each line; gives its records and bytes."""
    what = plan()
    (workspace.plans / f"{what.id}.json").write_bytes(what.document())
    prev, seq, size = GENESIS, 0, 0
    with (Ledger.of(workspace).folder / "000001.jsonl").open("wb") as file:
        for seq, part in enumerate(bodies(what, count), 1):
            body = {
                "seq": seq,
                "time": "2026-11-20T18:00:00.000000+00:00",
                "actor": "bench",
                "roles": ["operator"],
                "authenticated_by": "test",
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
    return seq, size


def append_ms(ledger: Ledger, count: int) -> list[float]:
    """Milliseconds of each append."""
    times = []
    for number in range(count):
        began = time.perf_counter()
        ledger.append(
            Phase.DONE,
            principal=Principal("a", ("operator",), "test"),
            run="r",
            step=str(number),
            result={"n": number},
        )
        times.append((time.perf_counter() - began) * 1000)
    return times


def seconds(action: Any) -> float:
    """How long a call takes on the wall."""
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def wall_and_cpu(action: Any) -> dict[str, float]:
    """How long a call takes: on a busy machine the CPU's seconds say more."""
    began = time.process_time()
    wall = seconds(action)
    return {"wall_s": round(wall, 2), "cpu_s": round(time.process_time() - began, 2)}


def mirror(folder: Path, runs: int) -> dict[str, Any]:
    """What MLflow costs beside a run, in its own process: a fresh database, then seven MLflow runs a run."""
    from opswright.record.mirror import sync

    workspace = Workspace(load_settings(home=folder / "mirrored"))
    sync(workspace)
    write_long(workspace, runs * (2 * STEPS + 3))
    written = wall_and_cpu(lambda: sync(workspace))
    compared = wall_and_cpu(lambda: audit.verify(workspace, mlflow=True))
    return {"runs": runs, "mlflow_runs": runs * (STEPS + 1), "sync": written, "audit": compared}


def measure(folder: Path, records: int) -> dict[str, Any]:
    """Every figure, as one document."""
    alone = append_ms(Ledger(folder / "alone"), 300)
    together = seconds(
        lambda: [
            writer.wait()
            for writer in [
                subprocess.Popen([sys.executable, "-c", WRITER, str(folder / "shared"), "200"])
                for _ in range(4)
            ]
        ]
    )
    workspace = Workspace(load_settings(home=folder / "long"))
    written, size = write_long(workspace, records)
    ledger = Ledger.of(workspace)
    report = audit.verify(workspace, mlflow=False)
    if ledger.verify() or not report.ok:
        raise SystemExit(f"the ledger that was measured is not in order: {report.faults[:3]}")
    finds = [seconds(lambda n=n: ledger.get(n)) * 1000 for n in range(1, written, written // 50)]
    return {
        "append_ms": {"p50": statistics.median(alone), "p95": sorted(alone)[int(len(alone) * 0.95)]},
        "four_writers_records_per_s": 800 / together,
        "records": written,
        "megabytes": size / 1e6,
        "verify_chain": wall_and_cpu(ledger.verify),
        "audit": wall_and_cpu(lambda: audit.verify(workspace, mlflow=False)),
        "read_all": wall_and_cpu(lambda: sum(1 for _ in ledger.records())),
        "find_ms_p50": statistics.median(finds),
    }


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=100_000, help="records of the long ledger")
    parser.add_argument("--mlflow", type=int, default=0, metavar="RUNS", help="mirror that many runs too")
    ask = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(Path(folder), ask.records)
        if ask.mlflow:
            figures["mirror"] = mirror(Path(folder), ask.mlflow)
        print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
