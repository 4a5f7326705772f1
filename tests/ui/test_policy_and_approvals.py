"""Who may do what, from the command line: the policy, its cases, and consent by several people."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from opswright.core.registry import Registry
from opswright.ui.cli import run

Captured = pytest.CaptureFixture[str]

POLICY = """\
roles:
  viewer: {propose: [reads], run: [reads]}
  maker: {propose: [reads, writes, serves], approve: [writes], run: [reads, writes]}
  lead: {propose: [reads, writes, serves], approve: [reads, writes, serves], run: [reads, writes, serves]}
rules:
  - name: boards-need-a-lead
    match: {skills: [publish]}
    approve: [lead]
  - name: long-training
    match: {skills: [train], over: {minutes: 60}}
    approve: [lead]
protected_endpoints: ["public-*"]
approvals: {expire_hours: 72}
"""

CASES = """\
cases:
  - {case: a maker may not approve a board, who: {roles: [maker]}, may: approve, skill: publish, expect: deny}
  - {case: a lead may, who: {roles: [lead]}, may: approve, skill: publish, expect: allow}
  - case: long training needs a lead
    who: {roles: [maker]}
    may: approve
    skill: train
    cost: {minutes: 90}
    expect: deny
    rule: long-training
  - case: short training does not
    who: {roles: [maker]}
    may: approve
    skill: train
    cost: {minutes: 5}
    expect: allow
  - case: who proposed may not approve on a protected endpoint
    who: {name: lea, roles: [lead]}
    may: approve
    skill: publish
    endpoint: public-chat
    proposed_by: {name: lea, roles: [lead]}
    expect: deny
    rule: protected_endpoints
  - case: nothing runs unapproved
    who: {roles: [lead]}
    may: run
    skill: train
    expect: deny
    rule: approval
  - case: approved training runs
    who: {roles: [maker]}
    may: run
    skill: train
    approved_by: {name: lea, roles: [lead]}
    expect: allow
