"""`opswright init`: from a file to a project that compiles, for any task, and nothing written over."""

from __future__ import annotations

import json
import random
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from opswright.core.contract import StepContext
from opswright.core.errors import AskError
from opswright.serving.releases import ENDPOINT_PATTERN
from opswright.skills.guardrails import GuardrailsRequest, guardrails
from opswright.ui.cli import run
from opswright.ui.project.place import move_all, scratch_folder
from opswright.ui.project.sources import project_name

from .project_rows import Captured, answers, calls, chats, choices, labelled, started, write

FILES = ("data/golden.jsonl", "suites/rows.yaml", "plans/ship.yaml", "plans/retrain.yaml")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPSWRIGHT_MLFLOW__MIRROR", "off")
    return tmp_path


@pytest.mark.parametrize(
    ("rows", "task"),
    [(labelled, "classify"), (chats, "chat"), (calls, "extract"), (choices, "choose"), (answers, "answer")],
)
def test_data_of_any_task_become_a_project_whose_plans_compile(
    rows: Callable[[], list[dict[str, Any]]], task: str, capsys: Captured
) -> None:
    write(rows())
    assert started("rows.jsonl", "--json") == 0
    made = json.loads(capsys.readouterr().out)
    assert made["profile"]["task"] == task and made["golden"] >= 20
    assert all(Path(name).is_file() for name in FILES)
    for plan in ("ship", "retrain"):
        assert run(["plan", f"plans/{plan}.yaml", "--json"]) == 0, plan
        found = json.loads(capsys.readouterr().out)
        assert [step["skill"] for step in found["plan"]["steps"]][:4] == [
            "golden",
            "curate",
            "finetune",
            "evaluate",
        ]


def test_what_each_column_is_taken_for_and_what_is_not_used_is_said(capsys: Captured) -> None:
    write(labelled())
    assert started("rows.jsonl", "--column", "tags=shop") == 0
    said = capsys.readouterr().out
    for words in ("utterance", "user", "intent", "target", "tag shop", "240 rows hold something there"):
        assert words in said
    assert "can see a drop of" in said and "next: opswright run plans/ship.yaml" in said
    assert "- shop" in Path("suites/rows.yaml").read_text()


def test_nothing_is_written_over(capsys: Captured) -> None:
    write(labelled())
    Path("plans").mkdir()
    Path("plans/ship.yaml").write_text("mine")
    assert started("rows.jsonl") == 2
    assert "plans/ship.yaml is there already" in capsys.readouterr().err
    assert Path("plans/ship.yaml").read_text() == "mine"
    assert sorted(path.name for path in Path().iterdir()) == ["plans", "rows.jsonl"]


@pytest.mark.parametrize(
    ("rows", "words", "message"),
    [
        ([{"prompt": "q", "chosen": "a", "rejected": "b"}] * 100, (), "training on them is not built"),
        (labelled(30), (), "30 usable rows; 60 are needed"),
        ([{"utterance": f"t{i}", "intent": "one"} for i in range(100)], (), "'one'"),
        (labelled(), ("--column", "user=utterence"), "utterence"),
        (labelled(), ("--column", "unused=lable"), "no column 'lable'"),
        (labelled(), ("--column", "usr=utterance"), "usr is no part of a row"),
        (labelled(), ("--column", "utterance"), "expected PART=COLUMN"),
        (labelled(), ("--task", "clasify"), "Did you mean 'classify'"),
    ],
)
def test_what_cannot_become_a_project_is_said_and_nothing_is_left(
    rows: list[dict[str, Any]], words: tuple[str, ...], message: str, capsys: Captured
) -> None:
    write(rows)
    assert started("rows.jsonl", *words) == 2
    assert message in capsys.readouterr().err
    assert [path.name for path in Path().iterdir()] == ["rows.jsonl"]


def test_a_file_that_is_not_there_is_said(capsys: Captured) -> None:
    assert started("nothing.csv") == 2
    assert "nothing.csv" in capsys.readouterr().err


def test_rails_let_the_data_pass_and_say_what_they_leave_out(
    capsys: Captured, context: Callable[..., StepContext]
) -> None:
    rows = labelled()
    for row in rows[::3]:
        row["utterance"] += f", mail me at {row['seen']}@example.org"
    write(rows)
    assert started("rows.jsonl", "--json") == 0
    made = json.loads(capsys.readouterr().out)
    assert made["profile"]["personal"] == {"email": 80}
    assert any("questions of the data hold: email" in why for why in made["rails_left_out"])
    home = Path("guardrails")
    request = GuardrailsRequest(
        config=home / "config", must_block=home / "must_block.jsonl", must_pass=home / "must_pass.jsonl"
    )
    done = guardrails(request, context())
    assert done.passed == made["golden"] and done.blocked > 20


