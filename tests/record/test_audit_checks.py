"""Every check of the audit against what it is there to find: a damaged workspace, at its first record."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import opswright
from opswright.core.plan import Plan
from opswright.core.principal import Principal, Ruling
from opswright.core.workspace import Workspace
from opswright.record import audit
from opswright.record.ledger import Ledger

from .attacks import on_authority, on_months, on_records, on_serving, on_steps
from .attacks.attack import ATTACKS, RUN, Damage, Place, Rewrite, Roles

EFFECTS = {
    **dict.fromkeys(("curate", "finetune", "evaluate", "build-engine"), "writes"),
    **dict.fromkeys(("deploy", "promote", "rollback"), "serves"),
    "gate": "reads",
}


@pytest.fixture
def scene(full_scene: Any) -> Any:
    return full_scene


def verify(workspace: Workspace, roles: Roles | None = None, **more: Any) -> audit.AuditReport:
    policy = roles or Roles()
    given = {"effects": EFFECTS, "policies": lambda digest: policy if digest == "a" * 64 else None}
    return audit.verify(workspace, mlflow=False, **{**given, **more})


def place_of(workspace: Workspace, at: Place) -> int:
    """The number of the last record of that step and phase, as the ledger is now."""
    if isinstance(at, int):
        return at
    return [r.seq for r in Ledger.of(workspace).records() if (r.step, r.phase) == at][-1]


@pytest.mark.parametrize(("check", "damage", "at", "message", "how"), ATTACKS)
def test_what_was_tried_is_found_at_its_record_and_by_its_check_alone(
    workspace: Workspace,
    scene: Any,
    rewrite: Rewrite,
    check: str,
    damage: Damage,
    at: Place,
    message: str,
    how: dict[str, Any],
) -> None:
    how = dict(how)
    is_first = how.pop("is_first", True)
    damage(scene, rewrite)
    report = verify(workspace, **how)
    found = [fault for fault in report.faults if fault.check == check and message in fault.message]
    assert found, report.faults
    assert found[0].seq == place_of(workspace, at) and found[0].remedy
    assert report.first_bad == (found[0].seq or None) or not is_first, report.faults

    others = [one for one in audit.CHECKS if one.name != check]
    without = verify(workspace, **how, checks=others)
    assert not [fault for fault in without.faults if message in fault.message]


def test_a_month_is_not_judged_by_a_policy_that_is_not_kept_and_the_audit_says_so(
    workspace: Workspace, scene: Any
) -> None:
    scene.ship(RUN)
    report = verify(workspace, policies=lambda digest: None)
    told = [note.message for note in report.notes if note.check == "months"]
    assert len(told) == 6 and "its policy is not kept" in told[0]
    assert not [fault for fault in report.faults if fault.check == "months"]
    unasked = {one.name: one.not_done for one in verify(workspace, policies=None).checked}
    assert unasked["months"] == unasked["policy"] == "no policy is at hand"


def checks_with_attacks() -> set[str]:
    """The checks that some test in this folder damages a workspace for."""
    attacks = [Path(str(one.__file__)) for one in (on_authority, on_months, on_records, on_serving, on_steps)]
    sources = "".join(path.read_text() for path in [*Path(__file__).parent.glob("test_audit*.py"), *attacks])
    return set(re.findall(r'(?:@attack|mark\.audits)\(\s*"([a-z]+)"', sources))


def test_what_was_recorded_before_a_plan_could_say_more_still_verifies(
    workspace: Workspace, scene: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an upgrade the policy must still know which plan an approval was of."""

    class LaterPlan(Plan):
        note: str = ""

    class Strict(Roles):
        def may_run(self, principal: Principal, plan: Plan, *rest: Any, **more: Any) -> Ruling:
            (_, approvals, *_) = rest
            known = any(one.plan == plan.id for one in approvals)
            return super().may_run(principal, plan, *rest, **more) if known else Ruling(False, "roles", "no")

    scene.ship(RUN)
    monkeypatch.setattr("opswright.record.audit.plans.Plan", LaterPlan)
    assert verify(workspace, Strict()).faults == ()


def test_every_check_is_in_the_guide_and_has_a_test_that_damages_a_workspace() -> None:
    names = [check.name for check in audit.CHECKS]
    assert len(set(names)) == len(names) and checks_with_attacks() == set(names)
    guide = (Path(opswright.__file__).parent / "docs/guide/record.md").read_text()
    rows = [f"| **{check.name}** | {check.looks_at} |" for check in audit.CHECKS]
    assert re.findall(r"^\| \*\*[a-z]+\*\* \|.*$", guide, re.MULTILINE) == rows


def test_every_check_says_what_to_do_about_its_faults() -> None:
    assert [check.name for check in audit.CHECKS if len(check.remedy) < 30] == []
