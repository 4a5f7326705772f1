"""`opswright leaderboard` and `opswright compare`: exactly the format asked for, and nothing changed."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from opswright.core.artifact_refs import CheckpointRef, EvalReportRef
from opswright.core.registry import Registry
from opswright.core.workspace import Workspace
from opswright.evals.report import facts_of
from opswright.evals.runner import EvalResult, SampleResult, to_lines
from opswright.skills import load_registry
from opswright.ui.cli import run

Captured = pytest.CaptureFixture[str]
A, B = (str(CheckpointRef.of(letter * 64)) for letter in "ab")


@pytest.fixture(scope="module")
def registry() -> Registry:
    return load_registry()


@pytest.fixture
def files(workspace: Workspace) -> list[Path]:
    """Two models, 30 and 60 of 100 right; gives every file of the workspace."""
    for model, right in ((A, 30), (B, 60)):
        items = tuple(
            SampleResult(
                f"i{n:03d}",
                f"text {n}",
                "yes",
                "yes" if n < right else "<b>no</b>",
                {"exact_match": float(n < right)},
                (),
            )
            for n in range(100)
        )
        measured = EvalResult(model, "clinc150", "d" * 64, (), items)
        with workspace.artifacts.staging() as folder:
            (folder / "items.jsonl").write_bytes(to_lines(items))
            workspace.artifacts.save(EvalReportRef, folder, facts_of(measured, 100, {}))
    return sorted(path for path in workspace.root.rglob("*") if path.is_file())


def printed(capsys: Captured, registry: Registry, workspace: Workspace, *words: str, code: int = 0) -> str:
    assert run(["--home", str(workspace.root), *words], registry) == code
    return capsys.readouterr().out


def test_stdout_is_exactly_the_format_asked_for_and_nothing_is_recorded(
    capsys: Captured, registry: Registry, workspace: Workspace, files: list[Path]
) -> None:
    def say(form: str) -> str:
        return printed(capsys, registry, workspace, "leaderboard", "--format", form)

    assert [row["value"] for row in json.loads(say("json"))] == [0.6, 0.3]
    assert [row["model"] for row in csv.DictReader(io.StringIO(say("csv")))] == [B, A]
    assert all(line.startswith("| ") for line in say("md").splitlines())
    assert say("html").startswith("<!doctype html>") and say("html").rstrip().endswith("</html>")
    assert len(say("table").splitlines()) == 3
    assert say("html") == say("html") and say("json") == printed(
        capsys, registry, workspace, "leaderboard", "--json"
    )
    left = sorted(path for path in workspace.root.rglob("*") if path.is_file())
    assert [path for path in left if path.parent.name != "index"] == files  # the index may be thrown away


def test_a_file_is_written_instead_when_it_is_named(
    capsys: Captured, registry: Registry, workspace: Workspace, files: list[Path], tmp_path: Path
) -> None:
    said = printed(capsys, registry, workspace, "leaderboard", "--format", "csv")
    target = str(tmp_path / "board.csv")
    assert printed(capsys, registry, workspace, "leaderboard", "--format", "csv", "-o", target) == ""
    assert Path(target).read_text() == said


def test_two_models_are_compared_by_the_beginnings_of_their_names(
    capsys: Captured, registry: Registry, workspace: Workspace, files: list[Path]
) -> None:
    names = ("compare", "checkpoint:aaaaaa", "checkpoint:bbbbbb")
    document = json.loads(printed(capsys, registry, workspace, *names, "--format", "json"))
    assert (document["whole"]["won"], document["whole"]["lost"], len(document["items"])) == (30, 0, 30)
    text = printed(capsys, registry, workspace, *names, "--items", "2")
    assert "B is better: on 100 common items of clinc150 B won 30 and lost 0" in text
    assert text.count("<b>no</b>") == 2


def test_a_wrong_name_suite_or_format_is_a_usage_error(
    capsys: Captured, registry: Registry, workspace: Workspace, files: list[Path]
) -> None:
    assert printed(capsys, registry, workspace, "compare", "checkpoint:cccccc", "majority", code=2) == ""
    assert printed(capsys, registry, workspace, "leaderboard", "--suite", "clinc", code=2) == ""
    assert printed(capsys, registry, workspace, "leaderboard", "--format", "xml", code=2) == ""


def test_an_empty_workspace_has_an_empty_board_and_says_what_fills_it(
    capsys: Captured, registry: Registry, workspace: Workspace
) -> None:
    assert run(["--home", str(workspace.root), "leaderboard", "--format", "json"], registry) == 0
    out, err = capsys.readouterr()
    assert json.loads(out) == [] and "opswright evaluate" in err


def loaded(workspace: Workspace, model: str, ms: float) -> str:
    """A benchmark report of an endpoint whose 30 answers take so long, more or less."""
    from opswright.core.artifact_refs import BenchmarkReportRef
    from opswright.evals.load.figures import level_figures
    from opswright.evals.load.level import Level
    from opswright.evals.load.report import REQUESTS, request_lines
    from opswright.evals.load.streamed import RequestRecord

    records = [
        RequestRecord(n / 10, 0, ttft_ms=ms, e2el_ms=10 * ms + n, tokens_out=9, counted_by="usage")
        for n in range(30)
    ]
    level = Level(1, records, ms)
    facts = {
        "model": model,
        "server": {"name": "vllm 9"},
        "prompts": "suite shop",
        "workload": {"prompts": "d" * 64, "output_tokens": 9},
        "levels": [level_figures(level, {})],
        "is_complete": True,
    }
    with workspace.artifacts.staging() as folder:
        (folder / REQUESTS).write_bytes(request_lines([level]))
        return str(workspace.artifacts.save(BenchmarkReportRef, folder, facts))


def test_what_was_measured_under_load_is_shown_and_compared(
    capsys: Captured, registry: Registry, workspace: Workspace
) -> None:
    assert printed(capsys, registry, workspace, "leaderboard", "--speed") == "\n"
    slow, fast = (loaded(workspace, f"http://{name}:1", ms) for name, ms in (("slow", 40.0), ("fast", 4.0)))
    table = printed(capsys, registry, workspace, "leaderboard", "--speed").splitlines()
    assert len(table) == 3 and "vllm 9" in table[1] and "TTFT p50" in table[0]
    rows = json.loads(printed(capsys, registry, workspace, "leaderboard", "--speed", "--json"))
    assert [row["ttft_p50_ms"] for row in rows] == [4.0, 40.0]
    told = printed(capsys, registry, workspace, "compare", slow, fast[:30])
    assert "e2el p50 ms" in told and "B is better" in told and "one after the other" in told
    printed(capsys, registry, workspace, "leaderboard", "--speed", "--format", "csv", code=2)
