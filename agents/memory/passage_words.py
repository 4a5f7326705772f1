"""Words by which people ask for a passage, by what it is about: searched beside its text, and not shown."""

from __future__ import annotations

from functools import cache
from pathlib import Path

_FILE = Path(__file__).parent / "wording" / "passage_words.txt"


def words_for(*names: str) -> str:
    """The words of each name that has some ("verdict.NO_GO", "skill.curate"), in one text; empty for none."""
    return "; ".join(_words()[name] for name in names if name in _words())


@cache
def _words() -> dict[str, str]:
    lines = _FILE.read_text(encoding="utf-8").splitlines()
    pairs = (line.partition(" = ") for line in lines if line and not line.startswith("#"))
    return {name.strip(): words.strip() for name, _, words in pairs}
