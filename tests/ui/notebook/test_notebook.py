"""`from opswright import Workspace`: data frames of the record, skills as functions, plans before acts."""

from __future__ import annotations

import _thread
import inspect
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import pytest

from opswright import Workspace
from opswright.agents.agent import Agent, RunOutcome
from opswright.core.errors import AskError, BackendError, DeniedError, HeldError, IntegrityError, NeedsError
from opswright.core.registry import Registry
from opswright.core.settings import load_settings
from opswright.core.workspace import Workspace as CoreWorkspace
from opswright.record.ledger import Phase
from opswright.skills import load_registry
from opswright.ui.audit_check import audit_workspace
from opswright.ui.notebook import running
from opswright.ui.notebook.proposed import ProposedPlan
from opswright.ui.notebook.running import carry_on
from opswright.ui.notebook.workspace import NotebookWorkspace


@pytest.fixture
def open_as(small_skills: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    """Opens the same workspace for somebody."""
    monkeypatch.setenv("OPSWRIGHT_MLFLOW__MIRROR", "off")
    (tmp_path / "lines.txt").write_text("one\ntwo\nthree\n")
    (tmp_path / "plan.yaml").write_text(small_skills.PLAN)

    def make(actor: str = "ada", role: str | None = None) -> NotebookWorkspace:
        registry = Registry(small_skills.SKILLS)
        return Workspace(tmp_path / "ws", actor=actor, role=role, registry=registry)

    return make


@pytest.fixture
def ws(open_as: object) -> NotebookWorkspace:
    return open_as()  # type: ignore[operator, no-any-return]


def proposed(called: object) -> ProposedPlan:
    """What a skill's call proposes, where it does more than read."""
    assert isinstance(called, ProposedPlan)
    return called


def collected(ws: NotebookWorkspace) -> str:
    made: Any = proposed(ws.skills.collect(source="lines.txt")).apply().result
    return str(made.dataset)


def trained(ws: NotebookWorkspace) -> str:
    made: Any = proposed(ws.skills.train(data=collected(ws))).apply().result
    return str(made.checkpoint)


def test_a_call_that_makes_something_is_a_plan_and_runs_nothing(ws: NotebookWorkspace) -> None:
    plan = proposed(ws.skills.collect(source="lines.txt"))
    assert isinstance(plan, ProposedPlan) and plan.effect == "writes"
    assert "nothing was run" in repr(plan) and ".apply()" in plan._repr_html_()
    assert len(ws.runs()) == len(ws.artifacts()) == len(ws.ledger()) == 0


def test_a_plan_that_is_altered_in_place_is_not_the_one_that_was_seen(
    ws: NotebookWorkspace, tmp_path: Path
) -> None:
    (tmp_path / "other.txt").write_text("never shown\n")
    alter: tuple[Callable[[Any], object], ...] = (
        lambda plan: plan.steps[0].arguments.update(source="other.txt"),
        lambda plan: plan.steps[0].arguments.update(least_rows=3),
        lambda plan: plan.inputs.clear(),
        lambda plan: plan.gates.update(release=None),
    )
    for one in alter:
        plan = proposed(ws.skills.collect(source="lines.txt"))
        one(plan.plan)
        for go in (lambda plan: plan.apply(), lambda plan: plan.apply(approve=plan.id), ProposedPlan.propose):
            with pytest.raises(IntegrityError, match="altered after it was made"):
                go(plan)
    assert len(ws.runs()) == len(ws.ledger()) == 0


def test_apply_carries_it_out_in_the_callers_name_with_consent_in_the_record(ws: NotebookWorkspace) -> None:
    plan = proposed(ws.skills.collect(source="lines.txt", least_rows=2))
    done = plan.apply()
    rows: Any = done.result
    assert (done.status, done.outcome, rows.rows) == ("done", "done", 3)
    records = ws.ledger(run=done.run)
    assert set(records["actor"]) == {"ada"} and set(records["plan"].dropna()) == {plan.id}
    approved = records[records["phase"] == Phase.APPROVED].iloc[0]
    assert approved["detail"]["how"] == "notebook apply"
    assert list(records["phase"])[:2] == ["proposed", "approved"]
    assert records["time"].is_monotonic_increasing


def test_what_serves_needs_consent_to_that_very_plan(ws: NotebookWorkspace, tmp_path: Path) -> None:
    model = trained(ws)
    plan = proposed(ws.skills.publish(model=model, board="board.txt", waive_gate="a rehearsal"))
    before = len(ws.ledger())
    with pytest.raises(HeldError, match=r"nothing was run.*apply\(approve='"):
        plan.apply()
    with pytest.raises(HeldError, match="nothing was run"):
        plan.apply(yes_to="writes")
    with pytest.raises(AskError, match="expected reads, writes, serves"):
        plan.apply(yes_to="anything")
    assert len(ws.ledger()) == before and not Path("board.txt").exists()
    with pytest.raises(HeldError, match="not this plan"):
        plan.apply(approve="0" * 32)
    for digits in (12, 31):  # two plans with 12 in common are made in a minute
        with pytest.raises(AskError, match="at least its first 32 digits"):
            plan.apply(approve=plan.id[:digits])
    assert not Path("board.txt").exists()
    assert plan.apply(approve=plan.id[:32]).status == "done"
    assert len(Path("board.txt").read_text().splitlines()) == 1


def test_a_plan_file_needs_consent_for_anything_it_makes(ws: NotebookWorkspace) -> None:
    plan = ws.plan("plan.yaml")
    with pytest.raises(HeldError, match="nothing was run"):
        plan.apply()
    assert len(ws.runs()) == 0


def test_what_only_reads_answers_at_once_and_is_in_the_record(ws: NotebookWorkspace) -> None:
    read: Any = ws.skills.judge(model=trained(ws), decision="NO_GO")
    verdict = read.verdict
    assert verdict.decision == "NO_GO"
    run = ws.runs().iloc[0]
    assert run["verdict"] == "NO_GO" and run["source"].startswith("notebook /judge")
    assert "approved" not in set(ws.ledger(run=run["run"])["phase"])


def test_the_policy_decides_as_everywhere(open_as: object) -> None:
    model = trained(open_as())  # type: ignore[operator]
    viewer, operator = open_as("vi", "viewer"), open_as("olga", "operator")  # type: ignore[operator]
    with pytest.raises(DeniedError, match="vi"):
        viewer.skills.collect(source="lines.txt").apply()
    plan = proposed(operator.skills.publish(model=model, board="board.txt", waive_gate="a rehearsal"))
    assert "Somebody else" in plan._repr_html_()
    with pytest.raises(HeldError):
        plan.apply(approve=plan.id)
    with pytest.raises(HeldError):
        plan.apply(yes_to="serves")
    assert not Path("board.txt").exists()
    with pytest.raises(AskError, match="role"):
        open_as("eve", "emperor")  # type: ignore[operator]


def test_a_colleague_approves_what_was_proposed(open_as: object) -> None:
    ada, bob = open_as("ada"), open_as("bob")  # type: ignore[operator]
    plan = proposed(ada.skills.collect(source="lines.txt"))
    waiting = plan.propose()
    assert waiting.status == "waiting" and ada.runs()["state"].tolist() == ["waiting"]
    with pytest.raises(HeldError):
        bob.resume(waiting.run, approve="0" * 64)
    with pytest.raises(AskError, match="at least its first 32 digits"):
        bob.approve(waiting.run, plan=plan.id[:12])
    assert bob.approve(waiting.run, plan=plan.id[:32]).status == "approved"
    assert ada.resume(waiting.run).status == "done"
    again = ada.skills.train(data=str(ada.artifacts("dataset")["artifact"][0])).propose()
    assert bob.deny(again.run, why="too long").status == "denied"
    with pytest.raises(DeniedError):
        ada.resume(again.run)


def test_a_step_that_fails_raises_and_can_be_resumed(ws: NotebookWorkspace) -> None:
    plan = proposed(ws.skills.fragile(model=trained(ws), unless="mended"))
    with pytest.raises(BackendError, match=r"the disk said no.*\.resume\('"):
        plan.apply()
    Path("mended").touch()
    failed = ws.runs().iloc[0]
    assert failed["state"] == "failed"
    assert ws.resume(failed["run"]).status == "done"


@pytest.fixture
def interruptible() -> Iterator[None]:
    """SIGINT interrupts, as in a kernel; what a shell starts in the background would ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_an_interrupt_stops_the_run_and_says_how_it_goes_on(ws: NotebookWorkspace) -> None:
    plan = proposed(ws.skills.train(data=collected(ws), steps=2_000_000_000))
    threading.Timer(3, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt, match=r"was stopped; \.resume\("):
        plan.apply()
    stopped = ws.runs().iloc[0]
    assert stopped["state"] != "running" and "stopped by a person" in stopped["message"]


@pytest.mark.usefixtures("interruptible")
def test_an_interrupt_that_comes_too_late_says_that_the_run_had_ended(ws: NotebookWorkspace) -> None:
    done = proposed(ws.skills.collect(source="lines.txt")).apply()
    agent = Agent(CoreWorkspace(load_settings(home=ws.root)), ws._session.registry)

    def go() -> RunOutcome:
        outcome = agent.outcome(done.run)
        _thread.interrupt_main()
        time.sleep(0.2)
        return outcome

    with pytest.raises(KeyboardInterrupt, match="had ended: done"):
        carry_on(agent, go)


T = TypeVar("T")


class InterruptedPool(ThreadPoolExecutor):
    """Ctrl-C is pressed while the run's thread starts: before the run is handed over, or right after."""

    before_the_run = False

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        if not self.before_the_run:
            super().submit(fn, *args, **kwargs)
        raise KeyboardInterrupt


def test_an_interrupt_while_the_run_starts_stops_it_too(
    ws: NotebookWorkspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = proposed(ws.skills.train(data=collected(ws), steps=2_000_000_000))
    monkeypatch.setattr(running, "ThreadPoolExecutor", InterruptedPool)
    with pytest.raises(KeyboardInterrupt, match=r"was stopped; \.resume\("):
        plan.apply()
    assert ws.runs().iloc[0]["state"] != "running"


def test_an_interrupt_before_the_run_starts_says_that_nothing_was_run(
    ws: NotebookWorkspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = proposed(ws.skills.collect(source="lines.txt"))
    monkeypatch.setattr(InterruptedPool, "before_the_run", True)
    monkeypatch.setattr(running, "ThreadPoolExecutor", InterruptedPool)
    with pytest.raises(KeyboardInterrupt, match="nothing was run"):
        plan.apply()
    assert len(ws.runs()) == 0


@pytest.mark.parametrize(
    "value", [b"\xff", "\ud800", object()], ids=["bytes", "half a character", "an object"]
)
def test_a_value_that_is_no_text_is_named(ws: NotebookWorkspace, value: object) -> None:
    with pytest.raises(AskError):
        ws.skills.collect(source=value)


def test_an_unknown_filter_of_the_ledger_is_named_with_those_there_are(ws: NotebookWorkspace) -> None:
    with pytest.raises(AskError, match=r"unknown filter 'steps' \(there are: run, step,"):
        ws.ledger(steps="data")


def test_an_input_that_changed_since_it_was_shown_is_refused(ws: NotebookWorkspace) -> None:
    plan = proposed(ws.skills.collect(source="lines.txt"))
    Path("lines.txt").write_text("something else\n")
    with pytest.raises(HeldError, match="changed"):
        plan.apply()
    assert len(ws.artifacts()) == 0


def test_all_that_was_done_passes_the_audit(ws: NotebookWorkspace, small_skills: ModuleType) -> None:
    ws.skills.judge(model=trained(ws))
    with pytest.raises(HeldError):
        proposed(ws.skills.collect(source="lines.txt")).apply(approve="0" * 32)
    report = audit_workspace(ws._workspace, Registry(small_skills.SKILLS), mlflow=False)
    assert [fault.message for fault in report.faults] == []


def test_signature_documentation_and_completion_come_from_the_request() -> None:
    ws = Workspace("ws")
    assert "build_engine" in dir(ws.skills) and "roll_out" in dir(ws.skills)
    for skill in load_registry():
        function = getattr(ws.skills, skill.name.replace("-", "_"))
        parameters = inspect.signature(function).parameters
        assert set(skill.request.model_fields) == set(parameters) - {"waive_gate"}
        assert all(name in function.__doc__ for name in parameters if name != "waive_gate")
        for name, field in skill.request.model_fields.items():
            assert (parameters[name].default is inspect.Parameter.empty) == field.is_required()
    assert "limit" in inspect.signature(ws.skills.evaluate).parameters


def test_jupyter_completes_skills_and_their_arguments() -> None:
    from IPython.core.completer import provisionalcompleter
    from IPython.core.interactiveshell import InteractiveShell

    shell = InteractiveShell()  # type: ignore[no-untyped-call]
    shell.user_ns["ws"] = Workspace("ws")
    with provisionalcompleter():
        found = [one.text for one in shell.Completer.completions("ws.skills.eval", 14)]
        named = [one.text for one in shell.Completer.completions("ws.skills.evaluate(sui", 22)]
    assert "evaluate" in " ".join(found) and "suite=" in named


def test_a_wrong_call_says_what_is_right(ws: NotebookWorkspace) -> None:
    with pytest.raises(AskError, match="Did you mean 'source'"):
        ws.skills.collect(sorce="lines.txt")
    with pytest.raises(AskError, match=r"by name: collect\(source=\.\.\."):
        ws.skills.collect("lines.txt")
    with pytest.raises(AttributeError, match="Did you mean 'collect'"):
        ws.skills.colect  # noqa: B018
    with pytest.raises(AskError, match="not plain"):
        ws.skills.collect(source=object())
    with pytest.raises(AskError, match="unknown run"):
        ws.run("never-was")


def test_a_card_shows_markup_and_never_obeys_it(ws: NotebookWorkspace) -> None:
    name = "<img src=x onerror=alert(1)>.txt"
    Path(name).write_text("one\n")
    plan = proposed(ws.skills.collect(source=name))
    assert "<img" not in plan._repr_html_() and "&lt;img" in plan._repr_html_()
    assert "<img" not in plan._repr_markdown_()
    done = plan.apply()
    assert "<img" not in done._repr_html_() + done._repr_markdown_()


def test_tables_of_an_empty_workspace_have_their_columns(ws: NotebookWorkspace) -> None:
    assert {"run", "state", "goal", "started"} <= set(ws.runs().columns)
    assert {"model", "value", "low", "high"} <= set(ws.leaderboard().columns)
    assert {"artifact", "model", "suite"} <= set(ws.reports().columns)
    assert {"endpoint", "release", "bundle"} <= set(ws.live().columns)
    assert {"seq", "time", "actor", "phase", "hash"} <= set(ws.ledger().columns)


def test_without_pandas_a_table_says_what_to_install_and_calls_still_work(
    ws: NotebookWorkspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(NeedsError, match=r"pip install 'opswright\[notebook\]'"):
        ws.runs()
    assert proposed(ws.skills.collect(source="lines.txt")).apply().status == "done"


def test_importing_the_package_loads_nothing_else() -> None:
    program = "import sys, opswright; print([m for m in sys.modules if m.startswith('opswright.')])"
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"
    with pytest.raises(ImportError):
        from opswright import Nothing  # noqa: F401
