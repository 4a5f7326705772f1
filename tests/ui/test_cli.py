"""The command line's contract: stdout, stderr, exit codes, JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

from opswright.core.principal import Principal
from opswright.core.registry import Registry
from opswright.record.ledger import Ledger, Phase
from opswright.ui.cli import run


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_skills: ModuleType) -> Path:
    monkeypatch.setenv("OPSWRIGHT_MLFLOW__MIRROR", "off")
    (tmp_path / "lines.txt").write_text("one\ntwo\nthree\n")
    (tmp_path / "plan.yaml").write_text(small_skills.PLAN)
    return tmp_path


def opswright(*argv: str) -> int:
    return run([str(word) for word in argv], Registry(sys.modules["small_skills_ui"].SKILLS))


Captured = pytest.CaptureFixture[str]


def test_a_plan_is_compiled_applied_with_its_id_and_shown_as_one_document(capsys: Captured) -> None:
    assert opswright("plan", "plan.yaml", "-o", "plan.json") == 0
    plan_id = capsys.readouterr().out.strip()
    assert len(plan_id) == 64
    assert opswright("apply", "plan.json", "--approve", plan_id[:32], "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["status"] == "done" and document["plan"] == plan_id
    assert Path("board.txt").read_text().count("\n") == 1


def test_settings_lists_what_the_plan_chose_and_what_stands_at_a_default(capsys: Captured) -> None:
    assert opswright("plan", "plan.yaml", "--settings") == 0
    lines = capsys.readouterr().err.splitlines()
    rows = [line.split() for line in lines if line.rstrip().endswith((" default", " the plan"))]
    assert ["data", "source", "lines.txt", "the", "plan"] in rows
    assert any(row[-1] == "default" for row in rows)


@pytest.mark.parametrize(
    ("change", "options", "code", "message"),
    [
        (("board.txt", "nowhere/board.txt"), [], 1, "live: no folder nowhere"),
        (("steps:", "budget: {minutes: 1}\nsteps:"), [], 6, "minutes"),
        (("", ""), ["--role", "viewer"], 8, "may not propose"),
        (
            ('  verdict: {skill: judge, with: {model: "${model.checkpoint}", decision: GO}}\n', ""),
            [],
            8,
            "no gate",
        ),
    ],
)
def test_a_plan_that_would_be_refused_says_so_and_is_never_0(
    change: tuple[str, str], options: list[str], code: int, message: str, capsys: Captured
) -> None:
    text = Path("plan.yaml").read_text()
    Path("plan.yaml").write_text(text.replace(*change, 1) if change[0] else text)
    assert opswright(*options, "plan", "plan.yaml", "-o", "plan.json") == code
    shown = capsys.readouterr().err
    assert "would be refused" in shown and message in shown and "Carry it out" not in shown
    assert opswright(*options, "plan", "plan.yaml", "--json") == code
    document = json.loads(capsys.readouterr().out)
    assert document["exit_code"] == code and message in " ".join(document["refused"])
    assert opswright(*options, "run", "plan.yaml", "--yes") == code  # as a run of it ends


def test_who_may_propose_a_plan_but_not_approve_it_is_told_who_may(capsys: Captured) -> None:
    assert opswright("--role", "operator", "plan", "plan.yaml", "-o", "plan.json") == 0
    shown = capsys.readouterr().err
    assert "Somebody else must approve it" in shown and "releaser" in shown and "Carry it out" not in shown


def test_without_a_terminal_nothing_is_asked_and_nothing_runs(capsys: Captured) -> None:
    assert opswright("run", "plan.yaml") == 5
    shown = capsys.readouterr()
    assert "--approve" in shown.err and not Path("board.txt").exists()
    run_id = shown.err.split("opswright resume ")[1].split()[0]
    plan_id = shown.err.split("--approve ")[1].split()[0]
    assert opswright("resume", run_id, "--approve", plan_id) == 0
    assert Path("board.txt").exists()
    said = capsys.readouterr().err
    assert "data: collect starts" in said and "data: done in" in said and "live: done in" in said


def test_a_plan_changed_after_it_was_made_is_an_integrity_error(capsys: Captured) -> None:
    opswright("plan", "plan.yaml", "-o", "plan.json")
    text = Path("plan.json").read_text()
    Path("plan.json").write_text(text.replace("board.txt", "other.txt"))
    plan_id = capsys.readouterr().out.strip()
    assert opswright("apply", "plan.json", "--approve", plan_id) == 7
    assert "changed after it was made" in capsys.readouterr().err


def test_consent_to_a_plan_that_comes_with_it_needs_more_digits_than_two_plans_can_share(
    capsys: Captured,
) -> None:
    opswright("plan", "plan.yaml", "-o", "plan.json")
    told = capsys.readouterr()
    plan_id = told.out.strip()
    assert f"--approve {plan_id[:32]}" in told.err
    for digits in (12, 31):
        assert opswright("apply", "plan.json", "--approve", plan_id[:digits]) == 2
        assert "at least its first 32 digits" in capsys.readouterr().err
    assert not Path("board.txt").exists()


def test_consent_to_another_plan_is_not_consent(capsys: Captured) -> None:
    opswright("plan", "plan.yaml", "-o", "plan.json")
    assert opswright("apply", "plan.json", "--approve", "0" * 64) == 5
    assert not Path("board.txt").exists()


@pytest.mark.parametrize(
    ("argv", "code", "message"),
    [
        (["run", "nowhere.yaml"], 2, "no plan file"),
        (["runn", "plan.yaml"], 2, "runn"),
        (["collect"], 2, "'source' is required"),
        (["collect", "--source", "nowhere"], 2, "no file or folder 'nowhere'"),
        (["collect", "--sorce", "lines.txt"], 2, "--sorce"),
        (["collect", "--source", "lines.txt", "--least-rows", "many"], 2, "least_rows"),
        (["resume", "20260101-000000-abc"], 2, "unknown run"),
        (["agent", "/colect source=lines.txt"], 2, "Did you mean 'collect'"),
        (["--role", "viewer", "collect", "--source", "lines.txt"], 8, "viewer"),
        (["--role", "king", "status"], 2, "role"),
    ],
)
def test_each_mistake_has_its_exit_code_and_a_sentence(
    argv: list[str], code: int, message: str, capsys: Captured
) -> None:
    assert opswright(*argv) == code
    shown = capsys.readouterr()
    assert message in shown.err + shown.out and "Traceback" not in shown.err


def test_an_error_with_json_is_one_document_on_stdout(capsys: Captured) -> None:
    assert opswright("run", "nowhere.yaml", "--json") == 2
    document = json.loads(capsys.readouterr().out)
    assert document["error"]["family"] == "AskError" and document["exit_code"] == 2


def test_a_skill_is_a_command_with_its_own_help_and_example(capsys: Captured) -> None:
    assert opswright("train", "--help") == 0
    shown = capsys.readouterr().out
    assert "Count the rows and call it a model" in shown and "DATASET:<DIGEST>" in shown
    assert opswright("collect", "--source", "lines.txt", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["results"]["collect"]["rows"] == 3


@pytest.mark.parametrize(
    "words",
    [["source=lines.txt", "least_rows=2"], ["lines.txt", "--least-rows", "2"], ["lines.txt", "least-rows=2"]],
)
def test_a_skills_arguments_may_be_typed_as_in_a_slash_command(words: list[str], capsys: Captured) -> None:
    assert opswright("collect", *words, "--json") == 0
    assert json.loads(capsys.readouterr().out)["results"]["collect"]["rows"] == 3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["lines.txt", "more.txt"], "unexpected argument 'more.txt'"),
        (["sorce=lines.txt"], "Did you mean 'source'?"),
        (["source=lines.txt", "--source", "lines.txt"], "'source' is given twice"),
    ],
)
def test_a_word_that_names_no_argument_is_refused_with_what_there_is(
    words: list[str], message: str, capsys: Captured
) -> None:
    assert opswright("collect", *words) == 2
    assert message in capsys.readouterr().err


def test_a_command_that_changes_an_endpoint_needs_yes(capsys: Captured) -> None:
    opswright("run", "plan.yaml", "--yes", "--json")
    model = json.loads(capsys.readouterr().out)["results"]["model"]["checkpoint"]
    Path("board.txt").unlink()
    assert opswright("publish", "--model", model[:24], "--board", "board.txt") == 5
    assert not Path("board.txt").exists()
    assert opswright("publish", "--model", model[:24], "--board", "board.txt", "--yes") == 0
    assert Path("board.txt").exists()


@pytest.mark.parametrize("waiver", ["--waive-gate=a drill", "waive_gate=a drill"])
def test_what_no_gate_judged_is_served_with_a_waiver_typed_beside_it(waiver: str, capsys: Captured) -> None:
    text = Path("plan.yaml").read_text().split("  verdict:")[0]
    Path("plan.yaml").write_text(text)
    assert opswright("run", "plan.yaml", "--yes", "--json") == 0
    model = json.loads(capsys.readouterr().out)["results"]["model"]["checkpoint"]
    words = ["publish", "--model", model, "--board", "board.txt", "--yes"]
    assert opswright(*words) == 8 and "--waive-gate" in capsys.readouterr().out
    assert opswright(*words, waiver) == 0


def test_a_gate_that_says_no_ends_with_3(capsys: Captured) -> None:
    Path("plan.yaml").write_text(Path("plan.yaml").read_text().replace("decision: GO", "decision: NO_GO"))
    assert opswright("run", "plan.yaml", "--yes") == 3
    assert "NO_GO" in capsys.readouterr().out


def test_the_reference_is_made_from_the_code_and_a_stale_page_is_found(capsys: Captured) -> None:
    assert opswright("skills", "--reference", "reference") == 0
    page = Path("reference/collect.md").read_text()
    assert "makes artifacts in the workspace" in page and "`least_rows`" in page
    assert opswright("skills", "--reference", "reference", "--check") == 0
    Path("reference/collect.md").write_text("stale")
    assert opswright("skills", "--reference", "reference", "--check") == 2
    assert "collect.md" in capsys.readouterr().err


def test_a_head_kept_elsewhere_shows_that_the_ledgers_tail_was_cut(capsys: Captured) -> None:
    assert opswright("run", "plan.yaml", "--yes", "--json") == 0
    capsys.readouterr()
    assert opswright("audit", "anchor") == 0
    head = capsys.readouterr().out.strip()
    assert opswright("audit", "verify", "--offline", "--anchor", head) == 0
    ledger = next(Path(".opswright/ledger").glob("*.jsonl"))
    ledger.write_text("".join(ledger.read_text().splitlines(keepends=True)[:-2]))
    assert opswright("audit", "verify", "--offline") == 0
    assert opswright("audit", "verify", "--offline", "--anchor", head) == 7
    assert "FAULT" in capsys.readouterr().out


def test_status_shows_the_newest_runs_and_says_how_many_more_there_are(
    tmp_path: Path, capsys: Captured
) -> None:
    ledger, who = Ledger(tmp_path / "home" / "ledger"), Principal("ada", ("operator",), "test")
    for number in range(53):
        ledger.append(Phase.PROPOSED, principal=who, run=f"run-{number}", detail={"goal": f"goal {number}"})
    assert opswright("--home", "home", "status") == 0
    out = capsys.readouterr().out
    assert "goal 52" in out and "goal 3 " in out and "goal 2 " not in out
    assert "3 older runs are not shown; `--limit 53` shows all." in out
    assert opswright("--home", "home", "status", "--limit", "2", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert [row["run"] for row in document["runs"]] == ["run-52", "run-51"] and document["run_count"] == 53
    assert document["runs"][0]["state"] == "waiting"
