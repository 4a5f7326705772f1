"""Budgets that hold, steps that are done once, and receipts that are not believed on their word."""

from __future__ import annotations

import json
import math
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from opswright.agents import receipts
from opswright.agents.agent import Agent
from opswright.agents.approvals import Consent
from opswright.agents.planner import Ask
from opswright.agents.stopping import request_stop
from opswright.core.artifact_refs import DatasetRef
from opswright.core.contract import (
    Cost,
    Effect,
    InputPath,
    JobHandle,
    Request,
    Result,
    StepContext,
    skill,
)
from opswright.core.errors import AskError
from opswright.core.registry import Registry
from opswright.core.secrets import SecretName
from opswright.record.ledger import Ledger, Record

from .forks import killed


class PayRequest(Request):
    rows: int = 0


class PayResult(Result):
    rows: int


@skill(effect=Effect.READS, summary="Give a number.")
def count(request: PayRequest, ctx: StepContext) -> PayResult:
    return PayResult(rows=9)


@skill(
    effect=Effect.WRITES,
    summary="Cost as many dollars as it is told rows, half of them really.",
    reusable=False,
    estimate=lambda request, machine, workspace: Cost(
        minutes=0.001, gpu_hours=0, usd=None if request.rows == 0 else request.rows
    ),
)
def pay(request: PayRequest, ctx: StepContext) -> PayResult:
    with Path("paid").open("a") as file:
        file.write("x")
    return PayResult(rows=request.rows)


class NapRequest(Request):
    seconds: float = 0.3
    fails: bool = False


class NapResult(Result):
    ok: float


@skill(
    effect=Effect.WRITES,
    summary="Take time.",
    reusable=False,
    estimate=lambda request, machine, workspace: Cost(minutes=0.0001, gpu_hours=0, usd=0),
)
def nap(request: NapRequest, ctx: StepContext) -> NapResult:
    time.sleep(request.seconds)
    if request.fails and not Path("awake").exists():
        raise RuntimeError("overslept")
    return NapResult(ok=1)


class NumberRequest(Request):
    where: str = "result"


class NumberResult(Result):
    dataset: DatasetRef
    value: float


@skill(effect=Effect.WRITES, summary="Give what is not a number.")
def not_a_number(request: NumberRequest, ctx: StepContext) -> NumberResult:
    with ctx.artifacts.staging() as folder:
        (folder / "rows.txt").write_text("work")
        ref = ctx.artifacts.save(DatasetRef, folder, {})
    ctx.metric("loss", math.nan if request.where == "metric" else 1.0)
    return NumberResult(dataset=ref, value=math.inf if request.where == "result" else 1.0)


class MarkRequest(Request):
    board: Path = Path("board.txt")
    dies: bool = True


class MarkResult(Result):
    key: str


@skill(effect=Effect.SERVES, summary="Mark the board once for each key, and die once right after.")
def mark(request: MarkRequest, ctx: StepContext) -> MarkResult:
    known = request.board.read_text().split() if request.board.exists() else []
    if ctx.idempotency_key not in known:
        with request.board.open("a") as file:
            file.write(ctx.idempotency_key + "\n")
    if request.dies and not Path("died").exists():
        Path("died").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return MarkResult(key=ctx.idempotency_key)


class FilesRequest(Request):
    files: tuple[InputPath, ...] = ()
    by_name: dict[str, InputPath] | None = None


class FilesResult(Result):
    rows: int


@skill(effect=Effect.WRITES, summary="Count the rows of files.")
def rows(request: FilesRequest, ctx: StepContext) -> FilesResult:
    files = (*request.files, *(request.by_name or {}).values())
    return FilesResult(rows=sum(len(file.read_text().split()) for file in files))


class TokenRequest(Request):
    token: SecretName
    fails: bool = False


class TokenResult(Result):
    header: str
    detail: dict[str, str]


@skill(effect=Effect.WRITES, summary="Use a secret carelessly.", reusable=False)
def careless(request: TokenRequest, ctx: StepContext) -> TokenResult:
    value = ctx.secret(request.token)
    ctx.log(f"calling with {value}")
    if request.fails:
        raise RuntimeError(f"401 for {value}")
    return TokenResult(header=f"Bearer {value}", detail={value: value})


class JobRequest(Request):
    pass


class JobResult(Result):
    attached: bool


@skill(effect=Effect.WRITES, summary="Submit a job, die, and attach to it.", reusable=False)
def long_job(request: JobRequest, ctx: StepContext) -> JobResult:
    if ctx.job is None:
        ctx.submitted(JobHandle(backend="local", id="17", token="abc"))
        os.kill(os.getpid(), signal.SIGKILL)
    return JobResult(attached=ctx.job is not None and ctx.job.id == "17")


