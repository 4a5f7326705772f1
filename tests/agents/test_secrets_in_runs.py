"""Secrets that careless skills try to leave behind: nothing of a run may hold them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NoReturn

import pytest

from opswright.agents.agent import Agent
from opswright.agents.approvals import Consent
from opswright.agents.planner import Ask
from opswright.core.contract import Effect, JobHandle, Request, Result, StepContext, skill
from opswright.core.errors import AskError, BackendError, BudgetError
from opswright.core.registry import Registry
from opswright.core.secrets import SecretName
from opswright.record.ledger import Ledger, Phase, Record

SECRET = "pa'ss\"w\\ord-SECRETBODY"
CORE = "SECRETBODY"


class LeakRequest(Request):
    key: SecretName
    how: str


class LeakResult(Result):
    out: str = ""
    number: int = 0


class ToldByAttribute(BackendError):
    """Says what an attribute holds, whatever its arguments are."""

    def __init__(self, told: str, log: Path | None = None) -> None:
        super().__init__("nothing to see", log)
        self.told = told

    def __str__(self) -> str:
        return f"the trainer said {self.told}"


class OutOfMoney(BudgetError):
    exit_code = 66  # type: ignore[assignment]

    def __str__(self) -> str:
        return f"no money for {self.__dict__['told']}"


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError(f"cannot say {SECRET}")


class Interrupting(BaseException):
    pass


def _raise(how: str, value: str) -> NoReturn:
    if how == "attribute":
        raise ToldByAttribute(value, Path(f"/logs/{value}/train.log"))
    if how == "family":
        error = OutOfMoney("x")
        error.__dict__["told"] = value
        raise error
    if how == "cause":
        try:
            raise RuntimeError(f"inner {value}")
        except RuntimeError as inner:
            raise AskError("the server said no") from inner
    if how == "unspeakable":
        raise Unspeakable
    if how == "interrupting":
        raise Interrupting(f"boom {value}")
    if how == "long":
        raise RuntimeError("x" * 3970 + value)
    if how == "key":
        raise KeyError(value)
    raise OSError(2, "not there", f"/tmp/{value}")


@skill(effect=Effect.READS, summary="Leave a secret behind.")
def leak(request: LeakRequest, ctx: StepContext) -> LeakResult:
    value = ctx.secret(request.key)
    if request.how == "metric":
        ctx.metric(value, 1.0)
    elif request.how == "progress":
        ctx.progress(1, 1, value)
    elif request.how == "log":
        ctx.log(f"calling with {json.dumps(value)}")
    elif request.how == "job":
        ctx.submitted(JobHandle(backend=value, id=value, token="t", facts={value: value}))
        assert ctx.job is not None and ctx.job.id == value  # what the skill itself goes on with
    elif request.how == "result":
        return LeakResult(out=repr(value))
    else:
        _raise(request.how, value)
    return LeakResult()


def run(agent: Any, how: str, monkeypatch: pytest.MonkeyPatch) -> tuple[Agent, Any]:
    monkeypatch.setenv("JUDGE_KEY", SECRET)
    made: Agent = agent()
    made.registry = Registry((leak,))
    arguments = f"{{key: 'secret:env:JUDGE_KEY', how: {how}}}"
    Path("plan.yaml").write_text(f"goal: Leak\nsteps:\n  a: {{skill: leak, with: {arguments}}}\n")
    proposal = made.plan_for(Ask("plan_file", "plan.yaml"))
    return made, made.start(proposal, Consent(proposal.plan.id, "test"))


def traces(made: Agent) -> list[Path]:
    files = (path for path in made.workspace.root.rglob("*") if path.is_file())
    return [path for path in files if CORE.encode() in path.read_bytes()]


def failure(made: Agent) -> Record:
    return next(r for r in Ledger.of(made.workspace).records() if r.phase == Phase.FAILED and r.step)


@pytest.mark.parametrize("how", ["metric", "progress", "log", "job", "result"])
def test_what_a_step_tells_holds_no_secret(agent: Any, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    made, ended = run(agent, how, monkeypatch)
    assert ended.status == "done", ended.message
    assert not traces(made) and CORE not in json.dumps(ended.document())


@pytest.mark.parametrize("how", ["attribute", "family", "cause", "unspeakable", "long", "key", "file"])
def test_what_a_failed_step_says_holds_no_secret(
    agent: Any, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    made, ended = run(agent, how, monkeypatch)
    assert ended.status == "failed" and CORE not in json.dumps(ended.document())
    assert "pa'ss" not in ended.message and "pa'ss" not in failure(made).detail["error"]["message"]
    assert not traces(made)


def test_what_interrupts_a_step_holds_no_secret(agent: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BaseException) as caught:
        run(agent, "interrupting", monkeypatch)
    assert CORE not in repr(caught.value) and CORE not in str(caught.value)
    assert not [p for p in Path().rglob("*") if p.is_file() and CORE.encode() in p.read_bytes()]


@pytest.mark.parametrize(
    ("how", "family", "code", "said"),
    [
        ("attribute", "ToldByAttribute", 1, "the trainer said [secret]"),
        ("family", "OutOfMoney", 66, "no money for [secret]"),
        ("cause", "AskError", 2, "the server said no"),
    ],
)
def test_a_redacted_error_keeps_its_family_and_exit_code(
    agent: Any, monkeypatch: pytest.MonkeyPatch, how: str, family: str, code: int, said: str
) -> None:
    made, ended = run(agent, how, monkeypatch)
    detail = failure(made).detail
    assert detail["error"] == {"family": family, "message": said} and detail["exit_code"] == code
    assert ended.exit_code == code and said in ended.message
