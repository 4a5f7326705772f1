"""A few small skills with real effects, and an agent that has them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import pytest
from pydantic import Field

from opswright.agents.agent import Agent
from opswright.core.artifact_refs import CheckpointRef, DatasetRef
from opswright.core.contract import Cost, Effect, Finding, InputPath, Request, Result, StepContext, skill
from opswright.core.gate import Check, Decision, Verdict
from opswright.core.machine import Machine
from opswright.core.registry import Registry
from opswright.core.settings import load_settings
from opswright.core.workspace import Workspace


class CollectRequest(Request):
    source: InputPath
    least_rows: Annotated[int, Field(ge=0)] = 1


class CollectResult(Result):
    dataset: DatasetRef
    rows: int


@skill(effect=Effect.WRITES, summary="Collect the lines of a file.", phrases=["collect {source}"])
def collect(request: CollectRequest, ctx: StepContext) -> CollectResult:
    lines = request.source.read_text().splitlines()
    with ctx.artifacts.staging() as folder:
        (folder / "train.jsonl").write_text("\n".join(lines))
        ref = ctx.artifacts.save(DatasetRef, folder, {"rows": len(lines)})
    ctx.metric("rows", len(lines))
    return CollectResult(dataset=ref, rows=len(lines))


class TrainRequest(Request):
    data: DatasetRef
    steps: int = 3


class TrainResult(Result):
    checkpoint: CheckpointRef


@skill(
    effect=Effect.WRITES,
    summary="Count the rows and call it a model.",
    phrases=["train on {data}", "train"],
    estimate=lambda request, machine, workspace: Cost(minutes=request.steps, gpu_hours=0, usd=0),
)
def train(request: TrainRequest, ctx: StepContext) -> TrainResult:
    data = ctx.artifacts.open(request.data)
    for done in range(request.steps):
        ctx.progress(done + 1, request.steps, "steps")
    with ctx.artifacts.staging() as folder:
        (folder / "config.json").write_text(f'{{"rows": {data.facts["rows"]}}}')
        ref = ctx.artifacts.save(CheckpointRef, folder, {"steps": request.steps}, [request.data])
    return TrainResult(checkpoint=ref)


class JudgeRequest(Request):
    model: CheckpointRef
    decision: Decision = Decision.GO


class JudgeResult(Result):
    verdict: Verdict


@skill(effect=Effect.READS, summary="Say what it was told to say.")
def judge(request: JudgeRequest, ctx: StepContext) -> JudgeResult:
    return JudgeResult(verdict=Verdict.of([Check(name="told", decision=request.decision)]))


class PublishRequest(Request):
    model: CheckpointRef
    board: Path


class PublishResult(Result):
    line: str


def _board_is_there(request: PublishRequest, machine: Machine, workspace: Workspace) -> list[Finding]:
    if request.board.parent.is_dir():
        return [Finding(level="ok", message="the board's folder is there")]
    return [Finding(level="stop", message=f"no folder {request.board.parent}", fix="Make it.")]


@skill(
    effect=Effect.SERVES,
    summary="Put a line on a board, once for each idempotency key.",
    phrases=["publish {model} on {board}"],
    preflight=_board_is_there,
)
def publish(request: PublishRequest, ctx: StepContext) -> PublishResult:
    board = request.board
    lines = board.read_text().splitlines() if board.exists() else []
    line = f"{ctx.idempotency_key} {request.model.short}"
    if line not in lines:
        with board.open("a") as file:
            file.write(line + "\n")
    return PublishResult(line=line)


class BreakRequest(Request):
    model: CheckpointRef
    unless: Path


class BreakResult(Result):
    ok: bool


@skill(effect=Effect.WRITES, summary="Fail until a file is there.", reusable=False)
def fragile(request: BreakRequest, ctx: StepContext) -> BreakResult:
    if not request.unless.exists():
        raise RuntimeError("the disk said no")
    return BreakResult(ok=True)


SKILLS = (collect, train, judge, publish, fragile)

PLAN = """\
goal: Put a small model on the board
steps:
  data: {skill: collect, with: {source: lines.txt}}
  model: {skill: train, with: {data: "${data.dataset}"}}
  verdict: {skill: judge, with: {model: "${model.checkpoint}", decision: GO}}
  live: {skill: publish, with: {model: "${model.checkpoint}", board: board.txt}}
"""

AgentFactory = Callable[..., Agent]


@pytest.fixture
def faults() -> Callable[[Agent], list[str]]:
    """What an audit finds wrong with an agent's workspace."""
    from opswright.ui.audit_check import audit_workspace

    def found(one: Agent) -> list[str]:
        report = audit_workspace(one.workspace, one.registry, mlflow=False)
        return [f"{fault.seq}: {fault.message}" for fault in report.faults]

    return found


@pytest.fixture
def plan_file(tmp_path: Path) -> Path:
    (tmp_path / "lines.txt").write_text("one\ntwo\nthree\n")
    path = tmp_path / "plan.yaml"
    path.write_text(PLAN)
    return path


@pytest.fixture
def agent(tmp_path: Path) -> AgentFactory:
    def make(**settings: object) -> Agent:
        chosen = {"home": tmp_path / "ws", "actor": "ada", "mlflow": {"mirror": "off"}, **settings}
        return Agent(Workspace(load_settings(**chosen)), Registry(SKILLS))

    return make
