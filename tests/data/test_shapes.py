"""The shapes in which people have their rows, and those in which rows are broken."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from opswright.core.errors import AskError
from opswright.data.columns import Columns
from opswright.data.read import Reading, Source, read_samples
from opswright.data.sample import Sample

USER = {"role": "user", "content": " How do I reset_it? "}
CALL = {"id": "c1", "type": "function", "function": {"name": "find", "arguments": '{"top_k": 5}'}}
CHAT = [
    {"role": "system", "content": "You are terse."},
    USER,
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "c1", "content": "[]"},
    {"role": "assistant", "content": "Hold_the button.\n"},
]


def source(folder: Path, *rows: Any, **fields: Any) -> Source:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Source(path, **fields)


def only(folder: Path, row: Any, **fields: Any) -> tuple[Reading, Sample]:
    reading = read_samples(source(folder, row, **fields))
    (sample,) = reading
    return reading, sample


def test_a_conversation_keeps_system_turns_and_tool_calls(tmp_path: Path) -> None:
    tools = [{"type": "function", "function": {"name": "find"}}]
    reading, sample = only(tmp_path, {"messages": CHAT, "tools": tools, "source": "desk"})
    assert list(sample.messages) == CHAT and list(sample.tools) == tools and sample.targets == ()
    assert sample.answer == "Hold_the button.\n" and reading.task == "chat"
    assert reading.columns == {"messages": "messages", "tools": "tools"}
    assert reading.unused == {"source": 1}


def test_sharegpt_turns_become_messages(tmp_path: Path) -> None:
    turns = [("system", "Be kind."), ("human", "hi"), ("gpt", "hello"), ("human", "bye"), ("gpt", "so long")]
    reading, sample = only(tmp_path, {"conversations": [{"from": a, "value": b} for a, b in turns]})
    roles = ["system", "user", "assistant", "user", "assistant"]
    assert [one["role"] for one in sample.messages] == roles and reading.task == "chat"
    assert [one["content"] for one in sample.messages] == [said for _, said in turns]


@pytest.mark.parametrize(
    ("row", "task", "asked", "targets"),
    [
        ({"instruction": "Add.", "input": "1, 2", "output": "3"}, "generate", "Add.\n\n1, 2", ("3",)),
        ({"instruction": "Say hi.", "input": "", "output": "hi "}, "generate", "Say hi.", ("hi ",)),
        ({"prompt": "2 + 2 =", "completion": " 4\n"}, "generate", "2 + 2 =", (" 4\n",)),
        (
            {"prompt": [USER], "completion": [{"role": "assistant", "content": "so"}]},
            "generate",
            USER["content"],
            ("so",),
        ),
        ({"question": "Who?", "answer": ["Ann", "Anne"]}, "generate", "Who?", ("Ann", "Anne")),
        ({"utterance": "pay it", "intent": "pay_bill"}, "classify", "pay it", ("pay_bill",)),
        ({"text": "find a", "label": '{"name": "find"}'}, "extract", "find a", ('{"name": "find"}',)),
    ],
)
def test_one_question_and_its_answer(
    row: Any, task: str, asked: str, targets: tuple[str, ...], tmp_path: Path
) -> None:
    reading, sample = only(tmp_path, row)
    assert (reading.task, sample.question, sample.targets) == (task, asked, targets)
    assert reading.unused == {} and not reading.dropped


@pytest.mark.parametrize(
    "row",
    [
        {"question": "Who?", "contexts": ["a", "b"], "ground_truth": "Ann", "answer": "Bob"},
        {"user_input": "Who?", "retrieved_contexts": ["a", "b"], "reference": "Ann", "response": "Bob"},
        {"question": "Who?", "contexts": '["a", "b"]', "answer": "Ann"},
        {"question": "Who?", "context": ["a", "b"], "answers": {"text": ["Ann"], "answer_start": [3]}},
    ],
)
def test_an_answer_from_contexts(row: Any, tmp_path: Path) -> None:
    reading, sample = only(tmp_path, row)
    assert reading.task == "answer" and sample.targets == ("Ann",) and sample.contexts == ("a", "b")


@pytest.mark.parametrize(
    "row",
    [
        {"question": "2 + 2?", "choices": ["3", "4", "5"], "answer": 1},
        {"question": "2 + 2?", "choices": ["3", "4", "5"], "answer": "B"},
        {"question": "2 + 2?", "options": ["3", "4", "5"], "answer": "4"},
        {
            "question": "2 + 2?",
            "choices": {"text": ["3", "4", "5"], "label": ["1", "2", "3"]},
            "answerKey": "2",
        },
        {"question": "2 + 2?", "A": "3", "B": "4", "C": "5", "answer": "B"},
    ],
)
def test_the_right_one_of_several_choices(row: Any, tmp_path: Path) -> None:
    reading, sample = only(tmp_path, row)
    assert reading.task == "choose" and sample.choices == ("3", "4", "5") and sample.targets == ("4",)


def test_a_key_that_means_no_choice_drops_the_row(tmp_path: Path) -> None:
    good = {"question": "2 + 2?", "choices": ["3", "4"], "answer": "B"}
    reading = read_samples(source(tmp_path, good, {**good, "answer": "C"}, {**good, "answer": None}))
    assert len(list(reading)) == 1
    assert [(one.row, str(one.reason)) for one in reading.dropped] == [(2, "wrong_type"), (3, "empty_label")]
    assert reading.dropped[0].detail == "answer 'C' is none of 2 choices"


def test_a_better_and_a_worse_answer(tmp_path: Path) -> None:
    reading, sample = only(tmp_path, {"prompt": "Why?", "chosen": "Because.", "rejected": "No."})
    assert (reading.task, sample.question) == ("prefer", "Why?")
    assert (sample.targets, sample.rejected) == (("Because.",), ("No.",))
    better, worse = ([USER, {"role": "assistant", "content": text}] for text in ("Hold it.", "No."))
    _, sample = only(tmp_path, {"chosen": better, "rejected": worse})
    assert sample.messages == (USER,) and sample.targets == ("Hold it.",) and sample.rejected == ("No.",)


def test_any_other_names_are_mapped(tmp_path: Path) -> None:
    row = {"q": "Who?", "gold": "Ann", "docs": ["a"], "lang": "en", "customer": 7, "x": 1}
    columns = Columns.model_validate(
        {"user": "q", "target": "gold", "contexts": "docs", "tags": ["lang"], "group": "customer"}
    )
    reading, sample = only(tmp_path, row, columns=columns)
    assert reading.task == "answer" and sample.contexts == ("a",) and sample.group == "7"
    assert sample.tags == {"lang": "en"} and reading.unused == {"x": 1}
    assert reading.columns == {
        "q": "user", "gold": "target", "docs": "contexts", "lang": "tag lang", "customer": "group"
    }  # fmt: skip


def test_a_mapped_column_that_is_missing_is_refused_and_a_double_mapping_too(tmp_path: Path) -> None:
    row = {"prompt": "a", "completion": "b"}
    with pytest.raises(AskError, match=r"no column 'language' .*prompt, completion"):
        only(tmp_path, row, columns=Columns(tags={"language": "language"}))
    with pytest.raises(ValidationError, match="not both"):
        Columns(messages="chat", user="prompt")


def test_the_task_is_told_from_how_answers_recur_and_may_be_set(tmp_path: Path) -> None:
    few = [{"prompt": f"ticket {i}", "completion": f"queue_{i % 4}"} for i in range(60)]
    assert read_samples(source(tmp_path, *few)).task == "classify"
    free = [{"text": f"ticket {i}", "label": f"an answer to ticket {i}"} for i in range(60)]
    assert read_samples(source(tmp_path, *free)).task == "generate"
    assert read_samples(source(tmp_path, *free, task="classify")).task == "classify"


def test_several_shapes_in_one_file_are_each_read_as_their_own(tmp_path: Path) -> None:
    rows = [{"text": "a", "label": "b"}, {"messages": CHAT}, {"prompt": "c", "completion": "d"}, {"e": "f"}]
    reading = read_samples(source(tmp_path, *rows))
    assert [one.answer for one in reading] == ["b", "Hold_the button.\n", "d"]
    assert [one.detail for one in reading.dropped] == ["none of the shapes is known by the columns e"]


def test_ids_are_the_files_rows_or_those_of_a_column_and_then_each_once(tmp_path: Path) -> None:
    rows = [{"key": key, "text": f"t{i}", "label": "x"} for i, key in enumerate(("k1", "k2", "k1"))]
    assert [one.id for one in read_samples(source(tmp_path, *rows))] == [f"rows.jsonl:{n}" for n in (1, 2, 3)]
    reading = read_samples(source(tmp_path, *rows, columns=Columns(id="key")))
    assert [one.id for one in reading] == ["k1", "k2"]
    assert [str(one.reason) for one in reading.dropped] == ["duplicate_id"]


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ("hi", "wrong_type"),
        ([1], "wrong_type"),
        ([], "empty_text"),
        ([{"role": "wizard", "content": "x"}], "wrong_type"),
        ([{"role": "user"}], "wrong_type"),
        ([{"role": "user", "content": {"a": 1}}], "wrong_type"),
        ([{"role": "user", "content": " \n"}, {"role": "assistant", "content": "x"}], "empty_text"),
        ([USER, {"role": "assistant", "content": ""}], "empty_label"),
        ([USER, {"role": "assistant", "content": "\ud83d"}], "not_utf8"),
        ([USER, {"role": "assistant", "content": "x", "score": float("nan")}], "wrong_type"),
    ],
)
def test_a_broken_conversation_is_left_out_alone(messages: Any, reason: str, tmp_path: Path) -> None:
    reading = read_samples(source(tmp_path, {"messages": CHAT}, {"messages": messages}))
    assert len(list(reading)) == 1
    assert [(one.row, str(one.reason)) for one in reading.dropped] == [(2, reason)]
    json.dumps(reading.dropped[0].line()).encode()


def test_going_through_a_reading_again_reads_again(tmp_path: Path) -> None:
    reading = read_samples(source(tmp_path, {"text": "a", "label": "b"}, {"text": 1, "label": "b"}))
    assert list(reading) == list(reading) and len(reading.dropped) == 1


def test_rows_left_out_may_go_elsewhere_than_into_memory(tmp_path: Path) -> None:
    left: list[Any] = []
    reading = read_samples(
        source(tmp_path, {"text": "a", "label": "b"}, {"text": 1, "label": "b"}), left.append
    )
    assert len(list(reading)) == 1 and len(left) == 1 and reading.dropped == []


ROWS = [{"text": "a \u2028 caf\u00e9, [1] {", "label": "x"}, {"text": 'quote " and \\', "label": "y"}]


def test_a_json_array_and_an_object_that_holds_one_list_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    for text in (json.dumps(ROWS), "\ufeff \n" + json.dumps(ROWS, indent=2, ensure_ascii=False) + "\r\n"):
        path.write_text(text)
        assert [one.question for one in read_samples(Source(path))] == [row["text"] for row in ROWS]
    path.write_text(json.dumps({"version": 2, "data": ROWS}))
    assert [one.answer for one in read_samples(Source(path))] == ["x", "y"]
    path.write_text(json.dumps({"train": ROWS, "test": ROWS[:1]}))
    assert len(list(read_samples(Source(path, split="test")))) == 1
    with pytest.raises(AskError, match="the lists train, test: name one as split"):
        read_samples(Source(path))
    with pytest.raises(AskError, match=r"has: train, test.*Did you mean 'test'"):
        read_samples(Source(path, split="tset"))


def test_a_long_json_array_is_read_piece_by_piece(tmp_path: Path) -> None:
    import tracemalloc

    path = tmp_path / "a.json"
    with path.open("w") as file:
        file.write("[")
        for i in range(20_000):
            file.write(json.dumps({"text": f"row {i} \u00e9" + "ab" * 500, "label": "x"}) + ",\n")
        file.write('{"text": "end", "label": "x"}]')
    reading = read_samples(Source(path))
    tracemalloc.start()
    assert sum(1 for _ in reading) == 20_001
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4_000_000 < path.stat().st_size / 5


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('[{"text": "a", "label": "b"}', "after row 1 expected ,], found the end"),
        ('[{"text": "a", "label": "b"} {"text"', "after row 1 expected ,]"),
        ('[{"text": "a", "label": ', "not JSON after row 0"),
        ('[{"text": "a", "label": "b"}]\n[1]', "goes on after its JSON array"),
        ('{"text": "a", "label": "b"}\n{"text": "a", "label": "b"}\n', "give layout=jsonl"),
        ("[]", "no usable row"),
        ("[1, 2]", "no usable row.*int, not an object"),
        ('{"a": {"b": 1}}', "no list of objects"),
        ('[{"text": "a", "label": "' + "x" * 2000 + '"}]', "more than 1000 characters"),
    ],
)
def test_a_broken_json_file_is_refused(text: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(AskError, match=says):
        list(read_samples(Source(tmp_path / "a.json", max_line_bytes=1000)))


def test_tables_with_other_separators_line_ends_and_cells_of_json(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b'question;contexts;answer\r\nWho?;"[""a"", ""b""]";Ann\r\n')
    (sample,) = read_samples(Source(path))
    assert (sample.question, sample.contexts, sample.targets) == ("Who?", ("a", "b"), ("Ann",))
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([["messages", "lang"], [json.dumps(CHAT), "en"]])
    (sample,) = read_samples(Source(path, columns=Columns(tags={"language": "lang"})))
    assert list(sample.messages) == CHAT and sample.tags == {"language": "en"}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"words\none\ntwo\n", r"cannot tell what the columns .* are \(words\)"),
        (b"text,text\na,b\n", "two columns 'text'"),
        (b"\n\n", "no header line"),
        (bytes(range(256)) * 40, "not UTF-8"),
        (b"text,label\nb\xe9,x\n", "line 2 is not UTF-8"),
        (b"text,label\n", "no usable row"),
    ],
)
def test_a_broken_table_is_refused(content: bytes, says: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(AskError, match=says):
        list(read_samples(Source(tmp_path / "a.csv")))


def test_a_binary_file_named_jsonl_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(bytes(range(256)) * 40)
    with pytest.raises(AskError, match=r"no usable row: all .* were left out"):
        list(read_samples(Source(tmp_path / "a.jsonl")))


def test_parquet_gives_nested_rows_and_the_names_of_class_labels(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"messages": [CHAT, CHAT[1:2] + CHAT[4:]]}), path)
    first, second = read_samples(Source(path))
    assert list(first.messages) == CHAT and list(second.messages) == CHAT[1:2] + CHAT[4:]
    features = {"label": {"_type": "ClassLabel", "names": ["ham", "spam"]}, "text": {"_type": "Value"}}
    metadata = {b"huggingface": json.dumps({"info": {"features": features}}).encode()}
    table = pa.table({"text": ["hi", "win"], "label": [0, 1]}).replace_schema_metadata(metadata)
    pq.write_table(table, path)
    assert [one.answer for one in read_samples(Source(path))] == ["ham", "spam"]
