"""The words and patterns of plain language, read from the text files beside this one."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

_FOLDER = Path(__file__).with_name("wording")


@cache
def sections(name: str) -> dict[str, list[str]]:
    """The lines of a file under their `[headings]` ('' before the first), without notes (#)."""
    found: dict[str, list[str]] = {}
    heading = ""
    for line in (_FOLDER / f"{name}.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("[") and line.endswith("]"):
            heading = line[1:-1]
        elif line and not line.startswith("#"):
            found.setdefault(heading, []).append(line)
    return found


@cache
def word_list(name: str) -> frozenset[str]:
    """The words of a file."""
    return frozenset(word for line in sections(name)[""] for word in line.split())


def any_of(patterns: list[str], before: str = "", after: str = "") -> re.Pattern[str]:
    """One pattern that fits where any of these does, between what stands before and after all of them."""
    return re.compile(f"{before}(?:{'|'.join(patterns)}){after}")
