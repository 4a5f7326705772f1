"""Who may do what: each test here is an attack on consent, roles or the order of judging and serving."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from opswright.agents.agent import Agent
from opswright.agents.approvals import Consent
from opswright.agents.planner import Ask
from opswright.core.errors import AskError, HeldError, IntegrityError
from opswright.core.files import canonical_json, sha256_json
from opswright.core.principal import Principal
from opswright.record.ledger import Ledger, Phase

ADA = Principal("ada", ("operator",), "test")
RIA = Principal("ria", ("releaser",), "test")
VIC = Principal("vic", ("viewer",), "test")


def acting(agent: Any, principal: Principal) -> Agent:
    made: Agent = agent()
    made.acting = principal
    return made


def compiled(one: Agent, plan_file: Path, change: Any = lambda plan: None) -> Path:
    """The compiled plan as a file, changed as an attacker would: with its id computed anew."""
    document = json.loads(one.plan_for(Ask("plan_file", str(plan_file))).plan.document())
    change(document["plan"])
    document["id"] = sha256_json(document["plan"])
    path = Path("plan.json")
    path.write_bytes(canonical_json(document))
    return path


def step(plan: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(one for one in plan["steps"] if one["id"] == name)
    return found


def actors(one: Agent, phase: str) -> list[tuple[str, str]]:
    return [(r.actor, r.role) for r in Ledger.of(one.workspace).records() if r.phase == phase]


@pytest.mark.parametrize(
    "change",
    [
        lambda plan: [one.update(effect="reads") for one in plan["steps"]],
        lambda plan: step(plan, "live").update(effect="writes"),
        lambda plan: step(plan, "model")["arguments"].pop("steps"),
        lambda plan: step(plan, "model")["arguments"].update(steps="many"),
        lambda plan: step(plan, "model")["arguments"].update(more=1),
        lambda plan: step(plan, "model").update(skill="forget"),
        lambda plan: step(plan, "model")["arguments"].update(data="${verdict.verdict}"),
        lambda plan: step(plan, "data").update(inputs=[]),
        lambda plan: plan.update(inputs={}),
        lambda plan: plan["inputs"].update(other="0" * 64),
        lambda plan: plan["steps"].reverse(),
        lambda plan: plan["gates"].update(release={"suite": "x"}),
        lambda plan: plan["steps"].append(step(plan, "live") | {"id": "live.gate", "skill": "gate"}),
        lambda plan: step(plan, "data").update(waive_gate="because"),
    ],
)
def test_a_forged_compiled_plan_is_refused_and_leaves_nothing(
    agent: Any, plan_file: Path, change: Any
) -> None:
    one = acting(agent, VIC)
    path = compiled(one, plan_file, change)
    with pytest.raises((IntegrityError, AskError)):
        one.start(Ask("compiled_plan", str(path)))
    assert list(Ledger.of(one.workspace).records()) == [] and not Path("board.txt").exists()


def test_an_honest_compiled_plan_is_taken_and_waits_for_consent(agent: Any, plan_file: Path) -> None:
    one = acting(agent, RIA)
    waiting = one.start(Ask("compiled_plan", str(compiled(one, plan_file))))
    assert waiting.status == "waiting"
    assert one.resume(waiting.run, Consent(waiting.plan.id, "test")).status == "done"  # type: ignore[union-attr]


def test_a_viewer_may_propose_nothing_that_changes_anything(agent: Any, plan_file: Path) -> None:
    one = acting(agent, VIC)
    refused = one.start(Ask("plan_file", str(plan_file)))
    assert (refused.status, refused.exit_code) == ("refused", 8) and "Who may: operator, releaser" in (
        refused.message
    )


@pytest.mark.parametrize("plan_id", ["typed", "", "*", "any"])
def test_consent_counts_for_its_plan_id_and_for_no_word(agent: Any, plan_file: Path, plan_id: str) -> None:
    one = acting(agent, RIA)
    waiting = one.start(Ask("plan_file", str(plan_file)), Consent(plan_id, "test"))
    assert waiting.status == "waiting" and actors(one, "approved") == []


def test_an_operator_may_not_approve_what_serves_and_a_releaser_consents_for_themselves(
    agent: Any, plan_file: Path, faults: Any
) -> None:
    ada, ria = acting(agent, ADA), acting(agent, RIA)
    proposal = ada.plan_for(Ask("plan_file", str(plan_file)))
    waiting = ada.start(proposal, Consent(proposal.plan.id, "test"))
    assert waiting.status == "waiting" and "Who may: releaser" in waiting.message
    with pytest.raises(HeldError, match="may not approve step live"):
        ada.resume(waiting.run, Consent(proposal.plan.id, "test"))
    assert ria.resume(waiting.run).status == "waiting"  # resuming is not consenting
    assert ria.resume(waiting.run, Consent(proposal.plan.id, "test")).status == "done"
    assert faults(ria) == []
    assert actors(ria, "approved") == [("ria", "releaser")]


def test_an_approval_in_the_ledger_by_who_may_not_give_it_opens_nothing(
    agent: Any, plan_file: Path, faults: Any
) -> None:
    ria = acting(agent, RIA)
    waiting = ria.start(Ask("plan_file", str(plan_file)))
    forged = Principal("made up", ("viewer",), "nobody asked")
    Ledger.of(ria.workspace).append(
        Phase.APPROVED,
        principal=forged,
        run=waiting.run,
        plan=waiting.plan.id,  # type: ignore[union-attr]
    )
    ended = ria.resume(waiting.run)
    assert ended.exit_code == 5 and "made up (viewer) does not count" in ended.message
    assert not Path("board.txt").exists()
    assert any("made up" in fault for fault in faults(ria))


def test_consent_that_is_taken_back_stops_the_next_step_that_changes_anything(
    agent: Any, plan_file: Path, faults: Any
) -> None:
    plan_file.write_text(
        plan_file.read_text().replace(
            "  live:",
            '  risky: {skill: fragile, with: {model: "${model.checkpoint}", unless: ok.txt}}\n  live:',
        )
    )
    ria = acting(agent, RIA)
    proposal = ria.plan_for(Ask("plan_file", str(plan_file)))
    failed = ria.start(proposal, Consent(proposal.plan.id, "test"))
    assert failed.status == "failed"
    ria.answer(failed.run, Consent(proposal.plan.id, "test", approved=False, why="found a flaw"))
    Path("ok.txt").touch()
    held = ria.resume(failed.run)
    assert held.exit_code == 5 and "nobody has approved it" in held.message and not Path("board.txt").exists()
    assert ria.resume(failed.run, Consent(proposal.plan.id, "test")).status == "done"
    assert faults(ria) == []


def test_an_approval_that_somebody_else_took_back_is_not_given_again_by_the_same_person(
    agent: Any, plan_file: Path, faults: Any
) -> None:
    plan_file.write_text(
        plan_file.read_text().replace(
            "  live:",
            '  risky: {skill: fragile, with: {model: "${model.checkpoint}", unless: ok.txt}}\n  live:',
        )
    )
    ria, kim = acting(agent, RIA), acting(agent, Principal("kim", ("releaser",), "test"))
    proposal = ria.plan_for(Ask("plan_file", str(plan_file)))
    yes, no = Consent(proposal.plan.id, "test"), Consent(proposal.plan.id, "test", approved=False)
    failed = ria.start(proposal, yes)
    kim.answer(failed.run, no)
    Path("ok.txt").touch()
    with pytest.raises(HeldError, match="kim took back the approval that ria gave"):
        ria.answer(failed.run, yes)
    forged = Ledger.of(ria.workspace)
    forged.append(Phase.APPROVED, principal=RIA, run=failed.run, plan=proposal.plan.id)
    assert ria.resume(failed.run).exit_code == 5 and not Path("board.txt").exists()
    kim.answer(failed.run, yes)
    assert ria.resume(failed.run).status == "done"
    (fault,) = faults(ria)
    assert "names no policy" in fault  # of the forged record alone


def test_an_approval_lapses_when_the_policy_says_so(agent: Any, plan_file: Path, tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text("approvals: {expire_hours: 0.0000001}\n")
    ria = acting(agent, RIA)
    proposal = ria.plan_for(Ask("plan_file", str(plan_file)))
    held = ria.start(proposal, Consent(proposal.plan.id, "test"))
    assert held.exit_code == 5 and "lapsed after" in held.message


def test_a_proposer_may_not_approve_on_a_protected_endpoint(
    agent: Any, plan_file: Path, tmp_path: Path
) -> None:
    (tmp_path / "policy.yaml").write_text("protected_endpoints: ['*']\n")
    ria = acting(agent, RIA)
    proposal = ria.plan_for(Ask("plan_file", str(plan_file)))
    waiting = ria.start(proposal, Consent(proposal.plan.id, "test"))
    assert waiting.status == "waiting" and "somebody else" in waiting.message
    other = acting(agent, Principal("rob", ("releaser",), "test"))
    assert other.resume(waiting.run, Consent(proposal.plan.id, "test")).status == "done"


def test_serving_before_the_gate_is_refused_when_the_plan_is_made(agent: Any, plan_file: Path) -> None:
    lines = plan_file.read_text().splitlines()
    lines[4], lines[5] = lines[5], lines[4]
    plan_file.write_text("\n".join(lines))
    with pytest.raises(AskError, match=r"step 'live' serves .* before verdict judged it"):
        acting(agent, RIA).start(Ask("plan_file", str(plan_file)))


UNJUDGED = """\
goal: Serve what nobody judged
steps:
  live: {skill: publish, with: {model: "MODEL", board: board.txt}}
