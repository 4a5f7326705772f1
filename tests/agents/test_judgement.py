"""Serving follows judgement: each test here tries to have something served that no gate let pass."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from opswright.agents.agent import Agent
from opswright.agents.approvals import Consent
from opswright.agents.planner import Ask
from opswright.core.artifact_refs import BundleRef, CheckpointRef, EvalReportRef, GuardrailRef
from opswright.core.errors import AskError
from opswright.core.principal import Principal
from opswright.core.registry import Registry
from opswright.record.ledger import Ledger, Phase

from .judged_skills import MORE, save

RIA = Principal("ria", ("releaser",), "test")


Run = Callable[..., Any]


@pytest.fixture
def ria(agent: Any, plan_file: Path) -> Agent:
    one: Agent = agent()
    one.registry = Registry((*one.registry, *MORE))
    one.acting = RIA
    return one


@pytest.fixture
def run(ria: Agent) -> Run:
    """Have steps written as in a plan file carried out, approved; each plan is another one."""
    count = iter(range(1, 1000))

    def carry_out(**steps: str) -> Any:
        number = next(count)
        lines = [
            f"goal: Plan {number}",
            "steps:",
            f"  data: {{skill: forest, with: {{names: [n{number}]}}}}",
            *(f"  {name}: {{skill: {call}}}" for name, call in steps.items()),
        ]
        path = Path(f"plan-{number}.yaml")
        path.write_text("\n".join(lines))
        proposal = ria.plan_for(Ask("plan_file", str(path)))
        return ria.start(proposal, Consent(proposal.plan.id, "test"))

    return carry_out


def judged(run: Run, model: str, decision: str, gate: str = "judge", name: str = "model") -> Any:
    done = run(gate=f"{gate}, with: {{{name}: '{model}', decision: {decision}}}")
    assert done.verdict == decision, done.message
    return done


def serve(run: Run, model: str) -> Any:
    return run(live=f"split, with: {{models: ['{model}']}}")


@pytest.fixture
def model(ria: Agent) -> CheckpointRef:
    found: CheckpointRef = save(ria.workspace, CheckpointRef, "model")
    return found


# which verdict stands


def test_a_gate_that_could_not_decide_takes_no_no_go_back(run: Run, model: str) -> None:
    judged(run, model, "GO", "assess")
    judged(run, model, "NO_GO")
    judged(run, model, "INCONCLUSIVE")
    assert "said NO_GO" in serve(run, model).message and not Path("board.txt").exists()


def test_a_gate_that_could_not_decide_takes_no_go_back(run: Run, model: str, ria: Agent, faults: Any) -> None:
    judged(run, model, "GO")
    judged(run, model, "INCONCLUSIVE")
    assert serve(run, model).status == "done" and faults(ria) == []


def test_a_gate_that_is_approved_after_it_judged_opens_no_door(run: Run, model: str, ria: Agent) -> None:
    typed = ria.start(Ask("slash", f"/judge model={model} decision=GO"))
    assert typed.verdict == "GO"
    Ledger.of(ria.workspace).append(Phase.APPROVED, principal=RIA, run=typed.run, plan=typed.plan.id)  # type: ignore[union-attr]
    assert "no gate judged" in serve(run, model).message and not Path("board.txt").exists()


@pytest.mark.parametrize(("plan", "counts"), [("e" * 64, False), ("its own", True)])
def test_a_gate_counts_by_the_approval_of_its_own_plan(
    run: Run, model: str, ria: Agent, plan: str, counts: bool
) -> None:
    proposed = ria.plan_for(Ask("slash", f"/judge model={model} decision=GO")).plan
    (ria.workspace.plans / f"{proposed.id}.json").write_bytes(proposed.document())
    ledger, name = Ledger.of(ria.workspace), "20260101-000000-abcdef"
    steps = [{"id": s.id, "skill": s.skill, "effect": str(s.effect)} for s in proposed.steps]
    detail = {"goal": "judge", "folder": str(Path.cwd()), "steps": steps}
    what: dict[str, Any] = {"principal": RIA, "run": name}
    ledger.append(Phase.PROPOSED, **what, plan=proposed.id, effect="reads", detail=detail)
    ledger.append(Phase.APPROVED, **what, plan=proposed.id if counts else plan)
    assert ria.resume(name).verdict == "GO"
    assert (serve(run, model).status == "done") is counts


def test_consent_that_is_taken_back_afterwards_takes_no_no_go_with_it(
    run: Run, model: str, ria: Agent
) -> None:
    judged(run, model, "GO", "assess")
    against = judged(run, model, "NO_GO")
    Ledger.of(ria.workspace).append(Phase.DENIED, principal=RIA, run=against.run, plan=against.plan.id)
    assert "said NO_GO" in serve(run, model).message


# what a verdict is about


def test_a_bundle_is_served_on_the_verdict_about_what_a_step_built_it_from(
    run: Run, model: str, ria: Agent, faults: Any
) -> None:
    judged(run, model, "GO")
    bundle = run(engine=f"build, with: {{model: '{model}'}}").results["engine"]["bundle"]
    assert serve(run, bundle).status == "done" and faults(ria) == []


def test_a_bundle_that_no_record_made_is_not_served_on_the_verdict_about_its_parent(
    run: Run, model: str, ria: Agent
) -> None:
    judged(run, model, "GO")
    forged = save(ria.workspace, BundleRef, "forged", model)
    assert "no gate judged" in serve(run, forged).message and not Path("board.txt").exists()


def test_a_bundle_is_not_served_on_the_verdict_about_a_model_its_step_was_not_given(
    run: Run, model: str, ria: Agent
) -> None:
    judged(run, model, "GO")
    other = save(ria.workspace, CheckpointRef, "other")
    run(first=f"build, with: {{model: '{other}', claims: '{other}'}}")
    bundle = run(engine=f"build, with: {{model: '{model}', claims: '{other}'}}").results["engine"]["bundle"]
    assert "no gate judged" in serve(run, bundle).message


def test_a_report_counts_for_the_model_that_a_step_measured(
    run: Run, model: str, ria: Agent, faults: Any
) -> None:
    report = run(figures=f"measure, with: {{model: '{model}'}}").results["figures"]["report"]
    judged(run, report, "GO", "assess", "report")
    assert serve(run, model).status == "done" and faults(ria) == []


def test_a_report_that_no_record_made_counts_for_no_model(run: Run, model: str, ria: Agent) -> None:
    forged = save(ria.workspace, EvalReportRef, "forged", model)
    judged(run, forged, "GO", "assess", "report")
    assert "no gate judged" in serve(run, model).message and not Path("board.txt").exists()


def test_a_report_that_is_removed_takes_no_verdict_with_it(run: Run, model: str, ria: Agent) -> None:
    judged(run, model, "GO")
    report = run(figures=f"measure, with: {{model: '{model}'}}").results["figures"]["report"]
    judged(run, report, "NO_GO", "assess", "report")
    (ria.workspace.artifacts.folder(EvalReportRef(report)) / "artifact.json").unlink()
    assert "said NO_GO" in serve(run, model).message


# what is served


NESTED = (
    "models: ['{}']",
    "named: {{a: '{}'}}",
    "shares: [{{model: '{}', percent: 9}}]",
    "by_model: {{'{}': 5}}",
)


@pytest.mark.parametrize("place", NESTED)
def test_a_model_deep_in_a_request_is_judged_like_any_other(
    run: Run, model: str, ria: Agent, faults: Any, place: str
) -> None:
    step = f"split, with: {{{place.format(model)}}}"
    refused = run(live=step)
    assert "may not serve" in refused.message and not Path("board.txt").exists()
    judged(run, model, "GO")
    assert run(live=step).status == "done" and faults(ria) == []


def test_one_model_that_was_judged_carries_no_other_with_it(run: Run, model: str, ria: Agent) -> None:
    judged(run, model, "GO")
    other = save(ria.workspace, CheckpointRef, "other")
    assert run(live=f"split, with: {{models: ['{model}', '{other}']}}").status != "done"
    assert not Path("board.txt").exists()


def test_a_plan_that_serves_deep_in_a_request_before_its_gate_is_refused(run: Run, model: str) -> None:
    with pytest.raises(AskError, match=r"serves .* before gate judged it"):
        run(
            live=f"split, with: {{models: ['{model}']}}",
            gate=f"judge, with: {{model: '{model}'}}, after: [live]",
        )


def test_a_skill_that_says_what_it_serves_is_held_against_judgement(run: Run, model: str, ria: Agent) -> None:
    Path("canary.txt").write_text(model)
    assert "no gate judged" in run(live="advance").message
    judged(run, model, "GO")
    judged(run, model, "NO_GO")
    assert "said NO_GO" in run(live="advance").message and not Path("board.txt").exists()
    assert run(live="advance, waive_gate: an emergency").status == "done" and Path("board.txt").exists()


def test_rails_that_no_recorded_step_made_are_not_served(run: Run, model: str, ria: Agent) -> None:
    judged(run, model, "GO")
    rails = save(ria.workspace, GuardrailRef, "lets all through")
    call = f"split, with: {{models: ['{model}'], rails: '{rails}'}}"
    assert f"no recorded step made {rails.short}" in run(live=call).message
    assert not Path("board.txt").exists()
    assert run(rails="fence, with: {name: lets all through}").status == "done"
    assert run(live=call).status == "done" and Path("board.txt").exists()


def test_a_skill_that_says_it_serves_nothing_needs_no_gate(run: Run, model: str) -> None:
    assert run(back=f"withdraw, with: {{models: ['{model}']}}").status == "done"


def test_artifacts_deep_in_a_result_are_recorded(run: Run, ria: Agent) -> None:
    done = run()
    record = next(r for r in Ledger.of(ria.workspace).records() if r.skill == "forest" and r.artifacts)
    tree = done.results["data"]["trees"][0]
    assert record.artifacts == {"trees.0": tree, "best.tree.model": tree}


# what is asked


def edit_index(one: Agent, *commands: str) -> None:
    from opswright.record.index import LedgerIndex

    LedgerIndex.of(one.workspace).refresh()
    folder = one.workspace.root / "index"
    database = sqlite3.connect(folder / (folder / "current").read_text())
    for command in commands:
        database.execute(command)
    database.commit()
    database.close()


def test_a_no_go_that_is_taken_out_of_the_index_still_counts(run: Run, model: str, ria: Agent) -> None:
    judged(run, model, "GO", "assess")
    against = judged(run, model, "NO_GO")
    lines = f"(SELECT number FROM lines WHERE run = (SELECT id FROM names WHERE text = '{against.run}'))"
    edit_index(
        ria,
        f"DELETE FROM links WHERE line IN {lines}",
        f"DELETE FROM lines WHERE number IN {lines}",
        f"DELETE FROM runs WHERE run = '{against.run}'",
    )
    assert "said NO_GO" in serve(run, model).message and not Path("board.txt").exists()


def test_a_denial_that_is_taken_out_of_the_index_stops_serving(
    run: Run, model: str, agent: Any, ria: Agent
) -> None:
    judged(run, model, "GO")
    held = run(
        risky=f"fragile, with: {{model: '{model}', unless: ok.txt}}",
        live=f"split, with: {{models: ['{model}']}}",
    )
    assert held.status == "failed"
    ledger = Ledger.of(ria.workspace)
    denied = ledger.append(Phase.DENIED, principal=RIA, run=held.run, plan=held.plan.id)
    edit_index(
        ria,
        f"DELETE FROM lines WHERE seq = {denied.seq}",
        f"UPDATE runs SET records = records - 1, last = last - 1 WHERE run = '{held.run}'",
    )
    Path("ok.txt").touch()
    again: Agent = agent()
    again.registry, again.acting = ria.registry, RIA
    ended = again.resume(held.run)
    assert ended.status == "failed" and "than its index tells of" in ended.message
    assert not Path("board.txt").exists()
