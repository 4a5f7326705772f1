"""A run from the ask to the report, and what stops it on the way."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from opswright.agents.approvals import Consent
from opswright.agents.planner import Ask
from opswright.core.errors import AskError, HeldError, IntegrityError
from opswright.core.workspace import Workspace
from opswright.record.ledger import Ledger

BOOKKEEPING = ("reserved", "settled")


def phases(workspace: Workspace) -> list[tuple[str | None, str]]:
    """What the ledger tells, without what a budget is kept by."""
    return [(r.step, r.phase) for r in Ledger.of(workspace).records() if r.phase not in BOOKKEEPING]


def test_a_plan_waits_for_approval_and_nothing_runs_before_it(agent: Any, plan_file: Path) -> None:
    one = agent()
    waiting = one.start(Ask("plan_file", str(plan_file)))
    assert waiting.status == "waiting" and waiting.exit_code == 5
    assert phases(one.workspace) == [(None, "proposed")]
    done = one.resume(waiting.run, Consent(waiting.plan.id, "test"))
    assert done.status == "done" and done.exit_code == 0
    assert phases(one.workspace) == [
        (None, "proposed"),
        (None, "approved"),
        *[(step, phase) for step in ("data", "model", "verdict", "live") for phase in ("intent", "done")],
        (None, "done"),
    ]
    assert len(Path("board.txt").read_text().splitlines()) == 1


def test_consent_to_another_plan_starts_nothing(agent: Any, plan_file: Path) -> None:
    one = agent()
    waiting = one.start(Ask("plan_file", str(plan_file)))
    with pytest.raises(HeldError, match="not aaaa"):
        one.resume(waiting.run, Consent("a" * 64, "test"))
    other = one.start(Ask("plan_file", str(plan_file)), Consent("b" * 64, "test"))
    assert other.status == "waiting" and not Path("board.txt").exists()


def test_a_denied_plan_ends_and_is_recorded(agent: Any, plan_file: Path) -> None:
    one = agent()
    waiting = one.start(Ask("plan_file", str(plan_file)))
    answer = Consent(waiting.plan.id, "test", approved=False, why="not on a Friday")
    denied = one.answer(waiting.run, answer)
    assert denied.status == "denied" and denied.exit_code == 8 and "Friday" in denied.message
    assert [p for _, p in phases(one.workspace)] == ["proposed", "denied", "failed"]
    assert one.resume(waiting.run, Consent(waiting.plan.id, "late")).status == "denied"


@pytest.mark.parametrize(("decision", "code"), [("NO_GO", 3), ("INCONCLUSIVE", 4)])
def test_a_gate_that_does_not_say_go_ends_the_run_before_anything_is_served(
    agent: Any, plan_file: Path, decision: str, code: int
) -> None:
    plan_file.write_text(plan_file.read_text().replace("decision: GO", f"decision: {decision}"))
    one = agent()
    plan = one.plan_for(Ask("plan_file", str(plan_file))).plan
    ended = one.start(Ask("plan_file", str(plan_file)), Consent(plan.id, "test"))
    assert (ended.verdict, ended.exit_code) == (decision, code)
    assert "live" in ended.message and not Path("board.txt").exists()


def test_a_second_run_reuses_what_is_unchanged_and_serves_again(agent: Any, plan_file: Path) -> None:
    one = agent()
    plan = one.plan_for(Ask("plan_file", str(plan_file))).plan
    for _ in range(2):
        one.start(Ask("plan_file", str(plan_file)), Consent(plan.id, "test"))
    second = phases(one.workspace)[11:]
    assert ("data", "reused") in second and ("model", "reused") in second and ("live", "done") in second
    assert len(Path("board.txt").read_text().splitlines()) == 2


def test_a_damaged_artifact_is_made_again_not_reused(agent: Any, plan_file: Path) -> None:
    one = agent()
    plan = one.plan_for(Ask("plan_file", str(plan_file))).plan
    first = one.start(Ask("plan_file", str(plan_file)), Consent(plan.id, "test"))
    folder = one.workspace.artifacts.root / first.results["data"]["dataset"].replace(":", "/")
    (folder / "files" / "train.jsonl").write_text("tampered")
    again = agent()
    ended = again.start(Ask("plan_file", str(plan_file)), Consent(plan.id, "test"))
    assert ended.status == "done" and (folder / "files" / "train.jsonl").read_text() == "one\ntwo\nthree"
    assert [p for s, p in phases(one.workspace) if s == "data"] == ["intent", "done", "intent", "done"]


def test_an_input_changed_after_approval_stops_the_step(agent: Any, plan_file: Path) -> None:
    one = agent()
    waiting = one.start(Ask("plan_file", str(plan_file)))
    Path("lines.txt").write_text("other\n")
    ended = one.resume(waiting.run, Consent(waiting.plan.id, "test"))
    assert ended.exit_code == IntegrityError.exit_code and "lines.txt changed" in ended.message
    assert ("data", "denied") in phases(one.workspace)


def test_a_failed_step_is_recorded_and_resume_goes_on_from_it(agent: Any, plan_file: Path) -> None:
    plan_file.write_text(
        plan_file.read_text().replace(
            "  live:",
            '  risky: {skill: fragile, with: {model: "${model.checkpoint}", unless: ok.txt}}\n  live:',
        )
    )
    one = agent()
    plan = one.plan_for(Ask("plan_file", str(plan_file))).plan
    failed = one.start(Ask("plan_file", str(plan_file)), Consent(plan.id, "test"))
    assert failed.status == "failed" and failed.exit_code == 1 and "the disk said no" in failed.message
    Path("ok.txt").touch()
    done = agent().resume(failed.run)
    assert done.status == "done" and list(done.results) == ["data", "model", "verdict", "risky", "live"]
    assert [p for s, p in phases(one.workspace) if s == "data"] == ["intent", "done"]
    assert [p for s, p in phases(one.workspace) if s == "risky"] == ["intent", "failed", "intent", "done"]


def test_two_resumes_of_one_run_act_once(agent: Any, plan_file: Path) -> None:
    first = agent()
    waiting = first.start(Ask("plan_file", str(plan_file)))
    first.answer(waiting.run, Consent(waiting.plan.id, "click"))
    ended: list[object] = []
    together = threading.Barrier(4)

    def resume() -> None:
        one = agent()
        together.wait()
        try:
            ended.append(one.resume(waiting.run).status)
        except HeldError:
            ended.append("held")

    threads = [threading.Thread(target=resume) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert "done" in ended and set(ended) <= {"done", "held"}
    assert len(Path("board.txt").read_text().splitlines()) == 1
    begun = [step for step, phase in phases(first.workspace) if phase == "intent"]
    assert sorted(map(str, begun)) == ["data", "live", "model", "verdict"]


def test_resuming_an_unknown_run_is_refused(agent: Any) -> None:
    with pytest.raises(AskError, match="unknown run"):
        agent().resume("20260101-000000-abcdef")


def test_a_viewer_may_not_run_what_writes(agent: Any, plan_file: Path) -> None:
    one = agent(role="viewer")
    refused = one.start(Ask("plan_file", str(plan_file)))
    assert refused.status == "refused" and refused.exit_code == 8 and "viewer" in refused.message
    assert [p for _, p in phases(one.workspace)] == ["proposed", "failed"]


def test_a_preflight_stop_refuses_the_plan_before_consent(agent: Any, plan_file: Path) -> None:
    plan_file.write_text(plan_file.read_text().replace("board.txt", "nowhere/board.txt"))
    refused = agent().start(Ask("plan_file", str(plan_file)))
    assert refused.status == "refused" and refused.exit_code == 1 and "no folder nowhere" in refused.message


def test_a_budget_that_the_estimate_breaks_refuses_the_plan(agent: Any, plan_file: Path) -> None:
    plan_file.write_text(plan_file.read_text().replace("steps:\n", "budget: {minutes: 1}\nsteps:\n", 1))
    refused = agent().start(Ask("plan_file", str(plan_file)))
    assert refused.status == "refused" and refused.exit_code == 6 and "expected to take 3." in refused.message


def test_reading_needs_nobodys_consent(agent: Any, plan_file: Path) -> None:
    one = agent()
    plan = one.plan_for(Ask("plan_file", str(plan_file))).plan
    first = one.start(Ask("plan_file", str(plan_file)), Consent(plan.id, "test"))
    model = first.results["model"]["checkpoint"]
    read = one.start(Ask("slash", f"/judge model={model[:24]}"))
    assert read.status == "done" and read.results["judge"]["verdict"]["decision"] == "GO"


def test_a_wrong_command_leaves_no_run(agent: Any) -> None:
    one = agent()
    with pytest.raises(AskError, match="Did you mean 'train'"):
        one.start(Ask("slash", "/trian steps=3"))
    assert phases(one.workspace) == []
