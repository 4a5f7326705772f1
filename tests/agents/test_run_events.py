"""News of a run: written by whoever carries it out, followed by anyone."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from opswright.agents.approvals import Consent
from opswright.agents.planner import Ask
from opswright.agents.run_events import RunEventFile, RunEvents, run_events_path
from opswright.agents.stopping import StopWatch, request_stop
from opswright.core.contract import Effect, Request, Result, StepContext, skill
from opswright.core.errors import AskError, HeldError
from opswright.core.registry import Registry
from opswright.record.ledger import Ledger


def told(path: Path, steps: int) -> None:
    file = RunEventFile(path)
    file.begun("model", "finetune")
    for at in range(1, steps + 1):
        file.metric("model", "loss", 1 / at, at)
    file.progress("model", steps, steps, "steps")
    file.log("model", "saved")
    file.ended("model", "done", 2.5)
    file.close()


def test_news_are_read_as_they_grow(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    events = RunEvents(path).refresh()
    assert events.steps == {} and events.offset == 0
    told(path, 3)
    step = events.refresh().steps["model"]
    assert (step.state, step.seconds, step.done, step.total, step.unit) == ("done", 2.5, 3, 3, "steps")
    assert step.curves["loss"] == [(1, 1.0), (2, 0.5), (3, 1 / 3)] and list(step.lines) == ["saved"]


def test_a_line_being_written_is_left_for_the_next_look_and_a_broken_one_is_passed_over(
    tmp_path: Path,
) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text(
        '{"step":"a","what":"begun","skill":"x","at_s":1}\n{"step":"a"}\nnot json\n{"step":"a","wh'
    )
    events = RunEvents(path).refresh()
    assert events.steps["a"].state == "running"
    with path.open("a") as file:
        file.write('at":"ended","how":"failed","seconds":1}\n')
    assert events.refresh().steps["a"].state == "failed"


def test_the_curve_of_a_long_training_stays_short_and_keeps_its_ends(tmp_path: Path) -> None:
    told(tmp_path / "events.jsonl", 5000)
    curve = RunEvents(tmp_path / "events.jsonl").refresh().steps["model"].curves["loss"]
    assert 100 <= len(curve) <= 401 and curve[0] == (1, 1.0) and curve[-1][0] > 4900
    assert [at for at, _ in curve] == sorted({at for at, _ in curve})


def test_a_training_taken_up_again_draws_over_what_was_lost(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    file = RunEventFile(path)
    file.begun("model", "finetune")
    for at, value in ((1, 3.0), (2, 2.0), (3, 9.0), (2, 1.5)):
        file.metric("model", "loss", value, at)
    assert RunEvents(path).refresh().steps["model"].curves["loss"] == [(1, 3.0), (2, 1.5)]


def test_every_run_leaves_its_news_whoever_carries_it_out(agent: Any, plan_file: Path) -> None:
    one = agent()
    ask = Ask("plan_file", str(plan_file))
    outcome = one.start(ask, Consent(one.plan_for(ask).plan.id, "test"))
    events = RunEvents(run_events_path(one.workspace, outcome.run)).refresh()
    assert [(s.step, s.state) for s in events.steps.values()] == [
        ("data", "done"),
        ("model", "done"),
        ("verdict", "done"),
        ("live", "done"),
    ]
    assert events.steps["model"].done == events.steps["model"].total == 3


class WaitRequest(Request):
    seconds: float = 60


class WaitResult(Result):
    waited: bool


@skill(effect=Effect.WRITES, summary="Wait.", reusable=False)
def wait(ask: WaitRequest, ctx: StepContext) -> WaitResult:
    end = time.monotonic() + ask.seconds
    while time.monotonic() < end:
        ctx.progress(0, 1, "waits")
        time.sleep(0.01)
    return WaitResult(waited=True)


def test_a_run_is_stopped_from_outside_says_so_and_can_go_on(agent: Any) -> None:
    one = agent()
    one.registry = Registry([wait])
    waiting = one.start(Ask("slash", "/wait"))
    with pytest.raises(AskError, match="nothing to stop"):
        request_stop(one.workspace, waiting.run, "grace")
    outcomes: list[Any] = []
    consent, since = Consent(waiting.plan.id, "test"), time.time()
    thread = threading.Thread(target=lambda: outcomes.append(one.resume(waiting.run, consent)))
    thread.start()
    events = RunEvents(run_events_path(one.workspace, waiting.run))
    while not events.refresh().steps:
        time.sleep(0.01)
    request_stop(one.workspace, waiting.run, "grace")
    thread.join(timeout=240)
    assert outcomes[0].status == "failed" and "stopped by a person" in outcomes[0].message
    assert StopWatch(one.workspace, waiting.run, since).requested_by() == "grace"
    assert not one.cancelled.is_set()
    last = list(Ledger.of(one.workspace).records())[-1]
    assert last.phase == "failed" and last.detail["stopped_by"] == "grace"


def test_a_second_answer_to_the_same_plan_is_refused_and_runs_nothing(agent: Any, plan_file: Path) -> None:
    one = agent()
    waiting = one.start(Ask("plan_file", str(plan_file)))
    consent = Consent(waiting.plan.id, "test")
    with pytest.raises(HeldError, match="waits for approval of plan"):
        one.answer(waiting.run, Consent("0" * 64, "test"))
    assert one.answer(waiting.run, consent).status == "approved"
    with pytest.raises(HeldError, match="approved by ada already"):
        one.answer(waiting.run, consent)
    assert one.resume(waiting.run).status == "done"
    with pytest.raises(HeldError, match="is over"):
        one.answer(waiting.run, consent)
    with pytest.raises(AskError, match="unknown run"):
        one.answer("20260101-000000-000000", consent)
    assert Path("board.txt").read_text().count("\n") == 1


def test_a_stop_between_two_steps_keeps_the_next_from_being_begun(agent: Any, plan_file: Path) -> None:
    one = agent()
    ask = Ask("plan_file", str(plan_file))
    one.cancelled.set()
    outcome = one.start(ask, Consent(one.plan_for(ask).plan.id, "test"))
    assert outcome.status == "failed" and "stopped by a person" in outcome.message
    assert not [record for record in Ledger.of(one.workspace).records() if record.phase == "intent"]
