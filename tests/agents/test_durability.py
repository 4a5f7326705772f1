"""What was promised to last does: the process is killed, and of the disk only what was flushed is left."""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from opswright.agents.approvals import Consent
from opswright.agents.planner import Ask
from opswright.core.artifact_refs import DatasetRef
from opswright.core.contract import Effect, Request, Result, StepContext, skill
from opswright.core.files import write_atomically
from opswright.core.principal import Principal
from opswright.core.registry import Registry
from opswright.core.workspace import Workspace
from opswright.record.index import LedgerIndex
from opswright.record.ledger import Entry, Ledger, Phase

from .forks import killed

ADA = Principal("ada", ("releaser",), "test")


@pytest.fixture(scope="module")
def power_loss() -> ModuleType:
    spec = importlib.util.spec_from_file_location("power_loss", Path(__file__).with_name("power_loss.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def lose_power(power_loss: ModuleType, workspace: Workspace) -> Callable[[Callable[[], object]], None]:
    """Does something in a child, kills that, and forgets what was not flushed."""

    def after(work: Callable[[], object]) -> None:
        disk = power_loss.Disk(workspace.root, workspace.root.parent / "durable")

        def work_without_power() -> None:
            disk.watch()
            work()
            os.kill(os.getpid(), signal.SIGKILL)

        killed(work_without_power)
        disk.cut()

    return after


def test_the_disk_of_these_tests_forgets_what_was_not_flushed(workspace: Workspace, lose_power: Any) -> None:
    def work() -> None:
        (workspace.root / "written").write_text("x")
        write_atomically(workspace.root / "flushed", b"y")

    lose_power(work)
    assert (workspace.root / "written").read_bytes() == b""  # its folder was flushed, its bytes were not
    assert (workspace.root / "flushed").read_bytes() == b"y"


def test_every_acknowledged_record_survives_a_power_cut(workspace: Workspace, lose_power: Any) -> None:
    def work() -> None:
        ledger = Ledger.of(workspace)
        for number in range(3):
            ledger.append(Phase.DONE, principal=ADA, run="r", step=str(number))
        entries = [Entry(Phase.RESERVED, run="r", step="3"), Entry(Phase.INTENT, run="r", step="3")]
        ledger.append_all(entries, ADA)

    lose_power(work)
    ledger = Ledger(workspace.root / "ledger")
    assert [record.step for record in ledger.records()] == ["0", "1", "2", "3", "3"]
    assert ledger.verify() == [] and ledger.environment(next(ledger.records()).environment) is not None


def test_records_in_a_new_segment_survive_a_power_cut(workspace: Workspace, lose_power: Any) -> None:
    def work() -> None:
        ledger = Ledger(workspace.root / "ledger", segment_bytes=400)
        for number in range(4):
            ledger.append(Phase.DONE, principal=ADA, run="r", step=str(number))

    lose_power(work)
    ledger = Ledger(workspace.root / "ledger", segment_bytes=400)
    assert len(ledger.segments()) == 4 and [r.step for r in ledger.records()] == ["0", "1", "2", "3"]


def test_an_artifact_is_whole_after_a_power_cut_once_its_reference_was_given(
    workspace: Workspace, lose_power: Any
) -> None:
    def work() -> None:
        store = workspace.artifacts
        with store.staging() as folder:
            (folder / "weights").mkdir()
            (folder / "weights" / "a.txt").write_text("a" * 1000)
            (folder / "b.txt").write_text("b")
            ref = store.save(DatasetRef, folder, {"rows": 2})
        write_atomically(workspace.root / "ref", ref.encode())

    lose_power(work)
    ref = DatasetRef((workspace.root / "ref").read_text())
    artifact = Workspace(workspace.settings).artifacts.open(ref)
    assert (artifact.path / "weights" / "a.txt").read_text() == "a" * 1000


class DieRequest(Request):
    pass


class DieResult(Result):
    ok: bool


@skill(effect=Effect.READS, summary="Kill the process, once.")
def die(request: DieRequest, ctx: StepContext) -> DieResult:
    if not Path("died").exists():
        Path("died").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return DieResult(ok=True)


def test_the_cursor_of_a_killed_run_stands_where_it_was(agent: Any) -> None:
    from langgraph.checkpoint.sqlite import SqliteSaver

    one = agent()
    one.registry = Registry([die])
    killed(lambda: one.start(Ask("slash", "/die")))
    (row,) = LedgerIndex.of(one.workspace).rows()
    with SqliteSaver.from_conn_string(str(one.workspace.checkpoints)) as saver:
        found = saver.get_tuple({"configurable": {"thread_id": row.run}})
    assert found is not None and "branch:to:act" in found.checkpoint["channel_versions"]
    assert one.resume(row.run).status == "done"


def test_a_run_whose_cursor_was_lost_goes_on_from_the_ledger(agent: Any, plan_file: Path) -> None:
    plan_file.write_text(
        plan_file.read_text().replace(
            "  live:",
            '  risky: {skill: fragile, with: {model: "${model.checkpoint}", unless: ok.txt}}\n  live:',
        )
    )
    one = agent()
    proposal = one.plan_for(Ask("plan_file", str(plan_file)))
    failed = one.start(proposal, Consent(proposal.plan.id, "test"))
    for path in one.workspace.root.glob("checkpoints.sqlite*"):
        path.unlink()
    Path("ok.txt").touch()
    done = agent().resume(failed.run)
    assert done.status == "done" and len(Path("board.txt").read_text().splitlines()) == 1
    records = [(r.step, r.phase) for r in Ledger.of(one.workspace).records()]
    assert records.count(("data", "intent")) == 1 and records.count((None, "proposed")) == 1