SKILLS = (count, pay, nap, not_a_number, mark, rows, careless, long_job)
MakeAgent = Callable[[], Agent]


@pytest.fixture
def one(agent: Any) -> MakeAgent:
    def make() -> Agent:
        made: Agent = agent()
        made.registry = Registry(SKILLS)
        return made

    return make


def run(one: Agent, text: str) -> Any:
    Path("plan.yaml").write_text(text)
    proposal = one.plan_for(Ask("plan_file", "plan.yaml"))
    return one.start(proposal, Consent(proposal.plan.id, "test"))


def records(one: Agent, *phases: str) -> list[Record]:
    return [r for r in Ledger.of(one.workspace).records() if r.phase in phases]


FIVE = "goal: Pay\nbudget: {usd: 10}\nsteps:\n  n: {skill: count}\n" + "".join(
    f'  pay{i}: {{skill: pay, with: {{rows: "${{n.rows}}"}}}}\n' for i in range(5)
)


def test_five_steps_of_nine_dollars_do_not_pass_a_budget_of_ten(one: MakeAgent, faults: Any) -> None:
    ended = run(one(), FIVE)
    assert ended.exit_code == 6 and "pay1" in ended.message and Path("paid").read_text() == "x"
    assert [r.detail["reserved"].get("usd") for r in records(one(), "reserved")] == [0, 9]
    assert ended.spent["usd"] == 9
    again = one().resume(ended.run)
    assert faults(one()) == []
    assert again.exit_code == 6 and Path("paid").read_text() == "x"


def test_an_unknown_cost_is_asked_again_when_its_inputs_exist_and_then_refused(one: MakeAgent) -> None:
    ended = run(one(), FIVE.replace("${n.rows}", "0", 1))
    assert ended.status == "refused" and ended.exit_code == 6 and "not known" in ended.message


def test_time_of_failed_and_resumed_steps_counts_against_the_budget(one: MakeAgent, faults: Any) -> None:
    text = (
        "goal: Nap\nbudget: {minutes: 0.012}\nsteps:\n  a: {skill: nap, with: {seconds: 0.5, fails: true}}\n"
    )
    failed = run(one(), text)
    assert failed.status == "failed" and failed.spent["minutes"] * 60 >= 0.5
    again = one().resume(failed.run)
    assert again.status == "failed" and again.spent["minutes"] * 60 >= 1.0
    Path("awake").touch()
    over = one().resume(failed.run)
    assert over.exit_code == 6 and "spent" in over.message
    assert len(records(one(), "intent")) == 2 and faults(one()) == []


@pytest.mark.parametrize("where", ["result", "metric"])
def test_what_no_record_can_hold_fails_the_step_and_keeps_the_work(
    one: MakeAgent, where: str, faults: Any
) -> None:
    ended = run(one(), f"goal: x\nsteps:\n  a: {{skill: not-a-number, with: {{where: {where}}}}}\n")
    assert ended.exit_code == 1 and "no record can hold" in ended.message and "dataset:" in ended.message
    assert [r.phase for r in records(one(), "intent", "done", "failed") if r.step] == ["intent", "failed"]
    assert faults(one()) == []
    assert len(one().workspace.artifacts.list("dataset")) == 1


