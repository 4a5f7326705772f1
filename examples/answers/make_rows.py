"""Makes questions over passages from this project's own pages: data/train.jsonl and data/golden.jsonl.

Each row of a table that begins with a `name` is a fact: the name, what it is by default, what it means. A
question asks for one of the three; its contexts are the fact's passage among those of other rows of the same
page; the answer stands in the passage word for word. Whole pages are held out, so that no golden answer was
ever in training.

Run in the repository: python examples/answers/make_rows.py
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).resolve().parent
DOCS = HERE.parents[1] / "docs"
FOLDERS = ("guide", "reference")
HELD_OUT = ("build-engine", "deploy", "drift", "gate", "promote", "suites")
DRAWS = 3  # of other passages for one training question
OTHERS = 2  # passages beside the right one
LONGEST = 200  # characters of a passage

_CELLS = re.compile(r"(?<!\\)\|")
_NAME = re.compile(r"`([^`]+)`")
ASKED = {
    "meaning": (
        "What does `{name}` of {page} mean?",
        "Explain `{name}` in {page}.",
        "In {page}, what is `{name}`?",
    ),
    "default": (
        "What is the default of `{name}` in {page}?",
        "Which value has `{name}` of {page} when it is left out?",
    ),
    "name": (
        'Which entry of {page} is described as "{meaning}"?',
        'Name the entry of {page} for this: "{meaning}"',
    ),
}


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
            if fact.meaning and "](" not in fact.meaning and len(fact.passage) <= LONGEST:
                yield fact


def rows_of(facts: Sequence[Fact], draws: int, random_source: random.Random) -> Iterator[dict[str, Any]]:
    """Questions on one page: every wording with `draws` sets of other passages; 0: one wording, one set."""
    for fact in facts:
        others = [one.passage for one in facts if one.name != fact.name]
        for kind, wordings in ASKED.items():
            if not (answer := getattr(fact, kind)):
                continue
            asked = wordings * draws if draws else [random_source.choice(wordings)]
            for wording in asked:
                passages = [fact.passage, *random_source.sample(others, min(OTHERS, len(others)))]
                random_source.shuffle(passages)
                yield {
                    "question": wording.format(**fact._asdict()),
                    "contexts": passages,
                    "reference": answer,
                    "kind": kind,
                    "page": fact.page,
                }


def write(path: Path, rows: Iterable[dict[str, Any]]) -> int:
    """Write rows as JSON lines; how many."""
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    path.write_text("".join(lines), encoding="utf-8")
    return len(lines)


def make(docs: Path, folder: Path, seed: int = 1111) -> tuple[int, int]:
    """Write train.jsonl and golden.jsonl into a folder; how many rows each has."""
    random_source = random.Random(seed)
    train: list[dict[str, Any]] = []
    golden: list[dict[str, Any]] = []
    pages = [page for name in FOLDERS for page in sorted((docs / name).glob("*.md")) if page.stem != "README"]
    for page in pages:
        facts = list(facts_of(page))
        if page.stem in HELD_OUT:
            golden += rows_of(facts, 0, random_source)
        else:
            train += rows_of(facts, DRAWS, random_source)
    random_source.shuffle(train)
    folder.mkdir(parents=True, exist_ok=True)
    return write(folder / "train.jsonl", train), write(folder / "golden.jsonl", golden)


if __name__ == "__main__":
    print("train {}, golden {}".format(*make(DOCS, HERE / "data")))
