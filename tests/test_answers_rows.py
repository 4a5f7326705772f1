"""The rows of the example of answers: made up, of other pages than it is judged by, the same again."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import polars as pl
import pytest

import opswright

ANSWERS = Path(opswright.__file__).parent / "examples" / "answers"
DATA = ANSWERS / "data"


LoadScript = Callable[[Path, str], ModuleType]


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def chats() -> list[dict[str, Any]]:
    return pl.read_parquet(DATA / "train.parquet").to_dicts()


@pytest.fixture(scope="module")
def copied() -> list[dict[str, Any]]:
    return pl.read_parquet(DATA / "copies.parquet").to_dicts()


@pytest.fixture(scope="module")
def golden() -> list[dict[str, Any]]:
    return lines_of(DATA / "golden.jsonl")


def said(chat: dict[str, Any], role: str) -> list[str]:
    return [one["content"] for one in chat["messages"] if one["role"] == role]


def test_every_answer_stands_in_the_passages_of_its_row(
    chats: list[dict[str, Any]], copied: list[dict[str, Any]], golden: list[dict[str, Any]]
) -> None:
    for chat in (*chats, *copied):
        passages = said(chat, "user")[0].rpartition("\n\n")[0]
        assert all(answer in passages for answer in said(chat, "assistant")), chat
    for row in golden:
        assert any(row["reference"] in passage for passage in row["contexts"]), row
    assert min(Counter(row["kind"] for row in golden).values()) >= 10


def test_no_answer_of_the_golden_set_and_no_five_words_of_its_passages_are_in_training(
    chats: list[dict[str, Any]], copied: list[dict[str, Any]], golden: list[dict[str, Any]]
) -> None:
    learned = [chat for chat in (*chats, *copied) if chat["group"] == "made up"]
    assert len(learned) == 68_000
    answers = {answer for chat in learned for answer in said(chat, "assistant")}
    assert not answers & {row["reference"] for row in golden}
    passages = (passage for chat in learned for passage in said(chat, "user")[0].split("\n\n")[:-1])
    meanings = [passage.partition(": ")[2] or passage for passage in passages]
    runs = {run for row in golden for passage in row["contexts"] for run in five_words(passage)}
    assert not runs & {run for meaning in meanings for run in five_words(meaning)}


def five_words(text: str) -> list[tuple[str, ...]]:
    words = re.findall(r"\w+", text.lower())
    return [tuple(words[at : at + 5]) for at in range(len(words) - 4)]


def test_rows_that_validate_are_of_pages_that_gave_nothing_to_the_others(
    chats: list[dict[str, Any]], load_script: LoadScript
) -> None:
    validated = load_script(ANSWERS / "make_rows.py", "make_rows").VALIDATED
    facts = [one for one in lines_of(DATA / "pages.jsonl") if "fact" in one]
    own = {one["fact"][2] for one in facts if one["page"] in validated}
    own -= {one["fact"][2] for one in facts if one["page"] not in validated}
    answers = {
        group: {answer for chat in chats if chat["group"] == group for answer in said(chat, "assistant")}
        for group in ("made up", *validated)
    }
    assert {chat["group"] for chat in chats} == set(answers)
    assert own <= set().union(*(answers[page] for page in validated))
    assert not own & answers["made up"]


def test_what_is_made_up_stands_in_one_row_alone(chats: list[dict[str, Any]]) -> None:
    entries = Counter(
        passage.partition(": ")[0]
        for chat in chats
        if chat["group"] == "made up"
        for passage in said(chat, "user")[0].split("\n\n")[:-1]
    )
    assert sum(count > 1 for count in entries.values()) < 0.001 * len(entries)


def test_the_shipped_rows_are_those_that_the_script_makes(
    chats: list[dict[str, Any]], copied: list[dict[str, Any]], load_script: LoadScript
) -> None:
    make_rows = load_script(ANSWERS / "make_rows.py", "make_rows")
    made = list(make_rows.make(DATA / "pages.jsonl", DATA / "golden.jsonl", make_rows.COPIES, make_rows.ROWS))
    assert made == [copied, chats]


def test_pages_are_read_without_what_the_golden_set_asks(tmp_path: Path, load_script: LoadScript) -> None:
    read_pages = load_script(ANSWERS / "read_pages.py", "read_pages")
    guide = tmp_path / "guide"
    guide.mkdir()
    table = "# {0}\n\n{1}\n\n| name | default | meaning |\n|---|---|---|\n{2}\n\n| not | this |\n|---|---|\n"
    text = "One sentence of its own. See [a link](there.md) now. All words of the golden passage stand here."
    facts = (
        "| `rows` | 3 | Rows a\\|b. |\n| `kind` | none | The asked meaning. |\n| `asked` | 1 | Another one. |"
    )
    for page in ("curate", "drift"):
        (guide / f"{page}.md").write_text(table.format(page, text, facts))
    asked = [
        {"reference": answer, "contexts": ["`asked` of drift: words of the golden passage"]}
        for answer in ("The asked meaning.", "asked")
    ]
    golden, pages = tmp_path / "golden.jsonl", tmp_path / "pages.jsonl"
    golden.write_text("".join(json.dumps(row) + "\n" for row in asked))
    assert read_pages.read(tmp_path, golden, pages) == 3
    assert lines_of(pages) == [
        {"page": "curate", "fact": ["rows", "3", "Rows a|b."]},
        {"page": "curate", "sentence": "One sentence of its own."},
        {"page": "curate", "sentence": "See a link now."},
    ]