def test_a_step_killed_after_its_effect_is_done_once_although_the_code_changed(
    one: MakeAgent, faults: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "goal: Mark\nsteps:\n  live: {skill: mark}\n"
    killed(lambda: run(one(), text))
    monkeypatch.setattr(receipts, "code_version", lambda module: "another version")
    done = one().resume(records(one(), "proposed")[0].run or "")
    assert done.status == "done" and len(Path("board.txt").read_text().split()) == 1
    assert faults(one()) == []
    keys = {r.detail["idempotency_key"] for r in records(one(), "intent")}
    assert keys == set(Path("board.txt").read_text().split())
    assert [r.detail.get("how", "") for r in records(one(), "settled")] == ["cut short", ""]


def test_whoever_resumes_is_given_the_job_that_was_submitted(one: MakeAgent, faults: Any) -> None:
    killed(lambda: run(one(), "goal: Job\nsteps:\n  a: {skill: long-job}\n"))
    assert records(one(), "submitted")[0].detail["job"]["id"] == "17"
    done = one().resume(records(one(), "proposed")[0].run or "")
    assert faults(one()) == []
    assert done.results["a"] == {"attached": True} and len(records(one(), "submitted")) == 1


def test_every_input_of_a_nested_request_is_digested(one: MakeAgent) -> None:
    for name in ("a.txt", "b.txt", "c.txt"):
        Path(name).write_text("1 2")
    text = "goal: x\nsteps:\n  n: {skill: rows, with: {files: [a.txt, b.txt], by_name: {c: c.txt}}}\n"
    first = run(one(), text)
    assert first.results["n"]["rows"] == 6 and set(first.plan.inputs) == {"a.txt", "b.txt", "c.txt"}
    Path("b.txt").write_text("1 2 3")
    assert run(one(), text).results["n"]["rows"] == 7
    Path("c.txt").write_text("")
    assert run(one(), text).results["n"]["rows"] == 5


def test_a_relative_input_keeps_the_folder_the_plan_was_made_in(
    one: MakeAgent, faults: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("a.txt").write_text("1 2")
    agent = one()
    waiting = agent.start(Ask("slash", "/rows files=a.txt"))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    done = agent.resume(waiting.run, Consent(waiting.plan.id, "test"))  # type: ignore[union-attr]
    assert faults(agent) == []
    assert done.status == "done" and done.results["rows"]["rows"] == 2


def receipt_file(agent: Agent) -> Path:
    return next(agent.workspace.receipts.glob("*.json"))


def test_an_edited_receipt_is_not_believed(one: MakeAgent) -> None:
    Path("a.txt").write_text("1 2")
    text = "goal: x\nsteps:\n  n: {skill: rows, with: {files: [a.txt]}}\n"
    run(one(), text)
    path = receipt_file(one())
    receipt = json.loads(path.read_bytes())
    receipt["result"]["rows"] = 99
    receipt.pop("digest")
    from opswright.core.files import sha256_json

    path.write_text(json.dumps({**receipt, "digest": sha256_json(receipt)}))
    assert run(one(), text).results["n"]["rows"] == 2
    path.write_bytes(b"")
    assert run(one(), text).results["n"]["rows"] == 2


@pytest.mark.parametrize("what", ["code_version", "_versions", "_device"])
def test_a_receipt_of_other_code_versions_or_device_is_not_used(
    one: MakeAgent, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    Path("a.txt").write_text("1 2")
    text = "goal: x\nsteps:\n  n: {skill: rows, with: {files: [a.txt]}}\n"
    run(one(), text)
    run(one(), text)
    assert len(records(one(), "reused")) == 1
    monkeypatch.setattr(receipts, what, lambda *_: {"other": "x"})
    run(one(), text)
    assert len(records(one(), "reused")) == 1


@pytest.mark.parametrize("fails", [False, True])
def test_a_secret_is_nowhere_in_the_workspace(
    one: MakeAgent, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    monkeypatch.setenv("JUDGE_KEY", "hunter2-hunter2")
    agent = one()
    ended = run(
        agent,
        "goal: x\nsteps:\n"
        f"  a: {{skill: careless, with: {{token: 'secret:env:JUDGE_KEY', fails: {fails}}}}}\n",
    )
    assert ended.status == ("failed" if fails else "done")
    assert "hunter2" not in ended.message and "hunter2" not in json.dumps(ended.document())
    for path in agent.workspace.root.rglob("*"):
        assert not path.is_file() or b"hunter2" not in path.read_bytes(), path


def test_a_request_takes_the_name_of_a_secret_and_not_the_secret(one: MakeAgent) -> None:
    with pytest.raises(AskError, match="not the secret itself"):
        one().start(Ask("slash", "/careless token=hunter2"))


def test_a_stop_asked_while_a_run_starts_is_not_lost(one: MakeAgent) -> None:
    agent = one()
    waiting = agent.start(Ask("slash", "/nap seconds=0"))
    since = time.time()
    request_stop(agent.workspace, waiting.run, "grace", is_starting=True)
    held = agent.resume(waiting.run, Consent(waiting.plan.id, "test"), since=since)  # type: ignore[union-attr]
    assert held.status == "failed" and "stopped by a person" in held.message
    assert agent.resume(waiting.run).status == "done"  # an old request stops no later run


def test_state_kept_for_the_cursor_stays_small(one: MakeAgent) -> None:
    steps = "".join(f"  n{i}: {{skill: count}}\n" for i in range(60))
    agent = one()
    run(agent, f"goal: x\nsteps:\n{steps}  p: {{skill: pay, with: {{rows: 1}}}}\n")
    ledger = sum(path.stat().st_size for path in Ledger.of(agent.workspace).segments())
    size = sum(p.stat().st_size for p in agent.workspace.root.glob("checkpoints.sqlite*"))
    assert size < 12 * ledger
