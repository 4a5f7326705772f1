"""What of planted leaks is found, and what is called a leak wrongly: two minutes on one core.

The items of a set are planted, changed in one way at a time, among training rows: of another set (what is
called a leak there is so wrongly) and of its own, whose people ask nearly the same. Sets: CLINC150 and
BANKING77, and the strings of two programs in other languages (gettext catalogues, as of django and wagtail).

Paraphrases: `paraphrases.tsv`, 60 items that a person put in other words, and the same items by rules of
English. No model made them. Beside it what the project's own embedding would find.

    python benchmarks/contamination.py [--catalogues ITEMS_FOLDER ROWS_FOLDER]
"""

from __future__ import annotations

import argparse
import random
import re
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from filters import translations

from opswright.data.embed import TextEmbedder
from opswright.data.published import banking77, clinc150
from opswright.data.text import fingerprint
from opswright.evals.contamination import MatchKind, OverlapFinder

POLITE = {  # around an item without a mark, in its own language; of English alone the check knows such words
    "en": "hi there {} thanks",
    "de": "hallo zusammen {} danke",
    "fr": "bonjour {} merci",
    "es": "hola {} gracias",
    "ru": "\u043f\u0440\u0438\u0432\u0435\u0442 {} \u0441\u043f\u0430\u0441\u0438\u0431\u043e",
    "tr": "merhaba {} te\u015fekk\u00fcrler",
    "fi": "hei {} kiitos",
    "pl": "dzie\u0144 dobry {} dzi\u0119kuj\u0119",
    "ar": "\u0645\u0631\u062d\u0628\u0627 {} \u0634\u0643\u0631\u0627",
}
PARAPHRASES = Path(__file__).with_name("paraphrases.tsv")
SAME = (MatchKind.VERBATIM, MatchKind.NORMALISED)
_PLANTED, _LEAST_WORDS, _LEAST_CHARS = 600, 4, 16
_CLEAN_SHARE = 0.001  # of clean rows that an embedding may call leaks
_BY_RULE = (
    (r"\bi am\b|\bi'm\b", "I am currently"),
    (r"\bwhat is\b|\bwhat's\b", "tell me what is"),
    (r"\bhow do i\b|\bhow can i\b", "what is the way to"),
    (r"\bcan you\b|\bcould you\b", "would you be able to"),
    (r"\bmy\b", "my own"),
    (r"\bhow long\b", "how much time"),
    (r"\bwhy\b", "for what reason"),
    (r"\bis there\b|\bis it possible\b", "do you know whether there is"),
    (r"\bdo i\b", "must I"),
    (r"^", "so, "),
)
Change = Callable[[random.Random, Sequence[str], str], str]
NO_MARK = "politeness without a mark"


def misspelt(draw: random.Random, rows: Sequence[str], text: str) -> str:
    """A letter of its own alphabet put in or left out."""
    at, letter = draw.randrange(len(text)), draw.choice([char for char in text if char.isalpha()])
    return draw.choice((text[:at] + letter + text[at:], text[:at] + text[at + 1 :]))


def reordered(draw: random.Random, rows: Sequence[str], text: str) -> str:
    """Cut in two, and the parts the other way round."""
    words = text.split()
    at = draw.randrange(1, len(words))
    return " ".join(words[at:] + words[:at])


def within(draw: random.Random, rows: Sequence[str], text: str) -> str:
    """In the middle of a training row, without a mark: the words around it are the language's own."""
    around = next(row.split() for row in iter(lambda: draw.choice(rows), None) if len(row.split()) > 1)
    at = draw.randrange(1, len(around))
    return " ".join([*around[:at], text.rstrip(".?!"), *around[at:]])


def by_rule(text: str) -> str:
    """A text in other words as rules of English have them."""
    for found, instead in _BY_RULE:
        text = re.sub(found, instead, text, count=1, flags=re.IGNORECASE)
    return text


CHANGES: dict[str, Change] = {
    "verbatim": lambda draw, rows, text: text,
    "other case and end mark": lambda draw, rows, text: text.upper() + "!",
    "one typo": misspelt,
    "politeness around it": lambda draw, rows, text: f"hi there, {text}, thanks",
    NO_MARK: lambda draw, rows, text: POLITE["en"].format(text.rstrip(".?!")),
    "reordered": reordered,
    "within a longer text": lambda draw, rows, text: f"my brother rang and asked: {text} Then we talked.",
    "in a sentence, no mark": within,
}


def recall(finder: OverlapFinder, rows: Sequence[str], planted: Sequence[int], change: Change) -> float:
    """The share of planted items that are found as themselves among rows."""
    draw = random.Random(1)
    texts = [change(draw, rows, finder.items[place]) for place in planted]
    list(finder.overlaps(rows))
    found = {(one.text, one.item) for one in finder.overlaps(texts)}
    return sum((number, place) in found for number, place in enumerate(planted)) / len(planted)


