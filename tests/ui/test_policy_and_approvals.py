"""Who may do what, from the command line: the policy, its cases, and consent by several people."""

from __future__ import annotations

import io
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
    code, document, _ = call("--role", "operator", "approvals", "approve", run_id, "--plan", plan[:32])
    assert code == 8 and "may not approve" in document["error"]["message"]
    code, _, _ = call("--actor", "ria", "approvals", "approve", run_id, "--plan", "0" * 32)
    assert code == 5
    for given in (["approvals", "approve", run_id, "--plan"], ["resume", run_id, "--approve"]):
        code, document, _ = call("--actor", "ria", *given, plan[:12])  # two plans are made to share these
        assert code == 2 and "at least its first 32 digits" in document["error"]["message"]
    code, given, _ = call("--actor", "ria", "approvals", "approve", run_id, "--plan", plan[:32])
    assert code == 0 and given["approved_by"] == ["ria (releaser)"] and given["status"] == "approved"
    assert not Path("board.txt").exists()
    code, shown, _ = call("approvals", "show", run_id)
    assert shown["status"] == "approved" and shown["plan_document"]["goal"].startswith("Put a small model")
    assert call("resume", run_id)[0] == 0 and len(Path("board.txt").read_text().splitlines()) == 1


def test_who_may_not_approve_is_told_who_does_and_how_and_is_not_asked(
    call: Any, small_skills: ModuleType, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = Registry(small_skills.SKILLS)
    for is_terminal in (False, True):
        monkeypatch.setattr("sys.stdin", _Stdin(is_terminal))
        assert run(["--actor", "ada", "--role", "operator", "run", "plan.yaml"], registry) == 5
        shown = capsys.readouterr().err
        assert "Carry out this plan?" not in shown and "--approve" not in shown
        assert "Nothing was run. ada (role 'operator') may not approve" in shown
        assert "opswright approvals approve 2" in shown and "Who may: releaser" in shown
    monkeypatch.setattr("sys.stdin", _Stdin(False))
    assert run(["--actor", "ria", "run", "plan.yaml"], registry) == 5
    assert "--approve" in capsys.readouterr().err


def test_what_waits_says_how_it_is_answered(call: Any, capsys: Captured, small_skills: ModuleType) -> None:
    plan = Path("plan.yaml")
    plan.write_text(plan.read_text().replace("Put a small model", f"Put {'a very ' * 8}small model"))
    waiting = call("run", "plan.yaml")[1]
    registry = Registry(small_skills.SKILLS)
    assert run(["approvals", "show", waiting["run"]], registry) == 0
    answer = f"opswright approvals approve {waiting['run']} --plan {waiting['plan'][:32]}"
    told = f"to approve exactly this plan: {answer}"
    assert told in capsys.readouterr().err
    assert run(["approvals", "list"], registry) == 0 and "…" in capsys.readouterr().out
    assert call("approvals", "approve", waiting["run"], "--plan", waiting["plan"][:32])[0] == 0
    assert run(["approvals", "show", waiting["run"]], registry) == 0
    assert "to approve" not in capsys.readouterr().err


def test_a_list_says_void_in_one_word_and_where_the_reasons_are(
    call: Any, capsys: Captured, small_skills: ModuleType
) -> None:
    call("run", "plan.yaml")
    Path("lines.txt").write_text("other\n")
    assert run(["approvals", "list"], Registry(small_skills.SKILLS)) == 0
    shown = capsys.readouterr()
    assert "void" in shown.out and "lines.txt" not in shown.out
    assert "void: something changed since; `opswright approvals show RUN` says what." in shown.err


class _Stdin(io.StringIO):
    """Standard input with nothing in it that is a terminal, or is none."""

    def __init__(self, is_terminal: bool) -> None:
        super().__init__()
        self.isatty = lambda: is_terminal  # type: ignore[method-assign]


def test_each_person_lists_what_waits_for_their_answer_and_what_they_proposed(call: Any) -> None:
    hers = call("--actor", "ada", "--role", "operator", "run", "plan.yaml")[1]["run"]
    his = call("--actor", "ria", "run", "plan.yaml")[1]["run"]

    def listed(who: str, role: str, *how: str) -> set[str]:
        code, rows, _ = call("--actor", who, "--role", role, "approvals", "list", *how)
        assert code == 0
        return {row["run"] for row in rows}

    assert listed("ria", "releaser", "--mine") == {hers, his}, "a releaser may approve both"
    assert listed("ada", "operator", "--mine") == set(), "an operator may approve neither"
    assert listed("ada", "operator", "--proposed") == {hers} and listed("ria", "releaser", "--proposed") == {
        his
    }
    plan = call("approvals", "show", hers)[1]["plan"]
    call("--actor", "ria", "approvals", "approve", hers, "--plan", plan)
    assert listed("ria", "releaser", "--mine") == {his}, "what was answered waits no more"
    assert listed("ada", "operator", "--proposed") == {hers}
    assert call("approvals", "list", "--mine", "--proposed")[0] == 2


def test_a_plan_that_waits_is_refused_and_ends(call: Any) -> None:
    _, waiting, _ = call("run", "plan.yaml")
    code, denied, _ = call("approvals", "deny", waiting["run"], "--why", "not now")
    assert code == 0 and denied["status"] == "denied"
    code, over, _ = call("approvals", "approve", waiting["run"], "--plan", waiting["plan"][:32])
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


def test_what_is_left_of_the_month_is_said_when_a_plan_is_made_and_before_it_is_approved(call: Any) -> None:
    Path("policy.yaml").write_text("budgets: {people: {ada: {minutes: 2}}}\n")
    code, planned, _ = call("--actor", "ada", "plan", "plan.yaml")
    assert code == 0 and planned["month"][0]["left"] == {"minutes": 2}
    assert any("would not begin: ada's budget" in one["message"] for one in planned["findings"])
    assert call("--actor", "ria", "plan", "plan.yaml")[1]["month"] == []
    run_id = call("--actor", "ada", "run", "plan.yaml")[1]["run"]
    (left,) = call("--actor", "ria", "approvals", "show", run_id)[1]["month"]
    assert left["person"] == "ada" and left["limits"] == {"minutes": 2} and left["taken"] == {"minutes": 0}


def test_what_a_plan_will_change_is_shown_beside_the_last_run_of_its_goal(call: Any) -> None:
    first = call("run", "plan.yaml")[1]
    code, shown, _ = call("approvals", "show", first["run"])
    assert code == 0 and shown["changes"]["earlier_run"] is None and shown["costs"]["model"]["minutes"] == 3
    assert {(one["step"], one["kind"]) for one in shown["changes"]["makes"]} == {
        ("data", "Dataset"),
        ("model", "Checkpoint"),
    }
    assert call("run", "plan.yaml", "--yes")[0] == 0
    done = call("approvals", "list", "--all")[1][0]["run"]
    text = (
        Path("plan.yaml")
        .read_text()
        .replace('data: "${data.dataset}"}', 'data: "${data.dataset}", steps: 9}')
    )
    Path("plan.yaml").write_text(text.replace("steps:\n", "budget: {usd: 5}\nsteps:\n", 1))
    Path("lines.txt").write_text("one\nother\n")
    changed = call("run", "plan.yaml")[1]
    shown = call("approvals", "show", changed["run"])[1]["changes"]
    assert shown["earlier_run"] == done
    found = {one["where"]: (one["before"], one["now"]) for one in shown["differences"]}
    assert found["steps.model.steps"] == ("3", "9") and found["budget.usd"] == (None, "5")
    assert found.keys() == {"steps.model.steps", "budget.usd", "inputs.lines.txt"}


def proposed_and_approved(call: Any) -> str:
    waiting = call("--actor", "ada", "--role", "operator", "run", "plan.yaml")[1]
    argv = ("approvals", "approve", waiting["run"], "--plan", waiting["plan"])
    assert call("--actor", "ria", *argv)[0] == 0
    return str(waiting["run"])


def test_who_gave_consent_takes_it_back_and_nobody_else_does_so_in_their_name(call: Any) -> None:
    run_id = proposed_and_approved(call)
    code, refused, _ = call("--actor", "ada", "--role", "operator", "approvals", "withdraw", run_id)
    assert code == 5 and "no approval of ada" in refused["error"]["message"]
    code, taken, _ = call("--actor", "ria", "approvals", "withdraw", run_id, "--why", "too early")
    assert code == 0 and taken["approvals"] == [] and taken["denied_by"] == "ria (releaser)"
    code, _, _ = call("resume", run_id)
    assert code == 8 and not Path("board.txt").exists()


def test_consent_says_until_when_it_counts_and_does_not_count_after(call: Any) -> None:
    Path("policy.yaml").write_text("approvals: {expire_hours: 1}\n")
    run_id = proposed_and_approved(call)
    (given,) = call("approvals", "show", run_id)[1]["approvals"]
    assert given["by"] == "ria (releaser)" and given["lapses"] > given["given"] and not given["has_lapsed"]
    Path("policy.yaml").write_text("approvals: {expire_hours: 0.0000001}\n")
    assert call("approvals", "show", run_id)[1]["approvals"][0]["has_lapsed"]
    code, held, _ = call("resume", run_id)
    assert code == 5 and "lapsed" in held["message"] and not Path("board.txt").exists()
    Path("policy.yaml").write_text("approvals: {expire_hours: 1}\n")
    assert call("resume", run_id)[0] == 0


def _change_the_data() -> str:
    Path("lines.txt").write_text("other\n")
    return "lines.txt changed since ria approved"


def _remove_the_data() -> str:
    Path("lines.txt").unlink()
    return "lines.txt is gone since ria approved"


def _change_a_setting() -> str:
    with Path("opswright.toml").open("a") as file:
        file.write("[compute]\nbackend = 'slurm'\n")
    return "setting compute.backend was 'local' and is 'slurm' now"


def _change_the_gate() -> str:
    (path,) = Path(".opswright/plans").glob("*.json")
    document = json.loads(path.read_bytes())
    document["plan"]["gates"] = {"release": {"min": 0.1}}
    path.write_text(json.dumps(document))
    return "gate release.min was None and is 0.1 now"


def _tear_the_plan() -> str:
    (path,) = Path(".opswright/plans").glob("*.json")
    path.write_bytes(path.read_bytes()[:100])
    return "does not read as a plan"


CHANGES = [_change_the_data, _remove_the_data, _change_a_setting, _change_the_gate, _tear_the_plan]


@pytest.mark.parametrize("change", CHANGES)
def test_what_changes_between_consent_and_execution_voids_the_consent(call: Any, change: Any) -> None:
    run_id = proposed_and_approved(call)
    before = call("approvals", "show", run_id)[1]
    assert before["void"] == [] and before["state"] == "approved"
    message = change()
    (listed,) = call("approvals", "list")[1]
    for told in (call("approvals", "show", run_id)[1], listed):
        assert any(message in sentence for sentence in told["void"]), told["void"]
        assert told["state"].startswith("void: ") and message in told["state"]
    code, held, _ = call("resume", run_id)
    assert code == 7 and not Path("board.txt").exists(), held


def test_what_changed_before_somebody_approved_is_not_said_to_have_changed_since(call: Any) -> None:
    waiting = call("run", "plan.yaml")[1]
    Path("lines.txt").write_text("other\n")
    assert "since the plan was made" in call("approvals", "show", waiting["run"])[1]["state"]
    code, given, said = call("approvals", "approve", waiting["run"], "--plan", waiting["plan"])
    assert code == 0 and "since the plan was made, and before" in given["state"], said
    Path("lines.txt").write_text("one\ntwo\n")
    assert call("approvals", "show", waiting["run"])[1]["state"] == "approved", "it was put back"
    assert call("resume", waiting["run"])[0] == 0
    assert call("approvals", "show", waiting["run"])[1]["void"] == [], "a run that is over has acted"


def test_a_changed_input_of_a_later_step_lets_no_earlier_one_begin(call: Any) -> None:
    Path("more.txt").write_text("three\n")
    more = "  more: {skill: collect, with: {source: more.txt}, after: [data]}\n"
    Path("plan.yaml").write_text(Path("plan.yaml").read_text().replace("  model:", f"{more}  model:", 1))
    run_id = proposed_and_approved(call)
    Path("more.txt").write_text("changed\n")
    code, told, _ = call("resume", run_id)
    assert code == 7 and "more.txt changed" in told["message"] and told["results"] == {}
    Path("more.txt").write_text("three\n")
    assert call("resume", run_id)[0] == 0, "put back, it is what was consented to"