"""


def trained(one: Agent, plan_file: Path, decision: str) -> str:
    plan_file.write_text(plan_file.read_text().replace("decision: GO", f"decision: {decision}"))
    proposal = one.plan_for(Ask("plan_file", str(plan_file)))
    return str(one.start(proposal, Consent(proposal.plan.id, "test")).results["model"]["checkpoint"])


def serve(one: Agent, model: str, waiver: str = "") -> Any:
    text = UNJUDGED.replace("MODEL", model)
    Path("serve.yaml").write_text(text.rstrip()[:-1] + (f", waive_gate: {waiver}}}" if waiver else "}"))
    proposal = one.plan_for(Ask("plan_file", "serve.yaml"))
    return one.start(proposal, Consent(proposal.plan.id, "test"))


def test_what_an_earlier_gate_judged_go_may_be_served(agent: Any, plan_file: Path, faults: Any) -> None:
    ria = acting(agent, RIA)
    assert serve(ria, trained(ria, plan_file, "GO")).status == "done" and faults(ria) == []


@pytest.mark.parametrize("decision", ["NO_GO", "INCONCLUSIVE"])
def test_what_no_gate_judged_go_is_not_served_without_a_waiver(
    agent: Any, plan_file: Path, decision: str, faults: Any
) -> None:
    ria = acting(agent, RIA)
    model = trained(ria, plan_file, decision)
    refused = serve(ria, model)
    assert (refused.status, refused.exit_code) == ("refused", 8) and "may not serve" in refused.message
    assert "waive_gate" in refused.message
    assert not Path("board.txt").exists()
    waived = serve(ria, model, "an emergency")
    assert waived.status == "done"
    assert faults(ria) == []
    proposed = next(r for r in Ledger.of(ria.workspace).records() if r.detail.get("waivers"))
    assert proposed.detail["waivers"] == {"live": "an emergency"}
    assert any("gate waived: an emergency" in finding["message"] for finding in waived.findings)


def test_a_gate_typed_for_oneself_opens_no_door(agent: Any, plan_file: Path) -> None:
    ria = acting(agent, RIA)
    model = trained(ria, plan_file, "NO_GO")
    judged = acting(agent, VIC).start(Ask("slash", f"/judge model={model} decision=GO"))
    assert judged.results["judge"]["verdict"]["decision"] == "GO"
    assert "may not serve" in serve(ria, model).message


def test_the_newest_verdict_counts(agent: Any, plan_file: Path) -> None:
    ria = acting(agent, RIA)
    model = trained(ria, plan_file, "GO")
    Path("again.yaml").write_text(
        f"goal: Judge again\nsteps:\n  data: {{skill: collect, with: {{source: lines.txt}}}}\n"
        f'  verdict: {{skill: judge, with: {{model: "{model}", decision: NO_GO}}}}\n'
    )
    proposal = ria.plan_for(Ask("plan_file", "again.yaml"))
    assert ria.start(proposal, Consent(proposal.plan.id, "test")).verdict == "NO_GO"
    assert "said NO_GO" in serve(ria, model).message


def test_a_plan_that_says_another_effect_than_its_skill_is_stopped_at_its_step(
    agent: Any, plan_file: Path
) -> None:
    """As when a forged plan stands in the workspace beside forged records."""
    ria = acting(agent, RIA)
    waiting = ria.start(Ask("plan_file", str(plan_file)))
    forged = compiled(ria, plan_file, lambda plan: step(plan, "data").update(effect="reads"))
    document = json.loads(forged.read_bytes())
    (ria.workspace.plans / f"{document['id']}.json").write_bytes(canonical_json(document) + b"\n")
    ledger = Ledger.of(ria.workspace)
    first = next(ledger.records())
    run = "20260101-000000-abcdef"
    what = {"run": run, "plan": document["id"], "effect": "reads", "detail": first.detail}
    ledger.append(Phase.PROPOSED, principal=VIC, **what)
    ended = acting(agent, VIC).resume(run)
    assert ended.exit_code != 0 and ended.results == {} and waiting.status == "waiting"
    stopped = ria.resume(run, Consent(document["id"], "test"))
    assert stopped.exit_code == IntegrityError.exit_code and "forged or the skill changed" in stopped.message
    assert not Path("board.txt").exists()


@pytest.mark.parametrize("run", ["../../../escape/x", "", ".", "a/b", "x" * 200, "20260101-000000-abcdef"])
def test_a_run_id_that_is_none_makes_no_folder(agent: Any, plan_file: Path, run: str) -> None:
    one = acting(agent, RIA)
    before = set(Path.cwd().rglob("*"))  # not of the folder above: that of all tests before grows very large
    with pytest.raises(AskError, match="unknown run"):
        one.resume(run)
    assert [path for path in Path.cwd().rglob("*") if path not in before and "runs/" in str(path)] == []
    assert not (Path.cwd().parent / "escape").exists()
