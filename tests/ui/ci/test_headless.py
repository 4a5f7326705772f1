"""Without a person: every way to end has its exit code, stdout one document, reports fit their schemas."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any
from xml.etree import ElementTree

import jsonschema
import pytest
import typer
from lxml import etree

from opswright.core.contract import Effect, Request, Result, StepContext, skill
from opswright.core.exit_code import ExitCode
from opswright.core.registry import Registry
from opswright.ui.ci.files import CiFiles
from opswright.ui.cli import run

SCHEMAS = Path(__file__).parent / "schemas"
Captured = pytest.CaptureFixture[str]
Change = tuple[str, str]

GOOD: Change = ("", "")
FRAGILE = '  odd: {skill: fragile, with: {model: "${model.checkpoint}", unless: ok.txt}}\n  live:'
HOSTILE = (
    "</h2> [x](javascript:alert(1)) ![](http://e) @everyone `code` | cell \\ *b* ~s~ "
    "HTTPS://evil.example www.evil.example"
)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_skills: ModuleType) -> Path:
    monkeypatch.setenv("OPSWRIGHT_MLFLOW__MIRROR", "off")
    (tmp_path / "lines.txt").write_text("one\ntwo\nthree\n")
    (tmp_path / "plan.yaml").write_text(small_skills.PLAN)
    return tmp_path


def opswright(*argv: str) -> int:
    return run(list(argv), Registry([*sys.modules["small_skills_ui"].SKILLS, stop]))


def change_plan(change: Change) -> None:
    text = Path("plan.yaml").read_text()
    assert not change[0] or change[0] in text
    Path("plan.yaml").write_text(text.replace(*change, 1) if change[0] else text)


class StopRequest(Request):
    pass


class StopResult(Result):
    pass


@skill(effect=Effect.WRITES, summary="Be interrupted, as Ctrl-C does.")
def stop(request: StopRequest, ctx: StepContext) -> StopResult:
    raise KeyboardInterrupt


def prepare_denied() -> list[str]:
    """A run that waits, and the words that refuse it."""
    assert opswright("run", "plan.yaml", "--summary", "waits.md") == ExitCode.NEEDS_APPROVAL
    name = Path("waits.md").read_text().split("Run `")[1].split("`")[0]
    return ["resume", name, "--deny", "--why", "not on a Friday"]


def prepare_changed() -> list[str]:
    """A compiled plan whose input is another one by now."""
    assert opswright("plan", "plan.yaml", "-o", "plan.json", "--summary", "plan.md") == 0
    plan = Path("plan.md").read_text().split("Plan `")[1].split("`")[0]
    Path("lines.txt").write_text("other\n")
    return ["apply", "plan.json", "--approve", plan]


def asked() -> list[str]:
    return ["run", "plan.yaml", "--yes"]


WAYS: dict[ExitCode, tuple[Change, Callable[[], list[str]]]] = {
    ExitCode.DONE: (GOOD, asked),
    ExitCode.FAILED: (
        ("  live:", '  odd: {skill: fragile, with: {model: "${model.checkpoint}", unless: ok.txt}}\n  live:'),
        asked,
    ),
    ExitCode.USAGE: (("skill: collect", "skill: colect"), asked),
    ExitCode.NO_GO: (("decision: GO", "decision: NO_GO"), asked),
    ExitCode.INCONCLUSIVE: (("decision: GO", "decision: INCONCLUSIVE"), asked),
    ExitCode.NEEDS_APPROVAL: (GOOD, lambda: ["run", "plan.yaml"]),
    ExitCode.BUDGET: (("steps:", "budget: {minutes: 1}\nsteps:"), asked),
    ExitCode.INTEGRITY: (GOOD, prepare_changed),
    ExitCode.DENIED: (GOOD, prepare_denied),
    ExitCode.INTERRUPTED: (("  live:", "  odd: {skill: stop}\n  live:"), asked),
}


def test_every_way_to_end_is_tried_here_and_has_a_code_of_its_own() -> None:
    assert set(WAYS) == set(ExitCode)
    assert [ExitCode.of(int(one)) for one in ExitCode] == list(ExitCode)
    assert ExitCode.of(99) is ExitCode.FAILED
    assert len({one.outcome for one in ExitCode}) == len(ExitCode)


@pytest.mark.parametrize("ended", ExitCode)
def test_an_outcome_is_its_code_one_document_and_three_valid_reports(
    ended: ExitCode, capsys: Captured
) -> None:
    change, prepare = WAYS[ended]
    change_plan(change)
    argv = prepare()
    capsys.readouterr()
    code = opswright(*argv, "--json", "--junit", "j.xml", "--sarif", "s.sarif", "--summary", "s.md")
    document = json.loads(capsys.readouterr().out)
    assert code == ended == document["exit_code"] and document["outcome"] == ended.outcome
    suite = valid_junit()
    bad = int(suite.get("failures", "")) + int(suite.get("errors", ""))
    assert (bad == 0) == (ended is ExitCode.DONE)
    sarif = valid_sarif()
    invocation = sarif["runs"][0]["invocations"][0]
    assert invocation["exitCode"] == code and invocation["executionSuccessful"] == (ended is ExitCode.DONE)
    levels = [result["level"] for result in sarif["runs"][0]["results"]]
    assert ("error" in levels) == (ended is not ExitCode.DONE)
    assert f"**{ended.outcome}** (exit code {code})" in Path("s.md").read_text()


@pytest.mark.parametrize("ended", ExitCode)
def test_a_stream_is_json_lines_and_ends_with_the_outcome(ended: ExitCode, capsys: Captured) -> None:
    change, prepare = WAYS[ended]
    change_plan(change)
    argv = prepare()
    capsys.readouterr()
    code = opswright(*argv, "--stream")
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["what"] for line in lines].count("outcome") == 1 and lines[-1]["what"] == "outcome"
    assert lines[-1]["exit_code"] == code == ended
    if ended is ExitCode.DONE:
        told = [(line["what"], line["step"]) for line in lines[:-1] if line["what"] in ("begun", "ended")]
        assert told[:4] == [("begun", "data"), ("ended", "data"), ("begun", "model"), ("ended", "model")]


@pytest.mark.parametrize(
    ("allowed", "code"), [("reads", 5), ("writes", 5), ("serves", 0)], ids=lambda value: str(value)
)
def test_consent_beforehand_goes_as_far_as_it_says(allowed: str, code: int) -> None:
    assert opswright("run", "plan.yaml", "--yes-to", allowed) == code
    assert Path("board.txt").exists() == (code == 0)


def test_consent_to_writing_carries_out_what_only_writes() -> None:
    text = Path("plan.yaml").read_text()
    Path("plan.yaml").write_text(text[: text.index("  live:")])
    assert opswright("run", "plan.yaml", "--yes-to", "reads") == 5
    assert opswright("run", "plan.yaml", "--yes-to", "writes") == 0


def test_a_summary_is_added_to_what_a_job_has_written_there() -> None:
    Path("s.md").write_text("# job\n")
    assert opswright("plan", "plan.yaml", "--summary", "s.md") == 0
    assert opswright("run", "plan.yaml", "--yes", "--summary", "s.md") == 0
    text = Path("s.md").read_text()
    assert text.startswith("# job\n") and text.count("## Put a small model on the board") == 2


def test_the_summary_of_a_plan_that_was_only_made_does_not_say_done(capsys: Captured) -> None:
    change_plan(GOOD)
    assert opswright("plan", "plan.yaml", "-o", "plan.json", "--summary", "s.md") == 0
    told = Path("s.md").read_text()
    assert "**planned** (exit code 0): nothing was run" in told and "**done**" not in told


def test_what_a_plan_says_is_never_markup_of_a_summary() -> None:
    change_plan(("goal: Put a small model on the board", f"goal: {json.dumps(HOSTILE)}"))
    assert opswright("plan", "plan.yaml", "--summary", "s.md", "--junit", "j.xml", "--sarif", "s.sarif") == 0
    valid_junit()
    valid_sarif()
    heading = Path("s.md").read_text().splitlines()[0]
    assert not set("<>|`*_[]()@!~") & set(heading) and "\\" not in heading
    assert "://" not in heading and "www." not in heading  # a link of plain text


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--junit", "nowhere/j.xml"], "written"),
        (["--sarif", "."], "written"),
        (["--sarif", "/dev/null"], "written"),
        (["--junit", "same", "--sarif", "same"], "same file"),
        (["--junit", "same", "--summary", "link"], "same file"),
        (["--junit", "plan.yaml"], "it is the plan's file"),
        (["--summary", "there/../plan.yaml"], "it is the plan's file"),
    ],
    ids=[
        *("no folder", "a folder", "a device", "one file for two", "one by a link", "the plan"),
        "the plan by another name",
    ],
)
def test_nothing_runs_for_a_report_that_cannot_be_written(
    options: list[str], words: str, capsys: Captured
) -> None:
    Path("link").symlink_to("same")
    Path("there").mkdir()
    text = Path("plan.yaml").read_text()
    assert opswright("run", "plan.yaml", "--yes", *options) == ExitCode.USAGE
    assert Path("plan.yaml").read_text() == text and Path("/dev/null").is_char_device()
    assert words in capsys.readouterr().err
    assert not Path("board.txt").exists()


@pytest.mark.parametrize(
    "options", [["-o", "plan.yaml"], ["-o", "x", "--junit", "x"], ["-o", "./x", "--sarif", "x"],
                ["-o", "x", "--summary", "x"]]
)  # fmt: skip
def test_a_compiled_plan_and_a_report_never_take_each_others_file(
    options: list[str], capsys: Captured
) -> None:
    text = Path("plan.yaml").read_text()
    assert opswright("plan", "plan.yaml", *options) == ExitCode.USAGE
    assert Path("plan.yaml").read_text() == text and not Path("x").exists()
    assert "cannot be written" in capsys.readouterr().err


@pytest.mark.parametrize("fault", [ValueError("odd"), RuntimeError("odd"), typer.Abort()])
def test_an_earlier_report_of_success_is_gone_before_anything_runs_and_no_fault_goes_unreported(
    fault: Exception,
) -> None:
    Path("j.xml").write_text("<testsuites/>")
    files = CiFiles(junit=Path("j.xml"), sarif=Path("s.sarif"))
    with pytest.raises(type(fault)), files.of_errors():
        assert not Path("j.xml").exists()  # whoever kills the command here leaves nothing that is green
        raise fault
    assert valid_junit().get("errors") == "1" and valid_sarif()["runs"][0]["results"][0]["level"] == "error"


def valid_junit() -> ElementTree.Element:
    data = Path("j.xml").read_bytes()
    etree.XMLSchema(etree.parse(SCHEMAS / "junit.xsd")).assertValid(etree.fromstring(data))
    suite = ElementTree.fromstring(data).find("testsuite")
    assert suite is not None
    return suite


def valid_sarif() -> Any:
    document = json.loads(Path("s.sarif").read_text())
    schema = json.loads((SCHEMAS / "sarif-2.1.0.json").read_text())
    jsonschema.Draft7Validator(schema).validate(document)
    return document
