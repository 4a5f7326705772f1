"""Reads this project's own pages: data/pages.jsonl, what the training rows are made of.

Each row of a table that begins with a `name` is a fact: the name, what it is by default, what it means. Each
short sentence of the text is a sentence. The pages that data/golden.jsonl asks about are left out, and of the
others whatever has a name, a meaning or five words in a row in common with them.

The shipped file is what the shipped rows were made of: pages may change without it. To read them again, in
the repository: python examples/answers/read_pages.py
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
DOCS = HERE.parents[1] / "docs"
GOLDEN = HERE / "data" / "golden.jsonl"
PAGES = HERE / "data" / "pages.jsonl"
FOLDERS = ("guide", "reference")
HELD_OUT = ("build-engine", "deploy", "drift", "gate", "promote", "suites")
LONGEST_PASSAGE, LONGEST_SENTENCE, SHORTEST_SENTENCE = 200, 110, 8  # characters
SHARED_WORDS = 5

_CELLS = re.compile(r"(?<!\\)\|")
_NAME = re.compile(r"`([^`]+)`")
_LINK = re.compile(r"\[([^\]]+)\]\([^)]*\)")
_CODE = re.compile(r"```.*?```", re.DOTALL)
_SENTENCE_END = re.compile(r"(?<=[.:;])\s+")
_WORD = re.compile(r"\w+")


class Fact(NamedTuple):
    """A row of a table on a page; default is empty where it has none."""

    page: str
    name: str
    default: str
    meaning: str

    @property
    def passage(self) -> str:
        """The fact as a text."""
        by_default = f" (default: {self.default})" if self.default else ""
        return f"`{self.name}` of {self.page}{by_default}: {self.meaning}"


class HeldOut:
    """What must not be in training: the golden answers, and five words in a row of their passages."""

    def __init__(self, golden: Path) -> None:
        rows = [json.loads(line) for line in golden.read_text(encoding="utf-8").splitlines()]
        self.answers = {row["reference"] for row in rows}
        self._runs = set().union(*(_runs(passage) for row in rows for passage in row["contexts"]))

    def has(self, text: str) -> bool:
        """Whether a text is one of the answers or shares five words in a row with a passage."""
        return text in self.answers or not self._runs.isdisjoint(_runs(text))


def facts_of(page: Path) -> Iterator[Fact]:
    """The facts of a page's tables: rows whose first cell is one name, without links and not too long."""
    header: list[str] = []
    for line in page.read_text(encoding="utf-8").splitlines():
        if not line.startswith("|"):
            header = []
            continue
        cells = [cell.strip().replace("\\|", "|") for cell in _CELLS.split(line)[1:-1]]
        if not header:
            header = cells
        elif named := _NAME.fullmatch(cells[0]):
            row = dict(zip(header, cells, strict=True))
            default = row.get("default", "")
            default = "" if default in ("required", "none") else default
            fact = Fact(page.stem, named[1], default, row.get("meaning", cells[1]))
            if fact.meaning and "](" not in fact.meaning and len(fact.passage) <= LONGEST_PASSAGE:
                yield fact


def sentences_of(page: Path) -> Iterator[str]:
    """The short sentences of a page's text, without its code, tables, headings and links."""
    for paragraph in re.split(r"\n\s*\n", _CODE.sub("", page.read_text(encoding="utf-8"))):
        if not paragraph.startswith(("|", "#", "<!--")):
            text = _LINK.sub(r"\1", " ".join(paragraph.replace("**", "").split())).removeprefix("- ")
            for sentence in _SENTENCE_END.split(text):
                if SHORTEST_SENTENCE <= len(sentence) <= LONGEST_SENTENCE:
                    yield sentence


def read(docs: Path, golden: Path, pages: Path) -> int:
    """Write the facts and sentences of all pages that are not held out, as JSON lines; how many."""
    held_out = HeldOut(golden)
    lines = []
    for page in (page for name in FOLDERS for page in sorted((docs / name).glob("*.md"))):
        if page.stem in (*HELD_OUT, "README"):
            continue
        for fact in facts_of(page):
            if fact.name not in held_out.answers and not held_out.has(fact.meaning):
                lines.append({"page": page.stem, "fact": fact[1:]})
        for sentence in dict.fromkeys(sentences_of(page)):
            if not held_out.has(sentence):
                lines.append({"page": page.stem, "sentence": sentence})
    pages.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")
    return len(lines)


def _runs(text: str) -> set[tuple[str, ...]]:
    """Every five words in a row."""
    found = _WORD.findall(text.lower())
    return {tuple(found[at : at + SHARED_WORDS]) for at in range(len(found) - SHARED_WORDS + 1)}


if __name__ == "__main__":
    print(f"{read(DOCS, GOLDEN, PAGES)} facts and sentences")
