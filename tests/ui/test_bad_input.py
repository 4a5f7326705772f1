"""What people get wrong, and what machines lack, through the command line: a sentence and an exit code."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest

from opswright.core.contract import Effect, Request, Result, StepContext, skill
from opswright.core.errors import from_os_error
from opswright.core.registry import Registry
from opswright.ui.cli import run

Captured = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def no_mirror(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPSWRIGHT_MLFLOW__MIRROR", "off")


def rows(label: str = "a", count: int = 60) -> str:
    words = ["river", "lamp", "stone", "music", "window", "garden", "paper", "engine", "winter", "market"]
    return "".join(
        json.dumps({"text": f"{words[i % 10]} {words[i // 10]} number {i}", "label": label if i % 2 else "b"})
        + "\n"
        for i in range(count)
    )


@pytest.mark.parametrize(
    ("name", "content", "options", "message"),
    [
        ("missing.jsonl", None, [], "no file or folder 'missing.jsonl'"),
        ("empty.jsonl", "", [], "empty"),
        ("wrong.csv", "words,kind\nhello there,greet\n", [], "text"),
        ("one.jsonl", rows(label="b"), [], "b"),
        ("odd.xyz", "what is this", [], "odd.xyz"),
    ],
)
def test_bad_data_ends_with_a_sentence_and_makes_no_dataset(
    name: str, content: str | None, options: list[str], message: str, capsys: Captured
) -> None:
    if content is not None:
        Path(name).write_text(content)
    code = run(["curate", "--source", name, *options])
    shown = capsys.readouterr()
    assert code in (1, 2) and message in shown.out + shown.err and "Traceback" not in shown.err
    assert run(["artifacts", "dataset", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []


def test_rows_left_out_are_told_without_asking_for_json(capsys: Captured) -> None:
    Path("rows.jsonl").write_text(
        rows() + '{"text": 7, "label": "a"}\n{"text": "river lamp number 1", "label": "a"}\n'
    )
    assert run(["curate", "rows.jsonl"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "dropped 1 (wrong type 1), leaked 0" in shown


def test_a_row_of_a_wrong_type_is_set_aside_with_its_reason(capsys: Captured) -> None:
    Path("rows.jsonl").write_text(rows() + '{"text": 7, "label": "a"}\n{"label": "a"}\n')
    assert run(["curate", "--source", "rows.jsonl", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)["results"]["curate"]
    assert sum(result["dropped"].values()) >= 2
    kind, _, digest = result["dataset"].partition(":")
    dropped = Path(".opswright/artifacts") / kind / digest / "files" / "dropped.jsonl"
    reasons = [json.loads(line)["reason"] for line in dropped.read_text().splitlines()]
    assert len(reasons) >= 2 and all(reasons)


def test_without_mlflow_a_run_ends_as_always_and_only_the_sync_says_so(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    Path("rows.jsonl").write_text(rows())
    assert run(["curate", "--source", "rows.jsonl"]) == 0
    capsys.readouterr()
    assert run(["audit", "verify", "--offline"]) == 0
    assert run(["audit", "sync"]) == 1
    assert "127.0.0.1:9" in capsys.readouterr().err


class FillRequest(Request):
    """Nothing."""


class FillResult(Result):
    ok: bool


@skill(effect=Effect.WRITES, summary="Meet a full disk until there is room.")
def fill(ask: FillRequest, ctx: StepContext) -> FillResult:
    if not Path("room").exists():
        raise OSError(errno.ENOSPC, "No space left on device", str(ctx.workdir / "weights"))
    return FillResult(ok=True)


def test_a_full_disk_is_said_and_resume_finishes_when_there_is_room(capsys: Captured) -> None:
    registry = Registry([fill])
    assert run(["fill", "--json"], registry) == 1
    document = json.loads(capsys.readouterr().out)
    assert "no space left on the disk" in document["message"] and document["status"] == "failed"
    Path("room").touch()
    assert run(["resume", document["run"], "--json"], registry) == 0
    assert json.loads(capsys.readouterr().out)["status"] == "done"
    assert "Free" not in str(from_os_error(OSError(errno.EIO, "x"), "reading"))


@pytest.mark.parametrize(
    ("words", "option"),
    [
        (["init", "x.csv", "--task", "classify", "--task", "extract"], "--task"),
        (["evaluate", "--suite", "snips", "--suite=clinc150"], "--suite"),
        (["--actor", "ana", "--actor", "ben", "status"], "--actor"),
        (["leaderboard", "--format", "md", "--format", "json"], "--format"),
        (["suites", "new", "a", "b.csv", "--task", "x", "--task", "y"], "--task"),
    ],
)
def test_an_option_of_one_value_that_is_given_twice_is_refused(
    words: list[str], option: str, capsys: Captured
) -> None:
    assert run(words) == 2
    assert (
        f"option '{option}' is given 2 times, and takes one value: give it once." in capsys.readouterr().err
    )


def test_flags_and_options_of_several_values_may_be_given_twice(capsys: Captured) -> None:
    assert run(["gpus", "--json", "--json"]) == 0
    assert run(["audit", "verify", "--anchor", "1:x", "--anchor", "2:y"]) == 2
    assert "invalid anchor '1:x'" in capsys.readouterr().err
