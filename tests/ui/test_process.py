"""The command line as a process: closed and broken streams, signals, full disks, accounts without a name."""

from __future__ import annotations

import json
import os
import pwd
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from opswright.core.principal import Principal, os_user
from opswright.core.settings import load_settings
from opswright.ui.cli import run

PROGRAM = """\
import sys, time
from pathlib import Path
import opswright.skills
from opswright.core.contract import Effect, Request, Result, StepContext, skill
from opswright.core.registry import Registry
from opswright.ui.cli import main

class TellRequest(Request):
    wait: bool = False
    fail: bool = False

class TellResult(Result):
    ok: bool

@skill(effect=Effect.WRITES, summary="Say much, print where nobody should, and perhaps wait.", reusable=False)
def tell(ask: TellRequest, ctx: StepContext) -> TellResult:
    for number in range(300):
        ctx.log(f"line {number} of a log that is longer than any pipe keeps " + "x" * 400)
    Path("started").touch()
    end = time.monotonic() + 200
    while ask.wait and time.monotonic() < end:
        ctx.check()
        time.sleep(0.02)
    if ask.fail:
        raise ValueError("on purpose")
    Path("told").touch()
    return TellResult(ok=True)

opswright.skills.load_registry = lambda: Registry([tell])
main()
"""
PLAN = "goal: Tell\nsteps:\n  say: {skill: tell, with: {wait: %s}}\n"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "program.py").write_text(PROGRAM)
    (tmp_path / "plan.yaml").write_text(PLAN % "false")
    return tmp_path


def environment(project: Path) -> dict[str, str]:
    return {**os.environ, "OPSWRIGHT_HOME": str(project / "ws"), "OPSWRIGHT_MLFLOW__MIRROR": "off"}


def shell(project: Path, words: str) -> subprocess.CompletedProcess[str]:
    """A line for bash in which `opswright` is the program; its exit code is that of the pipe's first part."""
    line = f'opswright() {{ "{sys.executable}" program.py "$@"; }}\n{words}\nexit ${{PIPESTATUS[0]}}'
    return subprocess.run(
        ["bash", "-c", line], cwd=project, env=environment(project), capture_output=True, text=True
    )


def run_state(project: Path) -> str:
    status = shell(project, "opswright status --json")
    found: str = json.loads(status.stdout)["runs"][0]["state"]
    return found


@pytest.mark.parametrize(
    "line",
    [
        "opswright run plan.yaml --yes --stream | head -c 10",
        "opswright run plan.yaml --yes --json 2>&1 >/dev/full | head -c 10",
        "opswright run plan.yaml --yes --json >&-",
        "opswright run plan.yaml --yes | true",
    ],
    ids=["a reader that goes", "a full disk and a log that nobody reads", "closed", "text"],
)
def test_a_result_that_cannot_be_written_is_a_failure_and_the_run_goes_on(project: Path, line: str) -> None:
    ended = shell(project, f"{line.replace(' --yes', ' --yes --junit j.xml', 1)}")
    assert ended.returncode == 1 and "Traceback" not in ended.stderr
    assert (project / "told").exists() and run_state(project) == "done"
    assert 'value="done"' in (project / "j.xml").read_text()  # the report says how the run ended


@pytest.mark.parametrize("stderr", ["2>&-", "2>/dev/full", "2> >(true)"], ids=["closed", "full", "unread"])
def test_a_log_that_cannot_be_written_fails_nothing(project: Path, stderr: str) -> None:
    ended = shell(project, f"opswright run plan.yaml --yes --json {stderr}")
    document = json.loads(ended.stdout)
    assert (ended.returncode, document["outcome"]) == (0, "done")


def test_what_is_printed_below_a_closed_stdout_reaches_no_file_of_the_workspace(project: Path) -> None:
    probe = (
        "import os; import opswright.ui.process as p; p.prepare_process(); print(os.open('f', os.O_CREAT))"
    )
    line = f'"{sys.executable}" -c "{probe}; raise SystemExit(os.open(\'f\', os.O_RDONLY))" <&- >&- 2>&-'
    ended = shell(project, f"{line}; exit $?")
    assert ended.returncode > 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT], ids=lambda one: one.name)
