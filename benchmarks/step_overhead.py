"""What a step costs through the whole path, against bare LangGraph with the same checkpointer, in one run.

The whole path: validated request, policy, receipt look-up, ledger intent and done records (each flushed to
disk), checkpoint with durability "sync". Bare: the same number of nodes that return a value.

Runs on any machine in under a minute: `python benchmarks/step_overhead.py [--steps 60] [--repeats 5]`.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sqlite3
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, TypedDict

from opswright.agents.agent import Agent
from opswright.agents.approvals import Consent
from opswright.agents.planner import Ask
from opswright.core.contract import Effect, Request, Result, StepContext, skill
from opswright.core.registry import Registry
from opswright.core.settings import load_settings
from opswright.core.workspace import Workspace


class NothingRequest(Request):
    """A number to tell calls apart."""

    number: int = 0


class NothingResult(Result):
    """The number again."""

    number: int


times: list[float] = []


@skill(effect=Effect.WRITES, summary="Do nothing, and note when.", reusable=False)
def nothing(ask: NothingRequest, ctx: StepContext) -> NothingResult:
    """Note the time of the call."""
    times.append(time.perf_counter())
    return NothingResult(number=ask.number)


def through_opswright(folder: Path, steps: int) -> list[float]:
    """Milliseconds between the calls of consecutive steps in one run."""
    plan = {
        "goal": "measure",
        "steps": {f"s{i}": {"skill": "nothing", "with": {"number": i}} for i in range(steps)},
    }
    file = folder / "plan.yaml"
    file.write_text(json.dumps(plan))  # JSON is YAML
    workspace = Workspace(load_settings(home=folder / "ws", mlflow={"mirror": "off"}))
    agent = Agent(workspace, Registry([nothing]))
    proposal = agent.plan_for(Ask("plan_file", str(file)))
    times.clear()
    outcome = agent.start(proposal, Consent(proposal.plan.id, "benchmark"))
    if outcome.status != "done" or len(times) != steps:
        raise SystemExit(f"the run ended {outcome.status}: {outcome.message}")
    return gaps(times)


class BareState(TypedDict):
    """What bare LangGraph keeps."""

    done: int


def through_langgraph(folder: Path, steps: int) -> list[float]:
    """Milliseconds between the calls of one looping node."""
    from langgraph.checkpoint.sqlite import SqliteSaver
    from langgraph.graph import END, START, StateGraph

    called: list[float] = []

    def act(state: BareState) -> dict[str, Any]:
        called.append(time.perf_counter())
        return {"done": state["done"] + 1}

    graph: Any = StateGraph(BareState)
    graph.add_node("act", act)
    graph.add_edge(START, "act")
    graph.add_conditional_edges("act", lambda s: "act" if s["done"] < steps else END, ["act", END])
    connection = sqlite3.connect(folder / "bare.sqlite", check_same_thread=False)
    compiled = graph.compile(checkpointer=SqliteSaver(connection))
    config = {"configurable": {"thread_id": "bare"}, "recursion_limit": 10_000}
    compiled.invoke({"done": 0}, config, durability="sync")
    connection.close()
    return gaps(called)


def gaps(stamps: list[float]) -> list[float]:
    """Milliseconds between consecutive stamps, the first five left out."""
    return [(b - a) * 1000 for a, b in itertools.pairwise(stamps[5:])]


def main() -> None:
    """Print both, their difference and ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=60, help="steps in a run (default 60)")
    parser.add_argument("--repeats", type=int, default=5, help="runs of each, in turn (default 5)")
    ask = parser.parse_args()
    ours: list[float] = []
    bare: list[float] = []
    for _ in range(ask.repeats):
        with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
            ours += through_opswright(Path(folder), ask.steps)
            bare += through_langgraph(Path(folder), ask.steps)
    if "mlflow" in sys.modules:
        raise SystemExit("MLflow was imported on the step path")
    rows = {"opswright": ours, "bare LangGraph": bare}
    for name, values in rows.items():
        p95 = statistics.quantiles(values, n=20)[-1]
        print(f"{name:15} p50 {statistics.median(values):6.2f} ms  p95 {p95:6.2f} ms  n {len(values)}")
    difference = statistics.median(ours) - statistics.median(bare)
    print(f"above bare LangGraph: {difference:.2f} ms p50 (goal: under 5)")
    print(f"ratio p50: {statistics.median(ours) / statistics.median(bare):.2f}")


if __name__ == "__main__":
    main()