@pytest.mark.parametrize("name", ["../precious", "suites/x", "x: y", "a'b", "Uppercase", "", "n" * 41, "a\n"])
def test_a_name_that_no_endpoint_can_have_writes_nothing(name: str, capsys: Captured, folder: Path) -> None:
    write(labelled())
    (folder / "precious.yaml").write_text("mine")
    assert started("rows.jsonl", f"--name={name}") == 2
    assert "--name" in capsys.readouterr().err
    assert sorted(path.name for path in Path().iterdir()) == ["precious.yaml", "rows.jsonl"]


def test_the_name_of_a_file_is_always_one_that_an_endpoint_can_have() -> None:
    for stem in ("support tickets", "x" * 39 + "-tail", "数据", "-a-"):
        assert re.fullmatch(ENDPOINT_PATTERN, project_name(Path(f"{stem}.csv")))


@pytest.mark.parametrize("blocked", ["data", "suites", "plans"])
def test_a_file_where_a_folder_must_be_is_said_and_nothing_is_left(blocked: str, capsys: Captured) -> None:
    write(labelled())
    Path(blocked).write_text("a file")
    assert started("rows.jsonl") == 2
    assert f"{blocked} is no folder" in capsys.readouterr().err
    assert sorted(path.name for path in Path().iterdir()) == sorted([blocked, "rows.jsonl"])


def test_a_second_project_is_sent_to_another_folder_and_a_taken_suite_to_another_name(
    capsys: Captured,
) -> None:
    write(labelled())
    assert started("rows.jsonl") == 0
    capsys.readouterr()
    assert started("rows.jsonl", "--name", "other") == 2
    said = capsys.readouterr().err
    assert "plans/retrain.yaml, guardrails are there already" in said and "--name" not in said
    assert "Run init in another folder" in said
    for path in ("data", "plans", "guardrails"):
        Path(path).rename(f"old-{path}")
    assert started("rows.jsonl") == 2
    assert "suites/rows.yaml is there already, and init writes over nothing. Give another --name." in (
        capsys.readouterr().err
    )
    assert started("rows.jsonl", "--name", "other") == 0


@pytest.mark.parametrize(
    ("head", "rows", "told"),
    [
        ("text,is_toxic", ["what a day,no", "you are the worst,yes", "nice one,no"], ("text", "is_toxic")),
        (
            "said by it,who,no",
            ["the long text,ann,1", "more words,bo,2", "again,ann,3"],
            ("said by it", "who"),
        ),
        ("text,is_toxic", ["sorted by label,no", "as here,no"], ("text", "is_toxic")),
        ("by,said,where", ["ann,a long text,x", "ann,more words,y", "ann,again,x"], ("said", "where")),
        ("one thing", ["a", "b"], ("...", "...")),
    ],
)
def test_columns_that_nobody_can_tell_are_guessed_in_the_command_to_type(
    head: str, rows: list[str], told: tuple[str, str], capsys: Captured
) -> None:
    Path("rows.csv").write_text("\n".join([head, *rows]))
    assert started("rows.csv") == 2
    said = capsys.readouterr().err
    parts = [shlex.quote(f"{part}={name}") for part, name in zip(("user", "target"), told, strict=True)]
    assert f"--column {parts[0]} --column {parts[1]} for init" in said


def test_a_bar_below_the_trivial_baseline_says_what_else_the_gate_asks(capsys: Captured) -> None:
    chosen = random.Random(5)
    words = [
        "the",
        "order",
        "card",
        "is",
        "late",
        "today",
        "please",
        "help",
        "me",
        "with",
        "this",
        "thing",
        "of",
        "mine",
        "now",
        "and",
        "again",
    ]
    write(
        [
            {"text": " ".join(chosen.sample(words, 8)), "label": "yes" if n % 5 < 3 else "no"}
            for n in range(300)
        ]
    )
    assert started("rows.jsonl") == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "is no more than the trivial baseline has: the gate also asks that a model is shown better" in said
    assert "no more than the trivial baseline has" in Path("plans/ship.yaml").read_text()


def test_a_link_to_nothing_is_not_written_over(capsys: Captured) -> None:
    write(labelled())
    Path("data").mkdir()
    Path("data/golden.jsonl").symlink_to("nowhere.jsonl")
    assert started("rows.jsonl") == 2
    assert "data/golden.jsonl is there already" in capsys.readouterr().err
    assert Path("data/golden.jsonl").is_symlink() and not Path("suites").exists()


