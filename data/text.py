"""The forms in which two texts, or two labels, are the same."""

from __future__ import annotations

import re
import unicodedata

_APOSTROPHES = re.compile("['\u2019`]")
_NOT_WORDS = re.compile(r"[\W_]+")


def normalise(answer: str) -> str:
    """The form in which an answer and a label are compared.

    Unicode NFKC, case-folded, runs of white space as one space, none around it. Nothing else: punctuation,
    articles and underscores count.
    """
    return " ".join(unicodedata.normalize("NFKC", answer).casefold().split())


def label_form(label: str) -> str:
    """The form in which two labels are the same: normalised, underscores as spaces.

    For comparing only: what a model learns is the label as its source spells it, and some write `book_flight`
    where others write `Book flight`. A label of nothing but underscores stays as it is.
    """
    return normalise(label.replace("_", " ")) or normalise(label)


def fingerprint(text: str) -> str:
    """The form in which two texts are the same sentence.

    Unicode NFKC, case-folded, apostrophes left out, everything else but letters and digits as one space; the
    text itself, case-folded, when nothing is left (so that '?' and '!' stay apart).
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    return _NOT_WORDS.sub(" ", _APOSTROPHES.sub("", folded)).strip() or folded.strip()
