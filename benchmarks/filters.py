"""What the filters language and toxicity find, and what they leave out wrongly: a minute on one core.

Languages: the translations of a program (gettext catalogues, `locale/LANGUAGE/LC_MESSAGES/*.mo`, say those of
Django), as single strings and as texts of six, each where its language is wanted and where others are; and
the English questions of two test sets. Toxicity: comments with a column `is_toxic` (Toxic or Not Toxic), by
the shipped list.

    python benchmarks/filters.py --catalogues SITE_PACKAGES/django --comments toxicity_en.csv
"""

from __future__ import annotations

import argparse
import csv
import gettext
import random
import re
import time
from collections import defaultdict
from pathlib import Path

from opswright.data.filters import make_filter
from opswright.data.published import banking77, clinc150
from opswright.data.sample import Sample

LANGUAGES = "ar bg cs da de el es fa fi fr he hi hu id it ja ko nl pl pt ro ru sv tr uk vi zh_Hans".split()  # noqa: SIM905
LETTERS = 12
_PLACEHOLDER = re.compile(r"%\([^)]*\)[sd]|%[sd]|<[^>]*>|&\w+;|\{[^}]*\}")
_SHORT_CHARS, _SHORT_STRINGS, _LONG_TEXTS, _STRINGS_A_TEXT = 80, 150, 60, 6


def translations(folder: Path, code: str) -> list[str]:
    """The translated strings of a language that have enough letters, placeholders taken out."""
    found: set[str] = set()
    for path in sorted(folder.glob(f"**/locale/{code}/LC_MESSAGES/*.mo")):
        with path.open("rb") as file:
            catalogue = gettext.GNUTranslations(file)
        for said, text in vars(catalogue)["_catalog"].items():
            plain = " ".join(_PLACEHOLDER.sub(" ", text).split())
            if said and text != said and sum(map(str.isalpha, plain)) >= LETTERS:
                found.add(plain)
    return sorted(found)


def measure_languages(folder: Path) -> None:
    """Print the share of other languages' texts that is found, and of its own that is left out wrongly."""
    draw = random.Random(1)
    texts: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for code in LANGUAGES:
        strings, name = translations(folder, code), code.partition("_")[0]
        draw.shuffle(strings)
        short = [one for one in strings if len(one) <= _SHORT_CHARS][:_SHORT_STRINGS]
        texts["single strings"] += [(one, name) for one in short]
        long = (" ".join(draw.sample(strings, _STRINGS_A_TEXT)) for _ in range(_LONG_TEXTS))
        texts["six strings"] += [(one, name) for one in long]
    for kind, rows in texts.items():
        chars = sorted(len(text) for text, _ in rows)[len(rows) // 2]
        names = sorted({name for _, name in rows})
        judges = {name: make_filter(f"language:only={name}")[1] for name in names}
        found = others = wrong = own = 0
        started = time.process_time()
        for text, name in rows:
            sample = Sample.of("1", text)
            for wanted in draw.sample(names, 5):
                if wanted != name:
                    others += 1
                    found += judges[wanted](sample) is not None
            own += 1
            wrong += judges[name](sample) is not None
        each_us = (time.process_time() - started) / (others + own) * 1e6
        print(f"  {kind:16} {len(rows):6,} texts of {chars} characters (median), {each_us:.0f} us each")
        print(
            f"  {'':16} of other languages {found / others:.2%} found, of its own {wrong / own:.2%} left out"
        )


def measure_english() -> None:
    """Print the share of short English questions that is taken for another language."""
    judge = make_filter("language:only=en")[1]
    for name, rows in (
        ("clinc150 test", clinc150.read_rows(clinc150.FOLDER, "test")),
        ("banking77 test", banking77.read_rows(banking77.FOLDER, "test")),
    ):
        texts = [row.text for row in rows]
        wrong = [text for text in texts if judge(Sample.of("1", text))]
        print(
            f"  {name:16} {len(texts):6,} texts, {len(wrong) / len(texts):.2%} left out wrongly: {wrong[:2]}"
        )


def measure_toxicity(path: Path) -> None:
    """Print precision and recall of the shipped list."""
    judge = make_filter("toxicity")[1]
    with path.open(newline="", encoding="utf-8") as file:
        rows = [(row["text"], row["is_toxic"] == "Toxic") for row in csv.DictReader(file)]
    found = [(judge(Sample.of("1", text)) is not None, toxic) for text, toxic in rows]
    right = found.count((True, True))
    hits, toxic = (sum(column) for column in zip(*found, strict=True))
    print(
        f"  {len(rows):,} comments, {toxic} toxic: precision {right / hits:.1%}, recall {right / toxic:.1%}"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--catalogues", type=Path, help="a folder with gettext catalogues of many languages")
    parser.add_argument("--comments", type=Path, help="a CSV of comments with text and is_toxic")
    asked = parser.parse_args()
    print("language")
    measure_english()
    if asked.catalogues:
        measure_languages(asked.catalogues)
    if asked.comments:
        print("toxicity")
        measure_toxicity(asked.comments)


if __name__ == "__main__":
    main()
