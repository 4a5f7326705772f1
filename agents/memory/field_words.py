"""The record's words for what people say otherwise: a question is searched by both."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

_FILE = Path(__file__).parent / "wording" / "field_words.txt"


def recorded_words(question: str) -> str:
    """The words that the record and the docs have for what a question in English says; empty for none."""
    asked = " ".join(question.casefold().split())
    return " ".join(recorded for said, recorded in _subjects() if said.search(asked))


@cache
def _subjects() -> tuple[tuple[re.Pattern[str], str], ...]:
    found = []
    for line in _FILE.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            said, _, recorded = line.partition(" = ")
            every = "|".join(re.escape(one.strip()) for one in said.split(","))
            found.append((re.compile(rf"(?<!\w)(?:{every})(?!\w)"), recorded.strip()))
    return tuple(found)