"""


@pytest.fixture
def call(small_skills: ModuleType, tmp_path: Path, capsys: Captured) -> Any:
    (tmp_path / "lines.txt").write_text("one\ntwo\n")
    (tmp_path / "plan.yaml").write_text(small_skills.PLAN)
    (tmp_path / "opswright.toml").write_text('[mlflow]\nmirror = "off"\n')

    def opswright(*argv: str) -> tuple[int, Any, str]:
        code = run([*argv, "--json"] if "--json" not in argv else [*argv], Registry(small_skills.SKILLS))
        said = capsys.readouterr()
        return code, json.loads(said.out) if said.out.strip() else None, said.err

    return opswright


def test_the_built_in_policy_is_shown_and_a_file_takes_its_place(call: Any) -> None:
    code, shown, _ = call("policy", "show")
    assert (
        code == 0
        and shown["source"] == "built in"
        and list(shown["roles"])
        == [
            "viewer",
            "operator",
            "releaser",
        ]
    )
    Path("policy.yaml").write_text(POLICY)
    code, shown, _ = call("--role", "lead", "policy", "show")
    assert code == 0 and list(shown["roles"]) == ["viewer", "maker", "lead"]
    assert shown["digest"] != call("policy", "show")[1] and shown["rules"][0]["name"] == "boards-need-a-lead"


def test_a_table_of_cases_tries_the_policy(call: Any) -> None:
    Path("policy.yaml").write_text(POLICY)
    Path("cases.yaml").write_text(CASES)
    code, tried, _ = call("--role", "lead", "policy", "test", "cases.yaml")
    assert code == 0 and tried["ok"] and len(tried["cases"]) == 7
    Path("policy.yaml").write_text(POLICY.replace("approve: [lead]", "approve: [maker, lead]"))
    code, tried, _ = call("--role", "lead", "policy", "test", "cases.yaml")
    assert code == 1 and [c["case"] for c in tried["cases"] if not c["holds"]] == [
        "long training needs a lead"
    ]


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ("roles: {viewer: {propose: [rads]}}", "Input should be 'reads'"),
        ("rules: [{name: a, approve: [kng]}]", "names role 'kng'"),
        ("rules: [{name: a}, {name: a}]", "two rules are named 'a'"),
        ("rules: [{name: a, match: {over: {dollars: 3}}}]", "limits 'dollars'"),
        ("rols: {}", "Did you mean 'roles'"),
        ("roles: [", "not valid YAML"),
    ],
)
def test_a_policy_that_is_wrong_is_said_and_nothing_runs(call: Any, policy: str, message: str) -> None:
    Path("policy.yaml").write_text(policy)
    code, document, _ = call("run", "plan.yaml", "--yes")
    assert code == 2 and message in document["error"]["message"] and not Path("board.txt").exists()


def test_a_plan_is_proposed_by_one_and_approved_by_another(call: Any) -> None:
    code, waiting, _ = call("--actor", "ada", "--role", "operator", "run", "plan.yaml", "--yes")
    assert code == 5 and waiting["status"] == "waiting" and "Who may: releaser" in waiting["message"]
    run_id, plan = waiting["run"], waiting["plan"]
    code, listed, _ = call("approvals", "list")
    assert [(r["run"], r["status"], r["needs"]) for r in listed] == [(run_id, "waiting", ["releaser"])]
    code, document, _ = call("--role", "operator", "approvals", "approve", run_id, "--plan", plan[:12])
    assert code == 8 and "may not approve" in document["error"]["message"]
    code, _, _ = call("--actor", "ria", "approvals", "approve", run_id, "--plan", "0" * 12)
    assert code == 5
    code, given, _ = call("--actor", "ria", "approvals", "approve", run_id, "--plan", plan[:12])
    assert code == 0 and given["approved_by"] == ["ria (releaser)"] and given["status"] == "approved"
    assert not Path("board.txt").exists()
    code, shown, _ = call("approvals", "show", run_id)
    assert shown["status"] == "approved" and shown["plan_document"]["goal"].startswith("Put a small model")
    assert call("resume", run_id)[0] == 0 and len(Path("board.txt").read_text().splitlines()) == 1


def test_a_plan_that_waits_is_refused_and_ends(call: Any) -> None:
    _, waiting, _ = call("run", "plan.yaml")
    code, denied, _ = call("approvals", "deny", waiting["run"], "--why", "not now")
    assert code == 0 and denied["status"] == "denied"
    code, over, _ = call("approvals", "approve", waiting["run"], "--plan", waiting["plan"][:12])
    assert code == 5 and "is over" in over["error"]["message"]
    assert call("approvals", "list")[1] == [] and len(call("approvals", "list", "--all")[1]) == 1


def test_serving_without_a_gate_asks_for_a_reason_on_the_command_line(call: Any) -> None:
    call("run", "plan.yaml", "--yes")
    Path("plan.yaml").write_text(Path("plan.yaml").read_text().replace("decision: GO", "decision: NO_GO"))
    code, ended, _ = call("run", "plan.yaml", "--yes")
    assert code == 3
    model = ended["results"]["model"]["checkpoint"]
    code, refused, _ = call("publish", "--model", model, "--board", "other.txt", "--yes")
    assert code == 8 and "waive-gate" in refused["message"]
    waived = call("publish", "--model", model, "--board", "other.txt", "--waive-gate", "a drill", "--yes")
    assert waived[0] == 0 and Path("other.txt").exists()


def test_what_was_spent_is_told_by_person_and_skill(call: Any) -> None:
    waiting = call("--actor", "ada", "--role", "operator", "run", "plan.yaml")[1]
    call("--actor", "ria", "approvals", "approve", waiting["run"], "--plan", waiting["plan"])
    assert call("--actor", "ria", "resume", waiting["run"])[0] == 0
    code, report, _ = call("spend")
    assert code == 0 and [line["name"] for line in report["lines"]] == ["ada"]
    assert {line["name"] for line in call("spend", "--by", "skill")[1]["lines"]} >= {"train", "publish"}
    assert call("spend", "--since", "2999-01-01")[1]["lines"] == []
    assert call("spend", "--since", "soon")[0] == 2
