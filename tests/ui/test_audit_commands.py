"""`opswright audit verify`, sign and keygen on runs that the agent itself carried out."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

from opswright.core.files import canonical_json
from opswright.core.principal import Principal
from opswright.core.registry import Registry
from opswright.core.settings import load_settings
from opswright.core.workspace import Workspace
from opswright.record import audit
from opswright.record.ledger import Ledger, Phase
from opswright.ui.audit_check import audit_workspace
from opswright.ui.cli import run

Captured = pytest.CaptureFixture[str]
RISKY = '  risky: {skill: fragile, with: {model: "${model.checkpoint}", unless: ok.txt}}\n  live:'


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_skills: ModuleType) -> Path:
    monkeypatch.setenv("OPSWRIGHT_MLFLOW__MIRROR", "off")
    (tmp_path / "lines.txt").write_text("one\ntwo\nthree\n")
    (tmp_path / "plan.yaml").write_text(small_skills.PLAN)
    return tmp_path


def registry() -> Registry:
    return Registry(sys.modules["small_skills_ui"].SKILLS)


def opswright(*argv: str) -> int:
    return run([str(word) for word in argv], registry())


def home() -> Workspace:
    return Workspace(load_settings(home=Path(".opswright")))


def verified() -> audit.AuditReport:
    return audit_workspace(home(), registry(), mlflow=False)


@pytest.mark.parametrize(
    ("change", "runs", "codes"),
    [
        (("", ""), 1, [0]),
        (("", ""), 2, [0, 0]),  # the second one reuses
        (("decision: GO", "decision: NO_GO"), 1, [3]),
        (("decision: GO", "decision: INCONCLUSIVE"), 2, [4, 4]),
        (("  live:", RISKY), 1, [1]),
        (("steps:", "budget: {minutes: 10, usd: 0}\nsteps:"), 1, [0]),
    ],
)
def test_what_the_agent_records_passes_every_check_without_a_note(
    change: tuple[str, str], runs: int, codes: list[int]
) -> None:
    text = Path("plan.yaml").read_text()
    Path("plan.yaml").write_text(text.replace(*change, 1) if change[0] else text)
    assert [opswright("run", "plan.yaml", "--yes", "--json") for _ in range(runs)] == codes
    report = verified()
    assert report.ok, report.faults
    assert [note for note in report.notes if "gate was set" not in note.message] == []
    assert {c.name for c in report.checked if c.not_done} == {"anchors", "signatures", "mirror", "mlflow"}


def test_a_run_that_failed_and_was_taken_up_again_passes(capsys: Captured) -> None:
    Path("plan.yaml").write_text(Path("plan.yaml").read_text().replace("  live:", RISKY, 1))
    assert opswright("run", "plan.yaml", "--yes", "--json") == 1
    name = json.loads(capsys.readouterr().out)["run"]
    Path("ok.txt").touch()
    assert opswright("resume", name, "--json") == 0
    assert verified().ok and verified().notes == ()


def test_a_refused_and_a_denied_run_pass(capsys: Captured) -> None:
    assert opswright("--role", "viewer", "run", "plan.yaml", "--yes", "--json") == 8
    capsys.readouterr()
    assert opswright("run", "plan.yaml", "--json") == 5
    name = json.loads(capsys.readouterr().out)["run"]
    assert opswright("resume", name, "--deny", "--why", "not on a Friday", "--json") == 8
    assert verified().ok, verified().faults


def test_a_waiver_is_noted_with_its_reason() -> None:
    text = Path("plan.yaml").read_text()
    text = text.replace('  verdict: {skill: judge, with: {model: "${model.checkpoint}", decision: GO}}\n', "")
    text = text.replace("live: {skill: publish,", "live: {skill: publish, waive_gate: a demo for two,")
    Path("plan.yaml").write_text(text)
    assert opswright("run", "plan.yaml", "--yes", "--json") == 0
    report = verified()
    assert report.ok, report.faults
    assert [note.check for note in report.notes] == ["serving"]
    assert report.notes[0].message.endswith("under a waiver of its gate: a demo for two")


def test_roles_are_held_against_the_policy_that_the_record_names(capsys: Captured) -> None:
    assert opswright("run", "plan.yaml", "--json") == 5
    name = json.loads(capsys.readouterr().out)["run"]
    workspace = home()
    (proposed,) = Ledger.of(workspace).records()
    mallory = Principal("mallory", ("viewer",), "made up")
    detail = {"how": "typed", "policy": proposed.detail["policy"]}
    Ledger.of(workspace).append(
        Phase.APPROVED, principal=mallory, run=name, plan=proposed.plan, detail=detail
    )
    (fault,) = verified().faults
    assert (fault.check, fault.seq) == (
        "policy",
        2,
    ) and "mallory (role 'viewer') may not approve" in fault.message

    Path(f".opswright/ledger/policies/{proposed.detail['policy']}.json").unlink()
    faults = verified().faults
    assert faults and "is not kept in ledger/policies as it was" in faults[0].message


def test_a_skill_that_is_not_installed_any_more_is_noted() -> None:
    assert opswright("run", "plan.yaml", "--yes", "--json") == 0
    fewer = Registry(one for one in registry() if one.name != "publish")
    report = audit_workspace(home(), fewer, mlflow=False)
    assert report.ok, report.faults
    assert [note.message for note in report.notes] == [
        "skill publish of step live is not installed: its effect was not compared"
    ]


def test_a_head_is_signed_verified_and_found_to_be_cut_off(capsys: Captured) -> None:
    assert opswright("run", "plan.yaml", "--yes", "--json") == 0
    assert opswright("audit", "keygen", "release-key") == 0
    assert opswright("audit", "keygen", "release-key") == 2
    assert opswright("audit", "sign", "--key", "release-key", "-o", "head.json") == 0
    assert opswright("audit", "keygen", "other") == 0
    check = ("audit", "verify", "--offline", "--signature", "head.json")
    assert opswright(*check) == 2  # a signature says nothing without a key
    assert opswright(*check, "--key", "release-key.pub") == 0
    assert opswright(*check, "--key", "other.pub") == 7
    ledger = next(Path(".opswright/ledger").glob("*.jsonl"))
    ledger.write_text("".join(ledger.read_text().splitlines(keepends=True)[:-1]))
    capsys.readouterr()
    assert opswright("audit", "verify", "--offline") == 0
    assert opswright(*check, "--key", "release-key.pub") == 7
    assert "(signatures): record 1" in capsys.readouterr().out


def test_verify_prints_every_check_each_fault_and_what_to_do_and_one_document(capsys: Captured) -> None:
    assert opswright("run", "plan.yaml", "--yes", "--json") == 0
    workspace = home()
    Ledger.of(workspace).append(
        Phase.DONE,
        principal=Principal("x", (), "x"),
        skill="deploy",
        effect="serves",
        result={"endpoint": "e"},
    )
    capsys.readouterr()
    assert opswright("audit", "verify", "--offline") == 7
    shown = capsys.readouterr().out
    assert [check.name for check in audit.CHECKS if check.name not in shown] == []
    assert "(records): record" in shown and "without a run" in shown and "What to do: " in shown
    assert opswright("audit", "verify", "--offline", "--json") == 7
    document = json.loads(capsys.readouterr().out)
    assert document["ok"] is False and document["faults"][0]["check"] == "records"
    assert canonical_json(document)
