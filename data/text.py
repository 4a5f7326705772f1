"""The forms in which two texts, or two labels, are the same."""

from __future__ import annotations

import re
import string
import unicodedata

_LETTER = r"[^\W\d_]"
_AT_EDGES = re.compile(
    rf"""(?<={_LETTER})['\u2019`](?={_LETTER})     # what's
    | (?<!\S)["'`\u201c\u2018\u00ab\u00bf\u00a1]+    # opens a word: quotes, but no bracket and no sign
    | (?<=\d)[.,;:\u2026?]+(?!\S)              # ends a number: but 5! and 5' are other things than 5
    | (?<!\d)[.,;:\u2026?!"'`\u201d\u2019\u00bb\u3002\u3001\u0964\u061f\u060c\u061b]+(?!\S)  # ends a word
    """,
    re.VERBOSE,
)
_JOINS = re.compile(rf"(?<={_LETTER})_(?={_LETTER})|(?<={_LETTER}{_LETTER})[-\u2010](?={_LETTER}{_LETTER})")
_OPERATORS = "-+*/^=<>"
_SUMS = re.compile(rf"(?<=\d) ?([{_OPERATORS}]) ?(?=\d)")  # 2 + 2 is 2+2
_PLAIN_BYTES = (string.ascii_letters + string.digits + string.whitespace).encode()
_RAISED = "".join(  # NFKC would make 10\u00b2 the number 102, and 1\u00bd eleven halves
    chr(c)
    for c in range(0x3000)
    if unicodedata.decomposition(chr(c)).startswith(("<super>", "<sub>", "<frac"))
)
_PLAIN = re.compile(f"[^{re.escape(_RAISED)}]+")


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
    """The form in which two texts say the same, word for word.

    Case, white space, quotes around words and the marks that end them do not count, nor do apostrophes within
    a word; a hyphen or underscore between words is a space. All else stays: operators, digits, brackets,
    signs of any script. Where nothing is left the text itself, case-folded (so that '?' and '!' stay apart).
    """
    if not text.isascii():
        text = _PLAIN.sub(_nfkc, text)
    folded = text.casefold()
    if _is_plain(folded):
        return " ".join(folded.split()) or folded.strip()
    bare = " ".join(_JOINS.sub(" ", _AT_EDGES.sub("", folded)).split())
    return (_SUMS.sub(r"\1", bare) if any(map(bare.__contains__, _OPERATORS)) else bare) or folded.strip()


def _is_plain(text: str) -> bool:
    """Whether a text is of letters, digits and white space of ASCII alone."""
    return text.isascii() and not text.encode().translate(None, _PLAIN_BYTES)


def _nfkc(found: re.Match[str]) -> str:
    return unicodedata.normalize("NFKC", found[0])