@pytest.mark.parametrize("late", ["b/two.txt", "rails"])
def test_what_appears_while_init_works_is_kept_and_what_was_moved_is_undone(late: str, folder: Path) -> None:
    staged = folder / "staged"
    for name in ("a/one.txt", "b/two.txt", "rails/config.yml"):
        (staged / name).parent.mkdir(parents=True)
        (staged / name).write_text("new")
    Path(late).parent.mkdir(exist_ok=True)
    Path(late).write_text("mine")
    with pytest.raises(AskError, match=f"{late} is there already"):
        move_all(staged, folder, ["a/one.txt", "b/two.txt", "rails"])
    assert Path(late).read_text() == "mine" and not Path("a").exists()
    assert [path for path in Path().rglob("*") if path.is_file() and "staged" not in path.parts] == [
        Path(late)
    ]


def test_what_a_killed_init_left_is_removed_and_two_do_not_work_in_one_folder(folder: Path) -> None:
    (folder / ".opswright-init-killed" / "data").mkdir(parents=True)
    with scratch_folder(folder) as scratch:
        assert [path.name for path in folder.iterdir()] == [scratch.name]
        with pytest.raises(AskError, match="another init"), scratch_folder(folder):
            pass
        assert scratch.is_dir()
    assert list(folder.iterdir()) == []


def test_a_column_that_reads_as_a_reference_is_refused_before_anything_is_written(capsys: Captured) -> None:
    write([{"${x.y}": row["utterance"], "intent": row["intent"]} for row in labelled()])
    assert started("rows.jsonl", "--column", "user=${x.y}", "--column", "target=intent") == 2
    error = capsys.readouterr().err
    assert "${x.y}" in error and "Rename" in error
    assert [path.name for path in Path().iterdir()] == ["rows.jsonl"]


def test_a_file_name_with_a_line_end_makes_plans_that_compile(capsys: Captured) -> None:
    name = "rows\nsteps: {}.jsonl"
    write(labelled(), name)
    assert started(name, "--name=shop") == 0
    assert "# Learns 'rows\\nsteps: {}.jsonl' (240 rows" in Path("plans/ship.yaml").read_text()
    assert run(["plan", "plans/ship.yaml"]) == 0


def test_rows_with_unusual_line_ends_pass_the_rails(
    capsys: Captured, context: Callable[..., StepContext]
) -> None:
    rows = labelled()
    for row in rows:
        row["utterance"] = row["utterance"].replace(" ", "\u2028", 1).replace(" ", "\x85", 1)
    Path("rows.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    assert started("rows.jsonl", "--json") == 0
    made = json.loads(capsys.readouterr().out)
    home = Path("guardrails")
    request = GuardrailsRequest(
        config=home / "config", must_block=home / "must_block.jsonl", must_pass=home / "must_pass.jsonl"
    )
    assert guardrails(request, context()).passed == made["golden"]


@pytest.mark.parametrize("word", ["user=utterance", "choices=shop", "unused=seen", "tags=shop"])
def test_a_column_that_is_mapped_twice_alike_is_refused(word: str, capsys: Captured, folder: Path) -> None:
    write(labelled())
    words = ["--column", word, "--column", "target=intent", "--column", word]
    assert run(["init", "rows.jsonl", *words, "--yes"]) == 2
    assert f"--column {word} is given twice" in capsys.readouterr().err
    assert [path.name for path in folder.iterdir()] == ["rows.jsonl"]


def test_a_column_can_be_taken_for_nothing_and_the_plan_says_so(capsys: Captured) -> None:
    write([{**row, "label": row["seen"]} for row in labelled()])
    assert started("rows.jsonl", "--column", "unused=label", "--json") == 0
    made = json.loads(capsys.readouterr().out)["profile"]
    assert made["columns"] == {"utterance": "user", "intent": "target"} and made["unused"]["label"] == 240
    plan = yaml.safe_load(Path("plans/ship.yaml").read_text())
    assert plan["steps"]["data"]["with"]["columns"]["unused"] == ["label"]


def test_tokens_are_told_by_bytes_and_long_rows_by_a_rule(capsys: Captured) -> None:
    rows = [{"prompt": f"{i} नमस्ते दुनिया " * 3, "completion": f"answer {i}"} for i in range(100)]
    rows += [{"prompt": f"{i} " + "word " * 3000, "completion": "long"} for i in range(40)]
    write(rows)
    assert started("rows.jsonl", "--json") == 0
    made = json.loads(capsys.readouterr().out)
    found = made["profile"]
    assert found["asked"]["p50"] < 60 and found["asked_tokens"]["p50"] > 0.4 * found["asked"]["p50"]
    assert found["rows_over"] == {"256": 40, "512": 40, "1024": 40, "2048": 40, "4096": 40}
    assert sum(n for _, n in found["asked"]["bins"]) == 140
    assert "about 40 of 140 are longer, so curate leaves out what is over" in made["length_rule"]
    assert "length:max_chars=" in Path("plans/ship.yaml").read_text()
