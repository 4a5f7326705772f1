"""What `opswright init` holds out of data: whole groups, nothing that is learned from, and leaks counted."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from opswright.core.contract import StepContext
from opswright.data.columns import Columns
from opswright.data.dataset import dataset_samples, training_rows
from opswright.data.golden import GoldenChoice, golden_size
from opswright.data.read import Source, read_samples
from opswright.data.sample import Sample
from opswright.skills.curate import CurateRequest, curate
from opswright.skills.golden import GoldenRequest, golden
from opswright.ui.cli import run

from .project_rows import Captured, labelled, started, visits, write


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPSWRIGHT_MLFLOW__MIRROR", "off")
    return tmp_path


def test_golden_rows_are_whole_groups_and_the_same_each_time() -> None:
    samples = [Sample.of(str(i), f"text {i}", "x", group=f"g{i // 5}") for i in range(500)]
    chosen = []
    for order in (samples, samples[::-1]):
        choice = GoldenChoice(len(samples), {}, seed=1)
        for sample in order:
            choice.look(sample)
        chosen.append({sample.id for sample in choice.samples})
    assert chosen[0] == chosen[1]
    assert 50 < len(chosen[0]) < 170
    kept = [sum(str(i) in chosen[0] for i in range(first, first + 5)) for first in range(0, 500, 5)]
    assert set(kept) == {0, 5}


def test_a_question_written_twice_lies_on_one_side_with_all_its_answers() -> None:
    choice = GoldenChoice(3, {}, seed=0)
    choice._share = 1.0
    for target in ("a", "b", "a"):
        choice.look(Sample.of("1", "How are you?" if target == "b" else "how are you", target))
    (only,) = choice.samples
    assert set(only.targets) == {"a", "b"}
    assert golden_size(30) == 10 and golden_size(10**6) == 1000


def test_held_out_rows_are_no_training_rows(capsys: Captured, context: Callable[..., StepContext]) -> None:
    write(labelled())
    assert started("rows.jsonl") == 0
    ctx = context()
    held_out = golden(GoldenRequest(suite=Path("suites/rows.yaml")), ctx)
    made = curate(CurateRequest(source=Path("rows.jsonl"), golden=held_out.dataset), ctx)
    asked = {one.question for one in read_samples(Source(Path("data/golden.jsonl")))}
    train = {text for text, _ in training_rows(ctx.artifacts.open(made.dataset))}
    assert len(asked) == held_out.items and train and not asked & train


def test_the_same_question_about_other_passages_is_no_leak_and_passages_stay_together(
    capsys: Captured, context: Callable[..., StepContext]
) -> None:
    rows = [
        {
            "question": asked,
            "contexts": [f"door {i * 7919} is {i * 31} feet, kept by {i * 104729}"],
            "answer": str(i),
        }
        for i in range(120)
        for asked in ("how wide is it?", "who keeps it?")
    ]
    write(rows)
    assert started("rows.jsonl") == 0
    ctx = context()
    held_out = golden(GoldenRequest(suite=Path("suites/rows.yaml")), ctx)
    made = curate(CurateRequest(source=Path("rows.jsonl"), golden=held_out.dataset), ctx)
    kept_out = {one.contexts for one in dataset_samples(ctx.artifacts.open(held_out.dataset))}
    trained = {one.contexts for one in dataset_samples(ctx.artifacts.open(made.dataset))}
    assert held_out.items == 2 * len(kept_out) and not kept_out & trained
    assert made.rows > 0.9 * (240 - held_out.items)


def test_a_second_file_with_test_in_its_name_is_the_golden_set(capsys: Captured) -> None:
    rows = labelled(300)
    write(rows[:240])
    write([*rows[240:], rows[0]], "rows_test.jsonl")
    assert started("rows.jsonl", "rows_test.jsonl", "--json") == 0
    made = json.loads(capsys.readouterr().out)
    assert made["golden"] == 61 and made["leaks"]["verbatim"] == 1
    assert started("rows.jsonl", "other.jsonl") == 2
    assert "2 files of rows to learn from and 0 held out" in capsys.readouterr().err


def test_nothing_of_a_golden_group_is_trained_on(
    capsys: Captured, context: Callable[..., StepContext]
) -> None:
    write(visits())
    assert started("rows.jsonl", "--column", "group=visit") == 0
    ctx = context()
    held_out = golden(GoldenRequest(suite=Path("suites/rows.yaml")), ctx)
    columns = Columns(group="visit")
    made = curate(CurateRequest(source=Path("rows.jsonl"), columns=columns, golden=held_out.dataset), ctx)
    kept_out = {json.loads(line)["group"] for line in Path("data/golden.jsonl").read_text().splitlines()}
    of_text = {one["messages"][0]["content"]: one["visit"] for one in visits()}
    trained = [of_text[one.question] for one in dataset_samples(ctx.artifacts.open(made.dataset))]
    assert kept_out and not kept_out & set(trained)
    assert len(trained) == 180 - 3 * len(kept_out) and made.leaked["group"] == len(kept_out)


def test_a_row_without_a_group_is_left_out_for_its_text_alone(context: Callable[..., StepContext]) -> None:
    Path("golden.yaml").write_text("summary: s\ntask: classify\nsamples: {file: golden.jsonl}\n")
    write([{"id": "g1", "text": "what is my balance", "label": "a"}], "golden.jsonl")
    rows = [{"text": f"pay bill {i * 7919}", "label": "ab"[i % 2], "group": f"g{i % 3}"} for i in range(40)]
    write(rows)
    ctx = context()
    held_out = golden(GoldenRequest(suite=Path("golden.yaml")), ctx)
    made = curate(CurateRequest(source=Path("rows.jsonl"), golden=held_out.dataset), ctx)
    assert sum(made.leaked.values()) == 0


def test_leaked_rows_are_counted_row_by_row(capsys: Captured) -> None:
    rows = [{**row, "group": f"g{number // 5}"} for number, row in enumerate(labelled(360))]
    write(rows[:300])
    write([*rows[300:], rows[0]], "rows_test.jsonl")
    assert started("rows.jsonl", "rows_test.jsonl", "--column", "group=group", "--json") == 0
    assert json.loads(capsys.readouterr().out)["leaks"] == {"verbatim": 1, "of a held-out group": 4}


def test_rows_that_come_twice_in_a_held_out_file_count_once(capsys: Captured) -> None:
    rows = labelled(300)
    write(rows[:240])
    write(rows[240:250] * 6, "rows_test.jsonl")
    assert started("rows.jsonl", "rows_test.jsonl") == 2
    assert "10 different rows" in capsys.readouterr().err


@pytest.mark.parametrize("source", ["data", "."])
def test_a_source_that_would_hold_the_golden_set_is_refused(source: str, capsys: Captured) -> None:
    Path("data").mkdir()
    write(labelled(), f"{source}/rows.jsonl")
    before = sorted(Path().rglob("*"))
    assert started(source, "--name=shop") == 2
    assert "data/golden.jsonl would lie in the source" in capsys.readouterr().err
    assert sorted(Path().rglob("*")) == before


def test_rows_that_others_cannot_read_stay_so(capsys: Captured) -> None:
    write(labelled()).chmod(0o600)
    assert started("rows.jsonl") == 0
    for name in ("data/golden.jsonl", "guardrails/must_pass.jsonl", "guardrails/must_block.jsonl"):
        assert Path(name).stat().st_mode & 0o777 == 0o600, name


def test_rows_that_are_nearly_held_out_are_counted_by_how_they_were_found(capsys: Captured) -> None:
    rows = labelled(300)
    long = {"utterance": "please tell me where the parcel of my daughter is right now", "intent": "trips"}
    write([*rows[:240], {**long, "utterance": f"Good morning, {long['utterance']} , thank you so much"}])
    write([*rows[240:], long], "rows_test.jsonl")
    assert started("rows.jsonl", "rows_test.jsonl", "--json") == 0
    assert json.loads(capsys.readouterr().out)["leaks"]["contained"] == 1


@pytest.mark.parametrize("source", ["rows.jsonl", "rows"])
def test_a_file_that_is_learned_from_and_held_out_is_refused(source: str, capsys: Captured) -> None:
    write(labelled(), "rows_test.jsonl")
    Path("rows").mkdir()
    for copy in ("rows.jsonl", "rows/part-1.jsonl"):
        Path(copy).write_bytes(Path("rows_test.jsonl").read_bytes())
    assert run(["init", source, "rows_test.jsonl", "--yes"]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "rows_test.jsonl hold the same bytes" in said and "Leave the held-out one away" in said
