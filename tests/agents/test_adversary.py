"""What an adversary tried on the kernel and got away with once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from opswright.agents import receipts, steps
from opswright.agents.agent import Agent
from opswright.agents.approvals import Consent
from opswright.agents.planner import Ask
from opswright.agents.worker import Worker
from opswright.core.artifact_refs import CheckpointRef, DatasetRef
from opswright.core.contract import Cost, Effect, InputPath, Request, Result, StepContext, skill
from opswright.core.errors import AskError, HeldError, IntegrityError
from opswright.core.files import canonical_json, sha256_json
from opswright.core.gate import Check, Decision, Verdict
from opswright.core.plan import Plan
from opswright.core.principal import Principal
from opswright.core.registry import Registry
from opswright.record.ledger import Ledger, Phase

BOB = Principal("bob", ("releaser",), "test")


class NoRequest(Request):
    pass


class NoResult(Result):
    ok: bool = True


@skill(effect=Effect.READS, summary="Look into the step's work folder.")
def look(request: NoRequest, ctx: StepContext) -> NoResult:
    return NoResult(ok=ctx.workdir.is_dir())


class ReadRequest(Request):
    source: InputPath


class ReadResult(Result):
    text: str


@skill(effect=Effect.WRITES, summary="Read a file that somebody swaps meanwhile.")
def read(request: ReadRequest, ctx: StepContext) -> ReadResult:
    if Path("poison").exists():
        request.source.write_text("POISON")
    return ReadResult(text=request.source.read_text())


class CanaryResult(Result):
    verdict: Verdict


@skill(effect=Effect.SERVES, summary="Promote what is there, unless it cannot be told.")
def promote_it(request: NoRequest, ctx: StepContext) -> CanaryResult:
    with Path("board.txt").open("a") as file:
        file.write("promoted\n")
    decision = Decision.GO if Path("known").exists() else Decision.INCONCLUSIVE
    return CanaryResult(verdict=Verdict.of([Check(name="canary", decision=decision)]))


def _slow(request: Any, machine: Any, workspace: Any) -> Cost:
    Path("estimating").touch()
    end = time.monotonic() + 240
    while not Path("go on").exists() and time.monotonic() < end and Path("slow").exists():
        time.sleep(0.01)
    return Cost(minutes=0.001, gpu_hours=0, usd=0)


@skill(effect=Effect.WRITES, summary="Take long to estimate.", estimate=_slow, reusable=False)
def slow_mark(request: NoRequest, ctx: StepContext) -> NoResult:
    Path("board.txt").write_text("marked\n")
    return NoResult()


@skill(effect=Effect.WRITES, summary="End the process as if all were well.", reusable=False)
def quit_it(request: NoRequest, ctx: StepContext) -> NoResult:
    raise SystemExit(0)


class MadeUpResult(Result):
    dataset: DatasetRef


@skill(effect=Effect.WRITES, summary="Name an artifact that is not there.", reusable=False)
def make_up(request: NoRequest, ctx: StepContext) -> MadeUpResult:
    return MadeUpResult(dataset=DatasetRef.of("1" * 64))


@skill(effect=Effect.WRITES, summary="Give another kind than declared.", reusable=False)
def wrong_kind(request: NoRequest, ctx: StepContext) -> MadeUpResult:
    return MadeUpResult.model_construct(dataset=CheckpointRef.of("1" * 64))  # type: ignore[arg-type]


class OddResult(Result):
    verdict: dict[str, str]


@skill(effect=Effect.READS, summary="Call something a verdict that is none.")
def odd(request: NoRequest, ctx: StepContext) -> OddResult:
    return OddResult(verdict={"decision": "PERHAPS"})


SKILLS = (look, read, promote_it, slow_mark, quit_it, make_up, wrong_kind, odd)


@pytest.fixture
def one(agent: Any) -> Agent:
    made: Agent = agent()
    made.registry = Registry(SKILLS)
    return made


def run(one: Agent, text: str) -> Any:
    Path("plan.yaml").write_text(text)
    proposal = one.plan_for(Ask("plan_file", "plan.yaml"))
    return one.start(proposal, Consent(proposal.plan.id, "test"))


@pytest.mark.parametrize(
    "name", ["../../../../escape", "/tmp/escape", "", ".", "a/b", "a.gate", "a\0b", "a" * 200, "1a", "ä"]
)
def test_a_step_id_that_leads_elsewhere_is_refused(one: Agent, tmp_path: Path, name: str) -> None:
    plan = json.loads(one.plan_for(Ask("slash", "/look")).plan.document())["plan"]
    plan["steps"][0]["id"] = name
    Path("evil.json").write_bytes(canonical_json({"id": sha256_json(plan), "plan": plan}))
    before = set(tmp_path.parent.rglob("*"))
    with pytest.raises((AskError, IntegrityError)):
        one.start(Ask("compiled_plan", "evil.json"))
    assert set(tmp_path.parent.rglob("*")) - before <= {one.workspace.root / "ledger" / ".lock"}


def test_a_stored_plan_whose_step_id_leads_elsewhere_is_not_read(one: Agent) -> None:
    """As when somebody puts it beside a record that names it."""
    plan = json.loads(one.plan_for(Ask("slash", "/look")).plan.document())["plan"]
    plan["steps"][0]["id"] = "../../../../escape"
    with pytest.raises(AskError, match="damaged"):
        Plan.from_document({"id": sha256_json(plan), "plan": plan})


def test_what_serves_is_not_done_again_because_it_could_not_be_told(one: Agent) -> None:
    ended = run(one, "goal: x\nsteps:\n  live: {skill: promote-it}\n")
    assert (ended.status, ended.exit_code) == ("done", 4)
    Path("known").touch()
    assert one.resume(ended.run).exit_code == 4
    assert Path("board.txt").read_text() == "promoted\n"


def test_consent_to_a_run_whose_gate_may_be_asked_again_can_be_taken_back(
    agent: Any, plan_file: Path
) -> None:
    plan_file.write_text(plan_file.read_text().replace("decision: GO", "decision: INCONCLUSIVE"))
    made = agent()
    proposal = made.plan_for(Ask("plan_file", str(plan_file)))
    ended = made.start(proposal, Consent(proposal.plan.id, "test"))
    assert ended.exit_code == 4
    made.answer(ended.run, Consent(proposal.plan.id, "test", approved=False, why="no"))
    assert made.resume(ended.run).status == "denied"


def resumed(one: Agent, run_id: str) -> tuple[threading.Thread, list[Any]]:
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(one.resume(run_id)))
    thread.start()
    return thread, found


def test_consent_taken_back_while_a_step_is_prepared_stops_it(one: Agent, agent: Any, faults: Any) -> None:
    """The policy was asked already, and the intent is not recorded yet."""
    Path("plan.yaml").write_text("goal: x\nbudget: {minutes: 5}\nsteps:\n  a: {skill: slow-mark}\n")
    waiting = one.start(Ask("plan_file", "plan.yaml"))
    one.answer(waiting.run, Consent(waiting.plan.id, "test"))  # type: ignore[union-attr]
    Path("slow").touch()
    Path("estimating").unlink()
    thread, found = resumed(one, waiting.run)
    while not Path("estimating").exists():
        time.sleep(0.01)
    bob = agent()
    bob.registry, bob.acting = one.registry, BOB
    bob.answer(waiting.run, Consent(waiting.plan.id, "test", approved=False, why="stop"))  # type: ignore[union-attr]
    Path("go on").touch()
    thread.join(timeout=240)
    assert found[0].exit_code == 5 and not Path("board.txt").exists()
    assert faults(one) == []


def test_an_input_swapped_while_a_step_runs_fails_it_and_leaves_no_receipt(one: Agent) -> None:
    Path("in.txt").write_text("clean")
    Path("poison").touch()
    text = "goal: x\nsteps:\n  a: {skill: read, with: {source: in.txt}}\n"
    ended = run(one, text)
    assert ended.exit_code == IntegrityError.exit_code and "changed while the step ran" in ended.message
    Path("poison").unlink()
    Path("in.txt").write_text("clean")
    assert run(one, text).results["a"] == {"text": "clean"}


def test_the_time_a_run_lay_dead_is_not_charged(one: Agent) -> None:
    Path("plan.yaml").write_text("goal: x\nbudget: {minutes: 5}\nsteps:\n  a: {skill: slow-mark}\n")
    proposal = one.plan_for(Ask("plan_file", "plan.yaml"))
    started = time.monotonic()
    pid = os.fork()
    if pid == 0:
        one.registry.get("slow-mark").__dict__["function"] = lambda request, ctx: os._exit(9)
        one.start(proposal, Consent(proposal.plan.id, "test"))
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 9
    (row,) = {r.run for r in Ledger.of(one.workspace).records()}
    alive = one.workspace.run_folder(row or "") / "alive"
    began = alive.stat().st_mtime
    time.sleep(1.2)
    done = one.resume(row or "")
    assert done.status == "done" and alive.stat().st_mtime > began
    assert done.spent["minutes"] * 60 < time.monotonic() - started - 1.0  # however slow the machine is


def test_a_lapsed_approval_can_be_given_again_by_the_same_person(
    agent: Any, plan_file: Path, tmp_path: Path
) -> None:
    (tmp_path / "policy.yaml").write_text("approvals: {expire_hours: 0.0000001}\n")
    made = agent()
    waiting = made.start(Ask("plan_file", str(plan_file)))
    consent = Consent(waiting.plan.id, "test")
    made.answer(waiting.run, consent)
    made.answer(waiting.run, consent)
    (tmp_path / "policy.yaml").unlink()
    fresh = agent()
    with pytest.raises(HeldError, match="already"):
        fresh.answer(waiting.run, consent)


def test_a_skill_that_ends_the_process_fails_its_step(one: Agent) -> None:
    ended = run(one, "goal: x\nsteps:\n  a: {skill: quit-it}\n")
    assert (ended.status, ended.exit_code) == ("failed", 1) and "SystemExit" in ended.message


@pytest.mark.parametrize(
    ("name", "message"), [("make-up", "not in the workspace"), ("wrong-kind", "declares")]
)
def test_a_result_that_is_not_what_it_says_fails_its_step(one: Agent, name: str, message: str) -> None:
    ended = run(one, f"goal: x\nsteps:\n  a: {{skill: {name}}}\n")
    assert ended.status == "failed" and message in ended.message


def test_a_verdict_without_a_known_decision_is_none(one: Agent) -> None:
    ended = run(one, "goal: x\nsteps:\n  a: {skill: odd}\n")
    assert (ended.status, ended.verdict) == ("done", None) and one.resume(ended.run).status == "done"


def test_a_plan_of_many_steps_is_ordered_quickly(one: Agent) -> None:
    steps = (
        "".join(f"  n{i}: {{skill: look, after: [n{i + 1}]}}\n" for i in range(400))
        + "  n400: {skill: look}\n"
    )
    Path("plan.yaml").write_text(f"goal: x\nsteps:\n{steps}")
    plan = one.plan_for(Ask("plan_file", "plan.yaml")).plan
    assert [step.id for step in plan.steps[:2]] == ["n400", "n399"]


def test_a_policy_that_changes_while_a_run_goes_on_counts_for_its_next_step(
    agent: Any, plan_file: Path, tmp_path: Path, faults: Any
) -> None:
    made = agent()

    class Tightens:
        """Events that a listener answers by changing the policy after the first step."""

        def ended(self, step: str, how: str, seconds: float) -> None:
            if step == "data":
                (tmp_path / "policy.yaml").write_text(
                    "roles: {releaser: {propose: [reads, writes, serves], approve: [writes], run: [reads]}}"
                )

        def __getattr__(self, name: str) -> Any:
            return lambda *_: None

    made.events = Tightens()
    proposal = made.plan_for(Ask("plan_file", str(plan_file)))
    ended = made.start(proposal, Consent(proposal.plan.id, "test"))
    assert ended.exit_code == 8 and list(ended.results) == ["data"] and not Path("board.txt").exists()
    assert faults(agent()) == []


def test_a_reused_result_needs_consent_that_still_stands(
    agent: Any, plan_file: Path, monkeypatch: pytest.MonkeyPatch, faults: Any
) -> None:
    made = agent()
    proposal = made.plan_for(Ask("plan_file", str(plan_file)))
    made.start(proposal, Consent(proposal.plan.id, "test"))
    waiting = made.start(proposal)
    made.answer(waiting.run, Consent(proposal.plan.id, "test"))
    bob = agent()
    bob.acting = BOB
    honest = receipts.is_whole

    def slow(workspace: Any, record: Any) -> Any:
        bob.answer(waiting.run, Consent(proposal.plan.id, "test", approved=False, why="stop"))
        return honest(workspace, record)

    monkeypatch.setattr(steps, "is_whole", slow)
    ended = made.resume(waiting.run)
    assert ended.exit_code == 5 and ended.results == {} and faults(agent()) == []


def test_a_planted_module_in_the_current_folder_is_not_run_by_a_worker(one: Agent) -> None:
    Path("pydantic.py").write_text("open('PWNED', 'w')\nraise SystemExit\n")
    worker = Worker(one.workspace)
    worker.dismiss()
    assert worker.exit_code == 0 and not Path("PWNED").exists()


@pytest.mark.parametrize("task", ["{}", "[]", "5", '{"run": "x"}', '{"run": "x", "principal": {}}', "{"])
def test_a_task_that_is_none_is_refused_in_one_line(one: Agent, task: str) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "opswright.agents.worker", "--home", str(one.workspace.root)],
        input=task + "\n",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2 and "invalid task" in done.stderr and "Traceback" not in done.stderr


def test_locks_are_for_their_owner_alone(one: Agent) -> None:
    (one.workspace.root / "locks").mkdir(mode=0o755)
    with one.workspace.lock("approvals-x"):
        assert (one.workspace.root / "locks").stat().st_mode & 0o777 == 0o700


def test_a_job_that_no_begun_step_submitted_is_a_fault(one: Agent, faults: Any) -> None:
    Path("plan.yaml").write_text("goal: x\nsteps:\n  a: {skill: slow-mark}\n")
    waiting = one.start(Ask("plan_file", "plan.yaml"))
    assert waiting.plan is not None
    job = {"backend": "local", "id": "1", "token": "x", "facts": {"state": "/tmp/evil"}}
    Ledger.of(one.workspace).append(
        Phase.SUBMITTED,
        principal=BOB,
        run=waiting.run,
        step="a",
        skill="slow-mark",
        effect="writes",
        plan=waiting.plan.id,
        detail={"job": job},
    )
    assert any("submits a job of step a, which was not begun" in fault for fault in faults(one))
