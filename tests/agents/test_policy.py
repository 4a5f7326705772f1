"""The policy by itself: rules, endpoints and costs that a plan leaves open count as the strictest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from opswright.agents.policy import Policy, PolicyRules, read_rules
from opswright.agents.policy_cases import read_cases
from opswright.core.contract import Effect
from opswright.core.errors import AskError
from opswright.core.plan import Budget, Plan, StepCall
from opswright.core.principal import Principal

EFFECTS = {"train": Effect.WRITES, "deploy": Effect.SERVES, "look": Effect.READS}
LEAD = Principal("lea", ("lead",), "test")
MAKER = Principal("mo", ("maker",), "test")
RULES: dict[str, Any] = {
    "roles": {
        "maker": {
            "propose": ["reads", "writes", "serves"],
            "approve": ["writes", "serves"],
            "run": ["writes"],
        },
        "lead": {
            "propose": ["serves", "writes"],
            "approve": ["writes", "serves"],
            "run": ["writes", "serves"],
        },
    },
    "rules": [
        {"name": "public", "match": {"endpoints": ["public-*"]}, "approve": ["lead"]},
        {"name": "long", "match": {"skills": ["tr*"], "over": {"minutes": 60}}, "approve": ["lead"]},
    ],
    "protected_endpoints": ["public-*"],
}


def policy(**changes: Any) -> Policy:
    return Policy(PolicyRules.model_validate({**RULES, **changes}), EFFECTS.get)


def plan(skill: str, **arguments: Any) -> Plan:
    step = StepCall(id="a", skill=skill, effect=Effect.READS, arguments=arguments)
    return Plan(goal="x", budget=Budget(), gates={}, inputs={}, steps=(step,))


def rule(
    skill: str, who: Principal, costs: Any = None, proposer: Principal | None = None, **arguments: Any
) -> str:
    ruling = policy().may_approve(who, plan(skill, **arguments), proposer, costs)
    return "allowed" if ruling.allowed else ruling.rule


@pytest.mark.parametrize(
    ("endpoint", "expected"),
    [
        ("inner", "allowed"),
        ("public-chat", "public"),
        ("${name.endpoint}", "public"),
        (None, "public"),
        (3, "public"),
    ],
)
def test_an_endpoint_that_is_not_known_yet_counts_as_any(endpoint: Any, expected: str) -> None:
    assert rule("deploy", MAKER, endpoint=endpoint) == expected


def test_a_rule_about_endpoints_is_not_about_steps_without_one() -> None:
    assert rule("train", MAKER, costs={"a": {"minutes": 5}}) == "allowed"


@pytest.mark.parametrize("endpoint", ["public-chat", "${name.endpoint}", None])
def test_who_proposed_may_not_approve_where_a_protected_endpoint_may_be_meant(endpoint: Any) -> None:
    assert rule("deploy", LEAD, proposer=LEAD, endpoint=endpoint) == "protected_endpoints"
    assert rule("deploy", LEAD, proposer=MAKER, endpoint=endpoint) == "allowed"


@pytest.mark.parametrize(
    ("costs", "expected"),
    [
        ({"a": {"minutes": 60}}, "allowed"),
        ({"a": {"minutes": 61}}, "long"),
        ({"a": {"minutes": None}}, "long"),
        ({"a": {}}, "long"),
        ({}, "long"),
        (None, "long"),
    ],
)
def test_a_cost_that_is_not_known_counts_as_over(costs: Any, expected: str) -> None:
    assert rule("train", MAKER, costs=costs) == expected


def test_a_skill_that_is_not_installed_counts_as_one_that_serves() -> None:
    reader = Principal("ray", ("reader",), "test")
    roles = {**RULES["roles"], "reader": {"propose": ["reads", "writes"]}}
    asked = policy(roles=roles)
    assert asked.may_propose(reader, plan("look")).allowed
    assert not asked.may_propose(reader, plan("unknown")).allowed


def test_several_roles_add_up_and_none_is_nothing() -> None:
    both, none = Principal("x", ("maker", "lead"), "test"), Principal("x", (), "test")
    assert policy().may_approve(both, plan("deploy", endpoint="public-chat"), MAKER).allowed
    assert not policy().may_propose(none, plan("look")).allowed


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "says nothing: a policy is a mapping with at least one of roles, rules"),
        ("# later\n", "says nothing"),
        ("[]\n", "says nothing"),
        ("{}\n", "says nothing"),
        ("5\n", "says nothing"),
        (
            "protected_endpoints: ['*']\nprotected_endpoints: []\n",
            "line 2: 'protected_endpoints' is given twice",
        ),
        ("roles:\n  lead: {run: []}\n  lead: {run: [serves]}\n", "line 3: 'lead' is given twice"),
        ("approvals: {expire_hours: .inf}\n", "line 1: '.inf' is not a finite number"),
        ("rules:\n  - {name: a, match: {over: {usd: .nan}}, approve: []}\n", "'.nan' is not a finite number"),
        ("approvals: {expire_hours: 1e12}\n", "less than or equal to 87600"),
        ("rules:\n  - {name: a, match: {over: {usd: 'nan'}}, approve: []}\n", "should be a finite number"),
        ("budgets: {month: {usd: 'inf'}}\n", "should be a finite number"),
        ("protected_endpoints: &a [x]\nrules: *a\n", "anchors and aliases"),
        ("[" * 2000, "nested deeper"),
    ],
)
def test_a_policy_that_could_be_read_in_two_ways_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "policy.yaml").write_text(text)
    with pytest.raises(AskError) as caught:
        read_rules(tmp_path / "policy.yaml")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [("cases: []\ncases: []\n", "'cases' is given twice"), ("cases: [{cost: {usd: .inf}}]\n", "finite")],
)
def test_a_table_of_cases_is_read_as_strictly(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "cases.yaml").write_text(text)
    with pytest.raises(AskError, match=message):
        read_cases(tmp_path / "cases.yaml")


@pytest.mark.parametrize("kind", ["folder", "dangling link", "unreadable text"])
def test_a_policy_file_that_cannot_be_read_opens_nothing(agent: Any, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "policy.yaml"
    if kind == "folder":
        path.mkdir()
    elif kind == "dangling link":
        path.symlink_to("nowhere")
    else:
        path.write_bytes(b"\xff\xfe")
    with pytest.raises(AskError):
        _ = agent().policy
