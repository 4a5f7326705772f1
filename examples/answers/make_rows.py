"""Makes the training rows of data/pages.jsonl: chats over texts that say what no other row says.

To learn by heart must not help. So the names, defaults and most meanings of a row are put together anew for
it, and its answers stand in its own passages alone; some names look alike, so that they have to be read.

data/copies.parquet: some words and "Repeat it.", which is how a small model learns to copy at all.
data/train.parquet: up to three questions on one to three passages, a few of them repeated. Besides, questions
on the real facts of two pages that gave nothing to the others, to see by their loss whether it can read:
their `group` is their page.

data/golden.jsonl, by which a model is judged, stays as it is: nothing of it is in here (see read_pages.py).
The same pages give the same rows. Run in the repository: python examples/answers/make_rows.py
"""

from __future__ import annotations

import json
import random
import re
import sys
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
from read_pages import GOLDEN, HERE, PAGES, Fact, HeldOut

DATA = HERE / "data"
VALIDATED = ("evaluate", "retrain")  # pages whose facts only validate
COPIES, ROWS = 8_000, 60_000
REPEATED, SHORT = 0.1, 0.2  # shares of the rows; the others have three passages as long as on a page
PASSAGES, QUESTIONS = 3, 3
COPIED_WORDS = (2, 3, 4, 6, 8, 12, 16, 20)
FEW_WORDS = (1, 2, 3, 4, 6, 8)  # of a meaning in a short row
LOOK_ALIKE = 0.35  # of the names that are not the first of their row
WITH_DEFAULT = 0.4
REAL_SENTENCE, PIECES, REAL_WORD = 0.2, 0.3, 0.75
LONGEST_MEANING = 110  # characters

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
REPEAT, MADE_UP = "Repeat it.", "made up"
_STARTS = (*"bcdfghklmnprstvwz", "br", "dr", "fl", "gr", "pl", "qu", "st", "tr")
_VOWELS = (*"aeiou", "ai", "ea", "oo")
_ENDS = ("", *"nrslmt", "ck", "nd", "st")
_NAME_PART = re.compile(r"\b[a-z]{2,10}\b")


class Inventor:
    """Makes up facts of the words of pages, none with an answer of the golden set."""

    def __init__(self, sentences: Sequence[str], held_out: HeldOut, random_source: random.Random) -> None:
        self._sentences, self._held_out, self._random = sentences, held_out, random_source
        self._words = sorted({word for one in sentences for word in one.split() if len(word) < 12})
        self._parts = sorted({part for one in sentences for part in _NAME_PART.findall(one)})

    def words(self, counts: Sequence[int]) -> str:
        """Some words of pages, made-up ones among them; as many as one of `counts` says.

        Nothing that the golden set answers, or says in five words.
        """
        said = " ".join(
            self._random.choice(self._words) if self._random.random() < REAL_WORD else self._part()
            for _ in range(self._random.choice(counts))
        )
        return self.words(counts) if self._held_out.has(said) else said

    def facts(self, count: int, short: bool = False) -> list[Fact]:
        """Facts of one made-up page, some of whose names look alike; short: their meanings are few words."""
        page = "-".join(self._part() for _ in range(self._random.choice((1, 1, 2))))
        names: list[str] = []
        while len(names) < count:
            like = names and self._random.random() < LOOK_ALIKE
            name = self._name_like(self._random.choice(names)) if like else self._name()
            if name not in names and name not in self._held_out.answers:
                names.append(name)
        return [
            Fact(page, name, self._default(), self.words(FEW_WORDS) if short else self._meaning())
            for name in names
        ]

    def _made_up(self) -> str:
        draw = self._random.choice
        return "".join(draw(_STARTS) + draw(_VOWELS) + draw(_ENDS) for _ in range(self._random.randint(1, 3)))

    def _part(self) -> str:
        return self._random.choice(self._parts) if self._random.random() < 0.6 else self._made_up()

    def _name(self) -> str:
        return "_".join(self._part() for _ in range(self._random.choice((1, 1, 2, 2, 2, 3))))

    def _name_like(self, other: str) -> str:
        parts = other.split("_")
        at = self._random.randrange(len(parts) + 1)
        if at < len(parts) > 1 and self._random.random() < 0.6:
            parts[at] = self._part()
        else:
            parts.insert(at, self._part())
        return "_".join(parts[:3])

    def _default(self) -> str:
        if self._random.random() >= WITH_DEFAULT:
            return ""
        numbers = (
            str(self._random.randint(2, 9999)),
            f"{self._random.random():.{self._random.randint(1, 3)}f}",
        )
        value = self._random.choice(
            (*numbers, *numbers, "True", "False", self._part(), f"{self._part()}-{self._part()}")
        )
        return value if value not in self._held_out.answers else self._default()

    def _meaning(self) -> str:
        draw = self._random.random()
        if draw < REAL_SENTENCE:
            return self._random.choice(self._sentences)
        if draw < PIECES:
            pieces = (self._piece() for _ in range(self._random.randint(1, 3)))
            said = " ".join(pieces)
        else:
            said = self.words((1, 2, 3, 4, 5, 6, 7, 8, 10))
        fits = len(said) <= LONGEST_MEANING and not self._held_out.has(said)
        return said if fits else self._meaning()

    def _piece(self) -> str:
        """Up to four words as they follow each other in a sentence."""
        words = self._random.choice(self._sentences).split()
        at = self._random.randrange(len(words))
        return " ".join(words[at : at + self._random.randint(1, 4)])