def test_a_signal_is_an_interrupt_with_a_document_and_reports(project: Path, number: signal.Signals) -> None:
    (project / "plan.yaml").write_text(PLAN % "true")
    words = ["run", "plan.yaml", "--yes", "--json", "--junit", "j.xml", "--summary", "s.md"]
    with (project / "log").open("w") as log:
        child = subprocess.Popen(
            [sys.executable, "program.py", *words],
            cwd=project,
            env=environment(project),
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    try:
        deadline = time.monotonic() + 100
        while not (project / "started").exists():
            assert time.monotonic() < deadline and child.poll() is None
            time.sleep(0.02)
        child.send_signal(number)
        out, _ = child.communicate(timeout=100)
    finally:
        child.kill()
    document = json.loads(out)
    assert child.returncode == document["exit_code"] == 130 and document["outcome"] == "interrupted"
    assert "Traceback" not in (project / "log").read_text()
    assert 'value="interrupted"' in (project / "j.xml").read_text()
    assert "**interrupted** (exit code 130)" in (project / "s.md").read_text()


@pytest.mark.parametrize("most_bytes", [20_000, 60_000])
def test_a_full_disk_is_told_in_words_and_as_a_document(project: Path, most_bytes: int) -> None:
    ended = subprocess.run(
        [sys.executable, "program.py", "run", "plan.yaml", "--yes", "--json"],
        cwd=project,
        env=environment(project),
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes)),
    )
    document = json.loads(ended.stdout)
    assert (ended.returncode, document["outcome"]) == (1, "failed")  # not 7: nothing was tampered with
    assert "Traceback" not in ended.stderr
    assert "space" in ended.stderr or "too large" in ended.stderr


def test_a_defect_is_a_failure_with_a_document_and_a_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr("opswright.agents.runs.list_runs", broken)
    assert run(["--home", str(tmp_path / "ws"), "status", "--json"]) == 1
    said = capsys.readouterr()
    assert json.loads(said.out)["error"]["family"] == "ZeroDivisionError"
    assert "Traceback" in said.err and "a defect" in said.err


@pytest.mark.parametrize("variable", ["USER", "LOGNAME"])
def test_who_runs_the_process_is_the_systems_word_and_not_the_environments(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "somebody-else")
    assert os_user() == pwd.getpwuid(os.getuid()).pw_name
    assert "somebody-else" not in Principal.of_os_user("ada", ("viewer",)).authenticated_by
    assert load_settings().actor == os_user()


def test_an_account_without_a_name_can_work(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def nobody(uid: int) -> Any:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    monkeypatch.setattr(pwd, "getpwuid", nobody)
    assert os_user() == f"uid {os.getuid()}"
    assert run(["--home", str(tmp_path / "ws"), "status", "--json"]) == 0


@pytest.mark.parametrize("name", ["ada\nmallory", "ada\x1b[2K", "a\u202eda"])
def test_a_name_that_moves_text_is_refused(name: str, tmp_path: Path) -> None:
    assert run(["--home", str(tmp_path / "ws"), "--actor", name, "status"]) == 2


def test_consent_that_says_two_things_is_none(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["run", str(project / "plan.yaml"), "--yes", "--yes-to", "reads"]
    assert run(["--home", str(project / "ws"), *words]) == 2
    assert "give one of them" in capsys.readouterr().err


def test_a_file_whose_name_is_no_text_gets_its_reports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["plan", os.fsdecode(b"\xff.yaml"), "--sarif", "s.sarif", "--junit", "j.xml", "--json"]) == 2
    results = json.loads((tmp_path / "s.sarif").read_text())["runs"][0]["results"]
    place: Callable[[str], Any] = results[0]["locations"][0]["physicalLocation"].get
    assert place("artifactLocation")["uri"] == "%FF.yaml"