def measure(title: str, items: Sequence[str], rows: Sequence[str], shown: int = 0) -> None:
    """Print recall by change, and what is called a leak in the rows."""
    changes = dict(CHANGES)
    if wrap := POLITE.get(title):
        changes[NO_MARK] = lambda draw, rows, text: wrap.format(text.rstrip(".?!"))
    bare = [fingerprint(text) for text in items]
    long = [
        n for n, text in enumerate(bare) if len(text.split()) >= _LEAST_WORDS and len(text) >= _LEAST_CHARS
    ]
    planted = random.Random(1).sample(long, min(_PLANTED, len(long)))
    shares = [recall(OverlapFinder(items), rows, planted, change) for change in changes.values()]
    started = time.process_time()
    found = [one for one in OverlapFinder(items).surest(rows) if one is not None]
    took_s = time.process_time() - started
    others = [one for one in found if one.kind not in SAME]
    cells = " ".join(f"{share:9.2%}" for share in shares)
    share = f"{len(others)} of {len(rows):,} ({len(others) / len(rows):.3%})"
    print(f"  {title:22} {cells} {share:>24} {took_s:5.1f}", flush=True)
    for one in others[:shown]:
        print(f"      {one.kind}: {rows[one.text]!r} holds {items[one.item]!r}")


def corpora(folders: Sequence[Path]) -> Iterator[tuple[str, list[str], list[str]]]:
    """(title, items, rows) of every pair that is measured."""
    sets = {"clinc150": clinc150, "banking77": banking77}
    for mine in sets:
        for theirs in (*(one for one in sets if one != mine), mine):
            items = sets[mine].read_rows(sets[mine].FOLDER, "test")
            rows = sets[theirs].read_rows(sets[theirs].FOLDER, "train")
            yield f"{mine} in {theirs}", [row.text for row in items], [row.text for row in rows]
    for code in POLITE if folders else ():
        if code == "en":
            continue
        yield code, translations(folders[0], code), translations(folders[1], code)


def paraphrases() -> None:
    """Print what of paraphrases is found, by rule and by embedding."""
    pairs = [line.split("\t") for line in PARAPHRASES.read_text(encoding="utf-8").splitlines()]
    items = [row.text for one in (clinc150, banking77) for row in one.read_rows(one.FOLDER, "test")]
    places = [items.index(text) for text, _ in pairs]
    print(f"\nparaphrases of {len(pairs)} items: found by the rules above, and by the embedding alone")
    for name, texts in (
        ("by hand", [text for _, text in pairs]),
        ("by rules of English", [by_rule(text) for text, _ in pairs]),
    ):
        finder = OverlapFinder(items)
        found = {(one.text, one.item) for one in finder.overlaps(texts)}
        share = sum((number, place) in found for number, place in enumerate(places)) / len(pairs)
        print(f"  {name:22} {share:9.2%} {by_embedding(items, places, texts):9.2%}")


def by_embedding(items: Sequence[str], places: Sequence[int], texts: Sequence[str]) -> float:
    """Recall of cosine at the threshold that calls one in a thousand clean rows a leak."""
    halves = {one: {row.text for row in one.read_rows(one.FOLDER, "test")} for one in (clinc150, banking77)}
    found = 0
    for one, other in ((clinc150, banking77), (banking77, clinc150)):
        mine = [text for text in items if text in halves[one]]
        clean = [row.text for row in other.read_rows(other.FOLDER, "train")]
        embedder = TextEmbedder([*mine, *clean])
        known = embedder(mine)
        nearest = np.concatenate(
            [(embedder(clean[at : at + 1000]) @ known.T).max(1) for at in range(0, len(clean), 1000)]
        )
        threshold = np.quantile(nearest, 1 - _CLEAN_SHARE)
        asked = [(items[place], text) for place, text in zip(places, texts, strict=True)]
        own = [(item, text) for item, text in asked if item in halves[one]]
        alike = (embedder([item for item, _ in own]) * embedder([text for _, text in own])).sum(1)
        found += int((alike >= threshold).sum())
    return found / len(texts)


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--catalogues", type=Path, nargs=2, default=(), help="of the items, of the rows")
    parser.add_argument("--show", type=int, default=0, help="so many of what was called a leak")
    asked = parser.parse_args()
    print(
        "recall on planted items of four words or more; then rows wrongly called a leak, and CPU s. Columns:"
    )
    for number, name in enumerate(CHANGES, 1):
        print(f"  {number}. {name}")
    for title, items, rows in corpora(asked.catalogues):
        measure(title, items, rows, asked.show)
    paraphrases()


if __name__ == "__main__":
    main()
