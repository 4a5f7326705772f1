"""Reading: every layout, and every way a source can be wrong."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from opswright.core.errors import AskError
from opswright.data.published import banking77, clinc150, snips
from opswright.data.read import Layout, Reading, Source, read_samples
from opswright.data.rows import Reason
from opswright.ui.demo import example_domains


class Read:
    """A reading gone through once, as columns."""

    def __init__(self, reading: Reading) -> None:
        rows = list(reading.located())
        self.dropped, self.unused, self.task = reading.dropped, reading.unused, reading.task
        self.samples = [one.sample for one in rows]
        self.text = [one.question for one in self.samples]
        self.label = [one.answer for one in self.samples]
        self.domain = [one.tags.get("domain") for one in self.samples]
        self.row = [one.row for one in rows]
        self.source = [one.file for one in rows]


def read(path: Path, **fields: Any) -> Read:
    return Read(read_samples(Source(path, **fields)))


def jsonl(path: Path, *rows: Any) -> Path:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def reasons(found: Read) -> list[tuple[int, str]]:
    return [(one.row, str(one.reason)) for one in found.dropped]


GOOD = {"text": " move 5 dollars ", "label": "transfer_money"}


def test_text_and_label_are_read_byte_for_byte(tmp_path: Path) -> None:
    found = read(jsonl(tmp_path / "a.jsonl", GOOD))
    assert (found.text, found.label, found.row) == ([" move 5 dollars "], ["transfer_money"], [1])


def test_prompt_and_completion_are_taken_unless_other_fields_are_named(tmp_path: Path) -> None:
    row = {"prompt": "2 + 2 =", "completion": " 4\n", "text": "sums", "label": "maths"}
    both = read(jsonl(tmp_path / "a.jsonl", row))
    assert (both.text, both.label) == (["sums"], ["maths"])
    alone = read(jsonl(tmp_path / "b.jsonl", {name: row[name] for name in ("prompt", "completion")}))
    assert (alone.text, alone.label) == (["2 + 2 ="], [" 4\n"])
    with pytest.raises(AskError, match=r"no column 'question' .*prompt, completion"):
        read(tmp_path / "b.jsonl", text_column="question")


def test_clinc150_is_known_by_its_files_and_has_domains() -> None:
    found = read(clinc150.FOLDER)
    assert len(found.text) == 15000 and set(found.source) == {"clinc150/train"} and found.dropped == []
    assert {d for d in found.domain if d} == {
        *example_domains("old_domains"),
        *example_domains("new_domains"),
    }
    assert len(read(clinc150.FOLDER, split="val").text) == 3000


def test_banking77_is_known_by_its_files() -> None:
    assert len(read(banking77.FOLDER).text) == 10003
    with pytest.raises(AskError, match=r"has: train, test"):
        read(banking77.FOLDER, split="val")


def test_snips_is_known_by_its_files_and_its_answers_are_calls() -> None:
    found = read(snips.FOLDER)
    assert (len(found.text), found.task, found.dropped) == (13_784, "extract", [])
    assert {one.tags["tool"] for one in found.samples} == set(snips.TOOLS)
    assert len(read(snips.FOLDER, split="validate").text) == 700
    calls = [json.loads(answer or "") for answer in found.label]
    assert all(text in found.text[n] for n, call in enumerate(calls) for text in texts_of(call))
    twice = [call for call in calls if any(isinstance(v, list) for v in call["arguments"].values())]
    assert len(twice) == 61  # a slot that is said more than once keeps all that was said


def texts_of(call: dict[str, Any]) -> list[str]:
    values = call["arguments"].values()
    return [text for value in values for text in (value if isinstance(value, list) else [value])]


def test_a_file_of_snips_that_is_damaged_is_named_with_what_it_needs(tmp_path: Path) -> None:
    for name in snips.FILES:
        (tmp_path / name).write_text('{"AddToPlaylist": [{"words": []}]}')
    with pytest.raises(AskError, match=r"train_AddToPlaylist_full.json is not in the SNIPS layout.*KeyError"):
        read(tmp_path)


def test_the_folder_above_both_is_ambiguous_and_its_folders_are_named() -> None:
    with pytest.raises(AskError, match=r"Name one of its folders: banking77, clinc150"):
        read(clinc150.FOLDER.parent)


def test_csv_tsv_and_parquet_give_the_same_rows(tmp_path: Path) -> None:
    import polars as pl

    rows = {
        "utterance": ["pay, my bill", "roll dice"],
        "intent": ["pay_bill", "roll_dice"],
        "area": ["b", "u"],
    }
    frame = pl.DataFrame(rows)
    frame.write_csv(tmp_path / "a.csv")
    frame.write_csv(tmp_path / "a.tsv", separator="\t")
    frame.write_parquet(tmp_path / "a.parquet")
    for name in ("a.csv", "a.tsv", "a.parquet"):
        found = read(tmp_path / name, text_column="utterance", label_column="intent", domain_column="area")
        assert found.text == ["pay, my bill", "roll dice"] and found.label == ["pay_bill", "roll_dice"]
        assert found.domain == ["b", "u"]


def test_a_folder_of_jsonl_files_is_read_in_the_order_of_their_names(tmp_path: Path) -> None:
    jsonl(tmp_path / "b.jsonl", {"text": "second", "label": "x"})
    jsonl(tmp_path / "a.jsonl", {"text": "first", "label": "x"})
    assert read(tmp_path).text == ["first", "second"]


def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbftext,label\nhi,greeting\n")
    (tmp_path / "a.jsonl").write_bytes(b'\xef\xbb\xbf{"text": "hi", "label": "greeting"}\n')
    assert read(tmp_path / "a.csv").text == read(tmp_path / "a.jsonl").text == ["hi"]


def test_a_missing_source_is_refused_with_what_lies_beside_it(tmp_path: Path) -> None:
    jsonl(tmp_path / "support.jsonl", GOOD)
    with pytest.raises(AskError, match=r"no file or folder at .*Did you mean 'support.jsonl'"):
        read(tmp_path / "suport.jsonl")


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.parquet"])
def test_an_empty_file_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    with pytest.raises(AskError, match=r"is empty \(0 bytes\)"):
        read(tmp_path / name)


def test_a_file_of_blank_lines_has_no_usable_row(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("\n\n")
    with pytest.raises(AskError, match="no usable row"):
        read(tmp_path / "a.jsonl")


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.parquet"])
def test_a_missing_column_is_refused_with_those_there_are(tmp_path: Path, name: str) -> None:
    import polars as pl

    frame = pl.DataFrame({"words": ["hi"], "meaning": ["greeting"], "labels": ["x"]})
    if name.endswith("csv"):
        frame.write_csv(tmp_path / name)
    elif name.endswith("jsonl"):
        frame.write_ndjson(tmp_path / name)
    else:
        frame.write_parquet(tmp_path / name)
    with pytest.raises(AskError, match=r"cannot tell what the columns .* are \(words, meaning, labels\)"):
        read(tmp_path / name)
    with pytest.raises(AskError, match=r"no column 'word' .*words, meaning, labels.*Did you mean 'words'"):
        read(tmp_path / name, text_column="word", label_column="meaning")
    with pytest.raises(AskError, match=r"no column 'area'"):
        read(tmp_path / name, text_column="words", label_column="meaning", domain_column="area")


def test_bad_rows_are_left_out_one_by_one_with_their_reason(tmp_path: Path) -> None:
    path = jsonl(
        tmp_path / "a.jsonl",
        GOOD,
        {"text": 7, "label": "x"},
        {"text": "x", "label": None},
        {"text": "  ", "label": "x"},
        {"text": "x", "label": " \t"},
        {"text": "x"},
        "[1, 2]",
        "{not json",
    )
    path.write_bytes(path.read_bytes() + b'{"text": "\xff", "label": "x"}\n')
    found = read(path)
    assert found.text == [GOOD["text"]]
    assert [reason for _, reason in reasons(found)] == [
        "wrong_type", "empty_label", "empty_text", "empty_label", "missing_field", "wrong_type", "not_json",
        "not_utf8",
    ]  # fmt: skip
    assert found.dropped[0].detail == "text is int, not a string" and found.dropped[0].text == "7"


def test_a_source_with_only_bad_rows_is_refused_and_says_why(tmp_path: Path) -> None:
    with pytest.raises(AskError, match=r"all 2 were left out.*row 1: wrong_type text is int"):
        read(jsonl(tmp_path / "a.jsonl", {"text": 1, "label": "x"}, {"text": 2, "label": "x"}))


def test_a_csv_row_with_another_number_of_cells_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('text,label\nhi,greeting\none,two,three\n"a\nb",x\n')
    found = read(tmp_path / "a.csv")
    assert found.text == ["hi", "a\nb"] and reasons(found) == [(3, "wrong_type")]
    assert found.dropped[0].detail == "3 cells under 2 columns"


def test_parquet_with_a_column_of_another_type_is_refused(tmp_path: Path) -> None:
    import polars as pl

    pl.DataFrame({"text": ["hi"], "label": [3]}).write_parquet(tmp_path / "a.parquet")
    with pytest.raises(AskError, match=r"all 1 were left out.*label is int, not a string"):
        read(tmp_path / "a.parquet")
    (tmp_path / "b.parquet").write_text("no parquet")
    with pytest.raises(AskError, match=r"cannot read .* as Parquet"):
        read(tmp_path / "b.parquet")


def test_a_gigabyte_line_is_left_out_without_being_loaded(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", GOOD)
    with path.open("rb+") as file:
        file.seek(0, 2)
        file.write(b'{"text": "')
        file.seek(1 << 30)  # a hole: a line of a gigabyte that takes no disk
        file.write(b'", "label": "x"}\n' + json.dumps(GOOD).encode() + b"\n")
    tracemalloc.start()
    found = read(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(found.text) == 2 and found.row == [1, 3]
    assert reasons(found) == [(2, Reason.LINE_TOO_LONG)] and peak < 8_000_000


def test_a_gigabyte_line_in_a_csv_is_refused_by_its_number(tmp_path: Path) -> None:
    with (tmp_path / "a.csv").open("wb") as file:
        file.write(b"text,label\nhi,greeting\n")
        file.truncate(1 << 30)
    with pytest.raises(AskError, match="line 3: more than 1000000 bytes"):
        read(tmp_path / "a.csv")


def test_a_row_that_gives_a_field_twice_is_left_out(tmp_path: Path) -> None:
    twice = '{"text": "a", "label": "x", "label": "y"}'
    deep = '{"text": "a", "label": "x", "meta": [{"k": 1, "k": 2}]}'
    found = read(jsonl(tmp_path / "a.jsonl", GOOD, twice, deep))
    assert reasons(found) == [(2, "duplicate_field"), (3, "duplicate_field")] and len(found.text) == 1
    assert found.dropped[0].detail == "'label' is given twice" and "'text': 'a'" in found.dropped[0].text
    (tmp_path / "a.json").write_text(f"[{twice}, {json.dumps(GOOD)}]")
    assert reasons(read(tmp_path / "a.json")) == [(1, "duplicate_field")]
    (tmp_path / "b.json").write_text(f'{{"rows": [{twice}]}}')
    with pytest.raises(AskError, match="'label' twice in one object"):
        read(tmp_path / "b.json")


def test_a_quote_that_is_never_closed_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('text,label\n"hi,greeting\n' + "more,rows\n" * 50)
    with pytest.raises(AskError, match="never closed"):
        read(tmp_path / "a.csv", max_line_bytes=200)


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_a_quote_in_the_last_column_that_takes_in_the_rest_of_the_file_is_said_with_its_lines(
    tmp_path: Path, end: str
) -> None:
    (tmp_path / "a.csv").write_text(
        'text,label\nhi,greeting\nbye,"farewell\n' + "more,rows\n" * 5 + "last,row" + end
    )
    found = read(tmp_path / "a.csv")
    assert found.text == ["hi"] and [one.lines for one in found.dropped] == [7]
    assert "a quote in line 3 takes in the 6 lines after it; it is never closed" in found.dropped[0].detail
    (tmp_path / "a.csv").write_text('text,label\nhi,greeting\n5" pipe,a part\nbye,"fare\nwell"' + end)
    assert read(tmp_path / "a.csv").text == ["hi", '5" pipe', "bye"]


def test_a_hundred_thousand_columns_are_read(tmp_path: Path) -> None:
    names = ",".join(f"c{n}" for n in range(100_000))
    (tmp_path / "a.csv").write_text(f"text,label,{names}\nhi,greeting{',' * 100_000}\n")
    assert read(tmp_path / "a.csv").text == ["hi"]


def test_a_csv_that_is_not_utf8_is_refused_by_line(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"text,label\nhi,greeting\ncaf\xe9,x\n")
    with pytest.raises(AskError, match="line 3 is not UTF-8"):
        read(tmp_path / "a.csv")


def test_a_split_is_only_for_sources_that_have_them(tmp_path: Path) -> None:
    with pytest.raises(AskError, match="only clinc150, banking77, snips have splits"):
        read(jsonl(tmp_path / "a.jsonl", GOOD), split="train")


def test_an_unknown_ending_needs_a_layout(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "rows.txt", GOOD)
    with pytest.raises(AskError, match="Give layout="):
        read(path)
    assert read(path, layout=Layout.JSONL).text == [GOOD["text"]]
    with pytest.raises(AskError, match="layout clinc150 is a folder"):
        read(path, layout=Layout.CLINC150)
