"""Overlap: suite items that a model has seen in training."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence

_APOSTROPHES = re.compile("['\u2019`]")
_NOT_WORDS = re.compile(r"[\W_]+")


def fingerprint(text: str) -> str:
    """The form in which two texts are the same sentence.

    Unicode NFKC, case-folded, apostrophes left out, everything else but letters and digits as one space; the
    text itself, case-folded, when nothing is left (so that '?' and '!' stay apart).
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    return _NOT_WORDS.sub(" ", _APOSTROPHES.sub("", folded)).strip() or folded.strip()


def count_overlap(train: Iterable[str], asked: Sequence[str]) -> dict[str, int]:
    """How many asked texts occur in training: {verbatim, normalised} (the second without the first)."""
    seen = set(train)
    folded = {fingerprint(text) for text in seen}
    verbatim = sum(text in seen for text in asked)
    return {"verbatim": verbatim, "normalised": sum(fingerprint(text) in folded for text in asked) - verbatim}