def chat(passages: Sequence[str], asked: Sequence[tuple[str, str]], group: str) -> dict[str, Any]:
    """Questions and answers on passages, which stand before the first question as a suite asks them."""
    messages = []
    for number, (question, answer) in enumerate(asked):
        said = "\n\n".join((*passages, question)) if number == 0 else question
        messages += [{"role": "user", "content": said}, {"role": "assistant", "content": answer}]
    return {"messages": messages, "group": group}


def questions_on(facts: Sequence[Fact], random_source: random.Random) -> list[tuple[str, str]]:
    """Every question that the facts answer, with its answer, in some wording and order."""
    asked = [
        (random_source.choice(wordings).format(**fact._asdict()), getattr(fact, kind))
        for fact in facts
        for kind, wordings in ASKED.items()
        if getattr(fact, kind)
    ]
    random_source.shuffle(asked)
    return asked


def copies(inventor: Inventor) -> Iterator[dict[str, Any]]:
    """Words to be repeated, without end; all rows that are made up are of one group, so none validates."""
    while True:
        text = inventor.words(COPIED_WORDS)
        yield chat([text], [(REPEAT, text)], MADE_UP)


def made_up_rows(inventor: Inventor, random_source: random.Random) -> Iterator[dict[str, Any]]:
    """Questions on passages, without end."""
    copied = copies(inventor)
    while True:
        draw = random_source.random()
        if draw < REPEATED:
            yield next(copied)
            continue
        short = draw < REPEATED + SHORT
        facts = inventor.facts(random_source.choice((1, 2)) if short else PASSAGES, short)
        asked = questions_on(facts, random_source)[:QUESTIONS]
        yield chat([fact.passage for fact in facts], asked, MADE_UP)


def real_rows(facts: Sequence[Fact], random_source: random.Random) -> Iterator[dict[str, Any]]:
    """One row for each question on a page's facts, with passages of the same page beside the right one."""
    for fact in facts:
        for question, answer in questions_on([fact], random_source):
            others = [one.passage for one in facts if one.name != fact.name]
            passages = [fact.passage, *random_source.sample(others, PASSAGES - 1)]
            random_source.shuffle(passages)
            yield chat(passages, [(question, answer)], fact.page)


def make(
    pages: Path, golden: Path, copied: int, rows: int, seed: int = 1111
) -> Iterator[list[dict[str, Any]]]:
    """The rows of copies.parquet, then those of train.parquet."""
    random_source = random.Random(seed)
    read = [json.loads(line) for line in pages.read_text(encoding="utf-8").splitlines()]
    texts = [one.get("sentence") or one["fact"][-1] for one in read if one["page"] not in VALIDATED]
    inventor = Inventor(sorted(set(texts)), HeldOut(golden), random_source)
    yield list(islice(copies(inventor), copied))
    found = list(islice(made_up_rows(inventor, random_source), rows))
    for page in VALIDATED:
        facts = [Fact(page, *one["fact"]) for one in read if one["page"] == page and "fact" in one]
        found += real_rows(facts, random_source)
    yield found


def main() -> None:
    """Write both files."""
    import polars as pl

    for name, rows in zip(("copies", "train"), make(PAGES, GOLDEN, COPIES, ROWS), strict=True):
        pl.DataFrame(rows).write_parquet(DATA / f"{name}.parquet", compression="zstd", compression_level=19)
        print(f"{name}: {len(rows):,} rows")


if __name__ == "__main__":
    main()
