"""Words by which people ask for a passage, by what it is about: searched beside its text, and not shown."""

from __future__ import annotations

from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parent / "wording"


def words_for(*names: str) -> str:
    """The words of each name that has some ("verdict.NO_GO", "skill.curate"), in one text; empty for none."""
    known = _words("passage_words.txt")
    return "; ".join(known[name] for name in names if name in known)


def words_for_page(page: str, heading: str) -> str:
    """The words of a section of the documentation ("guide/policy.md", "Approvals"; "" before the first)."""
    return _words("page_words.txt").get(f"{page}#{heading}" if heading else page, "")


@cache
def _words(file: str) -> dict[str, str]:
    lines = (FOLDER / file).read_text(encoding="utf-8").splitlines()
    pairs = (line.partition(" = ") for line in lines if line and not line.startswith("#"))
    return {name.strip(): words.strip() for name, _, words in pairs}
