"""What people wrote is learned byte for byte: nothing on the way from a source to the dataset alters it."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from opswright.core.contract import NullEvents, StepContext
from opswright.core.errors import AskError
from opswright.skills.curate import CurateRequest, CurateResult, curate

CALL = '{"name": "search_docs", "arguments": {"max_new_tokens": 64, "top_k": 5, "__dry_run__": true}}'
PAIRS = [
    ("look it up in the docs, 64 tokens at most", CALL),
    ("write a swap of two variables", "def swap_two(a_1, b_2):\n\treturn b_2, a_1\n"),
    ("  what begins with spaces \t", "  snake_case  "),
    ("an answer with the line ends of another system", "first_line\r\nsecond_line\r\n\r\n"),
    ("Cafe\u0301 ou caf\u00e9 \uff1f", "re\u0301sume\u0301_of_\ufb01le"),
    ("separators that some readers take for line ends", "a\u2028b\u2029c\x85d\x0be\x0cf"),
    ("nothing but a mark", "__init__"),
]


def written(context: StepContext, result: CurateResult) -> tuple[set[Any], set[Any]]:
    """The pairs in the chat lines, of both splits, and in rows.parquet."""
    folder = context.artifacts.open(result.dataset).path
    lines = b"".join((folder / name).read_bytes() for name in ("train.jsonl", "validation.jsonl"))
    text = lines.decode()
    assert text.splitlines() == text.split("\n")[:-1], "a reader that splits on any line end would cut a row"
    chats = [json.loads(line)["messages"] for line in text.splitlines()]
    rows = pl.read_parquet(folder / "rows.parquet")
    return {tuple(turn["content"] for turn in chat) for chat in chats}, set(
        rows.select("text", "label").rows()
    )


def jsonl(path: Path, rows: Sequence[Any]) -> Path:
    path.write_bytes(b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows))
    return path


def text_label(folder: Path) -> Path:
    return jsonl(folder / "raw.jsonl", [{"text": a, "label": b} for a, b in PAIRS])


def messages(folder: Path) -> Path:
    rows = [[{"role": "user", "content": a}, {"role": "assistant", "content": b}] for a, b in PAIRS]
    return jsonl(folder / "raw.jsonl", [{"messages": turns} for turns in rows])


def prompt_completion(folder: Path) -> Path:
    return jsonl(folder / "raw.jsonl", [{"prompt": a, "completion": b} for a, b in PAIRS])


def in_csv(folder: Path) -> Path:
    with (folder / "raw.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL).writerows([("text", "label"), *PAIRS])
    return folder / "raw.csv"


def in_parquet(folder: Path) -> Path:
    pl.DataFrame(PAIRS, schema=["prompt", "completion"], orient="row").write_parquet(folder / "raw.parquet")
    return folder / "raw.parquet"


@pytest.mark.parametrize("shape", [text_label, messages, prompt_completion, in_csv, in_parquet])
def test_every_text_and_answer_stands_in_the_dataset_as_the_source_has_it(
    shape: Any, tmp_path: Path, context: Any
) -> None:
    ctx = context()
    result = curate(CurateRequest(source=shape(tmp_path), near_duplicate_jaccard=1), ctx)
    assert result.dropped == {} and result.unused == {}
    assert result.rows_left_out == result.fields_left_out == ""
    chats, rows = written(ctx, result)
    assert chats == rows == set(PAIRS)


def test_labels_of_the_shipped_sources_keep_their_underscores(context: Any) -> None:
    from opswright.data.published import banking77
    from opswright.evals.suites import load_suite

    with (banking77.FOLDER / "train.csv").open(newline="", encoding="utf-8") as file:
        source = [(row["text"], row["category"]) for row in csv.DictReader(file)]
    assert [(row.text, row.label) for row in banking77.read_rows(banking77.FOLDER, "train")] == source
    ctx = context()
    _, rows = written(ctx, curate(CurateRequest(source=banking77.FOLDER), ctx))
    assert rows <= set(source) and ("Refund_not_showing_up" in {label for _, label in rows})
    assert "book_flight" in load_suite("clinc150").labels


def test_one_label_in_two_spellings_is_no_contradiction(tmp_path: Path, context: Any) -> None:
    rows = [("pay my bill", "pay_bill"), ("Pay my bill!", "Pay bill"), ("roll dice", "roll_dice")]
    ctx = context()
    source = jsonl(tmp_path / "raw.jsonl", [{"text": a, "label": b} for a, b in rows])
    result = curate(CurateRequest(source=source), ctx)
    assert result.dropped == {"normalised_duplicate": 1} and result.conflicts == 0
    assert written(ctx, result)[1] == {rows[0], rows[2]}


def test_fields_that_are_not_taken_are_counted_and_shown(tmp_path: Path, context: Any) -> None:
    path = jsonl(
        tmp_path / "raw.jsonl",
        [
            {"text": "pay it", "label": "pay", "contexts": ["bills"], "id": 1},
            {"text": "roll dice", "label": "roll", "contexts": None, "id": 2},
            {
                "messages": [
                    {"role": "user", "content": "hi", "name": "Ann"},
                    {"role": "assistant", "content": "hello", "reasoning_content": "a greeting"},
                ],
                "tools": [{"name": "f"}],
            },
            {"text": "no label"},
        ],
    )
    result = curate(CurateRequest(source=path), context())
    assert result.unused == {"contexts": 1, "id": 2}
    assert result.dropped == {"missing_field": 1}
    assert result.rows_left_out == "1 missing_field"
    assert result.fields_left_out == "id, contexts"
    report = context().artifacts.open(result.dataset).read_json("report.json")
    assert report["unused"] == result.unused


def test_columns_that_are_not_taken_are_counted_too(tmp_path: Path, context: Any) -> None:
    frame = pl.DataFrame({"text": ["a b", "c d"], "label": ["x", "y"], "answer": ["1", None], "n": [1, 2]})
    frame.write_csv(tmp_path / "raw.csv")
    frame.write_parquet(tmp_path / "raw.parquet")
    for name in ("raw.csv", "raw.parquet"):
        result = curate(CurateRequest(source=tmp_path / name), context(name.replace(".", "-")))
        assert result.unused == {"answer": 1, "n": 2}


def test_half_a_surrogate_pair_is_left_out_and_counted(tmp_path: Path, context: Any) -> None:
    path = tmp_path / "raw.jsonl"
    path.write_text(
        '{"text": "a b", "label": "x"}\n{"text": "c d", "label": "y"}\n{"text": "\\ud83d", "label": "x"}\n'
    )
    assert curate(CurateRequest(source=path), context()).dropped == {"not_utf8": 1}


TOOLS = [{"type": "function", "function": {"name": "find", "parameters": {}}}]
CALL_TURN = {
    "role": "assistant",
    "content": None,
    "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "find", "arguments": "{}"}}],
}


def chat(number: int) -> dict[str, Any]:
    """A conversation with a system prompt, two turns, a tool call; no two have the same answer."""
    words = f"{number * 7919 % 1000} {number * 104729 % 1000} {number * 1299709 % 1000}"
    return {
        "messages": [
            {"role": "system", "content": f"You are desk {number % 3}."},
            {"role": "user", "content": f"find order_{words}"},
            CALL_TURN,
            {"role": "tool", "tool_call_id": "c1", "content": f"[{words}]"},
            {"role": "assistant", "content": f"it is in box {words}"},
            {"role": "user", "content": "thanks"},
            {"role": "assistant", "content": f"welcome, {words}"},
        ],
        "tools": TOOLS,
    }


def lines(context: StepContext, result: CurateResult, name: str = "train.jsonl") -> list[Any]:
    text = (context.artifacts.open(result.dataset).path / name).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.split("\n")[:-1]]


def test_conversations_are_learned_with_system_turns_and_tool_calls(tmp_path: Path, context: Any) -> None:
    from opswright.data.dataset import dataset_samples

    chats = [chat(number) for number in range(60)]
    ctx = context()
    result = curate(CurateRequest(source=jsonl(tmp_path / "raw.jsonl", chats), validation_fraction=0.1), ctx)
    assert (result.task, result.rows, result.labels, result.dropped) == ("chat", 60, 0, {})
    assert result.columns == {"messages": "messages", "tools": "tools"}
    written = [*lines(ctx, result), *lines(ctx, result, "validation.jsonl")]
    assert sorted(map(json.dumps, written)) == sorted(map(json.dumps, chats))
    assert result.validation_rows == 6 and ctx.artifacts.open(result.dataset).facts["task"] == "chat"
    samples = list(dataset_samples(ctx.artifacts.open(result.dataset)))
    assert [list(one.messages) for one in samples] == [one["messages"] for one in chats]
    assert [list(one.tools) for one in samples] == [TOOLS] * 60


def test_several_answers_to_one_prompt_are_all_learned_and_held_out_together(
    tmp_path: Path, context: Any
) -> None:
    pairs = [
        (f"write a poem on {n * 7919 % 997} and {n}", f"{m} verses of {n * 31 % 89}")
        for n in range(60)
        for m in range(4)
    ]
    source = jsonl(tmp_path / "raw.jsonl", [{"prompt": a, "completion": b} for a, b in pairs])
    ctx = context()
    result = curate(CurateRequest(source=source, validation_fraction=0.1), ctx)
    assert (result.task, result.rows, result.dropped) == ("generate", 240, {})
    assert result.validation_rows >= 12
    rows = pl.read_parquet(ctx.artifacts.open(result.dataset).path / "rows.parquet")
    assert rows.group_by("text").agg(pl.col("split").n_unique())["split"].max() == 1


def test_contexts_and_choices_stand_in_the_question_that_is_learned(tmp_path: Path, context: Any) -> None:
    rows: list[dict[str, Any]] = [
        {
            "question": f"who signed {n}?",
            "contexts": [f"Paper {n}.", f"Ann signed {n}."],
            "answer": f"Ann {n}",
        }
        for n in range(5)
    ]
    ctx = context()
    result = curate(CurateRequest(source=jsonl(tmp_path / "a.jsonl", rows), near_duplicate_jaccard=1), ctx)
    asked = {line["messages"][0]["content"] for line in lines(ctx, result)}
    assert result.task == "answer" and "Paper 3.\n\nAnn signed 3.\n\nwho signed 3?" in asked
    rows = [{"question": f"{n} + 1?", "choices": [str(n), str(n + 1)], "answer": 1} for n in range(5)]
    result = curate(CurateRequest(source=jsonl(tmp_path / "b.jsonl", rows), near_duplicate_jaccard=1), ctx)
    (line,) = [one for one in lines(ctx, result) if "3 + 1" in one["messages"][0]["content"]]
    assert [one["content"] for one in line["messages"]] == ["3 + 1?\n\nA. 3\nB. 4", "4"]


def test_a_question_without_an_answer_is_left_out(tmp_path: Path, context: Any) -> None:
    rows = [chat(number) for number in range(3)]
    rows.append({"messages": [{"role": "user", "content": "and then?"}]})
    result = curate(CurateRequest(source=jsonl(tmp_path / "a.jsonl", rows)), context())
    assert result.rows == 3 and result.dropped == {"empty_label": 1}


def test_chats_can_be_replayed(tmp_path: Path, context: Any) -> None:
    ctx = context()
    old = curate(CurateRequest(source=jsonl(tmp_path / "a.jsonl", [chat(n) for n in range(20)])), ctx)
    new = jsonl(tmp_path / "b.jsonl", [chat(n) for n in range(50, 60)])
    mixed = curate(CurateRequest(source=new, replay=old.dataset, replay_ratio=1), ctx)
    assert (mixed.rows, mixed.replay_rows) == (20, 10)
    assert all(len(line["messages"]) == 7 and line["tools"] == TOOLS for line in lines(ctx, mixed))


def test_a_source_that_changes_while_it_is_read_is_refused(tmp_path: Path, context: Any) -> None:
    path = jsonl(tmp_path / "a.jsonl", [chat(number) for number in range(20)])

    class Writes(NullEvents):
        def progress(self, step: str, done: float, total: float | None, unit: str) -> None:
            path.write_text(path.read_text().replace("box", "bag"))  # as many rows, as many bytes

    ctx = replace(context(), events=Writes())
    with pytest.raises(AskError, match="changed while it was read"):
        curate(CurateRequest(source=path), ctx)
    assert ctx.artifacts.list("dataset") == []
